"""`score`: maps × metrics × a reader's marks -> one tidy table. Fast, streaming, and free of torch.

One row per number. NaN stands only where the truth is undefined; a map that failed (missing, flat, not finite,
unreadable, refused) takes the worst value of the metric, so that giving up never pays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sightline.benchmark import InMemory
from sightline.binarize import cut_at, mask_at, refilled
from sightline.core import NAN, Array, DataError, Dataset, Frame, Maps, Radiograph, SaliencyMap, source_kind, status_of
from sightline.geometry import place, place_whole, region
from sightline.histogram import Confusion, JointHistogram, joint_histogram
from sightline.metrics import MetricFacts, metrics
from sightline.metrics.localization import peaks
from sightline.protocol import Protocol, protocols
from sightline.registry import Entry

DEFAULT = ("iou", "hit")
_TAKES_EXTENT = ("confusion", "mask", "histogram", "map")


class Score(NamedTuple):
    """One number and where it comes from: a row of the score table."""

    protocol: str
    source: str
    kind: str
    """'model', 'control' or 'reader'."""
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


@dataclass(frozen=True, slots=True)
class _Placed:
    """A map laid on its radiograph, counted against its mark and cut: what the metrics of one protocol share."""

    frame: Frame
    map: SaliencyMap
    pixels: Array
    """float32 (H', W'): the seen part."""
    window: tuple[slice, slice]
    truth: Array
    histogram: JointHistogram
    bin: int
    mask: Array | None
    """bool (H', W'), only where the protocol redraws it; else the mask is `bin` and above."""

    @property
    def confusion(self) -> Confusion:
        if self.mask is None:
            return self.histogram.confusion(self.bin)
        tp = int(np.count_nonzero(self.mask & self.truth[self.window]))
        fp = int(np.count_nonzero(self.mask)) - tp
        return Confusion(tp, fp, self.histogram.positives - tp, self.histogram.negatives - fp)

    @property
    def predicted(self) -> Array:
        """bool (H, W); unseen pixels are not predicted."""
        full = np.zeros(self.truth.shape, bool)
        full[self.window] = mask_at(self.pixels, self.histogram, self.bin) if self.mask is None else self.mask
        return full


def predicted_mask(m: SaliencyMap, protocol: Protocol) -> Array:
    """The binarized map as a bool (H, W) mask on the original; all False for a map that failed."""
    if m.status != "ok" or status_of(m.values) != "ok":
        return np.zeros(m.frame.size, bool)
    return _place(m, np.zeros(m.frame.size, bool), protocol).predicted


def _place(m: SaliencyMap, truth: Array, protocol: Protocol) -> _Placed:
    frame = m.frame if protocol.frame == "carried" else Frame.whole(m.frame.size)
    pixels, window = place(m.values, frame)
    histogram = joint_histogram(pixels, truth, window)
    bin_ = histogram.above(0.5) if m.kind == "mask" else cut_at(histogram, protocol.binarizer)
    mask = None
    if protocol.fill_holes and protocol.binarizer == "otsu" and m.kind == "map":
        mask = refilled(mask_at(pixels, histogram, bin_))
    return _Placed(frame, m, pixels, window, truth, histogram, bin_, mask)


def _trouble(m: SaliencyMap, truth: Array) -> tuple[str, str]:
    """(status, why) of a map against the mark it is to be scored by."""
    if m.status != "ok":
        return m.status, m.why
    if m.frame.size != truth.shape:
        return "refused", f"the map is of an image of {m.frame.size}, the mark lies on one of {truth.shape} (H, W)"
    status = status_of(m.values)
    return status, "" if status == "ok" else f"the map is {status}"


def _applies(entry: Entry[MetricFacts], m: SaliencyMap) -> bool:
    takes = entry.facts.takes
    return (m.kind != "points" or takes == "peaks") and (m.kind != "mask" or takes in _TAKES_EXTENT)


def _value(entry: Entry[MetricFacts], p: _Placed, protocol: Protocol) -> float:
    takes = entry.facts.takes
    if takes == "histogram":
        return float(entry(p.histogram))
    if takes == "confusion":
        return float(entry(p.confusion))
    if takes == "peaks":
        return float(entry(peaks(p.pixels, p.truth[p.window], protocol.ties)))
    if takes == "mask":
        return float(entry(p.predicted, p.truth))
    return float(entry(place_whole(p.map.values, p.frame), p.truth))


def measure(
    m: SaliencyMap, truth: Array, names: Sequence[str], protocol: Protocol
) -> dict[str, tuple[float, str, str]]:
    """Every metric of one map against one mark: name -> (value, status, why).

    truth: bool (H, W) of the original, at least one pixel. Metrics that the map's kind cannot answer are left out.
    """
    entries = [metrics[name] for name in names]
    status, why = _trouble(m, truth)
    placed = None
    if status == "ok":
        try:
            placed = _place(m, truth, protocol)
        except DataError as error:  # a map finer than its image can lose its only peak when laid on it
            status, why = "flat", str(error)
    out = {}
    for entry in (e for e in entries if _applies(e, m)):
        empties = protocol.empty_prediction == "drop" and entry.facts.takes in ("confusion", "mask")
        if placed is None:
            value, note = entry.facts.worst, why
            if empties:
                value, note = NAN, f"{why} (no prediction: dropped by the {protocol.name} protocol)"
        elif empties and placed.mask is not None and not placed.mask.any():
            value, note = NAN, f"empty prediction: dropped by the {protocol.name} protocol"
        else:
            value, note = _value(entry, placed, protocol), ""
        out[entry.name] = (value, status, note)
    return out


def score_radiograph(
    radiograph: Radiograph,
    data: Dataset,
    maps: Maps,
    names: Sequence[str],
    chosen: Sequence[Protocol],
    findings: Sequence[str],
) -> tuple[list[Score], list[Ledger]]:
    """Score every map of one radiograph. A map that a source owes and does not have is scored as missing.

    Errors: `DataError` for two maps of one source for the same finding.
    """
    held = _by_key(maps, radiograph.id)
    owed = {(s, f) for s, covered in maps.sources.items() for f in covered if f in findings}
    scores: list[Score] = []
    ledger: list[Ledger] = []
    for finding in findings:
        mark = data.marks(radiograph.id, finding, data.truth)
        truth = None if mark is None else region(mark, chosen[0].point_radius)
        if truth is not None and not truth.any():
            truth = None
        for source in [s for s in maps.sources if (s, finding) in owed]:
            m = held.pop((source, finding), None)
            if m is None:
                if truth is None:
                    continue
                m = _missing(radiograph, finding, source, truth)
            status, why = (m.status, m.why) if truth is None else _trouble(m, truth)
            ledger.append(Ledger(source, m.radiograph, finding, status, why, m.probability, truth is not None))
            if truth is not None:
                scores += _rows(m, truth, radiograph, data.truth, names, chosen)
    ledger += [
        Ledger(s, radiograph.id, f, m.status, f"finding {f!r} is not scored here", m.probability, False)
        for (s, f), m in held.items()
    ]
    return scores, ledger


def _rows(
    m: SaliencyMap, truth: Array, radiograph: Radiograph, reader: str, names: Sequence[str], chosen: Sequence[Protocol]
) -> Iterable[Score]:
    area = float(truth.mean())
    who = (source_kind(m.source), radiograph.id, radiograph.patient, m.finding, reader)
    for protocol in chosen:
        for metric, (value, status, why) in measure(m, truth, names, protocol).items():
            yield Score(protocol.name, m.source, *who, metric, value, status, why, m.probability, area)


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
    protocol: 'published', 'corrected' or 'both'; binarizer: instead of the protocol's ('otsu', 'above:T', 'top:F').
    Returns one row per number with the columns of `Score`. Errors: `UnknownNameError` for a name that is not
    registered, `DataError` for duplicate maps or a data set without marks.

    >>> import sightline as sl
    >>> data = sl.dataset("phantom:8?size=64")
    >>> table = sl.score(sl.Readers(data), data, ["iou"])
    >>> sorted(table.columns[:3])
    ['kind', 'protocol', 'source']
    """
    held = InMemory.gather(maps) if isinstance(maps, Iterable) else maps
    chosen = with_binarizer(protocols(protocol), binarizer)
    wanted = tuple(findings) if findings is not None else data.findings
    require_marks(data)
    rows: list[Any] = []
    for radiograph in data.radiographs:
        rows += score_radiograph(radiograph, data, held, metrics, chosen, wanted)[0]
    return pd.DataFrame(rows, columns=Score._fields)


def with_binarizer(chosen: Sequence[Protocol], binarizer: str) -> tuple[Protocol, ...]:
    """The protocols, with another binarizer if one is named."""
    return tuple(replace(p, binarizer=binarizer) if binarizer else p for p in chosen)


def require_marks(data: Dataset) -> None:
    """Errors: `DataError` if nobody marked anything, so that there is no truth to score by."""
    if not data.readers:
        raise DataError(f"{data.spec!r} has no marks to score against; name a data set with masks, boxes or points")
