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
"""Keys of the map in an archive of one."""
METADATA_KEYS = ("box", "probability")
"""Keys of what is stored with a map."""
_HEADER_BYTES = 10_000
"""Bytes of the header of an array that are read; NumPy refuses longer ones."""


@dataclass(frozen=True, slots=True)
class _Archive:
    file: zipfile.ZipFile
    keys: Mapping[str, None]


def read(path: Path, finding: str) -> MapContent:
    """Read the only map of an archive: its array 'map' or 'values', or the only one except 'box' and 'probability'.

    Parameters
    ----------
    path : Path
        Archive.
    finding : str
        Finding that the name of the file states.

    Returns
    -------
    MapContent
        Map as the file holds it.

    Raises
    ------
    DataError
        If the archive is damaged, or holds none or several arrays that could be the map.
    """
    keys = _open_archive(path).keys
    named = [key for key in MAP_KEYS if key in keys] or [key for key in keys if key not in METADATA_KEYS]
    if len(named) != 1:
        raise DataError(f"map {path} holds {', '.join([*keys][:9]) or 'nothing'}; one array 'map' was expected")
    return _read_content(path, named[0], "")


def read_member(path: Path, key: str) -> MapContent:
    """Read one map of an archive of many.

    Parameters
    ----------
    path : Path
        Archive.
    key : str
        'RADIOGRAPH/FINDING'; 'RADIOGRAPH/FINDING/box' and '.../probability' are read where they exist.

    Returns
    -------
    MapContent
        Map as the file holds it.
    """
    return _read_content(path, key, f"{key}/")


def map_keys(path: Path) -> list[str]:
    """List the keys of the maps in an archive of many.

    Parameters
    ----------
    path : Path
        Archive.

    Returns
    -------
    list of str
        Keys, in the order of the archive.

    Raises
    ------
    DataError
        If the file is no archive, or has a key twice.
    """
    keys = _open_archive(path).keys
    return [key for key in keys if key.rpartition("/")[2] not in METADATA_KEYS and key not in MAP_KEYS]


def _read_content(path: Path, key: str, prefix: str) -> MapContent:
    keys = _open_archive(path).keys
    metadata = {name: _read_array(path, prefix + name, 4) if prefix + name in keys else None for name in METADATA_KEYS}
    values = as_grid(_read_array(path, key), path)
    return MapContent(values, as_probability(metadata["probability"], path), as_box(metadata["box"], path))


def _read_array(path: Path, key: str, max_values: int | None = None) -> Array:
    """Read one array, whose header is checked before anything is allocated."""
    with wrap_decode_errors(path):
        archive = _open_archive(path).file
        info = archive.getinfo(f"{key}.npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"map {path} is compressed in a way that NumPy does not use; save it with numpy.savez_compressed"
            )
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
            if file.read(1):  # reading to the end also compares the checksum
                raise DataError(f"map {path}: {key!r} holds more than its header states; it is damaged, make it again")
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
    # The archive stays open, because otherwise its list of many maps would be read again for each map. It is never
    # shared
    # after a fork, where two processes would move one position in the file.
    file = zipfile.ZipFile(path)
    names = [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]
    keys = dict.fromkeys(names)
    if len(keys) < len(names):
        repeated = next(name for name in keys if names.count(name) > 1)
        raise DataError(f"map {path} holds two arrays {repeated!r}; remove one")
    return _Archive(file, keys)
