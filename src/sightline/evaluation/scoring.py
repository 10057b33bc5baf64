"""Scoring of maps against the annotations of a reader, as a tidy table with one row per number.

A score is NaN only where the reference is undefined; a map that failed (missing, flat, not finite, unreadable, refused)
takes the worst value of the metric, so that a method never gains by failing. A control that could not be computed is
absent, because nothing failed that is under study.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import NAN, Annotation, Array, Dataset, Frame, Maps, Radiograph, SaliencyMap, Source, map_status
from sightline.errors import DataError
from sightline.evaluation.chance_levels import ChanceMaps
from sightline.evaluation.metric_values import compute_metric, is_absent_control, is_answerable, takes_magnitudes
from sightline.evaluation.score_rows import (
    AnnotationShape,
    MapOutcome,
    PixelCounts,
    RadiographScores,
    Score,
    ScoringOptions,
)
from sightline.imaging.masks import rasterize_annotation
from sightline.imaging.shape import measure_shape
from sightline.maps.collections import InMemoryMaps, WithFindings
from sightline.metrics.chance import ChanceLevels
from sightline.metrics.placed_map import PlacedMap, place_map
from sightline.metrics.registry import parse_metric, require_annotation_metric, resolve_metric_aliases
from sightline.protocol import Protocol, ProtocolNames, adjust_protocols, get_protocols
from sightline.stats.reader_average import ALL_READERS, is_average

DEFAULT_METRICS = ("iou", "pointing-game")
"""Metrics of `score` by default."""


def _failure(m: SaliencyMap, reference: Array) -> tuple[str, str]:
    """Return (status, reason) of a map against the annotation that it is scored by."""
    if m.status != "ok":
        return m.status, m.reason
    if m.frame.size != reference.shape:
        return "refused", (
            f"the map is of an image of {m.frame.size}, the annotation of one of {reference.shape} (H, W)"
        )
    status = map_status(m.values)
    return status, "" if status == "ok" else f"the map is {status}"


def score_map(
    m: SaliencyMap,
    reference: Array,
    metrics: Sequence[str],
    protocol: Protocol,
    levels: ChanceLevels | None = None,
) -> dict[str, tuple[float, str, str]]:
    """Score one map against one annotation.

    Parameters
    ----------
    m
        The map.
    reference : bool (H, W)
        Annotated pixels of the original image, at least one.
    metrics
        Metrics, as NAME or NAME@RULE.
    protocol
        Protocol of scoring.
    levels
        Levels of chance, for metrics that are corrected for it; by default the whole image, without average mask.

    Returns
    -------
    dict
        Metric -> (value, status, reason). Metrics that are not defined for the map's kind are left out.

    Raises
    ------
    UnknownNameError
        For an unknown metric.
    """
    levels = levels or ChanceLevels(reference)
    return _score_placed(_place_or_failure(m, reference, protocol), m, metrics, protocol, levels)


def _place_or_failure(m: SaliencyMap, reference: Array, protocol: Protocol) -> PlacedMap | tuple[str, str]:
    """Return the map on its image, or (status, reason) of a map that cannot be placed."""
    status, reason = _failure(m, reference)
    if status != "ok":
        return status, reason
    try:
        return place_map(m, reference, protocol)
    except DataError as error:
        return "flat", str(error)


def _score_placed(
    placed: PlacedMap | tuple[str, str],
    m: SaliencyMap,
    metrics: Sequence[str],
    protocol: Protocol,
    levels: ChanceLevels,
) -> dict[str, tuple[float, str, str]]:
    """Return metric -> (value, status, reason) of a placed map, or of one that failed."""
    scores: dict[str, tuple[float, str, str]] = {}
    for spec in metrics:
        require_annotation_metric(spec)
        info = parse_metric(spec)[0].info
        if not is_answerable(info, m):
            continue
        drops_empty = protocol.empty_prediction == "drop" and info.takes in ("confusion", "mask")
        if info.chance == "average-mask" and levels.prior is None:
            scores[spec] = (NAN, m.status, "no other patient has an annotation of the finding to average")
        elif isinstance(placed, tuple) and (not info.is_score or is_absent_control(m, placed[0])):
            scores[spec] = (NAN, *placed)
        elif isinstance(placed, tuple):
            status, reason = placed
            dropped = f"{reason} (no prediction: dropped by the {protocol.name} protocol)"
            scores[spec] = (NAN, status, dropped) if drops_empty else (info.worst_value, status, reason)
        elif drops_empty and placed.predicted_counts[1] == 0:
            scores[spec] = (NAN, "ok", f"empty prediction: dropped by the {protocol.name} protocol")
        elif takes_magnitudes(info, placed) and placed.magnitude_histogram is None:
            reason = f"magnitudes cut at their 99th percentile are flat ({protocol.name} protocol)"
            scores[spec] = (info.worst_value, "flat", reason)
        else:
            value, note = compute_metric(spec, placed, levels)
            scores[spec] = (value, "ok", note)
    return scores


def score_radiograph(
    radiograph: Radiograph,
    data: Dataset,
    maps: Maps,
    options: ScoringOptions,
    sources: Mapping[str, Sequence[str]] | None = None,
    chance: ChanceMaps | None = None,
) -> RadiographScores:
    """Score every map of one radiograph. A map that a source should have and does not is scored as missing.

    Parameters
    ----------
    radiograph
        The radiograph.
    data
        Data set with its annotations.
    maps
        Maps that are scored.
    options
        Options of scoring.
    sources
        Source -> findings that it should have maps of, for a caller that scores many radiographs; by default those of
        `maps`, which a run reads from its folders.
    chance
        Levels of chance of the data set, if a metric needs them; by default they are prepared here.

    Returns
    -------
    RadiographScores
        Rows of the tables.

    Raises
    ------
    DataError
        For two maps of one source for the same finding.
    """
    maps_by_key = _index_by_key(maps, radiograph.id)
    sources = maps.sources if sources is None else sources
    chance = ChanceMaps.from_dataset(data, options.metrics) if chance is None else chance
    expected = {(source, f) for source, covered in sources.items() for f in covered if f in options.findings}
    rows = RadiographScores([], [], [], [], [])
    for finding in options.findings:
        references = _read_references(data, radiograph, finding, options, chance)
        for source in [source for source in sources if (source, finding) in expected]:
            reader = parsed.name if (parsed := Source.parse(source)).kind == "reader" else ""
            if reader and not data.has_read(reader, radiograph.id):
                continue
            name = data.reference_for(reader) if reader else data.reference_reader
            levels = references[name]
            reference = None if levels is None else levels.reference
            m = maps_by_key.pop((source, finding), None)
            if m is None:
                if reference is None:
                    continue
                m = _missing_map(radiograph, finding, source, reference)
            status, reason = (m.status, m.reason) if reference is None else _failure(m, reference)
            annotated = reference is not None
            rows.maps.append(MapOutcome(source, m.radiograph, finding, status, reason, m.probability, annotated))
            if annotated or options.include_unannotated:
                _append_scores(rows, m, levels, radiograph, name, options)
            if not reader:
                _append_leave_one_out(rows, m, references, radiograph, options)
        _append_shapes(rows, data, radiograph, finding, references, options)
    rows.maps.extend(
        MapOutcome(s, radiograph.id, f, m.status, f"finding {f!r} is not scored here", m.probability, False)
        for (s, f), m in maps_by_key.items()
    )
    return rows


def _read_references(
    data: Dataset, radiograph: Radiograph, finding: str, options: ScoringOptions, chance: ChanceMaps | None
) -> dict[str, ChanceLevels | None]:
    """Return the reference, and each reference that leaves out a reader, with levels of chance; None without pixels."""
    left_out = [data.reference_for(r) for r in data.combined_readers if data.has_read(r, radiograph.id)]
    references: dict[str, ChanceLevels | None] = {}
    for name in (data.reference_reader, *left_out):
        annotation = data.annotation(radiograph.id, finding, name)
        mask = None if annotation is None else rasterize_annotation(annotation, options.protocols[0].point_radius)
        if mask is None or not mask.any():
            references[name] = None
        else:
            references[name] = chance.levels(radiograph, finding, mask) if chance else ChanceLevels(mask)
    return references


def _append_scores(
    rows: RadiographScores,
    m: SaliencyMap,
    levels: ChanceLevels | None,
    radiograph: Radiograph,
    reader: str,
    options: ScoringOptions,
) -> None:
    """Add the scores of one map, if there is an annotation, and its pixel counts."""
    against = np.zeros(m.frame.size, bool) if levels is None else levels.reference
    count = int(np.count_nonzero(against))
    for protocol in options.protocols:
        placed = _place_or_failure(m, against, protocol)
        if levels is not None:
            rows.scores.extend(_score_rows(placed, m, levels, radiograph, reader, protocol, options.metrics))
        if m.kind != "points":
            both, predicted = (0, 0) if isinstance(placed, tuple) else placed.predicted_counts
            status = placed[0] if isinstance(placed, tuple) else m.status
            counts = (against.size, count, predicted, both)
            key = (protocol.name, m.source, radiograph.id, radiograph.patient, m.finding)
            rows.pixel_counts.append(PixelCounts(*key, *counts, m.probability, status))


def _append_leave_one_out(
    rows: RadiographScores,
    m: SaliencyMap,
    references: Mapping[str, ChanceLevels | None],
    radiograph: Radiograph,
    options: ScoringOptions,
) -> None:
    """Add the scores of a map against every reference that leaves out a reader."""
    for name, levels in list(references.items())[1:]:
        if levels is not None:
            for protocol in options.protocols:
                placed = _place_or_failure(m, levels.reference, protocol)
                scored = _score_rows(placed, m, levels, radiograph, name, protocol, options.metrics)
                rows.leave_one_out.extend(scored)


def _score_rows(
    placed: PlacedMap | tuple[str, str],
    m: SaliencyMap,
    levels: ChanceLevels,
    radiograph: Radiograph,
    reader: str,
    protocol: Protocol,
    metrics: Sequence[str],
) -> Iterator[Score]:
    """Yield a row per metric of a map against one reference."""
    kind, area = Source.parse(m.source).kind, int(np.count_nonzero(levels.reference)) / levels.reference.size
    key = (protocol.name, m.source, kind, radiograph.id, radiograph.patient, m.finding, reader)
    for metric, (value, status, reason) in _score_placed(placed, m, metrics, protocol, levels).items():
        yield Score(*key, metric, value, status, reason, m.probability, area)


def _append_shapes(
    rows: RadiographScores,
    data: Dataset,
    radiograph: Radiograph,
    finding: str,
    references: Mapping[str, ChanceLevels | None],
    options: ScoringOptions,
) -> None:
    """Add the shape of the reference annotation."""
    annotation = data.annotation(radiograph.id, finding, data.reference_reader)
    levels = references[data.reference_reader]
    if annotation is not None and levels is not None:
        rows.shapes.extend(_measure_shapes(annotation, levels.reference, radiograph, options.protocols))


def _measure_shapes(
    annotation: Annotation, reference: Array, radiograph: Radiograph, protocols: Sequence[Protocol]
) -> Iterator[AnnotationShape]:
    """Yield the shape of an annotation by every protocol."""
    n_outlines = len(annotation.read()) if annotation.kind == "contours" else annotation.n_outlines
    for protocol in protocols:
        shape = measure_shape(reference, n_outlines, protocol.definitions)
        case = (protocol.name, radiograph.id, radiograph.patient, annotation.finding)
        yield AnnotationShape(*case, float(shape.instances), shape.size, shape.elongation, shape.irrectangularity)


def _index_by_key(maps: Maps, radiograph: str) -> dict[tuple[str, str], SaliencyMap]:
    """Return (source, finding) -> map of a radiograph."""
    maps_by_key: dict[tuple[str, str], SaliencyMap] = {}
    for m in maps.maps_for(radiograph):
        if (m.source, m.finding) in maps_by_key:
            raise DataError(f"two maps of {m.source!r} for {m.finding!r} on {radiograph!r}; remove one")
        maps_by_key[m.source, m.finding] = m
    return maps_by_key


def _missing_map(radiograph: Radiograph, finding: str, source: str, reference: Array) -> SaliencyMap:
    """Return the map that stands for one that does not exist."""
    values, frame = np.zeros((0, 0), np.float32), Frame.whole((reference.shape[0], reference.shape[1]))
    reason = "there is no such map"
    return SaliencyMap(radiograph.id, finding, source, values, frame, status="missing", reason=reason)


def score(
    maps: Maps | Iterable[SaliencyMap],
    data: Dataset,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    protocol: ProtocolNames = "corrected",
    binarizer: str = "",
    findings: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Score maps against the annotations of a data set's reference reader.

    Parameters
    ----------
    maps
        A run, a folder opened by `sightline.open_maps`, or any iterable of `SaliencyMap`.
    data
        Data set with annotations.
    metrics
        Names of metrics.
    protocol
        'published', 'corrected' or 'both', a `sightline.Protocol` of your own, or a sequence of them.
    binarizer
        Rule that turns maps into masks, instead of the protocol's own: 'otsu', 'above:T' or 'top:F'.
    findings
        Findings, each of which counts for every source, with or without maps; by default a source is scored on those
        that it has maps of.

    Returns
    -------
    pandas.DataFrame
        One row per number, with the columns of `Score`.

    Raises
    ------
    UnknownNameError
        For a name that is not registered.
    DataError
        For two maps of the same source and finding, or a data set without annotations.

    Examples
    --------
    >>> import sightline as sl
    >>> data = sl.open_dataset("phantom:8?size=64")
    >>> table = sl.score(sl.ReaderMaps(data), data, ["iou"])
    >>> sorted(table.columns[:3])
    ['protocol', 'source', 'source_kind']
    """
    scored_maps = InMemoryMaps.from_maps(maps) if isinstance(maps, Iterable) else maps
    scored_findings = tuple(findings) if findings is not None else data.findings
    scored_maps = scored_maps if findings is None else WithFindings(scored_maps, scored_findings)
    protocols = adjust_protocols(get_protocols(protocol), binarizer=binarizer)
    options = ScoringOptions(protocols, scored_findings, resolve_metric_aliases(metrics))
    require_annotations(data)
    rows: list[Any] = []
    sources = scored_maps.sources
    chance = ChanceMaps.from_dataset(data, options.metrics)
    for radiograph in data.radiographs:
        rows += score_radiograph(radiograph, data, scored_maps, options, sources, chance).scores
    return pd.DataFrame(rows, columns=Score._fields)


def require_annotations(data: Dataset) -> None:
    """Refuse a data set without annotations, or with a reader whose name stands for the mean over readers.

    Parameters
    ----------
    data
        The data set.

    Raises
    ------
    DataError
        If nobody annotated anything, so that there is no reference, or if a reader has that name.
    """
    if any(is_average(str(Source.from_reader(reader))) for reader in data.readers):
        raise DataError(
            f"{data.spec!r} has a reader {ALL_READERS!r}, the name of the mean over readers; rename this one"
        )
    if not data.readers:
        raise DataError(
            f"{data.spec!r} has no annotations to score against; name a data set with masks, boxes or points"
        )
