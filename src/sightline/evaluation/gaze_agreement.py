"""Agreement of maps with the gaze of a reader at the same radiograph, compared with gaze-based controls.

Maps and densities are compared on one grid over the whole image. The controls are gaze, too: the average gaze at other
patients, the gaze at one other patient, the center of the image, the lungs; the gaze itself is the ceiling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from sightline.core import NAN, Array, Case, Dataset, Definition, Frame, Maps, Radiograph, Source, Status
from sightline.data.gaze import KERNELS, Gaze
from sightline.errors import DataError
from sightline.evaluation.gaze_cohort import Cohort, GazeMaps, read_gaze
from sightline.evaluation.score_rows import MapOutcome, Score
from sightline.evaluation.score_run import summarize
from sightline.evaluation.score_table import ScoreTable
from sightline.findings import FINDING_TERMS
from sightline.imaging.geometry import resample_area
from sightline.imaging.masks import rasterize_annotation
from sightline.maps import controls
from sightline.maps.resample import GRID_SHAPE, resample_evidence
from sightline.metrics.gaze import EvidenceMap, GazePair, OtherPatients
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
"""Metrics of agreement. The first leads the report: it is 0 for a map that is the same for every radiograph."""
PUBLISHED_REGIONS = ("Aortic Knob", "Right Lung", "Left Lung", "Mediastinum")
"""Regions of the published comparison."""
_DEFINITIONS: tuple[Definition, ...] = ("published", "corrected")
GAZE_CEILING = str(Source("ceiling", "", "the gaze itself"))
AVERAGE_GAZE, OTHER_PATIENT_GAZE, CENTER_CONTROL, LUNGS_CONTROL = (
    str(Source("control", "", name)) for name in ("average-gaze", "gaze-elsewhere", "center", "lungs")
)


class RegionShare(NamedTuple):
    """Share of a map that lies in an anatomical region."""

    source: str
    radiograph: str
    patient: str
    finding: str
    region: str
    share: float
    """Share of the magnitudes of the map, in [0, 1]; NaN for a flat map."""


class GridMap(NamedTuple):
    """The evidence in a map on the grid of `GRID_SHAPE`, with its status."""

    evidence: Mapping[Definition, Array]
    status: Status
    reason: str
    probability: float


GridMaps = dict[tuple[str, str], GridMap]
"""(source, finding) -> map."""


@dataclass(frozen=True)
class GazeComparison:
    """Maps that are compared with gaze, and the options of the comparison."""

    data: Dataset
    """The data set."""
    maps: Maps
    """The maps."""
    reader: str
    """Reader whose gaze the maps are compared with."""
    protocols: tuple[Protocol, ...]
    """Protocols of the comparison."""
    metrics: tuple[str, ...]
    """Metrics that take a `GazePair`."""
    cohort: Cohort
    """Gaze at all compared radiographs."""


def score_gaze_agreement(run: Run, comparison: GazeComparison, cases: Sequence[Case], seed: int) -> None:
    """Write the tables scores, maps, region_shares, and their summaries estimates, differences and status.

    The scores have a row for each map of a present finding, protocol and metric, and for the controls, other readers
    and the gaze itself. Continues after the last whole part.

    Parameters
    ----------
    run : Run
        The run that gets the tables, locked by the caller.
    comparison : GazeComparison
        The maps and the options.
    cases : sequence of Case
        Cases to compare.
    seed : int
        Seed of the bootstrap.
    """
    radiographs = {c.radiograph.id: c.radiograph for c in cases}
    findings = {i: tuple(c.finding for c in cases if c.radiograph.id == i) for i in radiographs}

    def compute_chunk(ids: Sequence[str]) -> dict[str, list[Any]]:
        compared = [_compare(comparison, radiographs[i], findings[i]) for i in ids]
        return {name: [row for tables in compared for row in tables[name]] for name in _SCHEMAS}

    write_chunks(run, "agreement", _SCHEMAS, ChunkedTask("comparing with gaze", list(radiographs), compute_chunk))
    summarize(ScoreTable(run), _with_mention_variants(comparison.metrics), comparison.protocols, seed)


_SCHEMAS = {"scores": schema_for(Score), "maps": schema_for(MapOutcome), "region_shares": schema_for(RegionShare)}


def _with_mention_variants(metrics: Sequence[str]) -> list[str]:
    return [*metrics, *(f"{name}@{WHILE_MENTIONED}" for name in metrics)]


def _compare(comparison: GazeComparison, radiograph: Radiograph, findings: Sequence[str]) -> dict[str, list[Any]]:
    tables: dict[str, list[Any]] = {name: [] for name in _SCHEMAS}
    maps = {(m.source, m.finding): m for m in comparison.maps.maps_for(radiograph.id) if m.finding in findings}
    expected = [(s, f) for s, covered in comparison.maps.sources.items() for f in findings if f in covered]
    gaze = read_gaze(comparison.data, radiograph.id, comparison.reader)
    grid_maps: GridMaps = {}
    for key in expected:
        m = maps.get(key)
        if m is None:
            nothing = dict.fromkeys(_DEFINITIONS, np.zeros(GRID_SHAPE))
            grid_maps[key] = GridMap(nothing, "missing", f"{key[0]} has no map of it", NAN)
        else:
            evidence = {definition: resample_evidence(m, definition) for definition in _DEFINITIONS}
            grid_maps[key] = GridMap(evidence, m.status, m.reason, m.probability)
        tables["maps"].append(MapOutcome(key[0], radiograph.id, key[1], *grid_maps[key][1:], gaze is not None))
    if gaze is None:
        return tables
    regions = _read_regions(comparison.data, radiograph.id)
    definition = comparison.protocols[-1].definitions  # the corrected one, where it is among them
    for source, values in _build_comparators(comparison, radiograph, gaze, regions, definition).items():
        density = dict.fromkeys(_DEFINITIONS, values)
        grid_maps |= {(source, f): GridMap(density, "ok", "", NAN) for f in findings}
    tables["region_shares"] += _region_shares(radiograph, grid_maps, regions)
    for protocol in comparison.protocols:
        tables["scores"] += _score_gaze(comparison, radiograph, gaze, grid_maps, regions, protocol)
    return tables


def _build_comparators(
    comparison: GazeComparison, radiograph: Radiograph, gaze: Gaze, regions: Mapping[str, Array], definition: Definition
) -> dict[str, Array]:
    """Return the densities of controls, other readers and the gaze itself, float64 (h, w) each."""
    densities: dict[str, Array] = {CENTER_CONTROL: _center_density()}
    kernel = KERNELS[definition]
    others = comparison.cohort.other_patients(radiograph.patient, definition)
    if others is not None:
        densities[AVERAGE_GAZE] = others.density
    readers = {OTHER_PATIENT_GAZE: comparison.cohort.draw_other_gaze(radiograph), GAZE_CEILING: gaze}
    names = [name for name in comparison.data.gaze_readers if name != comparison.reader]
    readers |= {str(Source.from_reader(name)): read_gaze(comparison.data, radiograph.id, name) for name in names}
    for source, other in readers.items():
        if other is not None and (gaze_maps := GazeMaps.from_gaze(other, kernel)) is not None:
            densities[source] = gaze_maps.density
    lungs = sum(regions[name] for name in ("Left Lung", "Right Lung") if name in regions)
    if isinstance(lungs, np.ndarray):
        densities[LUNGS_CONTROL] = convex_hull(lungs >= 0.5).astype(np.float64)
    return densities


@lru_cache(maxsize=1)
def _center_density() -> Array:
    center = controls.center_map(*GRID_SHAPE).astype(np.float64)
    density: Array = center / center.sum()
    return density


def convex_hull(mask: Array) -> Array:
    """Return the convex hull of a mask.

    Parameters
    ----------
    mask : ndarray, (h, w) bool
        The mask.

    Returns
    -------
    ndarray, (h, w) bool
    """
    filled = np.zeros(mask.shape, np.uint8)
    if mask.any():
        points = np.argwhere(mask)[:, ::-1].astype(np.int32)  # OpenCV's points are (x, y)
        cv2.fillConvexPoly(filled, cv2.convexHull(points), 1)
    return filled.astype(bool)


def _read_regions(data: Dataset, radiograph: str) -> dict[str, Array]:
    """Return the share of each cell in each annotated region, float32 (h, w); unreadable ones are left out."""
    regions = {}
    for name in data.regions:
        annotation = data.annotation(radiograph, name, data.reference_reader)
        if annotation is None:
            continue
        try:
            mask = rasterize_annotation(annotation)
        except (DataError, OSError):
            continue
        if mask.any():
            regions[name] = resample_area(mask, Frame.whole(mask.shape), GRID_SHAPE)
    return regions


def _region_shares(radiograph: Radiograph, grid_maps: GridMaps, regions: Mapping[str, Array]) -> Iterator[RegionShare]:
    """Yield the share of the magnitudes of each map in each region; NaN for a flat map."""
    for (source, finding), (evidence, *_) in grid_maps.items():
        size = evidence["published"]
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
        return  # no gaze to compare with
    comparators = _build_comparators(comparison, radiograph, gaze, regions, definition)
    mentions: dict[str, GazeMaps | None] = {}
    cache: dict[str, dict[str, float]] = {}
    windows = ("", f"@{WHILE_MENTIONED}") if definition != "published" else ("",)
    for (source, finding), (evidence_by_definition, status, reason, probability) in grid_maps.items():
        if finding not in mentions:
            terms = FINDING_TERMS.get(finding, (finding,))
            mentions[finding] = GazeMaps.from_gaze(gaze.during_mentions(terms), kernel)
        evidence = EvidenceMap(comparators.get(source, evidence_by_definition[definition]))
        kind = Source.parse(source).kind
        row_prefix = (protocol.name, source, kind, radiograph.id, radiograph.patient, finding, comparison.reader)
        for suffix in windows:
            gaze_maps = mentions[finding] if suffix else whole
            if gaze_maps is None:
                continue
            cache_key = source if source in comparators and not suffix else ""  # the same for every finding
            values_by_metric = cache.get(cache_key) or _measure(comparison.metrics, evidence, gaze_maps, others)
            if cache_key:
                cache[cache_key] = values_by_metric
            for name, value in values_by_metric.items():
                yield Score(*row_prefix, f"{name}{suffix}", value, status, reason, probability, NAN)


def _measure(
    metrics: Sequence[str], evidence_map: EvidenceMap, gaze_maps: GazeMaps, other_patients: OtherPatients
) -> dict[str, float]:
    pair = GazePair(evidence_map, gaze_maps.density, gaze_maps.fixation_map, other_patients, _center_density())
    return {name: float(parse_metric(name)[0](pair)) for name in metrics}
