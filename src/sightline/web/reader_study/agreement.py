"""How far readers agree with one another, with themselves, and with the reference; and how long they took.

Resamples draw patients. A case that one of two marked and the other did not overlaps by 0; that neither marked it is
agreement, which presence counts and overlap cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sightline.core import NAN, Array, Dataset
from sightline.data.reader_study.annotations import Reading
from sightline.evaluation.scoring import score
from sightline.imaging.geometry import contours_to_mask
from sightline.maps.references import Readers
from sightline.protocol import protocols
from sightline.stats.bootstrap import RESAMPLES, mean_with_ci, statistic_with_ci, weights
from sightline.stats.estimates import estimates
from sightline.stats.icc import icc
from sightline.stats.ratings import kappa

BETWEEN, WITHIN = "between", "within"
EVERYONE = "all"
Cases = dict[tuple[str, str], Reading]
"""(radiograph, finding) -> what one reader said of it on one occasion."""


class Pair(NamedTuple):
    """Two readings of one case, and one number of how far they agree."""

    kind: str
    """'between' two readers, or 'within' one: the first time and the second."""
    reader: str
    versus: str
    measure: str
    """'dice', 'iou' of outlines; 'distance' of points, in shares of the shorter side; 'hit': the point of `reader` in
    the outline of `versus`."""
    radiograph: str
    patient: str
    finding: str
    value: float


def agreement(said: Sequence[Reading], seed: int = 0) -> pd.DataFrame:
    """Every measure between every two readers, and of each reader with himself.

    Columns: kind, measure, reader, versus, value, low, high (95 %, resampling patients), n (cases), patients. Beside
    the measures of `Pair`: 'presence', Cohen's kappa of whether the finding was marked; 'icc area', the intraclass
    correlation of the outlined area where all marked something, between all readers at once ('all').
    """
    by = _grouped(said)
    rows = _means(pd.DataFrame(list(_pairs(by)), columns=Pair._fields), seed)
    for kind, task, a, b in _opposed(by):
        rows += _presence(kind, by[task, *a], by[task, *b], a[0], b[0], seed)
    rows += _areas(by, seed)
    columns = ["kind", "measure", "reader", "versus", "value", "low", "high", "n", "patients"]
    return pd.DataFrame(rows, columns=columns)


def times(said: Sequence[Reading], seed: int = 0) -> pd.DataFrame:
    """Active seconds a case, by reader and task: reader, task, seconds (mean), low, high, median, n, patients."""
    rows = []
    for (reader, task), of in pd.DataFrame(
        [(r.reader, r.case.task, r.case.patient, r.state.seconds) for r in said],
        columns=["reader", "task", "patient", "seconds"],
    ).groupby(["reader", "task"], sort=False):
        told = _mean(of["seconds"].to_numpy(float), of["patient"], seed)
        rows.append({"reader": reader, "task": task, **told, "median": float(of["seconds"].median())})
    frame = pd.DataFrame(rows, columns=["reader", "task", "value", "low", "high", "median", "n", "patients"])
    return frame.rename(columns={"value": "seconds"})


def benchmark(data: Dataset, seed: int = 0) -> pd.DataFrame:
    """Every reader against the reference, as any map is scored: IoU, Dice and hits with intervals, by finding.

    data: of `with_readers`. Columns of `sightline.stats.estimates.estimates`; empty where nothing can be scored.
    """
    metrics = ("iou", "dice", "hit")
    found = score(Readers(data), data, metrics)
    if found.empty:
        return found
    return pd.concat([estimates(found[found["metric"] == m], protocols("corrected"), seed=seed) for m in metrics
                      if (found["metric"] == m).any()], ignore_index=True)  # fmt: skip


def _grouped(said: Sequence[Reading]) -> dict[tuple[str, str, int], Cases]:
    """(task, reader, occasion) -> cases."""
    by: dict[tuple[str, str, int], Cases] = {}
    for r in said:
        by.setdefault((r.case.task, r.reader, r.occasion), {})[r.case.radiograph, r.case.finding] = r
    return by


def _opposed(by: dict[tuple[str, str, int], Cases]) -> Iterator[tuple[str, str, tuple[str, int], tuple[str, int]]]:
    """(kind, task, who and when, who and when) of every two readings of the same task."""
    for task in ("contour", "point"):
        readers = list(dict.fromkeys(reader for t, reader, _ in by if t == task))
        for a, b in combinations(readers, 2):
            if (task, a, 0) in by and (task, b, 0) in by:
                yield BETWEEN, task, (a, 0), (b, 0)
        yield from ((WITHIN, task, (a, 0), (a, 1)) for a in readers if (task, a, 0) in by and (task, a, 1) in by)


def _pairs(by: dict[tuple[str, str, int], Cases]) -> Iterator[Pair]:
    for kind, task, a, b in _opposed(by):
        for one, other in _both(by[task, *a], by[task, *b]):
            yield from (Pair(kind, a[0], b[0], *told) for told in _compared(one, other))
    points, outlines = _first(by, "point"), _first(by, "contour")
    for pointer, drawer in [(p, d) for p in points for d in outlines if p != d]:
        for one, other in _both(points[pointer], outlines[drawer]):
            if one.marked and other.marked:
                yield Pair(BETWEEN, pointer, drawer, "hit", *_case(one), float(_hits(one, _mask(other))))


def _first(by: dict[tuple[str, str, int], Cases], task: str) -> dict[str, Cases]:
    """Reader -> what was said at first sight."""
    return {who: cases for (t, who, occasion), cases in by.items() if t == task and occasion == 0}


def _both(one: Cases, other: Cases) -> Iterator[tuple[Reading, Reading]]:
    yield from ((one[key], other[key]) for key in one if key in other)


def _case(r: Reading) -> tuple[str, str, str]:
    return r.case.radiograph, r.case.patient, r.case.finding


def _compared(one: Reading, other: Reading) -> Iterator[tuple[str, str, str, str, float]]:
    """(measure, radiograph, patient, finding, value)"""
    if one.case.task == "point":
        if one.marked and other.marked:
            far = float(np.hypot(*(one.points[0] - other.points[0]))) / min(one.case.height, one.case.width)
            yield "distance", *_case(one), far
        return
    if one.marked or other.marked:
        a, b = _mask(one), _mask(other)
        both, either = int((a & b).sum()), int((a | b).sum())
        yield "iou", *_case(one), both / either if either else 0.0
        yield "dice", *_case(one), 2 * both / int(a.sum() + b.sum()) if either else 0.0


def _mask(r: Reading) -> Array:
    return contours_to_mask(r.contours, (r.case.height, r.case.width))


def _hits(r: Reading, mask: Array) -> bool:
    row, col = np.minimum(r.points[0].astype(int), np.array(mask.shape) - 1)
    return bool(mask[row, col])


def _means(pairs: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    rows = []
    key = ["kind", "measure", "reader", "versus"]
    for names, of in pairs.groupby(key, sort=False):
        rows.append(dict(zip(key, names, strict=True)) | _mean(of["value"].to_numpy(float), of["patient"], seed))
    return rows


def _mean(values: Array, patients: pd.Series[str], seed: int) -> dict[str, Any]:
    row = mean_with_ci(values, patients, seed)
    return {"value": row["mean"], "low": row["low"], "high": row["high"], "n": len(values), "patients": row["patients"]}


def _presence(kind: str, one: Cases, other: Cases, reader: str, versus: str, seed: int) -> list[dict[str, Any]]:
    """Kappa of whether the finding was marked."""
    both = list(_both(one, other))
    group, patients = pd.factorize(np.array([r.case.patient for r, _ in both], dtype=object), sort=True)
    table = np.zeros((len(patients), 2, 2))
    for g, (a, b) in zip(group, both, strict=True):
        table[g, int(a.marked), int(b.marked)] += 1
    w = weights(len(patients), RESAMPLES, seed).astype(float)
    draws = kappa((w @ table.reshape(-1, 4)).reshape(-1, 2, 2), "nominal")
    ends = _ends(np.append(kappa(table.sum(0), "nominal"), draws), len(both), len(patients))
    return [{"kind": kind, "measure": f"presence, {both[0][0].case.task}" if both else "presence", "reader": reader,
             "versus": versus, **ends}]  # fmt: skip


def _areas(by: dict[tuple[str, str, int], Cases], seed: int) -> Iterator[dict[str, Any]]:
    """Intraclass correlation of the outlined area: of all readers, and of each with himself."""
    first = _first(by, "contour")
    if len(first) > 1:
        yield {"kind": BETWEEN, "measure": "icc area", "reader": EVERYONE, "versus": EVERYONE,
               **_icc(list(first.values()), seed)}  # fmt: skip
    for who, cases in first.items():
        if ("contour", who, 1) in by:
            again = by["contour", who, 1]
            yield {"kind": WITHIN, "measure": "icc area", "reader": who, "versus": who, **_icc([cases, again], seed)}


def _icc(raters: list[Cases], seed: int) -> dict[str, Any]:
    shared = [key for key in raters[0] if all(key in cases and cases[key].marked for cases in raters)]
    if not shared:
        return {"value": NAN, "low": NAN, "high": NAN, "n": 0, "patients": 0}
    areas = np.array([[_mask(cases[key]).mean() for cases in raters] for key in shared])  # (N, K)
    group, patients = pd.factorize(np.array([raters[0][key].case.patient for key in shared], dtype=object), sort=True)
    w = weights(len(patients), RESAMPLES, seed)[:, group]  # (B, N)
    draws = np.append(icc(areas, np.ones((1, len(shared)))), icc(areas, w))
    return _ends(draws, len(shared), len(patients))


def _ends(found: Array, n: int, patients: int) -> dict[str, Any]:
    """found: the value of the sample, then those of its resamples."""
    value, low, high = statistic_with_ci(found, patients)
    return {"value": value, "low": low, "high": high, "n": n, "patients": patients}
