"""`score`: maps × metrics × a reader's marks -> one tidy table. Fast, streaming, and free of torch.

One row per number. NaN stands only where the truth is undefined; a map that failed (missing, flat, not finite,
unreadable, refused) takes the worst value of the metric, so that giving up never pays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sightline.core import NAN, Annotation, Array, Dataset, Frame, Maps, Radiograph, SaliencyMap, Source, map_status
from sightline.errors import DataError
from sightline.imaging.geometry import project_whole
from sightline.imaging.masks import rasterize_annotation
from sightline.imaging.shape import measure_shape
from sightline.maps.collections import InMemoryMaps, WithFindings
from sightline.metrics.localization import find_peaks
from sightline.metrics.placed_map import PlacedMap, place_map
from sightline.metrics.registry import MetricInfo, parse_metric, require_annotation_metric, resolve_metric_aliases
from sightline.protocol import Protocol, adjust_protocols, get_protocols

DEFAULT_METRICS = ("iou", "pointing-game")
_MASK_INPUTS = ("confusion", "mask", "histogram", "map")


class Score(NamedTuple):
    """One number and where it comes from: a row of the score table."""

    protocol: str
    source: str
    source_kind: str
    """'model', 'control', 'localizer', 'reader' or 'ceiling'."""
    radiograph: str
    patient: str
    finding: str
    reader: str
    """Whose mark was the truth."""
    metric: str
    value: float
    status: str
    """What became of the map; everything but 'ok' scored the worst value."""
    reason: str
    probability: float
    area: float
    """Share of the image that the mark covers, in (0, 1]."""


class MapOutcome(NamedTuple):
    """One map and what became of it, scored or not."""

    source: str
    radiograph: str
    finding: str
    status: str
    reason: str
    probability: float
    annotated: bool
    """Whether the reference reader marked this finding here; without a mark there is no truth to score by."""


class PixelCounts(NamedTuple):
    """What one map claims on one image, whether the reader marked it or not: what full-data results are made of."""

    protocol: str
    source: str
    radiograph: str
    patient: str
    finding: str
    image_pixels: int
    annotated_pixels: int
    """0 without an annotation."""
    predicted_pixels: int
    """Pixels of the binarized map; 0 for a map that failed."""
    overlap_pixels: int
    """Pixels that are annotated and predicted."""
    probability: float
    status: str


class AnnotationShape(NamedTuple):
    """How a mark looks, by the definition of one protocol; see `sightline.imaging.shape`."""

    protocol: str
    radiograph: str
    patient: str
    finding: str
    instances: float
    size: float
    elongation: float
    irrectangularity: float


class RadiographScores(NamedTuple):
    """Everything that is told of one radiograph: the rows of four tables."""

    scores: list[Score]
    maps: list[MapOutcome]
    pixel_counts: list[PixelCounts]
    shapes: list[AnnotationShape]


def _failure(m: SaliencyMap, reference: Array) -> tuple[str, str]:
    """(status, why) of a map against the mark it is to be scored by."""
    if m.status != "ok":
        return m.status, m.reason
    if m.frame.size != reference.shape:
        return "refused", f"the map is of an image of {m.frame.size}, the mark lies on one of {reference.shape} (H, W)"
    status = map_status(m.values)
    return status, "" if status == "ok" else f"the map is {status}"


def _applies(info: MetricInfo, m: SaliencyMap) -> bool:
    takes = info.takes
    return (m.kind != "points" or takes == "peaks") and (m.kind != "mask" or takes in _MASK_INPUTS)


def _compute_metric(spec: str, p: PlacedMap) -> float:
    entry, binarizer = parse_metric(spec)
    takes = entry.info.takes
    if takes == "histogram":
        return float(entry(p.histogram))
    if takes == "confusion":
        return float(entry(p.confusion(binarizer)))
    if takes == "peaks":
        return float(entry(find_peaks(p.values, p.reference[p.window], p.protocol.ties)))
    if takes == "mask":
        return float(entry(p.mask, p.reference))
    return float(entry(project_whole(p.map.values, p.frame), p.reference))


def score_map(
    m: SaliencyMap, reference: Array, metrics: Sequence[str], protocol: Protocol
) -> dict[str, tuple[float, str, str]]:
    """Every metric of one map against one mark: name -> (value, status, why).

    truth: bool (H, W) of the original, at least one pixel; names: metrics, as `parse_metric` reads them. Metrics that
    the
    map's kind cannot answer are left out.
    """
    return _score_placed(_place_or_failure(m, reference, protocol), m, metrics, protocol)


def _place_or_failure(m: SaliencyMap, reference: Array, protocol: Protocol) -> PlacedMap | tuple[str, str]:
    """The map on its image, or (status, why) of a map that has nothing to lay."""
    status, why = _failure(m, reference)
    if status != "ok":
        return status, why
    try:
        return place_map(m, reference, protocol)
    except DataError as error:
        return "flat", str(error)


def _score_placed(
    placed: PlacedMap | tuple[str, str], m: SaliencyMap, metrics: Sequence[str], protocol: Protocol
) -> dict[str, tuple[float, str, str]]:
    out = {}
    for spec in metrics:
        require_annotation_metric(spec)
        facts = parse_metric(spec)[0].info
        if not _applies(facts, m):
            continue
        empties = protocol.empty_prediction == "drop" and facts.takes in ("confusion", "mask")
        if isinstance(placed, tuple):
            status, why = placed
            dropped = f"{why} (no prediction: dropped by the {protocol.name} protocol)"
            out[spec] = (NAN, status, dropped) if empties else (facts.worst_value, status, why)
        elif empties and placed.predicted_counts[1] == 0:
            out[spec] = (NAN, "ok", f"empty prediction: dropped by the {protocol.name} protocol")
        else:
            out[spec] = (_compute_metric(spec, placed), "ok", "")
    return out


def score_radiograph(
    radiograph: Radiograph,
    data: Dataset,
    maps: Maps,
    metrics: Sequence[str],
    protocols: Sequence[Protocol],
    findings: Sequence[str],
    include_unannotated: bool = False,
) -> RadiographScores:
    """Score every map of one radiograph. A map that a source owes and does not have is scored as missing.

    full: also lay the maps that nobody marked, to tell how much they claim.
    Errors: `DataError` for two maps of one source for the same finding.
    """
    held = _index_by_key(maps, radiograph.id)
    owed = {(s, f) for s, covered in maps.sources.items() for f in covered if f in findings}
    told = RadiographScores([], [], [], [])
    for finding in findings:
        mark = data.annotation(radiograph.id, finding, data.reference_reader)
        truth = None if mark is None else rasterize_annotation(mark, protocols[0].point_radius)
        if mark is not None and truth is not None and truth.any():
            told.shapes.extend(_measure_shapes(mark, truth, radiograph, protocols))
        else:
            truth = None
        for source in [s for s in maps.sources if (s, finding) in owed]:
            m = held.pop((source, finding), None)
            if m is None:
                if truth is None:
                    continue
                m = _missing_map(radiograph, finding, source, truth)
            status, why = (m.status, m.reason) if truth is None else _failure(m, truth)
            told.maps.append(MapOutcome(source, m.radiograph, finding, status, why, m.probability, truth is not None))
            if truth is not None or include_unannotated:
                _append_scores(told, m, truth, radiograph, data.reference_reader, metrics, protocols)
    told.maps.extend(
        MapOutcome(s, radiograph.id, f, m.status, f"finding {f!r} is not scored here", m.probability, False)
        for (s, f), m in held.items()
    )
    return told


def _append_scores(
    scores: RadiographScores,
    m: SaliencyMap,
    reference: Array | None,
    radiograph: Radiograph,
    reader: str,
    metrics: Sequence[str],
    protocols: Sequence[Protocol],
) -> None:
    """Add the scores of one map, where there is a mark, and its extent."""
    marked, against = reference is not None, np.zeros(m.frame.size, bool) if reference is None else reference
    count = int(np.count_nonzero(reference)) if reference is not None else 0
    who = (m.source, radiograph.id, radiograph.patient, m.finding)
    for protocol in protocols:
        laid = _place_or_failure(m, against, protocol)
        if marked:
            head = (protocol.name, m.source, Source.parse(m.source).kind, *who[1:], reader)
            for metric, (value, status, why) in _score_placed(laid, m, metrics, protocol).items():
                scores.scores.append(Score(*head, metric, value, status, why, m.probability, count / against.size))
        if m.kind != "points":
            both, predicted = (0, 0) if isinstance(laid, tuple) else laid.predicted_counts
            status = laid[0] if isinstance(laid, tuple) else m.status
            counts = (against.size, count, predicted, both)
            scores.pixel_counts.append(PixelCounts(protocol.name, *who, *counts, m.probability, status))


def _measure_shapes(
    annotation: Annotation, reference: Array, radiograph: Radiograph, protocols: Sequence[Protocol]
) -> Iterator[AnnotationShape]:
    outlines = len(annotation.read()) if annotation.kind == "contours" else annotation.n_outlines
    for protocol in protocols:
        s = measure_shape(reference, outlines, protocol.definitions)
        who = (protocol.name, radiograph.id, radiograph.patient, annotation.finding)
        yield AnnotationShape(*who, float(s.instances), s.size, s.elongation, s.irrectangularity)


def _index_by_key(maps: Maps, radiograph: str) -> dict[tuple[str, str], SaliencyMap]:
    held: dict[tuple[str, str], SaliencyMap] = {}
    for m in maps.maps_for(radiograph):
        if (m.source, m.finding) in held:
            raise DataError(f"two maps of {m.source!r} for {m.finding!r} on {radiograph!r}; remove one")
        held[m.source, m.finding] = m
    return held


def _missing_map(radiograph: Radiograph, finding: str, source: str, reference: Array) -> SaliencyMap:
    nothing, frame = np.zeros((0, 0), np.float32), Frame.whole((reference.shape[0], reference.shape[1]))
    why = "there is no such map"
    return SaliencyMap(radiograph.id, finding, source, nothing, frame, status="missing", reason=why)


def score(
    maps: Maps | Iterable[SaliencyMap],
    data: Dataset,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    protocol: str = "corrected",
    binarizer: str = "",
    findings: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Score maps against the marks of a data set's reference reader.

    maps: a run, a folder opened by `sightline.open_maps`, or any iterable of `SaliencyMap`; metrics: registered names;
    protocol: 'published', 'corrected' or 'both'; binarizer: instead of the protocol's ('otsu', 'above:T', 'top:F');
    findings: each counts for every source, with or without maps; by default a source answers for those it has maps of.
    Returns one row per number with the columns of `Score`. Errors: `UnknownNameError` for a name that is not
    registered, `DataError` for duplicate maps or a data set without marks.

    >>> import sightline as sl
    >>> data = sl.open_dataset("phantom:8?size=64")
    >>> table = sl.score(sl.ReaderMaps(data), data, ["iou"])
    >>> sorted(table.columns[:3])
    ['protocol', 'source', 'source_kind']
    """
    held = InMemoryMaps.from_maps(maps) if isinstance(maps, Iterable) else maps
    chosen = adjust_protocols(get_protocols(protocol), binarizer=binarizer)
    wanted = tuple(findings) if findings is not None else data.findings
    held = held if findings is None else WithFindings(held, wanted)
    require_annotations(data)
    names = resolve_metric_aliases(metrics)
    rows: list[Any] = []
    for radiograph in data.radiographs:
        rows += score_radiograph(radiograph, data, held, names, chosen, wanted).scores
    return pd.DataFrame(rows, columns=Score._fields)


def require_annotations(data: Dataset) -> None:
    """Errors: `DataError` if nobody marked anything, so that there is no truth to score by."""
    if not data.readers:
        raise DataError(f"{data.spec!r} has no marks to score against; name a data set with masks, boxes or points")
