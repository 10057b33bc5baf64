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
from sightline.maps.formats.content import Content, explained
from sightline.maps.formats.filenames import Names, Shown
from sightline.maps.formats.frames import check_frame

SIDECAR = "maps.json"
FORMATS: dict[str, Callable[[Path, str], Content]] = {
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
class Settings:
    """What is said of all maps in a folder."""

    source: str = ""
    """What the caller calls them, or '' where the folders' own names will do."""
    frame: str = ""
    """'stretch', 'center-crop:SIDE' or 'pad:SIDE'; '' where nothing is said."""
    kind: MapKind = "map"


@dataclass(frozen=True, slots=True)
class Entry:
    """One map: where it is and what its name says."""

    folder: Path
    name: str
    """Below `folder`, which many entries share."""
    settings: Settings
    read: Callable[[Path, str], Content] | None
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
class Listing:
    """What was found, by radiograph."""

    root: Path
    names: Names
    entries: dict[str, dict[tuple[str, str], Entry]] = field(default_factory=dict)
    """Radiograph -> (source, finding) -> map."""
    problems: list[str] = field(default_factory=list)

    def add(self, shown: Shown | str, entry: Entry) -> None:
        """Errors: `DataError` naming both, if there is another map of this source, radiograph and finding."""
        if isinstance(shown, str):
            self.problems.append(f"{entry} {shown}")
            return
        source = "/".join(filter(None, (entry.settings.source, *shown.folders))) or self._own_name
        entry = replace(entry, source=source, finding=shown.finding)
        other = self.entries.setdefault(shown.radiograph, {}).setdefault((source, shown.finding), entry)
        if other is not entry:
            raise DataError(
                f"{other} and {entry} are both maps of {source!r} for {shown.finding!r} on {shown.radiograph!r}; "
                "remove one, or put them into folders of their own"
            )

    @property
    def _own_name(self) -> str:
        folder = self.root.parent if self.root.is_file() else self.root
        name = folder.name if folder.name not in ("", "..") else folder.resolve().name
        return name.removesuffix(".zarr")


def list_maps(path: Path, names: Names, source: str) -> Listing:
    """Every map in a file, or below a folder. `source`: what the caller calls them, or ''.

    Errors: `DataError` as `sightline.maps_in`.
    """
    found = Listing(path, names)
    if path.is_file():
        parts, settings = _with_sidecar(path.parent, (), Settings(source))
        _list_file(path.parent, path.name, parts, settings, found)
    elif (path / "run.json").is_file():
        for part in sorted(path.glob("parts/maps-*/[!.]*")):
            _list_zarr(part, (), Settings(source), found)
    elif path.is_dir():
        _list_folder(path, (), Settings(source), found, set())
    else:
        raise DataError(f"{path} does not exist; give a folder of maps, or a file of many")
    return found


def _list_folder(folder: Path, parts: tuple[str, ...], settings: Settings, found: Listing, seen: set[str]) -> None:
    real = os.path.realpath(folder)
    if real in seen:  # a link to a folder above
        return
    seen.add(real)
    parts, settings = _with_sidecar(folder, parts, settings)
    if zarr.is_node(folder):
        _list_zarr(folder, parts, settings, found)
        return
    with explained(folder), os.scandir(folder) as content:
        items = sorted(content, key=lambda item: item.name)
    for item in items:
        if item.name.startswith(".") or item.name == SIDECAR:
            continue
        if item.is_dir():
            _list_folder(folder / item.name, (*parts, item.name), settings, found, seen)
        else:
            _list_file(folder, item.name, parts, settings, found)


def _list_file(folder: Path, name: str, parts: tuple[str, ...], settings: Settings, found: Listing) -> None:
    suffix = next((s for s in FORMATS if name.lower().endswith(s)), None)
    if suffix is None:
        found.problems.append(f"{folder / name} is no map ({', '.join(FORMATS)} or a Zarr group)")
        return
    stem = name[: -len(suffix)]
    shown = found.names.resolve((*parts, stem))
    entry = Entry(folder, name, settings, FORMATS[suffix])
    if suffix == ".npz" and isinstance(shown, str):
        named = entry.path == found.root and settings.source  # then the caller has named this very file
        _list_archive(entry, parts if named else (*parts, stem), shown, found)
    else:
        found.add(shown, entry)


def _list_archive(entry: Entry, parts: tuple[str, ...], why: str, found: Listing) -> None:
    """The maps of an archive of many, or `why` it is not the archive of one."""
    try:
        keys = npz.map_keys(entry.path)
    except DataError as error:
        found.problems.append(str(error))
        return
    if not keys:
        found.problems.append(f"{entry} {why}")
    for key in keys:
        shown = found.names.resolve((*parts, *key.split("/")))
        found.add(shown, replace(entry, key=key, read=_Member(key)))


@dataclass(frozen=True, slots=True)
class _Member:
    """Reads one map of an archive of many; a record, so that a folder can be sent to another process."""

    key: str

    def __call__(self, path: Path, finding: str) -> Content:
        return npz.read_one(path, self.key)


def _list_zarr(folder: Path, parts: tuple[str, ...], settings: Settings, found: Listing) -> None:
    try:
        part = zarr.part_of_run(folder)
        arrays = [] if part is not None else list(zarr.arrays(folder))
    except DataError as error:
        found.problems.append(str(error))
        return
    if part is not None:
        _list_part(folder, part, settings, found)
    named = (*parts[:-1], parts[-1].removesuffix(".zarr")) if parts else ()
    for array in arrays:
        inside = array.relative_to(folder).parts
        shown = found.names.resolve((*named, *inside) or (folder.name.removesuffix(".zarr"),))
        found.add(shown, Entry(folder, "/".join(inside), settings, zarr.read))


def _list_part(folder: Path, part: zarr.Part, settings: Settings, found: Listing) -> None:
    names = found.names
    others = [f"radiograph {r!r}" for r in part.radiographs if r not in names.index]
    others += [f"finding {f!r}" for f in part.findings if f not in names.data.findings]
    found.problems.extend(f"{folder} has maps of {what}, which is not in {names.data.name}" for what in others)
    for source, radiograph, finding in product(part.sources, part.radiographs, part.findings):
        if radiograph in names.index and finding in names.data.findings:
            entry = Entry(folder.parent, folder.name, settings, None, source)
            found.add(Shown((source,), radiograph, finding), entry)


def _with_sidecar(folder: Path, parts: tuple[str, ...], settings: Settings) -> tuple[tuple[str, ...], Settings]:
    """Source and settings of a folder and all below, after its own maps.json, if it has one."""
    file = folder / SIDECAR
    if not file.is_file():
        return parts, settings
    said = _sidecar(file)
    if "source" in said and (parts or not settings.source):  # what the caller says of this folder goes before
        parts = tuple(said["source"].split("/"))
    frame = f"{said['resize']}:{said['side']}" if "side" in said else said.get("resize", settings.frame)
    if frame:
        check_frame(frame, str(file))
    return parts, replace(settings, frame=frame, kind=said.get("kind", settings.kind))


def _sidecar(file: Path) -> dict[str, Any]:
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
