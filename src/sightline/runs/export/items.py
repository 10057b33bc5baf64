"""What an export is made of: the maps, masks and marks of one radiograph at a time, and names that give nobody away."""

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
from sightline.imaging.geometry import rasterize_annotation
from sightline.metrics.binarization import parse_binarizer
from sightline.metrics.placed_map import binarize_map
from sightline.protocol import CORRECTED, Protocol
from sightline.runs.run import Run

PARTS_FOLDER = ".parts"
"""Folder of an export: what is known of each radiograph while others are still written."""
KEY_FILE = ".pseudonyms"
"""File of a run folder: what the pseudonyms of its exports are made with. Whoever has it can confirm a guess."""
_EXPORTED_KINDS = ("region", "contours", "boxes", "points")


class ExportRow(NamedTuple):
    """A line of index.csv: one thing that was to be written, and what became of it."""

    file: str
    """Below the folder; empty where nothing was written."""
    radiograph: str
    source: str
    finding: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Names and identifiers that stand for others: the same within all exports of a run, and telling nothing."""

    key: bytes = field(repr=False)

    @classmethod
    def from_run(cls, run: Run) -> Pseudonyms:
        """Those of a run; its key is drawn when first asked for."""
        file = run.path / KEY_FILE
        if not file.is_file():
            write_text_atomic(file, secrets.token_hex(16))
            file.chmod(0o600)
        return cls(file.read_text("utf-8").strip().encode())

    def _digest(self, words: tuple[str, ...]) -> bytes:
        return hmac.new(self.key, "\x1f".join(words).encode(), hashlib.sha256).digest()

    def patient(self, patient: str) -> str:
        """What a patient is called.

        >>> Pseudonyms(b"k").patient("Doe^Jane") == Pseudonyms(b"k").patient("Doe^Jane") != Pseudonyms(b"k").patient("")
        True
        """
        return f"SL-{self._digest(('patient', patient)).hex()[:12].upper()}"

    def uid(self, *words: str) -> str:
        """A DICOM unique identifier, of the root for those derived from a UUID (PS3.5 B.2)."""
        return f"2.25.{int.from_bytes(self._digest(('uid', *words))[:16], 'big')}"


@dataclass(frozen=True)
class ExportItem:
    """One radiograph, the maps of the sources that were asked for, and what readers marked on it."""

    radiograph: Radiograph
    maps: tuple[SaliencyMap, ...]
    data: Dataset
    findings: tuple[str, ...]
    protocol: Protocol
    """By which masks are cut."""

    @cached_property
    def annotations(self) -> tuple[Annotation, ...]:
        """What every reader marked of the findings. Errors: `DataError` where a mark needs an image that is damaged."""
        each = ((finding, reader) for finding in self.findings for reader in self.data.readers)
        found = (self.data.annotation(self.radiograph.id, *both) for both in each)
        return tuple(mark for mark in found if mark is not None and mark.kind in _EXPORTED_KINDS)

    def maps_by_source(self) -> Mapping[str, list[SaliencyMap]]:
        found: dict[str, list[SaliencyMap]] = {}
        for m in self.maps:
            found.setdefault(m.source, []).append(m)
        return found

    def mask(self, m: SaliencyMap) -> Array:
        """The binarized map, bool (H, W); empty for a map that failed."""
        return binarize_map(m, self.protocol)

    def annotation_mask(self, annotation: Annotation) -> Array:
        """The marked pixels, bool (H, W)."""
        return rasterize_annotation(annotation, self.protocol.point_radius)

    def row(self, file: str, source: str, finding: str, status: str = "ok", reason: str = "") -> ExportRow:
        return ExportRow(file, self.radiograph.id, source, finding, status, reason)


@dataclass(frozen=True)
class ExportJob:
    """What is exported, and where to."""

    run: Run
    data: Dataset
    maps: Maps
    out: Path
    sources: tuple[str, ...]
    findings: tuple[str, ...]
    protocol: Protocol
    identify: bool
    """Whether patients keep their names, and maps refer to the original images."""
    pseudonyms: Pseudonyms

    def item(self, radiograph: Radiograph) -> ExportItem:
        held = {(m.source, m.finding): m for m in self.maps.maps_for(radiograph.id)}
        wanted = ((s, f) for s in self.sources for f in self.findings)
        maps = tuple(held[key] for key in wanted if key in held)
        return ExportItem(radiograph, maps, self.data, self.findings, self.protocol)

    def part_folder(self, radiograph: Radiograph) -> Path:
        """A folder for what is kept of a radiograph until all are written."""
        folder = self.out / PARTS_FOLDER / hashlib.sha256(radiograph.id.encode()).hexdigest()[:32]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def file_path(self, *parts: str) -> Path:
        """Where a file goes: below the folder, whatever sources and radiographs are called. Makes the folders above.

        Errors: `DataError` for a name that would lead elsewhere.
        """
        for part in parts:
            if not part or "\0" in part or PurePosixPath(part).is_absolute() or ".." in PurePosixPath(part).parts:
                raise DataError(f"{part!r} cannot be the name of a file below {self.out}; rename it")
        file = self.out.joinpath(*parts)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file


def run_protocol(run: Run, binarizer: str = "") -> Protocol:
    """The protocol that a run was scored by (the corrected one of two), with another binarizer if one is given.

    Errors: `UnknownNameError` for what is no binarizer.
    """
    parse_binarizer(binarizer or CORRECTED.binarizer)
    told: Mapping[str, Any] = run.info.get("protocols", {})
    record = dict(told.get(CORRECTED.name) or next(iter(told.values()), {}))
    for name in ("thresholds", "cutoffs"):
        record[name] = tuple((str(finding), float(at)) for finding, at in record.get(name, ()))
    known = {f.name: record[f.name] for f in fields(Protocol) if f.name in record}
    found = Protocol(**known) if len(known) == len(fields(Protocol)) else CORRECTED
    return replace(found, binarizer=binarizer, map_thresholds=()) if binarizer else found


def binarizer_label(protocol: Protocol, finding: str) -> str:
    """How a mask of a finding was cut, in words for headers: 'corrected, otsu'."""
    return f"{protocol.name}, {protocol.binarizer_for(finding)}"


def missing_rows(item: ExportItem, job: ExportJob) -> Iterator[ExportRow]:
    """A line for every map that a source owes and does not have."""
    held = {(m.source, m.finding) for m in item.maps}
    for source in job.sources:
        for finding in job.maps.sources.get(source, ()):
            if finding in job.findings and (source, finding) not in held:
                yield item.row("", source, finding, "missing", "there is no such map")
