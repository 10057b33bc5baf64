"""Provenance: the inputs that a run records, checks when it continues, and opens again for its report."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sightline._util.spec import parse_spec
from sightline.core import Dataset, Maps
from sightline.data import open_dataset
from sightline.data.registry import datasets, is_synthetic
from sightline.errors import DataError, RunError
from sightline.maps.collections import CombinedMaps, RenamedMaps
from sightline.maps.folder import MapFolder, open_maps
from sightline.protocol import Protocol
from sightline.runs.fingerprints import (
    FileFingerprint,
    describe_changes,
    fingerprint_files,
    list_input_files,
    load_fingerprints,
    save_fingerprints,
)
from sightline.runs.run import Run

_PACKAGES = (
    "sightline",
    "numpy",
    "scipy",
    "pandas",
    "opencv-python-headless",
    "pillow",
    "zarr",
    "torch",
    "torchvision",
)


NOT_RECORDED = frozenset({"out", "device", "explain_batch", "chexlocalize_csv", "chexlocalize_csv_flat"})
"""Options that change no number of a run, and may differ when it continues."""


def recorded_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a command that run.json records.

    Taken from all arguments of the command's function, so that no option can be forgotten: a run continues only with
    the same recorded options.

    Parameters
    ----------
    arguments
        `locals()` at the start of the function.

    Returns
    -------
    dict
        All but those of `NOT_RECORDED`.
    """
    return {name: value for name, value in arguments.items() if name not in NOT_RECORDED}


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that can change a number.

    Returns
    -------
    dict
        Package -> version.
    """
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue  # torch is optional
    return versions


def describe_dataset(data: Dataset) -> dict[str, Any]:
    """Describe a data set for run.json.

    Parameters
    ----------
    data
        The data set.

    Returns
    -------
    dict
        Name, spec, counts, license and more, and `fingerprint`, the SHA-256 of all ids, patients and labels.
    """
    digest, patients = hashlib.sha256(), set()
    for radiograph in data.radiographs:
        patients.add(radiograph.patient)
        digest.update(f"{radiograph.id}\t{radiograph.patient}\t{sorted(radiograph.labels.items())}\n".encode())
    info = datasets[parse_spec(data.spec)[0]].info
    return {
        "name": data.name,
        "title": info.title,
        "spec": data.spec,
        "derived": data.derived,
        "radiographs": len(data.radiographs),
        "patients": len(patients),
        "findings": data.findings,
        "readers": data.readers,
        "license": info.license,
        "source": info.source,
        "simulated": bool(data.metadata.get("simulated", is_synthetic(data.spec))),
        "warnings": list(data.metadata.get("warnings", ())),
        "fingerprint": digest.hexdigest(),
    }


def record_inputs(
    run: Run, data: Dataset, protocols: Sequence[Protocol], *, maps: MapFolder | None = None, **fields: Any
) -> Run:
    """Record data, protocols, versions and fingerprints of the input files, or check them against those recorded.

    Parameters
    ----------
    run
        Run locked by the caller.
    data
        Data set of the run.
    protocols
        Protocols of scoring.
    maps
        Folder of the maps that are scored; None if the run stores its own.
    fields
        More fields of run.json.

    Returns
    -------
    Run
        The run with its open `inputs`.

    Raises
    ------
    RunError
        If the run was begun with other data, files, thresholds or cutoffs.
    """
    described = describe_dataset(data)
    before = run.info.get("dataset", {}).get("fingerprint")
    if before not in (None, described["fingerprint"]):
        raise RunError(
            f"{data.spec!r} is not the data that {run.path} was begun with (images, patients or labels changed); "
            "give --out another folder"
        )
    check_inputs_unchanged(run, data, maps)
    settings = json.loads(json.dumps({protocol.name: asdict(protocol) for protocol in protocols}))
    for name, known in run.info.get("protocols", {}).items():
        other = [k for k, value in settings.get(name, {}).items() if k in known and known[k] != value]
        if other:
            raise RunError(f"{run.path} was begun with another {', '.join(other)} ({name}); give --out a new folder")
    run.update_info(dataset=described, protocols=settings, versions=package_versions(), **fields)
    return replace(run, inputs=(data, maps))


def check_inputs_unchanged(run: Run, data: Dataset, maps: MapFolder | None = None) -> None:
    """Compare the input files with the fingerprints of the run, and record those of a run that has none.

    Parameters
    ----------
    run
        Run locked by the caller.
    data, maps
        Data set and folder of maps whose files are compared.

    Raises
    ------
    RunError
        If the run was begun with other files.
    """
    before, now = _compare_fingerprints(run, data, maps)
    changes = describe_changes(before, now) if before is not None else ""
    if changes:
        raise RunError(f"{run.path} was begun with other files ({changes}); give --out a new folder")
    if before != now:
        save_fingerprints(run, now)


def changed_inputs(run: Run, data: Dataset, maps: MapFolder | None = None) -> str:
    """Describe which input files of a run changed since it began.

    Parameters
    ----------
    run
        The run.
    data, maps
        Data set and folder of maps whose files are compared.

    Returns
    -------
    str
        The changes; empty if there are none, or if the run recorded no fingerprints.
    """
    before, now = _compare_fingerprints(run, data, maps)
    return describe_changes(before, now) if before is not None else ""


def _compare_fingerprints(
    run: Run, data: Dataset, maps: MapFolder | None
) -> tuple[dict[Any, FileFingerprint] | None, dict[Any, FileFingerprint]]:
    """Return the recorded fingerprints, None without any, and those of now."""
    files = {"data": list_input_files(data)} | ({"maps": maps.files()} if maps is not None else {})
    recorded = load_fingerprints(run)
    now = fingerprint_files(files, recorded)
    before = None if recorded is None else {key: value for key, value in recorded.items() if key[0] in files}
    return before, now


def check_model_weights(run: Run, models: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Check that the models of a run have the weights that they had when its maps were computed.

    Parameters
    ----------
    run
        The run.
    models
        Descriptions of the models for run.json, each with a `name` and the hash of its `weights`.

    Returns
    -------
    sequence of mapping
        The same descriptions.

    Raises
    ------
    RunError
        If the weights of a model changed.
    """
    known: dict[str, set[str]] = {}
    for model in run.info.get("models", ()):
        known.setdefault(model["name"], set()).add(model.get("weights", ""))
    for model in models:
        before = known.get(model["name"], {""})
        if "" not in before and model["weights"] not in before:
            raise RunError(
                f"{run.path} was begun with other weights of {model['name']!r} (sha256 {min(before)[:12]}, now "
                f"{model['weights'][:12]}); give --out a new folder"
            )
    return models


def refuse_derived(run: Run) -> None:
    """Refuse a run whose data set was changed after it was opened, because its spec opens another.

    Parameters
    ----------
    run
        The run.

    Raises
    ------
    DataError
        If the data set of the run is derived.
    """
    described = run.info.get("dataset", {})
    if derived := described.get("derived"):
        raise DataError(f"{described['spec']} was changed after it was opened ({'; '.join(derived)})")


def open_inputs(run: Run) -> tuple[Dataset, Maps]:
    """Open the data set and the maps of a run, or return those that this process made the run from.

    Parameters
    ----------
    run
        The run.

    Returns
    -------
    tuple of Dataset and Maps
        The data set, and the maps that the run stores or those of the folder that was scored.

    Raises
    ------
    DataError
        If the data are gone.
    RunError
        If the run names no data set, or if its files changed since.
    """
    if run.inputs is not None:
        data, maps = run.inputs
        return data, run if maps is None else maps
    spec = run.info.get("dataset", {}).get("spec")
    if not spec:
        raise RunError(f"{run.path} does not say what data it was made from; name a run with a data set")
    refuse_derived(run)
    if compared := run.info.get("runs"):
        return _open_compared_inputs(compared)
    data = open_dataset(spec)
    folder = run.info.get("options", {}).get("maps")
    maps = open_maps(folder, data) if folder else None
    if changes := changed_inputs(run, data, maps):
        raise RunError(f"files changed since {run.path} was made ({changes}); its numbers are of the files before")
    return data, run if maps is None else maps


def _open_compared_inputs(compared: Mapping[str, Mapping[str, Any]]) -> tuple[Dataset, Maps]:
    """Open the inputs of runs that were compared, each source under its name in the comparison."""
    opened = [(open_inputs(Run.open(fields["path"])), fields["sources"]) for fields in compared.values()]
    return opened[0][0][0], CombinedMaps(tuple(RenamedMaps(maps, names) for (_, maps), names in opened))


def command_line(study: str, options: Mapping[str, Any], out: object) -> str:
    """Return the command line that makes a run again.

    Parameters
    ----------
    study
        Command, such as 'localization' or 'data write'.
    options
        Options as run.json has them; empty ones are left out.
    out
        Folder of the run.

    Returns
    -------
    str
        The command line, quoted for a shell.

    Examples
    --------
    >>> command_line("localization", {"data": "phantom:9", "model": [], "seed": 0, "untrained": False}, "runs/a")
    'sightline localization --data phantom:9 --seed 0 --no-untrained --out runs/a'
    """
    words = ["sightline", *study.split()]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, list | tuple):
            words += [flag, *map(str, value)] if value else []
        elif value not in ("", None):
            words += [flag, str(value)]
    return shlex.join([*words, "--out", str(out)])
