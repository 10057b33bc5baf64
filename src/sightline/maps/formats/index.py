"""Finding the maps below a folder: which files there are, what each shows, and what fits nothing."""

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
"""Suffix -> reader of a file with one map. Zarr arrays are folders, and told by what lies in them."""


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """What is said of all maps in a folder."""

    source: str = ""
    """What the caller calls them, or '' where the folders' own names will do."""
    resize: str = ""
    """'stretch', 'center-crop:SIDE' or 'pad:SIDE'; '' where nothing is said."""
    kind: MapKind = "map"


@dataclass(frozen=True, slots=True)
class MapEntry:
    """One map: where it is and what its name says."""

    folder: Path
    name: str
    """Below `folder`, which many entries share."""
    settings: FolderSettings
    read: Callable[[Path, str], MapContent] | None
    """(path, finding) -> what the file holds. None for a map that a run stored."""
    key: str = ""
    """Within a file of many maps; the source within a part of a run."""
    source: str = ""
    finding: str = ""

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def __str__(self) -> str:
        return f"{self.path}[{self.key}]" if self.key else str(self.path)


@dataclass(frozen=True, slots=True)
class MapIndex:
    """What was found, by radiograph."""

    root: Path
    names: DatasetNames
    entries: dict[str, dict[tuple[str, str], MapEntry]] = field(default_factory=dict)
    """Radiograph -> (source, finding) -> map."""
    problems: list[str] = field(default_factory=list)

    def add(self, parsed: ParsedName | str, entry: MapEntry) -> None:
        """Errors: `DataError` naming both, if there is another map of this source, radiograph and finding."""
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
    """Every map in a file, or below a folder. `source`: what the caller calls them, or ''.

    Errors: `DataError` as `sightline.open_maps`.
    """
    found = MapIndex(path, names)
    if path.is_file():
        parts, settings = _apply_sidecar(path.parent, (), FolderSettings(source))
        _list_file(path.parent, path.name, parts, settings, found)
    elif (path / "run.json").is_file():
        for part in sorted(path.glob("parts/maps-*/[!.]*")):
            _list_zarr(part, (), FolderSettings(source), found)
    elif path.is_dir():
        _list_folder(path, (), FolderSettings(source), found, set())
    else:
        raise DataError(f"{path} does not exist; give a folder of maps, or a file of many")
    return found


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
    shown = index.names.resolve((*parts, stem))
    entry = MapEntry(folder, name, settings, FORMATS[suffix])
    if suffix == ".npz" and isinstance(shown, str):
        named = entry.path == index.root and settings.source  # then the caller has named this very file
        _list_archive(entry, parts if named else (*parts, stem), shown, index)
    else:
        index.add(shown, entry)


def _list_archive(entry: MapEntry, parts: tuple[str, ...], reason: str, index: MapIndex) -> None:
    """The maps of an archive of many, or `why` it is not the archive of one."""
    try:
        keys = npz.map_keys(entry.path)
    except DataError as error:
        index.problems.append(str(error))
        return
    if not keys:
        index.problems.append(f"{entry} {reason}")
    for key in keys:
        shown = index.names.resolve((*parts, *key.split("/")))
        index.add(shown, replace(entry, key=key, read=_ArchiveMember(key)))


@dataclass(frozen=True, slots=True)
class _ArchiveMember:
    """Reads one map of an archive of many; a record, so that a folder can be sent to another process."""

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
    named = (*parts[:-1], parts[-1].removesuffix(".zarr")) if parts else ()
    for array in arrays:
        inside = array.relative_to(folder).parts
        shown = index.names.resolve((*named, *inside) or (folder.name.removesuffix(".zarr"),))
        index.add(shown, MapEntry(folder, "/".join(inside), settings, zarr.read))


def _list_part(folder: Path, part: zarr.StoredPart, settings: FolderSettings, index: MapIndex) -> None:
    names = index.names
    others = [f"radiograph {r!r}" for r in part.radiographs if r not in names.index]
    others += [f"finding {f!r}" for f in part.findings if f not in names.data.findings]
    index.problems.extend(f"{folder} has maps of {what}, which is not in {names.data.name}" for what in others)
    for source, radiograph, finding in product(part.sources, part.radiographs, part.findings):
        if radiograph in names.index and finding in names.data.findings:
            entry = MapEntry(folder.parent, folder.name, settings, None, source)
            index.add(ParsedName((source,), radiograph, finding), entry)


def _apply_sidecar(
    folder: Path, parts: tuple[str, ...], settings: FolderSettings
) -> tuple[tuple[str, ...], FolderSettings]:
    """Source and settings of a folder and all below, after its own maps.json, if it has one."""
    file = folder / SIDECAR_FILE
    if not file.is_file():
        return parts, settings
    said = _read_sidecar(file)
    if "source" in said and (parts or not settings.source):  # what the caller says of this folder goes before
        parts = tuple(said["source"].split("/"))
    frame = f"{said['resize']}:{said['side']}" if "side" in said else said.get("resize", settings.resize)
    if frame:
        parse_resize(frame, str(file))
    return parts, replace(settings, resize=frame, kind=said.get("kind", settings.kind))


def _read_sidecar(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} cannot be read as JSON: {error}; correct or remove it") from error
    kinds = get_args(MapKind)
    allowed: dict[str, Callable[[Any], object]] = {
        "source": lambda value: isinstance(value, str) and value.strip("/"),
        "resize": lambda value: isinstance(value, str) and value,
        "side": lambda value: type(value) is int and "resize" in said,
        "kind": lambda value: isinstance(value, str) and value in kinds,
    }
    if not isinstance(said, dict):
        raise DataError(f"{file} holds a {type(said).__name__}; an object with {', '.join(allowed)} was expected")
    for key, value in said.items():
        if key not in allowed or not allowed[key](value):
            raise DataError(
                f"{file}: {key!r} is {value!r}; allowed: source (a name), resize (stretch, center-crop, pad), "
                f"side (pixels, with resize), kind ({', '.join(kinds)})"
            )
    return said
