"""Maps of CheXlocalize: `{radiograph}_{task}_map.pkl`, a dictionary with 'map', 'prob', 'task' and 'cxr_dims'."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sightline.core import Size
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS, canonical_name
from sightline.maps.formats import safe_pickle
from sightline.maps.formats.content import MapContent, MapMismatchError, as_grid, as_numbers, as_probability

RESIZE = "center-crop:320"
"""Resize of the networks of CheXlocalize. The files do not state it, and the published code ignores it."""


def read(path: Path, finding: str) -> MapContent:
    """Read a map of CheXlocalize.

    The dictionary holds 'map': (1, 1, h, w); 'prob': a number, or 14 in the order of CheXpert; 'cxr_dims': (width,
    height).

    Parameters
    ----------
    path : Path
        Pickle file.
    finding : str
        Finding that the name of the file states.

    Returns
    -------
    MapContent
        Map as the file holds it.

    Raises
    ------
    MapMismatchError
        If 'task' is another finding than the name of the file states.
    DataError
        If the file is damaged, or holds anything that is not read.
    """
    content = safe_pickle.load(path)
    task = content.get("task")
    if task is not None and (not isinstance(task, str) or canonical_name(task) != finding):
        raise MapMismatchError(
            f"map {path} states inside that it shows {task!r}; find out which is right and rename it"
        )
    if "map" not in content:
        keys = ", ".join(content) or "nothing"
        raise DataError(f"map {path} has no 'map' (it has {keys}); save the map under that name")
    values = as_grid(content["map"], path)
    probability = as_probability(_select_probability(content.get("prob"), finding, path), path)
    return MapContent(values, probability, resize=RESIZE, size=_parse_size(content.get("cxr_dims"), path))


def _select_probability(value: object, finding: str, path: Path) -> object:
    if value is None:
        return None
    numbers = as_numbers(value, "'prob'", path).ravel()
    if numbers.size not in (1, len(CHEXPERT_FINDINGS)):
        raise DataError(f"map {path}: 'prob' has {numbers.size} numbers; 1 or {len(CHEXPERT_FINDINGS)} were expected")
    if numbers.size == 1:
        return numbers
    return numbers[CHEXPERT_FINDINGS.index(finding)] if finding in CHEXPERT_FINDINGS else None


def _parse_size(value: object, path: Path) -> Size | None:
    if value is None:
        return None
    sides = as_numbers(value, "'cxr_dims'", path).ravel()
    if sides.size != 2 or not ((sides >= 1) & (sides == np.rint(sides)) & np.isfinite(sides)).all():
        raise DataError(f"map {path}: 'cxr_dims' is not (width, height) in pixels")
    return int(sides[1]), int(sides[0])
