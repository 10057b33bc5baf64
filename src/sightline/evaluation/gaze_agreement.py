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

from sightline._util.progress import progress_bar
from sightline._util.rng import ELSEWHERE_GAZE, keyed_rng
from sightline.core import NAN, Array, Case, Dataset, Definition, Frame, Maps, Radiograph, Source, Status
from sightline.data.gaze import ALL_GAZE, KERNELS, Gaze, Kernel, gaze_density
from sightline.errors import DataError
from sightline.evaluation.score_run import summarize
from sightline.evaluation.scoring import MapOutcome, Score
from sightline.findings import FINDING_TERMS as WORDS
from sightline.imaging.geometry import resample_area
from sightline.imaging.masks import rasterize_annotation
from sightline.maps import controls
from sightline.maps.resample import GRID_SHAPE, extract_evidence, resample_to_grid
from sightline.metrics.gaze import EvidenceMap, GazePair, OtherPatients, standardize
from sightline.metrics.registry import WHILE_MENTIONED, parse_metric
from sightline.protocol import Protocol
from sightline.runs.chunks import ChunkedTask, schema_for, write_chunks
from sightline.runs.run import Run

GAZE_METRICS = (
    "shuffled-ncc",
    "ncc",
    "ssim",
    "nss",
    "auc-judd",
    "shuffled-auc",
    "similarity",
    "kl",
    "gain-center",
    "gain-average",
)
"""The first leads the report: it is 0 for whatever is the same on every film."""
PUBLISHED_REGIONS = ("Aortic Knob", "Right Lung", "Left Lung", "Mediastinum")
"""The regions of the published comparison."""
GAZE_CEILING = str(Source("ceiling", "", "the gaze itself"))
AVERAGE_GAZE, OTHER_PATIENT_GAZE, CENTER_CONTROL, LUNGS_CONTROL = (
    str(Source("control", "", name)) for name in ("average-gaze", "gaze-elsewhere", "center", "lungs")
)


class RegionShare(NamedTuple):
    """How much of a map lies in an anatomical region."""

    source: str
    radiograph: str
    patient: str
    finding: str
    region: str
    share: float
    """Of the magnitudes of the map, [0, 1]."""


@dataclass(frozen=True, slots=True)
class GazeMaps:
    """How one radiograph was looked at, on `GRID`; both sum 1."""

    density: Array = field(repr=False)
    fixation_map: Array = field(repr=False)
    """Share of the looking at each cell, unsmoothed."""

    @classmethod
    def from_gaze(cls, gaze: Gaze, kernel: Kernel) -> GazeMaps | None:
        """None where nothing was looked at."""
        smooth = gaze_density(gaze, kernel, GRID_SHAPE)
        weight = np.ones(len(gaze)) if kernel.weight == "count" else gaze.duration
        if not smooth.any() or not weight.sum() > 0:
            return None
        cells = (gaze.positions / np.array(gaze.size) * GRID_SHAPE).astype(int)
        fixated = np.zeros(GRID_SHAPE)
        np.add.at(fixated, tuple(cells.T), weight / weight.sum())
        return cls(smooth, fixated)


def read_gaze(data: Dataset, radiograph: str, reader: str) -> Gaze | None:
    """The fixations of a reader on a radiograph, None where there are none."""
    mark = data.annotation(radiograph, ALL_GAZE, reader)
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
    def from_dataset(
        cls, data: Dataset, reader: str, radiographs: Sequence[Radiograph], protocols: Iterable[Definition], seed: int
    ) -> Cohort:
        """Read every gaze once. Memory does not grow with their number."""
        sums = {name: np.zeros((3, *GRID_SHAPE)) for name in protocols}
        counts = dict.fromkeys(sums, 0)
        patients: dict[str, tuple[str, ...]] = {}
        with progress_bar() as bar:
            task = bar.add_task("reading gaze", total=len(radiographs), unit="images")
            for radiograph in radiographs:
                gaze = read_gaze(data, radiograph.id, reader)
                bar.advance(task)
                if gaze is None:
                    continue
                patients[radiograph.patient] = (*patients.get(radiograph.patient, ()), radiograph.id)
                for name in sums:
                    if (add := _stack_densities(gaze, name)) is not None:
                        sums[name] += add
                        counts[name] += 1
        return cls(data, reader, patients, {name: (sums[name], counts[name]) for name in sums}, seed)

    def other_patients(self, patient: str, definition: Definition) -> OtherPatients | None:
        """What the readings of all other patients come to; None without any."""
        total, count = self.sums[definition]
        total = total.copy()
        for name in self.patients.get(patient, ()):
            gaze = read_gaze(self.data, name, self.reader)
            own = None if gaze is None else _stack_densities(gaze, definition)
            if own is not None:
                total -= own
                count -= 1
        if count < 1:
            return None
        smooth, fixated, scores = total / count
        return OtherPatients(np.maximum(smooth, 0), np.maximum(fixated, 0), scores)  # what cancels may leave -1e-19

    def draw_other_gaze(self, radiograph: Radiograph) -> Gaze | None:
        """Another patient's gaze, keyed by (seed, id)."""
        there = [name for patient, names in self.patients.items() if patient != radiograph.patient for name in names]
        if not there:
            return None
        at = int(keyed_rng(self.seed, ELSEWHERE_GAZE, radiograph.id).integers(len(there)))
        return read_gaze(self.data, there[at], self.reader)


def _stack_densities(gaze: Gaze, definition: Definition) -> Array | None:
    reading = GazeMaps.from_gaze(gaze, KERNELS[definition])
    if reading is None:
        return None
    return np.stack([reading.density, reading.fixation_map, standardize(reading.density)])


class GridMap(NamedTuple):
    """A map on `GRID`, and what became of it."""

    values: Array
    status: Status
    reason: str
    probability: float


GridMaps = dict[tuple[str, str], GridMap]
"""(source, finding) -> its map."""


@dataclass(frozen=True)
class GazeComparison:
    """What comparing needs beside the maps."""

    data: Dataset
    maps: Maps
    reader: str
    protocols: tuple[Protocol, ...]
    metrics: tuple[str, ...]
    """Metrics that take a glance."""
    cohort: Cohort


def score_gaze_agreement(run: Run, comparison: GazeComparison, cases: Sequence[Case], seed: int) -> None:
    """Write the tables scores, maps, region_shares, and their summaries estimates, differences and status.

    A score per map of a finding that is there, protocol and measure, beside controls, other readers and the reading
    itself. Continues after the last whole part.
    """
    radiographs = {c.radiograph.id: c.radiograph for c in cases}
    findings = {i: tuple(c.finding for c in cases if c.radiograph.id == i) for i in radiographs}

    def rows_of(ids: Sequence[str]) -> dict[str, list[Any]]:
        compared = [_compare(comparison, radiographs[i], findings[i]) for i in ids]
        return {name: [row for tables in compared for row in tables[name]] for name in _SCHEMAS}

    write_chunks(run, "agreement", _SCHEMAS, ChunkedTask("comparing with gaze", list(radiographs), rows_of))
    summarize(run, _with_mention_variants(comparison.metrics), comparison.protocols, seed)


_SCHEMAS = {"scores": schema_for(Score), "maps": schema_for(MapOutcome), "region_shares": schema_for(RegionShare)}


def _with_mention_variants(metrics: Sequence[str]) -> list[str]:
    return [*metrics, *(f"{name}@{WHILE_MENTIONED}" for name in metrics)]


def _compare(comparison: GazeComparison, radiograph: Radiograph, findings: Sequence[str]) -> dict[str, list[Any]]:
    told: dict[str, list[Any]] = {name: [] for name in _SCHEMAS}
    held = {(m.source, m.finding): m for m in comparison.maps.maps_for(radiograph.id) if m.finding in findings}
    owed = [(s, f) for s, covered in comparison.maps.sources.items() for f in findings if f in covered]
    gaze = read_gaze(comparison.data, radiograph.id, comparison.reader)
    planes: GridMaps = {}
    for key in owed:
        m = held.get(key)
        if m is None:
            planes[key] = GridMap(np.zeros(GRID_SHAPE), "missing", f"{key[0]} has no map of it", NAN)
        else:
            planes[key] = GridMap(resample_to_grid(m), m.status, m.reason, m.probability)
        told["maps"].append(MapOutcome(key[0], radiograph.id, key[1], *planes[key][1:], gaze is not None))
    if gaze is None:
        return told
    regions = _read_regions(comparison.data, radiograph.id)
    definition = comparison.protocols[-1].definitions  # corrected, where it was asked for
    for source, values in _build_comparators(comparison, radiograph, gaze, regions, definition).items():
        planes |= {(source, f): GridMap(values, "ok", "", NAN) for f in findings}
    told["region_shares"] += _region_shares(radiograph, planes, regions)
    for protocol in comparison.protocols:
        told["scores"] += _score_gaze(comparison, radiograph, gaze, planes, regions, protocol)
    return told


def _build_comparators(
    comparison: GazeComparison, radiograph: Radiograph, gaze: Gaze, regions: Mapping[str, Array], definition: Definition
) -> dict[str, Array]:
    """Controls, other readers and the reading itself, float64 (h, w) each."""
    found: dict[str, Array] = {CENTER_CONTROL: _center_density()}
    kernel = KERNELS[definition]
    others = comparison.cohort.other_patients(radiograph.patient, definition)
    if others is not None:
        found[AVERAGE_GAZE] = others.density
    readers = {OTHER_PATIENT_GAZE: comparison.cohort.draw_other_gaze(radiograph), GAZE_CEILING: gaze}
    names = [name for name in comparison.data.gaze_readers if name != comparison.reader]
    readers |= {str(Source.from_reader(name)): read_gaze(comparison.data, radiograph.id, name) for name in names}
    for source, other in readers.items():
        if other is not None and (reading := GazeMaps.from_gaze(other, kernel)) is not None:
            found[source] = reading.density
    lungs = sum(regions[name] for name in ("Left Lung", "Right Lung") if name in regions)
    if isinstance(lungs, np.ndarray):
        found[LUNGS_CONTROL] = convex_hull(lungs >= 0.5).astype(np.float64)
    return found


@lru_cache(maxsize=1)
def _center_density() -> Array:
    bump = controls.center_map(*GRID_SHAPE).astype(np.float64)
    density: Array = bump / bump.sum()
    return density


def convex_hull(mask: Array) -> Array:
    """The convex hull of a mask (h, w), bool (h, w)."""
    filled = np.zeros(mask.shape, np.uint8)
    if mask.any():
        places = np.argwhere(mask)[:, ::-1].astype(np.int32)  # OpenCV's points are (x, y)
        cv2.fillConvexPoly(filled, cv2.convexHull(places), 1)
    return filled.astype(bool)


def _read_regions(data: Dataset, radiograph: str) -> dict[str, Array]:
    """Share of each cell that lies in each region that is marked, float32 (h, w); unreadable ones are left out."""
    found = {}
    for name in data.regions:
        mark = data.annotation(radiograph, name, data.reference_reader)
        if mark is None:
            continue
        try:
            mask = rasterize_annotation(mark)
        except (DataError, OSError):
            continue
        if mask.any():
            found[name] = resample_area(mask, Frame.whole(mask.shape), GRID_SHAPE)
    return found


def _region_shares(radiograph: Radiograph, grid_maps: GridMaps, regions: Mapping[str, Array]) -> Iterator[RegionShare]:
    """NaN for a map that points nowhere."""
    for (source, finding), (values, *_) in grid_maps.items():
        size = np.abs(values)
        total = float(size.sum()) if np.ptp(size) > 0 else NAN
        for name, cover in regions.items():
            share = float((size * cover).sum()) / total
            yield RegionShare(source, radiograph.id, radiograph.patient, finding, name, share)


def _score_gaze(
    comparison: GazeComparison,
    radiograph: Radiograph,
    gaze: Gaze,
    grid_maps: GridMaps,
    regions: Mapping[str, Array],
    protocol: Protocol,
) -> Iterator[Score]:
    definition = protocol.definitions
    kernel = KERNELS[definition]
    others = comparison.cohort.other_patients(radiograph.patient, definition)
    whole = GazeMaps.from_gaze(gaze, kernel)
    if others is None or whole is None:
        return  # nothing to be compared with
    beside = _build_comparators(comparison, radiograph, gaze, regions, definition)
    spoken: dict[str, GazeMaps | None] = {}
    once: dict[str, dict[str, float]] = {}
    windows = ("", f"@{WHILE_MENTIONED}") if definition != "published" else ("",)
    for (source, finding), (values, status, why, p) in grid_maps.items():
        if finding not in spoken:
            spoken[finding] = GazeMaps.from_gaze(gaze.during_mentions(WORDS.get(finding, (finding,))), kernel)
        seen = EvidenceMap(extract_evidence(beside.get(source, values), definition))
        kind = Source.parse(source).kind
        head = (protocol.name, source, kind, radiograph.id, radiograph.patient, finding, comparison.reader)
        for suffix in windows:
            reading = spoken[finding] if suffix else whole
            if reading is None:
                continue
            key = source if source in beside and not suffix else ""  # the same for every finding
            found = once.get(key) or _measure(comparison.metrics, seen, reading, others)
            if key:
                once[key] = found
            for name, value in found.items():
                yield Score(*head, f"{name}{suffix}", value, status, why, p, NAN)


def _measure(
    metrics: Sequence[str], evidence_map: EvidenceMap, gaze_maps: GazeMaps, other_patients: OtherPatients
) -> dict[str, float]:
    glance = GazePair(evidence_map, gaze_maps.density, gaze_maps.fixation_map, other_patients, _center_density())
    return {name: float(parse_metric(name)[0](glance)) for name in metrics}
