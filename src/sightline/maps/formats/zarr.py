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
    """Whether a folder is a Zarr group or array (version 3 or 2)."""
    return any((folder / mark).is_file() for mark in _NODE_FILES)


def find_arrays(folder: Path) -> Iterator[Path]:
    """Folders of the arrays in a group, or the folder itself where it is one."""
    for mark in sorted([*folder.rglob("zarr.json"), *folder.rglob(".zarray")]):
        if mark.name == ".zarray" or _read_metadata(mark).get("node_type") == "array":
            yield mark.parent


def _read_metadata(file: Path) -> dict[str, Any]:
    with wrap_decode_errors(file.parent):
        found = json.loads(file.read_text("utf-8"))
    if not isinstance(found, dict):
        raise DataError(f"{file} is no description of a Zarr node; make the store again")
    return found


def read(path: Path, finding: str) -> MapContent:
    """An array (h, w), with the attributes 'box' and 'probability' where they are. Chunks that are missing on disk are,
    in Zarr, filled with the fill value."""
    import zarr  # takes 0.5 s: only who reads Zarr pays

    with wrap_decode_errors(path):
        array = zarr.open_array(str(path), mode="r")
        check_shape(array.shape, path)
        if array.dtype.kind not in "biuf":
            raise DataError(f"map {path} holds {array.dtype}; an array of real numbers was expected")
        for chunk in (array.chunks, array.shards or (1, 1)):  # a chunk is decoded whole, however small the array
            check_cells(math.prod(chunk), path)
        values = np.asarray(array[...])
        facts = dict(array.attrs)
    probability = as_probability(facts.get("probability"), path)
    return MapContent(as_grid(values, path), probability, as_box(facts.get("box"), path))


@dataclass(frozen=True, slots=True)
class StoredPart:
    """What a run stored together: every source has a map of every finding on every radiograph."""

    radiographs: tuple[str, ...]
    findings: tuple[str, ...]
    sources: tuple[str, ...]


def part_of_run(folder: Path) -> StoredPart | None:
    """The part of a run in this folder, or None for any other Zarr group or array."""
    file = folder / "zarr.json"
    attributes = _read_metadata(file).get("attributes") if file.is_file() else None
    names = [field.name for field in fields(StoredPart)]
    if not isinstance(attributes, dict) or not all(isinstance(attributes.get(name), (list, dict)) for name in names):
        return None
    return StoredPart(*(tuple(map(str, attributes[name])) for name in names))


def read_stored_map(path: Path, radiograph: str, finding: str, source: str) -> SaliencyMap:
    """One map of a part that a run stored. Errors: `DataError` for a damaged part."""
    with wrap_decode_errors(path):
        return next(m for m in _read_stored_maps(path, radiograph) if (m.finding, m.source) == (finding, source))


@lru_cache(maxsize=1)
def _read_stored_maps(path: Path, radiograph: str) -> tuple[SaliencyMap, ...]:
    from sightline.maps.storage import read_maps  # brings pandas and pyarrow

    return tuple(read_maps(path, radiograph))
