"""Data sets: one loader function per file, opened by a spec 'NAME:PATH?option=value&option=value'."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from sightline.core import DataError, Dataset
from sightline.registry import Registry

__all__ = ["DatasetFacts", "dataset", "datasets", "parse_spec"]


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What is known of a loader before it opens anything."""

    title: str
    """Full name of the data set."""
    source: str
    """Citation: DOI, arXiv id or URL."""
    license: str
    """Terms of the data, one phrase."""


datasets: Registry[DatasetFacts] = Registry("dataset", DatasetFacts)


def parse_spec(spec: str) -> tuple[str, str, dict[str, str]]:
    """Split 'name:argument?key=value&key=value' into its three parts.

    >>> parse_spec("phantom:200?size=256&seed=1")
    ('phantom', '200', {'size': '256', 'seed': '1'})
    """
    head, _, query = spec.partition("?")
    name, _, argument = head.partition(":")
    return name, argument, dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))


def dataset(spec: str) -> Dataset:
    """Open a data set: 'phantom:200', 'chexlocalize:DIR?split=val', 'rsna:DIR', 'folder:DIR', ...

    A loader is a function of the argument (a path, or what the loader says) and of options; options arrive as the
    type of their default. Errors: `UnknownNameError` for a loader or option that does not exist, `DataError` for
    files that are not what the format promises.
    """
    name, argument, given = parse_spec(spec)
    loader = datasets[name]
    parameters = list(inspect.signature(loader.call).parameters.values())[1:]
    defaults = {p.name: p.default for p in parameters}
    options = {}
    for key, text in given.items():
        if key not in defaults:
            raise DataError(f"{spec!r}: {name} has no option {key!r}; allowed: {', '.join(defaults) or 'none'}")
        kind = type(defaults[key])
        try:
            options[key] = text.lower() in ("1", "true", "yes") if kind is bool else kind(text)
        except ValueError as error:
            raise DataError(f"{spec!r}: option {key} takes {kind.__name__}, not {text!r}") from error
    opened: Dataset = loader(argument, **options)
    return replace(opened, spec=spec)


# Last, because each of these registers its loader in the table above.
from sightline.data import chexlocalize, chexpert, folder, nih, rsna  # noqa: E402, F401
