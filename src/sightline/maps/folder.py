"""Maps made elsewhere: folders of CheXlocalize pickles, NPZ, Zarr, PNG, NIfTI and DICOM, read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sightline.core import Array, Dataset, Frame, SaliencyMap, Size, Status, map_status
from sightline.errors import DataError
from sightline.maps.formats import zarr
from sightline.maps.formats.content import MapContent, MapMismatchError
from sightline.maps.formats.filenames import DatasetNames
from sightline.maps.formats.frames import frame_from_resize, parse_resize, radiograph_size
from sightline.maps.formats.index import SIDECAR_FILE, MapEntry, list_maps

__all__ = ["MapFolder", "open_maps"]


def open_maps(path: str | Path, data: Dataset, source: str | None = None, resize: str | None = None) -> MapFolder:
    """Open maps that were made elsewhere for the radiographs of a data set. Only names are read; maps when asked for.

    A file is named RADIOGRAPH_FINDING or RADIOGRAPH__FINDING (or lies as RADIOGRAPH/FINDING), with suffix

    - .pkl: as CheXlocalize publishes them, named RADIOGRAPH_FINDING_map.pkl; read without being run
    - .npz: array 'map' (h, w), and if wanted 'box' (4,) and 'probability'; or one archive of many, with a key
      'RADIOGRAPH/FINDING' each (and 'RADIOGRAPH/FINDING/box', '.../probability')
    - .png: gray of 1, 8 or 16 bits; .nii, .nii.gz: one slice, axes (column, row); .dcm: uncompressed, one frame
    - Zarr group of arrays 'RADIOGRAPH/FINDING' with attributes 'box' and 'probability'; a Sightline run, or its parts

    Folders between `path` and a file (and a file of many maps) name its source; where there are none it is the name of
    the folder. `source` is put before those names, or instead of the folder's.

    Where a map lies is told by the first of these that is there: `frame`, which says how the network saw the image,
    'stretch', 'center-crop:SIDE' (shorter side to SIDE, then the middle) or 'pad:SIDE' (longer side to SIDE, then
    padded alike); the map's own box (top, left, bottom, right: pixel edges of the original); 'maps.json' beside the
    maps or in a folder above, {"resize": "center-crop", "side": 320, "source": "densenet/grad-cam", "kind": "map"},
    each optional (of kind 'mask', all that is above 0 is read as 1); the format's definition (CheXlocalize:
    center-crop:320). Else it covers the whole image.

    Errors: `DataError` for a path or `maps.json` that cannot be used, and for two maps of one source for the same
    radiograph and finding (both files are named). A file that fits no radiograph or finding is listed in
    `MapFolder.problems`; one that cannot be read is a map with a status.
    """
    path = Path(path)
    if resize is not None:
        parse_resize(resize, "maps_in")
    found = list_maps(path, DatasetNames(data), source or "")
    return MapFolder(path, data, tuple(found.problems), resize or "", found.names.index, found.entries)


@dataclass(frozen=True, slots=True)
class MapFolder:
    """Maps in files, read one radiograph at a time, so that memory does not grow with their number. See `open_maps`.

    Deliberately not an iterable of maps: what iterates may gather, and a folder need not fit in memory.
    """

    path: Path
    data: Dataset
    problems: tuple[str, ...]
    """A sentence for every file that is not used, and why."""
    resize: str = ""
    _index: Mapping[str, int] = field(default_factory=dict, repr=False)
    _entries: Mapping[str, Mapping[tuple[str, str], MapEntry]] = field(default_factory=dict, repr=False)
    sources: Mapping[str, tuple[str, ...]] = field(init=False)
    """Source, sorted -> the findings it has a map of, in the order of the data set."""

    def __post_init__(self) -> None:
        held = {key for entries in self._entries.values() for key in entries}
        findings = self.data.findings
        sources = {s: tuple(f for f in findings if (s, f) in held) for s in sorted({s for s, _ in held})}
        object.__setattr__(self, "sources", sources)

    def __len__(self) -> int:
        """Number of maps."""
        return sum(map(len, self._entries.values()))

    def files(self) -> Iterator[Path]:
        """Every file that its maps, and what is said of them, are read from; of a map in Zarr, the folder."""
        entries = [entry for held in self._entries.values() for entry in held.values()]
        yield from dict.fromkeys(entry.path for entry in entries)
        root = self.path.parent if self.path.is_file() else self.path
        folders = {folder for entry in entries for folder in (entry.folder, root)}
        above = {up for folder in folders for up in (folder, *folder.parents) if up == root or root in up.parents}
        yield from (file for folder in sorted(above) if (file := folder / SIDECAR_FILE).is_file())

    def maps_for(self, radiograph: str) -> Iterator[SaliencyMap]:
        """The maps of one radiograph, source by source, finding by finding; of a file that fails, one with a status.

        'unreadable': damaged, of no known shape or type; 'refused': a map of another finding, of an image of another
        size, or not a map; 'non-finite' and 'flat': read, but pointing nowhere.
        """
        held = self._entries.get(radiograph, {})
        order = [(s, f) for s, findings in self.sources.items() for f in findings if (s, f) in held]
        size = self._size(radiograph) if order else None
        for key in order:
            yield _read_map(held[key], radiograph, size, self.resize)

    def maps_by_radiograph(self) -> Iterator[tuple[str, tuple[SaliencyMap, ...]]]:
        """(radiograph, its maps) for every radiograph that has any, in the order of the data set."""
        for radiograph in self.data.radiographs:
            if radiograph.id in self._entries:
                yield radiograph.id, tuple(self.maps_for(radiograph.id))

    def find(self, source: str, radiograph: str, finding: str) -> SaliencyMap | None:
        """One map, or None where there is no file for it."""
        entry = self._entries.get(radiograph, {}).get((source, finding))
        return None if entry is None else _read_map(entry, radiograph, self._size(radiograph), self.resize)

    def _size(self, radiograph: str) -> Size | None:
        return radiograph_size(self.data, self.data.radiographs[self._index[radiograph]])


def _read_map(entry: MapEntry, radiograph: str, size: Size | None, resize: str) -> SaliencyMap:
    """Read one map, whatever becomes of it."""
    finding, source, kind = entry.finding, entry.source, entry.settings.kind
    try:
        if entry.read is None:
            stored = zarr.read_stored_map(entry.path, radiograph, finding, entry.key)
            carried = frame_from_resize(resize, stored.frame.size, str(entry)) if resize else stored.frame
            return replace(stored, source=source, frame=carried)
        content = entry.read(entry.path, finding)
        placed = _place_content(entry, content, size, resize)
    except DataError as error:
        status: Status = "refused" if isinstance(error, MapMismatchError) else "unreadable"
        nothing, whole = np.zeros((0, 0), np.float32), Frame.whole(size or (0, 0))
        return SaliencyMap(radiograph, finding, source, nothing, whole, status=status, reason=str(error), kind=kind)
    values = _prepare_values(content.values, entry)
    status = map_status(values)
    why = _status_reason(status, values, entry)
    return SaliencyMap(radiograph, finding, source, values, placed, content.probability, status, why, kind)


def _place_content(entry: MapEntry, content: MapContent, size: Size | None, resize: str) -> Frame:
    size = size or content.size
    if size is None:
        raise MapMismatchError(
            f"map {entry}: how large its radiograph is cannot be told; make sure its image can be read"
        )
    if content.size not in (None, size):
        raise MapMismatchError(
            f"map {entry} is of an image of {content.size}, its radiograph is {size} (rows, columns)"
        )
    if resize or content.box is None:
        return frame_from_resize(resize or entry.settings.resize or content.resize or "stretch", size, str(entry))
    top, left, bottom, right = content.box
    if bottom <= 0 or right <= 0 or top >= size[0] or left >= size[1]:
        raise MapMismatchError(f"map {entry} lies at {content.box}, outside its radiograph of {size} (rows, columns)")
    return Frame(size, content.box)


def _prepare_values(values: Array, entry: MapEntry) -> Array:
    """float32 (h, w); what is too large for it becomes infinite, and is then said to be."""
    if entry.settings.kind == "mask":
        values = np.where(np.isnan(values), np.nan, values > 0)
    with np.errstate(over="ignore"):
        return np.array(values, np.float32, order="C")


def _status_reason(status: Status, values: Array, entry: MapEntry) -> str:
    if status == "non-finite":
        wrong = np.count_nonzero(~np.isfinite(values))
        return f"map {entry}: {wrong:,} of {values.size:,} values are not finite (as float32)"
    return f"map {entry}: every value is {values.flat[0]:g} (as float32)" if status == "flat" else ""
