"""Do maps agree with where a reader looked? Every map beside the gaze at its radiograph, and beside what knows nothing.

Maps and densities meet on one grid over the whole image. The controls are gaze too: the average of other patients'
readings, another patient's reading, the middle of the film, the lungs; and the reading itself is the ceiling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from sightline._util.progress import progress
from sightline._util.rng import ELSEWHERE_GAZE, keyed_rng
from sightline.core import NAN, Array, Case, Dataset, Definition, Frame, Maps, Radiograph, Source, Status
from sightline.data.gaze import KERNELS, WHOLE, Gaze, Kernel, density
from sightline.errors import DataError
from sightline.evaluation.score_run import summarize
from sightline.evaluation.scoring import Ledger, Score
from sightline.findings import SPOKEN as WORDS
from sightline.imaging.geometry import cut, region
from sightline.maps import controls
from sightline.maps.resample import GRID, evidence, on_grid
from sightline.metrics.gaze import Glance, Others, Seen, standardized
from sightline.metrics.registry import SPOKEN, metric_of
from sightline.protocol import Protocol
from sightline.runs.chunks import ChunkedTask, schema_of, write_chunks
from sightline.runs.run import Run

MEASURES = ("shuffled-ncc", "ncc", "ssim", "nss", "auc-judd", "shuffled-auc", "similarity", "kl", "gain-center",
            "gain-average")  # fmt: skip
"""The first leads the report: it is 0 for whatever is the same on every film."""
FOUR = ("Aortic Knob", "Right Lung", "Left Lung", "Mediastinum")
"""The regions of the published comparison."""
ITSELF = str(Source("ceiling", "", "the gaze itself"))
AVERAGE_GAZE, OTHER_GAZE, CENTER, LUNGS = (
    str(Source("control", "", name)) for name in ("average-gaze", "gaze-elsewhere", "center", "lungs")
)


class Share(NamedTuple):
    """How much of a map lies in an anatomical region."""

    source: str
    radiograph: str
    patient: str
    finding: str
    region: str
    share: float
    """Of the magnitudes of the map, [0, 1]."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How one radiograph was looked at, on `GRID`; both sum 1."""

    density: Array = field(repr=False)
    fixated: Array = field(repr=False)
    """Share of the looking at each cell, unsmoothed."""

    @classmethod
    def of(cls, gaze: Gaze, kernel: Kernel) -> Reading | None:
        """None where nothing was looked at."""
        smooth = density(gaze, kernel, GRID)
        weight = np.ones(len(gaze)) if kernel.weight == "count" else gaze.duration
        if not smooth.any() or not weight.sum() > 0:
            return None
        cells = (gaze.places / np.array(gaze.size) * GRID).astype(int)
        fixated = np.zeros(GRID)
        np.add.at(fixated, tuple(cells.T), weight / weight.sum())
        return cls(smooth, fixated)


def looked(data: Dataset, radiograph: str, reader: str) -> Gaze | None:
    """The fixations of a reader on a radiograph, None where there are none."""
    mark = data.marks(radiograph, WHOLE, reader)
    gaze: Gaze | None = None if mark is None else mark.read()
    return gaze if gaze is not None and len(gaze) else None


@dataclass(frozen=True)
class Cohort:
    """Sums over the readings of all compared radiographs, from which those of one patient can be taken away."""

    data: Dataset
    reader: str
    patients: Mapping[str, tuple[str, ...]]
    """Patient -> radiographs with gaze."""
    sums: Mapping[Definition, tuple[Array, int]]
    """Definition -> float64 (3, h, w) of densities, fixations and standardized densities, and how many."""
    seed: int

    @classmethod
    def of(
        cls, data: Dataset, reader: str, radiographs: Sequence[Radiograph], names: Iterable[Definition], seed: int
    ) -> Cohort:
        """Read every gaze once. Memory does not grow with their number."""
        sums = {name: np.zeros((3, *GRID)) for name in names}
        counts = dict.fromkeys(sums, 0)
        patients: dict[str, tuple[str, ...]] = {}
        with progress() as bar:
            task = bar.add_task("reading gaze", total=len(radiographs), unit="images")
            for radiograph in radiographs:
                gaze = looked(data, radiograph.id, reader)
                bar.advance(task)
                if gaze is None:
                    continue
                patients[radiograph.patient] = (*patients.get(radiograph.patient, ()), radiograph.id)
                for name in sums:
                    if (add := _planes(gaze, name)) is not None:
                        sums[name] += add
                        counts[name] += 1
        return cls(data, reader, patients, {name: (sums[name], counts[name]) for name in sums}, seed)

    def others(self, patient: str, definition: Definition) -> Others | None:
        """What the readings of all other patients come to; None without any."""
        total, count = self.sums[definition]
        total = total.copy()
        for name in self.patients.get(patient, ()):
            gaze = looked(self.data, name, self.reader)
            own = None if gaze is None else _planes(gaze, definition)
            if own is not None:
                total -= own
                count -= 1
        if count < 1:
            return None
        smooth, fixated, scores = total / count
        return Others(np.maximum(smooth, 0), np.maximum(fixated, 0), scores)  # what cancels may leave -1e-19

    def elsewhere(self, radiograph: Radiograph) -> Gaze | None:
        """Another patient's gaze, keyed by (seed, id)."""
        there = [name for patient, names in self.patients.items() if patient != radiograph.patient for name in names]
        if not there:
            return None
        at = int(keyed_rng(self.seed, ELSEWHERE_GAZE, radiograph.id).integers(len(there)))
        return looked(self.data, there[at], self.reader)


def _planes(gaze: Gaze, definition: Definition) -> Array | None:
    reading = Reading.of(gaze, KERNELS[definition])
    if reading is None:
        return None
    return np.stack([reading.density, reading.fixated, standardized(reading.density)])


class Plane(NamedTuple):
    """A map on `GRID`, and what became of it."""

    values: Array
    status: Status
    why: str
    probability: float


Planes = dict[tuple[str, str], Plane]
"""(source, finding) -> its map."""


@dataclass(frozen=True)
class Desk:
    """What comparing needs beside the maps."""

    data: Dataset
    maps: Maps
    reader: str
    protocols: tuple[Protocol, ...]
    names: tuple[str, ...]
    """Metrics that take a glance."""
    cohort: Cohort


def agree(run: Run, desk: Desk, some: Sequence[Case], seed: int) -> None:
    """Write the tables scores, maps, shares, and their summaries estimates, differences and status.

    A score per map of a finding that is there, protocol and measure, beside controls, other readers and the reading
    itself. Continues after the last whole part.
    """
    radiographs = {c.radiograph.id: c.radiograph for c in some}
    findings = {i: tuple(c.finding for c in some if c.radiograph.id == i) for i in radiographs}

    def rows_of(ids: Sequence[str]) -> dict[str, list[Any]]:
        compared = [_compared(desk, radiographs[i], findings[i]) for i in ids]
        return {name: [row for tables in compared for row in tables[name]] for name in _SCHEMAS}

    write_chunks(run, "agreement", _SCHEMAS, ChunkedTask("comparing with gaze", list(radiographs), rows_of))
    summarize(run, _all_names(desk.names), desk.protocols, seed)


_SCHEMAS = {"scores": schema_of(Score), "maps": schema_of(Ledger), "shares": schema_of(Share)}


def _all_names(names: Sequence[str]) -> list[str]:
    return [*names, *(f"{name}@{SPOKEN}" for name in names)]


def _compared(desk: Desk, radiograph: Radiograph, findings: Sequence[str]) -> dict[str, list[Any]]:
    told: dict[str, list[Any]] = {name: [] for name in _SCHEMAS}
    held = {(m.source, m.finding): m for m in desk.maps.of(radiograph.id) if m.finding in findings}
    owed = [(s, f) for s, covered in desk.maps.sources.items() for f in findings if f in covered]
    gaze = looked(desk.data, radiograph.id, desk.reader)
    planes: Planes = {}
    for key in owed:
        m = held.get(key)
        if m is None:
            planes[key] = Plane(np.zeros(GRID), "missing", f"{key[0]} has no map of it", NAN)
        else:
            planes[key] = Plane(on_grid(m), m.status, m.why, m.probability)
        told["maps"].append(Ledger(key[0], radiograph.id, key[1], *planes[key][1:], gaze is not None))
    if gaze is None:
        return told
    regions = _regions(desk.data, radiograph.id)
    definition = desk.protocols[-1].definitions  # corrected, where it was asked for
    for source, values in _beside(desk, radiograph, gaze, regions, definition).items():
        planes |= {(source, f): Plane(values, "ok", "", NAN) for f in findings}
    told["shares"] += _shares(radiograph, planes, regions)
    for protocol in desk.protocols:
        told["scores"] += _scores(desk, radiograph, gaze, planes, regions, protocol)
    return told


def _beside(
    desk: Desk, radiograph: Radiograph, gaze: Gaze, regions: Mapping[str, Array], definition: Definition
) -> dict[str, Array]:
    """Controls, other readers and the reading itself, float64 (h, w) each."""
    found: dict[str, Array] = {CENTER: _middle()}
    kernel = KERNELS[definition]
    others = desk.cohort.others(radiograph.patient, definition)
    if others is not None:
        found[AVERAGE_GAZE] = others.density
    readers = {OTHER_GAZE: desk.cohort.elsewhere(radiograph), ITSELF: gaze}
    names = [name for name in desk.data.gaze_readers if name != desk.reader]
    readers |= {str(Source.from_reader(name)): looked(desk.data, radiograph.id, name) for name in names}
    for source, other in readers.items():
        if other is not None and (reading := Reading.of(other, kernel)) is not None:
            found[source] = reading.density
    lungs = sum(regions[name] for name in ("Left Lung", "Right Lung") if name in regions)
    if isinstance(lungs, np.ndarray):
        found[LUNGS] = hull(lungs >= 0.5).astype(np.float64)
    return found


@lru_cache(maxsize=1)
def _middle() -> Array:
    bump = controls.center(*GRID).astype(np.float64)
    density: Array = bump / bump.sum()
    return density


def hull(mask: Array) -> Array:
    """The convex hull of a mask (h, w), bool (h, w)."""
    filled = np.zeros(mask.shape, np.uint8)
    if mask.any():
        places = np.argwhere(mask)[:, ::-1].astype(np.int32)  # OpenCV's points are (x, y)
        cv2.fillConvexPoly(filled, cv2.convexHull(places), 1)
    return filled.astype(bool)


def _regions(data: Dataset, radiograph: str) -> dict[str, Array]:
    """Share of each cell that lies in each region that is marked, float32 (h, w); unreadable ones are left out."""
    found = {}
    for name in data.regions:
        mark = data.marks(radiograph, name, data.truth)
        if mark is None:
            continue
        try:
            mask = region(mark)
        except (DataError, OSError):
            continue
        if mask.any():
            found[name] = cut(mask, Frame.whole(mask.shape), GRID)
    return found


def _shares(radiograph: Radiograph, planes: Planes, regions: Mapping[str, Array]) -> Iterator[Share]:
    """NaN for a map that points nowhere."""
    for (source, finding), (values, *_) in planes.items():
        size = np.abs(values)
        total = float(size.sum()) if np.ptp(size) > 0 else NAN
        for name, cover in regions.items():
            share = float((size * cover).sum()) / total
            yield Share(source, radiograph.id, radiograph.patient, finding, name, share)


def _scores(
    desk: Desk, radiograph: Radiograph, gaze: Gaze, planes: Planes, regions: Mapping[str, Array], protocol: Protocol
) -> Iterator[Score]:
    definition = protocol.definitions
    kernel = KERNELS[definition]
    others = desk.cohort.others(radiograph.patient, definition)
    whole = Reading.of(gaze, kernel)
    if others is None or whole is None:
        return  # nothing to be compared with
    beside = _beside(desk, radiograph, gaze, regions, definition)
    spoken: dict[str, Reading | None] = {}
    once: dict[str, dict[str, float]] = {}
    windows = ("", f"@{SPOKEN}") if definition != "published" else ("",)
    for (source, finding), (values, status, why, p) in planes.items():
        if finding not in spoken:
            spoken[finding] = Reading.of(gaze.while_said(WORDS.get(finding, (finding,))), kernel)
        seen = Seen(evidence(beside.get(source, values), definition))
        kind = Source.parse(source).kind
        head = (protocol.name, source, kind, radiograph.id, radiograph.patient, finding, desk.reader)
        for suffix in windows:
            reading = spoken[finding] if suffix else whole
            if reading is None:
                continue
            key = source if source in beside and not suffix else ""  # the same for every finding
            found = once.get(key) or _measured(desk.names, seen, reading, others)
            if key:
                once[key] = found
            for name, value in found.items():
                yield Score(*head, f"{name}{suffix}", value, status, why, p, NAN)


def _measured(names: Sequence[str], seen: Seen, reading: Reading, others: Others) -> dict[str, float]:
    glance = Glance(seen, reading.density, reading.fixated, others, _middle())
    return {name: float(metric_of(name)[0](glance)) for name in names}
