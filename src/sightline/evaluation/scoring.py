"""`score`: maps × metrics × a reader's marks -> one tidy table. Fast, streaming, and free of torch.

One row per number. NaN stands only where the truth is undefined; a map that failed (missing, flat, not finite,
unreadable, refused) takes the worst value of the metric, so that giving up never pays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sightline.core import NAN, Array, Dataset, Frame, Maps, Mark, Radiograph, SaliencyMap, Source, status_of
from sightline.errors import DataError
from sightline.imaging.geometry import place_whole, region
from sightline.imaging.shape import shape
from sightline.maps.collections import Answering, InMemory
from sightline.metrics.localization import peaks
from sightline.metrics.placed_map import Placed, lay
from sightline.metrics.registry import MetricFacts, marks_metric, metric_of
from sightline.protocol import Protocol, adjusted, protocols

DEFAULT = ("iou", "hit")
_TAKES_EXTENT = ("confusion", "mask", "histogram", "map")


class Score(NamedTuple):
    """One number and where it comes from: a row of the score table."""

    protocol: str
    source: str
    kind: str
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
    why: str
    probability: float
    area: float
    """Share of the image that the mark covers, in (0, 1]."""


class Ledger(NamedTuple):
    """One map and what became of it, scored or not."""

    source: str
    radiograph: str
    finding: str
    status: str
    why: str
    probability: float
    marked: bool
    """Whether the reference reader marked this finding here; without a mark there is no truth to score by."""


class Extent(NamedTuple):
    """What one map claims on one image, whether the reader marked it or not: what full-data results are made of."""

    protocol: str
    source: str
    radiograph: str
    patient: str
    finding: str
    pixels: int
    """Of the image."""
    marked: int
    """Pixels of the mark; 0 without one."""
    predicted: int
    """Pixels of the binarized map; 0 for a map that failed."""
    both: int
    """Pixels of both."""
    probability: float
    status: str


class Shape(NamedTuple):
    """How a mark looks, by the definition of one protocol; see `sightline.imaging.shape`."""

    protocol: str
    radiograph: str
    patient: str
    finding: str
    instances: float
    size: float
    elongation: float
    irrectangularity: float


class Scored(NamedTuple):
    """Everything that is told of one radiograph: the rows of four tables."""

    scores: list[Score]
    maps: list[Ledger]
    extents: list[Extent]
    shapes: list[Shape]


def _trouble(m: SaliencyMap, truth: Array) -> tuple[str, str]:
    """(status, why) of a map against the mark it is to be scored by."""
    if m.status != "ok":
        return m.status, m.why
    if m.frame.size != truth.shape:
        return "refused", f"the map is of an image of {m.frame.size}, the mark lies on one of {truth.shape} (H, W)"
    status = status_of(m.values)
    return status, "" if status == "ok" else f"the map is {status}"


def _applies(facts: MetricFacts, m: SaliencyMap) -> bool:
    takes = facts.takes
    return (m.kind != "points" or takes == "peaks") and (m.kind != "mask" or takes in _TAKES_EXTENT)


def _value(spec: str, p: Placed) -> float:
    entry, binarizer = metric_of(spec)
    takes = entry.facts.takes
    if takes == "histogram":
        return float(entry(p.histogram))
    if takes == "confusion":
        return float(entry(p.confusion(binarizer)))
    if takes == "peaks":
        return float(entry(peaks(p.pixels, p.truth[p.window], p.protocol.ties)))
    if takes == "mask":
        return float(entry(p.mask, p.truth))
    return float(entry(place_whole(p.map.values, p.frame), p.truth))


def measure(
    m: SaliencyMap, truth: Array, names: Sequence[str], protocol: Protocol
) -> dict[str, tuple[float, str, str]]:
    """Every metric of one map against one mark: name -> (value, status, why).

    truth: bool (H, W) of the original, at least one pixel; names: metrics, as `metric_of` reads them. Metrics that the
    map's kind cannot answer are left out.
    """
    return _measure(_laid(m, truth, protocol), m, names, protocol)


def _laid(m: SaliencyMap, truth: Array, protocol: Protocol) -> Placed | tuple[str, str]:
    """The map on its image, or (status, why) of a map that has nothing to lay."""
    status, why = _trouble(m, truth)
    if status != "ok":
        return status, why
    try:
        return lay(m, truth, protocol)
    except DataError as error:
        return "flat", str(error)


def _measure(
    laid: Placed | tuple[str, str], m: SaliencyMap, names: Sequence[str], protocol: Protocol
) -> dict[str, tuple[float, str, str]]:
    out = {}
    for spec in names:
        marks_metric(spec)
        facts = metric_of(spec)[0].facts
        if not _applies(facts, m):
            continue
        empties = protocol.empty_prediction == "drop" and facts.takes in ("confusion", "mask")
        if isinstance(laid, tuple):
            status, why = laid
            dropped = f"{why} (no prediction: dropped by the {protocol.name} protocol)"
            out[spec] = (NAN, status, dropped) if empties else (facts.worst, status, why)
        elif empties and laid.claim[1] == 0:
            out[spec] = (NAN, "ok", f"empty prediction: dropped by the {protocol.name} protocol")
        else:
            out[spec] = (_value(spec, laid), "ok", "")
    return out


def score_radiograph(
    radiograph: Radiograph,
    data: Dataset,
    maps: Maps,
    names: Sequence[str],
    chosen: Sequence[Protocol],
    findings: Sequence[str],
    full: bool = False,
) -> Scored:
    """Score every map of one radiograph. A map that a source owes and does not have is scored as missing.

    full: also lay the maps that nobody marked, to tell how much they claim.
    Errors: `DataError` for two maps of one source for the same finding.
    """
    held = _by_key(maps, radiograph.id)
    owed = {(s, f) for s, covered in maps.sources.items() for f in covered if f in findings}
    told = Scored([], [], [], [])
    for finding in findings:
        mark = data.marks(radiograph.id, finding, data.truth)
        truth = None if mark is None else region(mark, chosen[0].point_radius)
        if mark is not None and truth is not None and truth.any():
            told.shapes.extend(_shapes(mark, truth, radiograph, chosen))
        else:
            truth = None
        for source in [s for s in maps.sources if (s, finding) in owed]:
            m = held.pop((source, finding), None)
            if m is None:
                if truth is None:
                    continue
                m = _missing(radiograph, finding, source, truth)
            status, why = (m.status, m.why) if truth is None else _trouble(m, truth)
            told.maps.append(Ledger(source, m.radiograph, finding, status, why, m.probability, truth is not None))
            if truth is not None or full:
                _tell(told, m, truth, radiograph, data.truth, names, chosen)
    told.maps.extend(
        Ledger(s, radiograph.id, f, m.status, f"finding {f!r} is not scored here", m.probability, False)
        for (s, f), m in held.items()
    )
    return told


def _tell(
    told: Scored,
    m: SaliencyMap,
    truth: Array | None,
    radiograph: Radiograph,
    reader: str,
    names: Sequence[str],
    chosen: Sequence[Protocol],
) -> None:
    """Add the scores of one map, where there is a mark, and its extent."""
    marked, against = truth is not None, np.zeros(m.frame.size, bool) if truth is None else truth
    count = int(np.count_nonzero(truth)) if truth is not None else 0
    who = (m.source, radiograph.id, radiograph.patient, m.finding)
    for protocol in chosen:
        laid = _laid(m, against, protocol)
        if marked:
            head = (protocol.name, m.source, Source.parse(m.source).kind, *who[1:], reader)
            for metric, (value, status, why) in _measure(laid, m, names, protocol).items():
                told.scores.append(Score(*head, metric, value, status, why, m.probability, count / against.size))
        if m.kind != "points":
            both, predicted = (0, 0) if isinstance(laid, tuple) else laid.claim
            status = laid[0] if isinstance(laid, tuple) else m.status
            counts = (against.size, count, predicted, both)
            told.extents.append(Extent(protocol.name, *who, *counts, m.probability, status))


def _shapes(mark: Mark, truth: Array, radiograph: Radiograph, chosen: Sequence[Protocol]) -> Iterator[Shape]:
    outlines = len(mark.read()) if mark.kind == "contours" else mark.outlines
    for protocol in chosen:
        s = shape(truth, outlines, protocol.definitions)
        who = (protocol.name, radiograph.id, radiograph.patient, mark.finding)
        yield Shape(*who, float(s.instances), s.size, s.elongation, s.irrectangularity)


def _by_key(maps: Maps, radiograph: str) -> dict[tuple[str, str], SaliencyMap]:
    held: dict[tuple[str, str], SaliencyMap] = {}
    for m in maps.of(radiograph):
        if (m.source, m.finding) in held:
            raise DataError(f"two maps of {m.source!r} for {m.finding!r} on {radiograph!r}; remove one")
        held[m.source, m.finding] = m
    return held


def _missing(radiograph: Radiograph, finding: str, source: str, truth: Array) -> SaliencyMap:
    nothing, frame = np.zeros((0, 0), np.float32), Frame.whole((truth.shape[0], truth.shape[1]))
    why = "there is no such map"
    return SaliencyMap(radiograph.id, finding, source, nothing, frame, status="missing", why=why)


def score(
    maps: Maps | Iterable[SaliencyMap],
    data: Dataset,
    metrics: Sequence[str] = DEFAULT,
    *,
    protocol: str = "corrected",
    binarizer: str = "",
    findings: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Score maps against the marks of a data set's reference reader.

    maps: a run, a folder opened by `sightline.maps_in`, or any iterable of `SaliencyMap`; metrics: registered names;
    protocol: 'published', 'corrected' or 'both'; binarizer: instead of the protocol's ('otsu', 'above:T', 'top:F');
    findings: each counts for every source, with or without maps; by default a source answers for those it has maps of.
    Returns one row per number with the columns of `Score`. Errors: `UnknownNameError` for a name that is not
    registered, `DataError` for duplicate maps or a data set without marks.

    >>> import sightline as sl
    >>> data = sl.dataset("phantom:8?size=64")
    >>> table = sl.score(sl.Readers(data), data, ["iou"])
    >>> sorted(table.columns[:3])
    ['kind', 'protocol', 'source']
    """
    held = InMemory.gather(maps) if isinstance(maps, Iterable) else maps
    chosen = adjusted(protocols(protocol), binarizer=binarizer)
    wanted = tuple(findings) if findings is not None else data.findings
    held = held if findings is None else Answering(held, wanted)
    require_marks(data)
    rows: list[Any] = []
    for radiograph in data.radiographs:
        rows += score_radiograph(radiograph, data, held, metrics, chosen, wanted).scores
    return pd.DataFrame(rows, columns=Score._fields)


def require_marks(data: Dataset) -> None:
    """Errors: `DataError` if nobody marked anything, so that there is no truth to score by."""
    if not data.readers:
        raise DataError(f"{data.spec!r} has no marks to score against; name a data set with masks, boxes or points")
