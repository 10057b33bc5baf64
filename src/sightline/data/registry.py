"""Registry of the loaders of data sets, and questions about a data set that its loader answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sightline._util.spec import parse_spec
from sightline.errors import SightlineError
from sightline.registry import Registry


def folder_identity(argument: str, options: Mapping[str, str]) -> str:
    """Return the absolute path of the folder that a spec names: the same folder holds the same patients.

    Parameters
    ----------
    argument : str
        Argument of the spec.
    options : Mapping of str to str
        Options of the spec, which do not matter here.

    Returns
    -------
    str
        Absolute path.
    """
    return str(Path(argument).resolve())


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Record of a loader, known before it opens anything."""

    title: str
    """Full name of the data set."""
    source: str
    """Citation: DOI, arXiv id or URL."""
    license: str
    """Terms of the data, one phrase."""
    is_synthetic: bool = False
    """True where images are rendered, not acquired: no file is read, and the readers are simulated."""
    identity: Callable[[str, Mapping[str, str]], str] = folder_identity
    """Function of the argument and the options of a spec that names the collection within which a patient's id always
    means the same person."""


_MODULES = {
    name: f"sightline.data.loaders.{name}"
    for name in (
        "chexlocalize chexpert egd folder mimic nih openi reflacx rsna siim vindr".split()  # noqa: SIM905
    )
}
datasets: Registry[DatasetInfo] = Registry(
    "dataset", DatasetInfo, {**_MODULES, "phantom": "sightline.data.phantom.loader"}
)
"""Loaders by name: functions of (argument, **options) that return a `Dataset`. Built-in ones are imported when asked
for."""


def is_synthetic(spec: str) -> bool:
    """Return True for a data set whose images are rendered rather than acquired, such as the phantom.

    Parameters
    ----------
    spec : str
        Spec of the data set.

    Returns
    -------
    bool
        False also for a data set whose loader is not registered.

    Examples
    --------
    >>> is_synthetic("phantom:200?seed=1"), is_synthetic("folder:images")
    (True, False)
    """
    name = spec.partition("?")[0].partition(":")[0]
    return name in datasets and datasets[name].info.is_synthetic


def dataset_identity(spec: str) -> tuple[str, str]:
    """Name the collection within which a patient's id always means the same person; elsewhere it may be another one.

    Parameters
    ----------
    spec : str
        Spec of a data set.

    Returns
    -------
    tuple of (str, str)
        Name of the loader, and what its `DatasetInfo.identity` returns: by default the folder. ('', spec) for a text
        that is not a spec.

    Examples
    --------
    >>> dataset_identity("phantom:30?size=64") == dataset_identity("phantom:60?split=val")
    True
    >>> dataset_identity("phantom:30?seed=1") == dataset_identity("phantom:30?seed=2")
    False
    """
    try:
        name, argument, options = parse_spec(spec)
    except SightlineError:
        return "", spec
    identity = datasets[name].info.identity if name in datasets else folder_identity
    return name, identity(argument, options)
