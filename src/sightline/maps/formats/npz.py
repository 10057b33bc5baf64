"""Maps in NumPy archives: one map with its box and probability, or many under the keys 'RADIOGRAPH/FINDING'."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core import Array
from sightline.errors import DataError
from sightline.maps.formats.content import MapContent, as_box, as_grid, as_probability, check_shape, wrap_decode_errors

MAP_KEYS = ("map", "values")
METADATA_KEYS = ("box", "probability")
_HEADER_BYTES = 10_000
"""Bytes of an array's header that are read; NumPy itself refuses longer ones."""


@dataclass(frozen=True, slots=True)
class _Archive:
    file: zipfile.ZipFile
    keys: Mapping[str, None]


def read(path: Path, finding: str) -> MapContent:
    """The only map of an archive: its array 'map' or 'values', or else the only one beside 'box' and 'probability'."""
    keys = _open_archive(path).keys
    named = [key for key in MAP_KEYS if key in keys] or [key for key in keys if key not in METADATA_KEYS]
    if len(named) != 1:
        raise DataError(f"map {path} holds {', '.join([*keys][:9]) or 'nothing'}; one array 'map' was expected")
    return _read_content(path, named[0], "")


def read_member(path: Path, key: str) -> MapContent:
    """The map under 'RADIOGRAPH/FINDING', with 'RADIOGRAPH/FINDING/box' and '.../probability' where they are."""
    return _read_content(path, key, f"{key}/")


def map_keys(path: Path) -> list[str]:
    """Keys of the maps in an archive of many. Errors: `DataError` for what is no archive, or has a key twice."""
    keys = _open_archive(path).keys
    return [key for key in keys if key.rpartition("/")[2] not in METADATA_KEYS and key not in MAP_KEYS]


def _read_content(path: Path, key: str, prefix: str) -> MapContent:
    keys = _open_archive(path).keys
    facts = {name: _read_array(path, prefix + name, 4) if prefix + name in keys else None for name in METADATA_KEYS}
    values = as_grid(_read_array(path, key), path)
    return MapContent(values, as_probability(facts["probability"], path), as_box(facts["box"], path))


def _read_array(path: Path, key: str, max_values: int | None = None) -> Array:
    """One array, checked by its header before anything is allocated."""
    with wrap_decode_errors(path):
        archive = _open_archive(path).file
        info = archive.getinfo(f"{key}.npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"map {path} is packed otherwise than NumPy does; save it with numpy.savez_compressed")
        with archive.open(info) as file:
            shape, dtype = _parse_header(file.read(_HEADER_BYTES + 12))
        if dtype.kind not in "biuf":
            raise DataError(f"map {path}: {key!r} holds {dtype}; an array of real numbers was expected")
        if max_values is None:
            check_shape(shape, path)
        elif math.prod(shape) > max_values:
            raise DataError(f"map {path}: {key!r} has {math.prod(shape):,} values; at most {max_values} were expected")
        with archive.open(info) as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):  # reading to the end also has the checksum compared
                raise DataError(f"map {path}: {key!r} holds more than its header says; it is damaged, make it again")
    return array


def _parse_header(head: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype


def _open_archive(path: Path) -> _Archive:
    with wrap_decode_errors(path):
        return _cached_archive(path, path.stat().st_mtime_ns, os.getpid())


@lru_cache(maxsize=2)
def _cached_archive(path: Path, changed: int, process: int) -> _Archive:
    # Kept open, or the list of an archive of many maps would be read again for each; but never shared after a fork,
    # where two processes would move one position in the file.
    file = zipfile.ZipFile(path)
    names = [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]
    keys = dict.fromkeys(names)
    if len(keys) < len(names):
        again = next(name for name in keys if names.count(name) > 1)
        raise DataError(f"map {path} holds two arrays {again!r}; remove one")
    return _Archive(file, keys)
