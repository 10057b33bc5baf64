"""Items of an export: maps, masks and annotations of one radiograph at a time, and pseudonyms of patients."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from sightline._util.files import write_text_atomic
from sightline.core import Annotation, Array, Dataset, Maps, Radiograph, SaliencyMap
from sightline.errors import DataError
from sightline.imaging.masks import rasterize_annotation
from sightline.metrics.binarization import parse_binarizer
from sightline.metrics.placed_map import binarize_map
from sightline.protocol import CORRECTED, Protocol
from sightline.runs.run import Run

PARTS_FOLDER = ".parts"
"""Folder with what is known about each radiograph while others are still written."""
KEY_FILE = ".pseudonyms"
"""File of a run folder with the key of the pseudonyms in its exports. Whoever has it can confirm a guess."""
_EXPORTED_KINDS = ("region", "contours", "boxes", "points")


class ExportRow(NamedTuple):
    """Row of index.csv: one thing that was to be written, and its outcome."""

    file: str
    """Name below the folder; empty where nothing was written."""
    radiograph: str
    """Identifier of the radiograph."""
    source: str
    """Source of the map, or reader."""
    finding: str
    """Finding."""
    status: str
    """Status of the map."""
    reason: str
    """Reason for the status, empty when ok."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Names and identifiers that replace others: the same in all exports of a run, without any information."""

    key: bytes = field(repr=False)
    """Secret from which they are derived."""

    @classmethod
    def from_run(cls, run: Run) -> Pseudonyms:
        """Read the key of a run, which is drawn at first use.

        Parameters
        ----------
        run : Run
            Run.

        Returns
        -------
        Pseudonyms
            Pseudonyms of the run.
        """
        file = run.path / KEY_FILE
        if not file.is_file():
            write_text_atomic(file, secrets.token_hex(16))
            file.chmod(0o600)
        return cls(file.read_text("utf-8").strip().encode())

    def _digest(self, words: tuple[str, ...]) -> bytes:
        return hmac.new(self.key, "\x1f".join(words).encode(), hashlib.sha256).digest()

    def patient(self, patient: str) -> str:
        """Return the pseudonym of a patient.

        Parameters
        ----------
        patient : str
            Patient.

        Returns
        -------
        str
            Pseudonym.

        Examples
        --------
        >>> Pseudonyms(b"k").patient("Doe^Jane") == Pseudonyms(b"k").patient("Doe^Jane") != Pseudonyms(b"k").patient("")
        True
        """
        return f"SL-{self._digest(('patient', patient)).hex()[:12].upper()}"

    def uid(self, *words: str) -> str:
        """Return a DICOM unique identifier, of the root for those derived from a UUID (PS3.5 B.2).

        Parameters
        ----------
        *words : str
            Key of the identifier.

        Returns
        -------
        str
            Identifier.
        """
        return f"2.25.{int.from_bytes(self._digest(('uid', *words))[:16], 'big')}"


@dataclass(frozen=True)
class ExportItem:
    """One radiograph with its maps and annotations."""

    radiograph: Radiograph
    """Radiograph."""
    maps: tuple[SaliencyMap, ...]
    """Maps of the selected sources and findings."""
    data: Dataset
    """Data set."""
    findings: tuple[str, ...]
    """Selected findings."""
    protocol: Protocol
    """Protocol by which maps are binarized."""

    @cached_property
    def annotations(self) -> tuple[Annotation, ...]:
        """Annotations of the findings by all readers; `DataError` where one needs an image that is damaged."""
        keys = ((finding, reader) for finding in self.findings for reader in self.data.readers)
        annotations = (self.data.annotation(self.radiograph.id, *key) for key in keys)
        return tuple(a for a in annotations if a is not None and a.kind in _EXPORTED_KINDS)

    def maps_by_source(self) -> Mapping[str, list[SaliencyMap]]:
        """Group the maps by source.

        Returns
        -------
        mapping of str to list of SaliencyMap
            Source -> its maps.
        """
        groups: dict[str, list[SaliencyMap]] = {}
        for m in self.maps:
            groups.setdefault(m.source, []).append(m)
        return groups

    def mask(self, m: SaliencyMap) -> Array:
        """Binarize a map.

        Parameters
        ----------
        m : SaliencyMap
            Map.

        Returns
        -------
        (H, W) bool
            Mask; empty for a map that failed.
        """
        return binarize_map(m, self.protocol)

    def annotation_mask(self, annotation: Annotation) -> Array:
        """Rasterize an annotation.

        Parameters
        ----------
        annotation : Annotation
            Annotation.

        Returns
        -------
        (H, W) bool
            Mask.
        """
        return rasterize_annotation(annotation, self.protocol.point_radius)

    def row(self, file: str, source: str, finding: str, status: str = "ok", reason: str = "") -> ExportRow:
        """Create a row of the index for this radiograph.

        Parameters
        ----------
        file, source, finding, status, reason : str
            Fields of the row.

        Returns
        -------
        ExportRow
            Row.
        """
        return ExportRow(file, self.radiograph.id, source, finding, status, reason)


@dataclass(frozen=True)
class ExportJob:
    """What is exported, and where to."""

    run: Run
    """Run that is exported."""
    data: Dataset
    """Data set of the run."""
    maps: Maps
    """Maps of the run."""
    out: Path
    """Folder to write to."""
    sources: tuple[str, ...]
    """Selected sources."""
    findings: tuple[str, ...]
    """Selected findings."""
    protocol: Protocol
    """Protocol by which maps are binarized."""
    identify: bool
    """Whether patients keep their names, and maps refer to the original images."""
    pseudonyms: Pseudonyms
    """Pseudonyms of the run."""

    def item(self, radiograph: Radiograph) -> ExportItem:
        """Read the selected maps of a radiograph.

        Parameters
        ----------
        radiograph : Radiograph
            Radiograph.

        Returns
        -------
        ExportItem
            Radiograph with its maps.
        """
        maps_by_key = {(m.source, m.finding): m for m in self.maps.maps_for(radiograph.id)}
        keys = ((s, f) for s in self.sources for f in self.findings)
        maps = tuple(maps_by_key[key] for key in keys if key in maps_by_key)
        return ExportItem(radiograph, maps, self.data, self.findings, self.protocol)

    def part_folder(self, radiograph: Radiograph) -> Path:
        """Create the folder for what is kept about a radiograph until all are written.

        Parameters
        ----------
        radiograph : Radiograph
            Radiograph.

        Returns
        -------
        Path
            Folder.
        """
        folder = self.out / PARTS_FOLDER / hashlib.sha256(radiograph.id.encode()).hexdigest()[:32]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def file_path(self, *parts: str) -> Path:
        """Return the path of a file below the folder, whose parents are created.

        Parameters
        ----------
        *parts : str
            Names, such as source and radiograph.

        Returns
        -------
        Path
            File.

        Raises
        ------
        DataError
            If a name would lead out of the folder.
        """
        for part in parts:
            if not part or "\0" in part or PurePosixPath(part).is_absolute() or ".." in PurePosixPath(part).parts:
                raise DataError(f"{part!r} cannot be the name of a file below {self.out}; rename it")
        file = self.out.joinpath(*parts)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file


def run_protocol(run: Run, binarizer: str = "") -> Protocol:
    """Return the protocol by which a run was scored, the corrected one of two.

    Parameters
    ----------
    run : Run
        Run.
    binarizer : str
        Binarizer instead of that of the protocol; '' keeps it.

    Returns
    -------
    Protocol
        Protocol.
    """
    parse_binarizer(binarizer or CORRECTED.binarizer)
    records: Mapping[str, Any] = run.info.get("protocols", {})
    record = dict(records.get(CORRECTED.name) or next(iter(records.values()), {}))
    for name in ("map_thresholds", "probability_cutoffs"):
        record[name] = tuple((str(finding), float(value)) for finding, value in record.get(name, ()))
    known = {f.name: record[f.name] for f in fields(Protocol) if f.name in record}
    protocol = Protocol(**known) if len(known) == len(fields(Protocol)) else CORRECTED
    return replace(protocol, binarizer=binarizer, map_thresholds=()) if binarizer else protocol


def binarizer_label(protocol: Protocol, finding: str) -> str:
    """Describe how the mask of a finding was made, for headers: 'corrected, otsu'.

    Parameters
    ----------
    protocol : Protocol
        Protocol.
    finding : str
        Finding.

    Returns
    -------
    str
        Name of the protocol and binarizer.
    """
    return f"{protocol.name}, {protocol.binarizer_for(finding)}"


def missing_rows(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """Yield a row for every map that a source must have and has not.

    Parameters
    ----------
    item : ExportItem
        Radiograph with its maps.
    job : ExportJob
        What is exported, and where to.

    Yields
    ------
    ExportRow
        Row with the status 'missing'.
    """
    available = {(m.source, m.finding) for m in item.maps}
    for source in job.sources:
        for finding in job.maps.sources.get(source, ()):
            if finding in job.findings and (source, finding) not in available:
                yield item.row("", source, finding, "missing", "there is no such map")
