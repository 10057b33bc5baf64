"""Maps in Zarr: groups of arrays 'RADIOGRAPH/FINDING', or the parts that a run of Sightline stores."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core import SaliencyMap
from sightline.errors import DataError
from sightline.maps.formats.content import (
    MapContent,
    as_box,
    as_grid,
    as_probability,
    check_cells,
    check_shape,
    wrap_decode_errors,
)

_NODE_FILES = ("zarr.json", ".zarray", ".zgroup")


def is_node(folder: Path) -> bool:
    """Return True for a folder that is a Zarr group or array (version 3 or 2).

    Parameters
    ----------
    folder : Path
        Folder.

    Returns
    -------
    bool
        Whether it is a node of Zarr.
    """
    return any((folder / name).is_file() for name in _NODE_FILES)


def find_arrays(folder: Path) -> Iterator[Path]:
    """Yield the folders of the arrays in a group, or the folder itself if it is an array.

    Parameters
    ----------
    folder : Path
        Group or array.

    Yields
    ------
    Path
        Folder of an array.
    """
    for file in sorted([*folder.rglob("zarr.json"), *folder.rglob(".zarray")]):
        if file.name == ".zarray" or _read_metadata(file).get("node_type") == "array":
            yield file.parent


def _read_metadata(file: Path) -> dict[str, Any]:
    with wrap_decode_errors(file.parent):
        metadata = json.loads(file.read_text("utf-8"))
    if not isinstance(metadata, dict):
        raise DataError(f"{file} is no description of a Zarr node; make the store again")
    return metadata


def read(path: Path, finding: str) -> MapContent:
    """Read an array (h, w), with its attributes 'box' and 'probability' where they exist.

    Chunks that are missing on disk have the fill value, as Zarr defines it.

    Parameters
    ----------
    path : Path
        Folder of the array.
    finding : str
        Finding that the name of the file states.

    Returns
    -------
    MapContent
        Map as the file holds it.

    Raises
    ------
    DataError
        If the array is damaged, of another shape or type, or its chunks are too large.
    """
    import zarr  # takes 0.5 s

    with wrap_decode_errors(path):
        array = zarr.open_array(str(path), mode="r")
        check_shape(array.shape, path)
        if array.dtype.kind not in "biuf":
            raise DataError(f"map {path} holds {array.dtype}; an array of real numbers was expected")
        for chunk in (array.chunks, array.shards or (1, 1)):  # a chunk is decoded whole, however small the array
            check_cells(math.prod(chunk), path)
        values = np.asarray(array[...])
        attributes = dict(array.attrs)
    probability = as_probability(attributes.get("probability"), path)
    return MapContent(as_grid(values, path), probability, as_box(attributes.get("box"), path))


@dataclass(frozen=True, slots=True)
class StoredPart:
    """Part of a run: every source has a map of every finding on every radiograph."""

    radiographs: tuple[str, ...]
    """Identifiers of the radiographs."""
    findings: tuple[str, ...]
    """Findings."""
    sources: tuple[str, ...]
    """Sources."""


def part_of_run(folder: Path) -> StoredPart | None:
    """Recognize the part of a run in a folder.

    Parameters
    ----------
    folder : Path
        Zarr group or array.

    Returns
    -------
    StoredPart or None
        Part, or None for any other group or array.
    """
    file = folder / "zarr.json"
    attributes = _read_metadata(file).get("attributes") if file.is_file() else None
    names = [field.name for field in fields(StoredPart)]
    if not isinstance(attributes, dict) or not all(isinstance(attributes.get(name), (list, dict)) for name in names):
        return None
    return StoredPart(*(tuple(map(str, attributes[name])) for name in names))


def read_stored_map(path: Path, radiograph: str, finding: str, source: str) -> SaliencyMap:
    """Read one map of a part that a run stored.

    Parameters
    ----------
    path : Path
        Folder of the part.
    radiograph, finding, source : str
        Key of the map.

    Returns
    -------
    SaliencyMap
        Map.

    Raises
    ------
    DataError
        If the part is damaged.
    """
    with wrap_decode_errors(path):
        return next(m for m in _read_stored_maps(path, radiograph) if (m.finding, m.source) == (finding, source))


@lru_cache(maxsize=1)
def _read_stored_maps(path: Path, radiograph: str) -> tuple[SaliencyMap, ...]:
    from sightline.maps.storage import read_maps  # imports zarr

    return tuple(read_maps(path, radiograph))
