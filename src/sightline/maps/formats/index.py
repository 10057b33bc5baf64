"""Index of the maps below a folder: the files, what each shows, and the files that are not used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

from sightline.core import MapKind
from sightline.errors import DataError
from sightline.maps.formats import chexlocalize, dicom, nifti, npz, png, zarr
from sightline.maps.formats.content import MapContent, wrap_decode_errors
from sightline.maps.formats.filenames import DatasetNames, ParsedName
from sightline.maps.formats.frames import parse_resize

SIDECAR_FILE = "maps.json"
"""File with the settings of a folder of maps."""
FORMATS: dict[str, Callable[[Path, str], MapContent]] = {
    ".pkl": chexlocalize.read,
    ".pickle": chexlocalize.read,
    ".npz": npz.read,
    ".png": png.read,
    ".nii": nifti.read,
    ".nii.gz": nifti.read,
    ".dcm": dicom.read,
    ".dicom": dicom.read,
}
"""Suffix -> function that reads a file with one map. Zarr arrays are folders and recognized by their content."""


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """Settings of all maps in a folder."""

    source: str = ""
    """Source that the caller gives, or '' where the names of folders are used."""
    resize: str = ""
    """'stretch', 'center-crop:SIDE' or 'pad:SIDE'; '' where it is not stated."""
    kind: MapKind = "map"
    """Meaning of the values."""


@dataclass(frozen=True, slots=True)
class MapEntry:
    """One map: its file, and what its name states."""

    folder: Path
    """Folder, which many entries share."""
    name: str
    """Name below `folder`."""
    settings: FolderSettings
    """Settings of the folder."""
    read: Callable[[Path, str], MapContent] | None
    """Function of (path, finding) that reads the file; None for a map that a run stored."""
    key: str = ""
    """Key in a file of many maps; the source in a part of a run."""
    source: str = ""
    """Source of the map."""
    finding: str = ""
    """Finding of the map."""

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.folder / self.name

    def __str__(self) -> str:
        return f"{self.path}[{self.key}]" if self.key else str(self.path)


@dataclass(frozen=True, slots=True)
class MapIndex:
    """Maps below a folder, by radiograph."""

    root: Path
    """Folder or file."""
    names: DatasetNames
    """Names of the data set."""
    entries: dict[str, dict[tuple[str, str], MapEntry]] = field(default_factory=dict)
    """Radiograph -> (source, finding) -> map."""
    problems: list[str] = field(default_factory=list)
    """One sentence for every file that is not used."""

    def add(self, parsed: ParsedName | str, entry: MapEntry) -> None:
        """Add a map, or a problem.

        Parameters
        ----------
        parsed : ParsedName or str
            Meaning of its path, or a sentence for a path without one.
        entry : MapEntry
            The map.

        Raises
        ------
        DataError
            If there is another map of this source, radiograph and finding; both are named.
        """
        if isinstance(parsed, str):
            self.problems.append(f"{entry} {parsed}")
            return
        source = "/".join(filter(None, (entry.settings.source, *parsed.folders))) or self._folder_name
        entry = replace(entry, source=source, finding=parsed.finding)
        other = self.entries.setdefault(parsed.radiograph, {}).setdefault((source, parsed.finding), entry)
        if other is not entry:
            raise DataError(
                f"{other} and {entry} are both maps of {source!r} for {parsed.finding!r} on {parsed.radiograph!r}; "
                "remove one, or put them into folders of their own"
            )

    @property
    def _folder_name(self) -> str:
        folder = self.root.parent if self.root.is_file() else self.root
        name = folder.name if folder.name not in ("", "..") else folder.resolve().name
        return name.removesuffix(".zarr")


def list_maps(path: Path, names: DatasetNames, source: str) -> MapIndex:
    """List every map in a file, or below a folder.

    Parameters
    ----------
    path : Path
        Folder or file.
    names : DatasetNames
        Names of the data set.
    source : str
        Source that the caller gives, or ''.

    Returns
    -------
    MapIndex
        Maps and problems.

    Raises
    ------
    DataError
        As `sightline.open_maps`.
    """
    index = MapIndex(path, names)
    if path.is_file():
        parts, settings = _apply_sidecar(path.parent, (), FolderSettings(source))
        _list_file(path.parent, path.name, parts, settings, index)
    elif (path / "run.json").is_file():
        for part in sorted(path.glob("parts/maps-*/[!.]*")):
            _list_zarr(part, (), FolderSettings(source), index)
    elif path.is_dir():
        _list_folder(path, (), FolderSettings(source), index, set())
    else:
        raise DataError(f"{path} does not exist; give a folder of maps, or a file of many")
    return index


def _list_folder(
    folder: Path, parts: tuple[str, ...], settings: FolderSettings, index: MapIndex, visited: set[str]
) -> None:
    real = os.path.realpath(folder)
    if real in visited:  # a link to a folder above
        return
    visited.add(real)
    parts, settings = _apply_sidecar(folder, parts, settings)
    if zarr.is_node(folder):
        _list_zarr(folder, parts, settings, index)
        return
    with wrap_decode_errors(folder), os.scandir(folder) as content:
        items = sorted(content, key=lambda item: item.name)
    for item in items:
        if item.name.startswith(".") or item.name == SIDECAR_FILE:
            continue
        if item.is_dir():
            _list_folder(folder / item.name, (*parts, item.name), settings, index, visited)
        else:
            _list_file(folder, item.name, parts, settings, index)


def _list_file(folder: Path, name: str, parts: tuple[str, ...], settings: FolderSettings, index: MapIndex) -> None:
    suffix = next((s for s in FORMATS if name.lower().endswith(s)), None)
    if suffix is None:
        index.problems.append(f"{folder / name} is no map ({', '.join(FORMATS)} or a Zarr group)")
        return
    stem = name[: -len(suffix)]
    parsed = index.names.resolve((*parts, stem))
    entry = MapEntry(folder, name, settings, FORMATS[suffix])
    if suffix == ".npz" and isinstance(parsed, str):
        is_named = entry.path == index.root and settings.source  # then the caller has named this very file
        _list_archive(entry, parts if is_named else (*parts, stem), parsed, index)
    else:
        index.add(parsed, entry)


def _list_archive(entry: MapEntry, parts: tuple[str, ...], reason: str, index: MapIndex) -> None:
    """List the maps of an archive of many, or the reason for which it is not the archive of one."""
    try:
        keys = npz.map_keys(entry.path)
    except DataError as error:
        index.problems.append(str(error))
        return
    if not keys:
        index.problems.append(f"{entry} {reason}")
    for key in keys:
        parsed = index.names.resolve((*parts, *key.split("/")))
        index.add(parsed, replace(entry, key=key, read=_ArchiveMember(key)))


@dataclass(frozen=True, slots=True)
class _ArchiveMember:
    """Function that reads one map of an archive of many; a record, so that it can be sent to another process."""

    key: str

    def __call__(self, path: Path, finding: str) -> MapContent:
        return npz.read_member(path, self.key)


def _list_zarr(folder: Path, parts: tuple[str, ...], settings: FolderSettings, index: MapIndex) -> None:
    try:
        part = zarr.part_of_run(folder)
        arrays = [] if part is not None else list(zarr.find_arrays(folder))
    except DataError as error:
        index.problems.append(str(error))
        return
    if part is not None:
        _list_part(folder, part, settings, index)
    outer = (*parts[:-1], parts[-1].removesuffix(".zarr")) if parts else ()
    for array in arrays:
        inside = array.relative_to(folder).parts
        parsed = index.names.resolve((*outer, *inside) or (folder.name.removesuffix(".zarr"),))
        index.add(parsed, MapEntry(folder, "/".join(inside), settings, zarr.read))


def _list_part(folder: Path, part: zarr.StoredPart, settings: FolderSettings, index: MapIndex) -> None:
    names = index.names
    others = [f"radiograph {r!r}" for r in part.radiographs if r not in names.index]
    others += [f"finding {f!r}" for f in part.findings if f not in names.data.findings]
    index.problems.extend(f"{folder} has maps of {other}, which is not in {names.data.name}" for other in others)
    for source, radiograph, finding in product(part.sources, part.radiographs, part.findings):
        if radiograph in names.index and finding in names.data.findings:
            entry = MapEntry(folder.parent, folder.name, settings, None, source)
            index.add(ParsedName((source,), radiograph, finding), entry)


def _apply_sidecar(
    folder: Path, parts: tuple[str, ...], settings: FolderSettings
) -> tuple[tuple[str, ...], FolderSettings]:
    """Return source and settings of a folder and all below it, after its own maps.json, if it has one."""
    file = folder / SIDECAR_FILE
    if not file.is_file():
        return parts, settings
    content = _read_sidecar(file)
    if "source" in content and (parts or not settings.source):  # the caller's name of this very folder has priority
        parts = tuple(content["source"].split("/"))
    resize = content.get("resize", settings.resize)
    if "side" in content:
        resize = f"{resize}:{content['side']}"
    if resize:
        parse_resize(resize, str(file))
    return parts, replace(settings, resize=resize, kind=content.get("kind", settings.kind))


def _read_sidecar(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} cannot be read as JSON: {error}; correct or remove it") from error
    kinds = get_args(MapKind)
    allowed: dict[str, Callable[[Any], object]] = {
        "source": lambda value: isinstance(value, str) and value.strip("/"),
        "resize": lambda value: isinstance(value, str) and value,
        "side": lambda value: type(value) is int and "resize" in content,
        "kind": lambda value: isinstance(value, str) and value in kinds,
    }
    if not isinstance(content, dict):
        raise DataError(f"{file} holds a {type(content).__name__}; an object with {', '.join(allowed)} was expected")
    for key, value in content.items():
        if key not in allowed or not allowed[key](value):
            raise DataError(
                f"{file}: {key!r} is {value!r}; allowed: source (a name), resize (stretch, center-crop, pad), "
                f"side (pixels, with resize), kind ({', '.join(kinds)})"
            )
    return content
