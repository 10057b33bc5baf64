"""Maps made by other tools: folders of CheXlocalize pickles, NPZ, Zarr, PNG, NIfTI and DICOM, read on demand."""

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
    """Open maps that another tool made for the radiographs of a data set; only names are read at once.

    A file is named RADIOGRAPH_FINDING or RADIOGRAPH__FINDING, or lies at RADIOGRAPH/FINDING, with the suffix

    - .pkl: as CheXlocalize publishes them, named RADIOGRAPH_FINDING_map.pkl; read without running any code in them
    - .npz: array 'map' (h, w), and optionally 'box' (4,) and 'probability'; or one archive of many, with a key
      'RADIOGRAPH/FINDING' each (and 'RADIOGRAPH/FINDING/box', '.../probability')
    - .png: gray of 1, 8 or 16 bits; .nii, .nii.gz: one slice, axes (column, row); .dcm: uncompressed, one frame
    - Zarr group of arrays 'RADIOGRAPH/FINDING' with attributes 'box' and 'probability'; a run of this package

    The place of a map on its image is given by the first of these that exists: `resize`; the map's own box (top, left,
    bottom, right: pixel edges of the original); 'maps.json' next to the maps or in a folder above, {"resize":
    "center-crop", "side": 320, "source": "densenet/grad-cam", "kind": "map"}, each field optional (of the kind 'mask',
    all values above 0 are read as 1); the definition of the format (CheXlocalize: center-crop:320). Otherwise the map
    covers the whole image. A file that fits no radiograph or finding is listed in `MapFolder.problems`; one that
    cannot be read becomes a map with a status.

    Parameters
    ----------
    path : str or Path
        Folder of maps, or a file of one or many.
    data : Dataset
        Data set with the radiographs.
    source : str, optional
        Name of the source. Folders between `path` and a file name its source, otherwise the folder itself does; this
        name is put before those of folders, or replaces that of the folder.
    resize : str, optional
        How the network resized the image: 'stretch', 'center-crop:SIDE' (shorter side to SIDE, then the middle) or
        'pad:SIDE' (longer side to SIDE, then padded on both sides).

    Returns
    -------
    MapFolder
        Collection of the maps.

    Raises
    ------
    DataError
        If the path or `maps.json` cannot be used, or if two files are maps of one source for the same radiograph and
        finding (both are named).
    """
    path = Path(path)
    if resize is not None:
        parse_resize(resize, "open_maps")
    index = list_maps(path, DatasetNames(data), source or "")
    return MapFolder(path, data, tuple(index.problems), resize or "", index.names.index, index.entries)


@dataclass(frozen=True, slots=True)
class MapFolder:
    """Maps in files, read one radiograph at a time, so that memory does not grow with their number; see `open_maps`.

    It is not an iterable of maps on purpose: callers would collect them, and a folder need not fit into memory.
    """

    path: Path
    """Folder or file."""
    data: Dataset
    """Data set with the radiographs."""
    problems: tuple[str, ...]
    """One sentence for every file that is not used, with the reason."""
    resize: str = ""
    """How the network resized the image, where the caller states it."""
    _index: Mapping[str, int] = field(default_factory=dict, repr=False)
    _entries: Mapping[str, Mapping[tuple[str, str], MapEntry]] = field(default_factory=dict, repr=False)
    sources: Mapping[str, tuple[str, ...]] = field(init=False)
    """Source, sorted -> the findings of which it has a map, in the order of the data set."""

    def __post_init__(self) -> None:
        keys = {key for entries in self._entries.values() for key in entries}
        findings = self.data.findings
        sources = {s: tuple(f for f in findings if (s, f) in keys) for s in sorted({s for s, _ in keys})}
        object.__setattr__(self, "sources", sources)

    def __len__(self) -> int:
        """Return the number of maps."""
        return sum(map(len, self._entries.values()))

    def files(self) -> Iterator[Path]:
        """Yield every file from which maps and settings are read.

        Yields
        ------
        Path
            File; of a map in Zarr, its folder.
        """
        entries = [entry for by_key in self._entries.values() for entry in by_key.values()]
        yield from dict.fromkeys(entry.path for entry in entries)
        root = self.path.parent if self.path.is_file() else self.path
        folders = {folder for entry in entries for folder in (entry.folder, root)}
        ancestors = {up for folder in folders for up in (folder, *folder.parents) if up == root or root in up.parents}
        yield from (file for folder in sorted(ancestors) if (file := folder / SIDECAR_FILE).is_file())

    def maps_for(self, radiograph: str) -> Iterator[SaliencyMap]:
        """Yield the maps of one radiograph, source by source and finding by finding.

        Parameters
        ----------
        radiograph : str
            Identifier of the radiograph.

        Yields
        ------
        SaliencyMap
            Map; of a file that fails, one with a status: 'unreadable' (damaged, of no known shape or type), 'refused'
            (a map of another finding, of an image of another size, or no map), 'non-finite' or 'flat'.
        """
        entries = self._entries.get(radiograph, {})
        order = [(s, f) for s, findings in self.sources.items() for f in findings if (s, f) in entries]
        size = self._size(radiograph) if order else None
        for key in order:
            yield _read_map(entries[key], radiograph, size, self.resize)

    def maps_by_radiograph(self) -> Iterator[tuple[str, tuple[SaliencyMap, ...]]]:
        """Yield the maps of all radiographs that have any, in the order of the data set.

        Yields
        ------
        radiograph : str
            Identifier.
        maps : tuple of SaliencyMap
            Its maps.
        """
        for radiograph in self.data.radiographs:
            if radiograph.id in self._entries:
                yield radiograph.id, tuple(self.maps_for(radiograph.id))

    def find(self, source: str, radiograph: str, finding: str) -> SaliencyMap | None:
        """Read one map.

        Parameters
        ----------
        source, radiograph, finding : str
            Key of the map.

        Returns
        -------
        SaliencyMap or None
            Map, or None where there is no file for it.
        """
        entry = self._entries.get(radiograph, {}).get((source, finding))
        return None if entry is None else _read_map(entry, radiograph, self._size(radiograph), self.resize)

    def _size(self, radiograph: str) -> Size | None:
        return radiograph_size(self.data, self.data.radiographs[self._index[radiograph]])


def _read_map(entry: MapEntry, radiograph: str, size: Size | None, resize: str) -> SaliencyMap:
    """Read one map; one that cannot be read gets a status."""
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
        empty, whole = np.zeros((0, 0), np.float32), Frame.whole(size or (0, 0))
        return SaliencyMap(radiograph, finding, source, empty, whole, status=status, reason=str(error), kind=kind)
    values = _prepare_values(content.values, entry)
    status = map_status(values)
    reason = _status_reason(status, values, entry)
    return SaliencyMap(radiograph, finding, source, values, placed, content.probability, status, reason, kind)


def _place_content(entry: MapEntry, content: MapContent, size: Size | None, resize: str) -> Frame:
    size = size or content.size
    if size is None:
        raise MapMismatchError(
            f"map {entry}: the size of its radiograph is unknown; make sure that its image can be read"
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
    """Convert values to float32 (h, w); those that are too large become infinite and are reported as such."""
    if entry.settings.kind == "mask":
        values = np.where(np.isnan(values), np.nan, values > 0)
    with np.errstate(over="ignore"):
        return np.array(values, np.float32, order="C")


def _status_reason(status: Status, values: Array, entry: MapEntry) -> str:
    if status == "non-finite":
        count = np.count_nonzero(~np.isfinite(values))
        return f"map {entry}: {count:,} of {values.size:,} values are not finite (as float32)"
    return f"map {entry}: every value is {values.flat[0]:g} (as float32)" if status == "flat" else ""
