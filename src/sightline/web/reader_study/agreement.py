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
from sightline.data.reader_study.annotations import CompletedReading
from sightline.evaluation.scoring import score
from sightline.imaging.masks import contours_to_mask
from sightline.maps.references import ReaderMaps
from sightline.protocol import get_protocols
from sightline.stats.bootstrap import RESAMPLES, draw_weights, mean_with_ci, statistic_with_ci
from sightline.stats.estimates import estimates
from sightline.stats.icc import icc
from sightline.stats.ratings import kappa

INTER_READER, INTRA_READER = "between", "within"
ALL_READERS = "all"
ReadingsByCase = dict[tuple[str, str], CompletedReading]
"""(radiograph, finding) -> what one reader said of it on one occasion."""


class PairwiseAgreement(NamedTuple):
    """Two readings of one case, and one number of how far they agree."""

    kind: str
    """'between' two readers, or 'within' one: the first time and the second."""
    reader: str
    versus: str
    measure: str
    """'dice', 'iou' of outlines; 'distance' of points, in shares of the shorter side; 'pointing-game':
    the point of `reader` in the outline of `versus`."""
    radiograph: str
    patient: str
    finding: str
    value: float


def measure_agreement(readings: Sequence[CompletedReading], seed: int = 0) -> pd.DataFrame:
    """Every measure between every two readers, and of each reader with himself.

    Columns: kind, measure, reader, versus, value, low, high (95 %, resampling patients), n (cases), patients. Beside
    the measures of `PairwiseAgreement`: 'presence', Cohen's kappa of whether the finding was marked; 'icc area', the
    intraclass
    correlation of the outlined area where all marked something, between all readers at once ('all').
    """
    by = _group_readings(readings)
    rows = _mean_by_comparison(pd.DataFrame(list(_compare_all(by)), columns=PairwiseAgreement._fields), seed)
    for kind, task, a, b in _comparisons(by):
        rows += _presence_kappa(kind, by[task, *a], by[task, *b], a[0], b[0], seed)
    rows += _area_icc(by, seed)
    columns = ["kind", "measure", "reader", "versus", "value", "low", "high", "n", "patients"]
    return pd.DataFrame(rows, columns=columns)


def reading_times(readings: Sequence[CompletedReading], seed: int = 0) -> pd.DataFrame:
    """Active seconds a case, by reader and task: reader, task, seconds (mean), low, high, median, n, patients."""
    rows = []
    for (reader, task), of in pd.DataFrame(
        [(r.reader, r.case.task, r.case.patient, r.state.seconds) for r in readings],
        columns=["reader", "task", "patient", "seconds"],
    ).groupby(["reader", "task"], sort=False):
        told = _mean_with_ci(of["seconds"].to_numpy(float), of["patient"], seed)
        rows.append({"reader": reader, "task": task, **told, "median": float(of["seconds"].median())})
    frame = pd.DataFrame(rows, columns=["reader", "task", "value", "low", "high", "median", "n", "patients"])
    return frame.rename(columns={"value": "seconds"})


def score_readers(data: Dataset, seed: int = 0) -> pd.DataFrame:
    """Every reader against the reference, as any map is scored: IoU, Dice and hits with intervals, by finding.

    data: of `add_study_readers`. Columns of `sightline.stats.estimates.estimates`; empty where nothing can be scored.
    """
    metrics = ("iou", "dice", "pointing-game")
    found = score(ReaderMaps(data), data, metrics)
    if found.empty:
        return found
    return pd.concat(
        [
            estimates(found[found["metric"] == m], get_protocols("corrected"), seed=seed)
            for m in metrics
            if (found["metric"] == m).any()
        ],
        ignore_index=True,
    )


def _group_readings(readings: Sequence[CompletedReading]) -> dict[tuple[str, str, int], ReadingsByCase]:
    """(task, reader, occasion) -> cases."""
    by: dict[tuple[str, str, int], ReadingsByCase] = {}
    for r in readings:
        by.setdefault((r.case.task, r.reader, r.occasion), {})[r.case.radiograph, r.case.finding] = r
    return by


def _comparisons(
    groups: dict[tuple[str, str, int], ReadingsByCase],
) -> Iterator[tuple[str, str, tuple[str, int], tuple[str, int]]]:
    """(kind, task, who and when, who and when) of every two readings of the same task."""
    for task in ("contour", "point"):
        readers = list(dict.fromkeys(reader for t, reader, _ in groups if t == task))
        for a, b in combinations(readers, 2):
            if (task, a, 0) in groups and (task, b, 0) in groups:
                yield INTER_READER, task, (a, 0), (b, 0)
        yield from (
            (INTRA_READER, task, (a, 0), (a, 1)) for a in readers if (task, a, 0) in groups and (task, a, 1) in groups
        )


def _compare_all(groups: dict[tuple[str, str, int], ReadingsByCase]) -> Iterator[PairwiseAgreement]:
    for kind, task, a, b in _comparisons(groups):
        for one, other in _shared_readings(groups[task, *a], groups[task, *b]):
            yield from (PairwiseAgreement(kind, a[0], b[0], *told) for told in _compare(one, other))
    points, outlines = _first_readings(groups, "point"), _first_readings(groups, "contour")
    for pointer, drawer in [(p, d) for p in points for d in outlines if p != d]:
        for one, other in _shared_readings(points[pointer], outlines[drawer]):
            if one.has_annotation and other.has_annotation:
                yield PairwiseAgreement(
                    INTER_READER,
                    pointer,
                    drawer,
                    "pointing-game",
                    *_case_fields(one),
                    float(_is_hit(one, _contour_mask(other))),
                )


def _first_readings(groups: dict[tuple[str, str, int], ReadingsByCase], task: str) -> dict[str, ReadingsByCase]:
    """Reader -> what was said at first sight."""
    return {who: cases for (t, who, occasion), cases in groups.items() if t == task and occasion == 0}


def _shared_readings(
    first: ReadingsByCase, second: ReadingsByCase
) -> Iterator[tuple[CompletedReading, CompletedReading]]:
    yield from ((first[key], second[key]) for key in first if key in second)


def _case_fields(r: CompletedReading) -> tuple[str, str, str]:
    return r.case.radiograph, r.case.patient, r.case.finding


def _compare(first: CompletedReading, second: CompletedReading) -> Iterator[tuple[str, str, str, str, float]]:
    """(measure, radiograph, patient, finding, value)"""
    if first.case.task == "point":
        if first.has_annotation and second.has_annotation:
            far = float(np.hypot(*(first.points[0] - second.points[0]))) / min(first.case.height, first.case.width)
            yield "distance", *_case_fields(first), far
        return
    if first.has_annotation or second.has_annotation:
        a, b = _contour_mask(first), _contour_mask(second)
        both, either = int((a & b).sum()), int((a | b).sum())
        yield "iou", *_case_fields(first), both / either if either else 0.0
        yield "dice", *_case_fields(first), 2 * both / int(a.sum() + b.sum()) if either else 0.0


def _contour_mask(r: CompletedReading) -> Array:
    return contours_to_mask(r.contours, (r.case.height, r.case.width))


def _is_hit(r: CompletedReading, mask: Array) -> bool:
    row, col = np.minimum(r.points[0].astype(int), np.array(mask.shape) - 1)
    return bool(mask[row, col])


def _mean_by_comparison(pairs: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    rows = []
    key = ["kind", "measure", "reader", "versus"]
    for names, of in pairs.groupby(key, sort=False):
        rows.append(
            dict(zip(key, names, strict=True)) | _mean_with_ci(of["value"].to_numpy(float), of["patient"], seed)
        )
    return rows


def _mean_with_ci(values: Array, patients: pd.Series[str], seed: int) -> dict[str, Any]:
    row = mean_with_ci(values, patients, seed)
    return {"value": row["mean"], "low": row["low"], "high": row["high"], "n": len(values), "patients": row["patients"]}


def _presence_kappa(
    kind: str, first: ReadingsByCase, second: ReadingsByCase, reader: str, versus: str, seed: int
) -> list[dict[str, Any]]:
    """Kappa of whether the finding was marked."""
    both = list(_shared_readings(first, second))
    group, patients = pd.factorize(np.array([r.case.patient for r, _ in both], dtype=object), sort=True)
    table = np.zeros((len(patients), 2, 2))
    for g, (a, b) in zip(group, both, strict=True):
        table[g, int(a.has_annotation), int(b.has_annotation)] += 1
    w = draw_weights(len(patients), RESAMPLES, seed).astype(float)
    draws = kappa((w @ table.reshape(-1, 4)).reshape(-1, 2, 2), "nominal")
    ends = _statistic_with_ci(np.append(kappa(table.sum(0), "nominal"), draws), len(both), len(patients))
    return [
        {
            "kind": kind,
            "measure": f"presence, {both[0][0].case.task}" if both else "presence",
            "reader": reader,
            "versus": versus,
            **ends,
        }
    ]


def _area_icc(groups: dict[tuple[str, str, int], ReadingsByCase], seed: int) -> Iterator[dict[str, Any]]:
    """Intraclass correlation of the outlined area: of all readers, and of each with himself."""
    first = _first_readings(groups, "contour")
    if len(first) > 1:
        yield {
            "kind": INTER_READER,
            "measure": "icc area",
            "reader": ALL_READERS,
            "versus": ALL_READERS,
            **_icc_with_ci(list(first.values()), seed),
        }
    for who, cases in first.items():
        if ("contour", who, 1) in groups:
            again = groups["contour", who, 1]
            yield {
                "kind": INTRA_READER,
                "measure": "icc area",
                "reader": who,
                "versus": who,
                **_icc_with_ci([cases, again], seed),
            }


def _icc_with_ci(raters: list[ReadingsByCase], seed: int) -> dict[str, Any]:
    shared = [key for key in raters[0] if all(key in cases and cases[key].has_annotation for cases in raters)]
    if not shared:
        return {"value": NAN, "low": NAN, "high": NAN, "n": 0, "patients": 0}
    areas = np.array([[_contour_mask(cases[key]).mean() for cases in raters] for key in shared])  # (N, K)
    group, patients = pd.factorize(np.array([raters[0][key].case.patient for key in shared], dtype=object), sort=True)
    w = draw_weights(len(patients), RESAMPLES, seed)[:, group]  # (B, N)
    draws = np.append(icc(areas, np.ones((1, len(shared)))), icc(areas, w))
    return _statistic_with_ci(draws, len(shared), len(patients))


def _statistic_with_ci(values: Array, n: int, patients: int) -> dict[str, Any]:
    """found: the value of the sample, then those of its resamples."""
    value, low, high = statistic_with_ci(values, patients)
    return {"value": value, "low": low, "high": high, "n": n, "patients": patients}
