"""Agreement of readers with one another, with themselves and with the reference, and reading times.

Intervals are over patients. The overlap of a case that only one of two readers annotated is 0. A case that neither
annotated has no overlap: it counts in the agreement on presence.
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
from sightline.stats.estimates import estimates
from sightline.stats.icc import icc
from sightline.stats.intervals import Scale, infer, mean_with_ci
from sightline.stats.jackknife import LeaveOneOut, from_values, leave_out_weights
from sightline.stats.ratings import kappa_left_out
from sightline.stats.reader_average import average_readers

INTER_READER, INTRA_READER = "between", "within"
"""Kinds of agreement, as named in tables."""
ALL_READERS = "all"
"""Name in tables for all readers together."""
ReadingsByCase = dict[tuple[str, str], CompletedReading]
"""Readings of one reader on one occasion, by (radiograph, finding)."""
ReadingGroups = dict[tuple[str, str, int], ReadingsByCase]
"""Readings by (task, reader, occasion)."""


class PairwiseAgreement(NamedTuple):
    """Agreement of two readings of one case in one measure."""

    kind: str
    """'between' two readers, or 'within' one reader: first and repeated reading."""
    reader: str
    versus: str
    measure: str
    """'dice' and 'iou' of outlines; 'distance' of points, relative to the shorter side of the image; 'pointing-game':
    share of the points of `reader` in the outline of `versus`."""
    radiograph: str
    patient: str
    finding: str
    value: float


def measure_agreement(readings: Sequence[CompletedReading]) -> pd.DataFrame:
    """Measure the agreement between every two readers, and between both readings of each reader.

    Parameters
    ----------
    readings : sequence of CompletedReading
        Finished readings.

    Returns
    -------
    pandas.DataFrame
        Columns kind, measure, reader, versus, value, low, high (95 % interval), n (cases), patients, reason
        (why there is no interval, or ''). The measures are
        those of `PairwiseAgreement`; 'presence, TASK', Cohen's kappa of whether the finding was annotated; and
        'icc area', the intraclass correlation of the outlined areas that all readers annotated.
    """
    groups = _group_readings(readings)
    rows = _mean_by_comparison(pd.DataFrame(list(_compare_all(groups)), columns=PairwiseAgreement._fields))
    for kind, task, first, second in _comparisons(groups):
        rows += _presence_kappa(kind, groups[task, *first], groups[task, *second], first[0], second[0])
    rows += _area_icc(groups)
    columns = ["kind", "measure", "reader", "versus", "value", "low", "high", "n", "patients", "reason"]
    return pd.DataFrame(rows, columns=columns)


def reading_times(readings: Sequence[CompletedReading]) -> pd.DataFrame:
    """Estimate the active time per case, by reader and task.

    Parameters
    ----------
    readings : sequence of CompletedReading
        Finished readings.

    Returns
    -------
    pandas.DataFrame
        Columns reader, task, seconds (mean), low, high (95 % interval), median, n (cases), patients,
        reason (why there is no interval, or '').
    """
    rows = []
    for (reader, task), times in pd.DataFrame(
        [(r.reader, r.case.task, r.case.patient, r.state.seconds) for r in readings],
        columns=["reader", "task", "patient", "seconds"],
    ).groupby(["reader", "task"], sort=False):
        mean = _mean_with_ci(times["seconds"], times["patient"])
        rows.append({"reader": reader, "task": task, **mean, "median": float(times["seconds"].median())})
    frame = pd.DataFrame(rows, columns=["reader", "task", "value", "low", "high", "median", "n", "patients", "reason"])
    return frame.rename(columns={"value": "seconds"})


def score_readers(data: Dataset) -> pd.DataFrame:
    """Score every reader, and the mean over them, against the reference as a map is scored, by finding.

    Parameters
    ----------
    data : Dataset
        Result of `sightline.data.reader_study.annotations.add_study_readers`.

    Returns
    -------
    pandas.DataFrame
        Columns as in `sightline.stats.estimates.estimates`; empty where nothing can be scored.
    """
    metrics = ("iou", "dice", "pointing-game")
    scores = score(ReaderMaps(data), data, metrics)
    if scores.empty:
        return scores
    protocols = get_protocols("corrected")
    parts = [scores[scores["metric"] == metric] for metric in metrics]
    tables = [t for s in parts for t in (estimates(s, protocols), average_readers(s, protocols)) if len(t)]
    return pd.concat(tables, ignore_index=True)


def _group_readings(readings: Sequence[CompletedReading]) -> ReadingGroups:
    groups: ReadingGroups = {}
    for r in readings:
        groups.setdefault((r.case.task, r.reader, r.occasion), {})[r.case.radiograph, r.case.finding] = r
    return groups


def _comparisons(groups: ReadingGroups) -> Iterator[tuple[str, str, tuple[str, int], tuple[str, int]]]:
    """Yield (kind, task, (reader, occasion), (reader, occasion)) of every two groups that are compared."""
    for task in ("contour", "point"):
        readers = list(dict.fromkeys(reader for t, reader, _ in groups if t == task))
        for a, b in combinations(readers, 2):
            if (task, a, 0) in groups and (task, b, 0) in groups:
                yield INTER_READER, task, (a, 0), (b, 0)
        yield from (
            (INTRA_READER, task, (a, 0), (a, 1)) for a in readers if (task, a, 0) in groups and (task, a, 1) in groups
        )


def _compare_all(groups: ReadingGroups) -> Iterator[PairwiseAgreement]:
    for kind, task, a, b in _comparisons(groups):
        for first, second in _shared_readings(groups[task, *a], groups[task, *b]):
            yield from (PairwiseAgreement(kind, a[0], b[0], *measured) for measured in _compare(first, second))
    points, outlines = _first_readings(groups, "point"), _first_readings(groups, "contour")
    for pointer, drawer in [(p, d) for p in points for d in outlines if p != d]:
        for point, outline in _shared_readings(points[pointer], outlines[drawer]):
            if point.has_annotation and outline.has_annotation:
                yield PairwiseAgreement(
                    INTER_READER,
                    pointer,
                    drawer,
                    "pointing-game",
                    *_case_fields(point),
                    _share_inside(point, _contour_mask(outline)),
                )


def _first_readings(groups: ReadingGroups, task: str) -> dict[str, ReadingsByCase]:
    """Return the first readings of a task by reader."""
    return {reader: cases for (t, reader, occasion), cases in groups.items() if t == task and occasion == 0}


def _shared_readings(
    first: ReadingsByCase, second: ReadingsByCase
) -> Iterator[tuple[CompletedReading, CompletedReading]]:
    yield from ((first[key], second[key]) for key in first if key in second)


def _case_fields(r: CompletedReading) -> tuple[str, str, str]:
    return r.case.radiograph, r.case.patient, r.case.finding


def _compare(first: CompletedReading, second: CompletedReading) -> Iterator[tuple[str, str, str, str, float]]:
    """Yield (measure, radiograph, patient, finding, value) of two readings of a case."""
    if first.case.task == "point":
        if first.has_annotation and second.has_annotation:
            distance = float(np.hypot(*(first.points[0] - second.points[0])))
            yield "distance", *_case_fields(first), distance / min(first.case.height, first.case.width)
        return
    if first.has_annotation or second.has_annotation:
        a, b = _contour_mask(first), _contour_mask(second)
        intersection, union = int((a & b).sum()), int((a | b).sum())
        yield "iou", *_case_fields(first), intersection / union if union else 0.0
        yield "dice", *_case_fields(first), 2 * intersection / int(a.sum() + b.sum()) if union else 0.0


def _contour_mask(r: CompletedReading) -> Array:
    return contours_to_mask(r.contours, (r.case.height, r.case.width))


def _share_inside(r: CompletedReading, mask: Array) -> float:
    """Return the share of the points of a reader inside a mask: the rule of the corrected protocol."""
    rows, cols = np.minimum(r.points.astype(int), np.array(mask.shape) - 1).T
    return float(mask[rows, cols].mean())


def _mean_by_comparison(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    key = ["kind", "measure", "reader", "versus"]
    for names, group in pairs.groupby(key, sort=False):
        share = names[1] != "distance"
        mean = _mean_with_ci(group["value"], group["patient"], "share" if share else "linear")
        rows.append(dict(zip(key, names, strict=True)) | mean)
    return rows


def _mean_with_ci(values: pd.Series[float], patients: pd.Series[str], scale: Scale = "linear") -> dict[str, Any]:
    row = mean_with_ci(values, patients, scale, (0.0, 1.0) if scale == "share" else (-np.inf, np.inf))
    return _value_row(row) | {"n": len(values)}


def _value_row(row: dict[str, Any]) -> dict[str, Any]:
    return {"value": row["mean"], **{key: row[key] for key in ("low", "high", "n", "patients", "reason")}}


def _correlation_row(r: LeaveOneOut) -> dict[str, Any]:
    return _value_row(infer(r, "correlation", (-1.0, 1.0)).row())


def _presence_kappa(
    kind: str, first: ReadingsByCase, second: ReadingsByCase, reader: str, versus: str
) -> list[dict[str, Any]]:
    """Compute Cohen's kappa of whether the finding was annotated."""
    both = list(_shared_readings(first, second))
    group, patients = pd.factorize(np.array([r.case.patient for r, _ in both], dtype=object), sort=True)
    table = np.zeros((len(patients), 2, 2))
    for g, (a, b) in zip(group, both, strict=True):
        table[g, int(a.has_annotation), int(b.has_annotation)] += 1
    ends = _correlation_row(kappa_left_out(table, "nominal"))
    return [
        {
            "kind": kind,
            "measure": f"presence, {both[0][0].case.task}" if both else "presence",
            "reader": reader,
            "versus": versus,
            **ends,
        }
    ]


def _area_icc(groups: ReadingGroups) -> Iterator[dict[str, Any]]:
    """Yield the intraclass correlation of outlined areas: of all readers, and of both readings of each reader."""
    first = _first_readings(groups, "contour")
    if len(first) > 1:
        yield {
            "kind": INTER_READER,
            "measure": "icc area",
            "reader": ALL_READERS,
            "versus": ALL_READERS,
            **_icc_with_ci(list(first.values())),
        }
    for reader, cases in first.items():
        if ("contour", reader, 1) in groups:
            yield {
                "kind": INTRA_READER,
                "measure": "icc area",
                "reader": reader,
                "versus": reader,
                **_icc_with_ci([cases, groups["contour", reader, 1]]),
            }


def _icc_with_ci(raters: list[ReadingsByCase]) -> dict[str, Any]:
    shared = [key for key in raters[0] if all(key in cases and cases[key].has_annotation for cases in raters)]
    if not shared:
        return {"value": NAN, "low": NAN, "high": NAN, "n": 0, "patients": 0, "reason": "no case with all outlines"}
    areas = np.array([[_contour_mask(cases[key]).mean() for cases in raters] for key in shared])  # (N, K)
    group, patients = pd.factorize(np.array([raters[0][key].case.patient for key in shared], dtype=object), sort=True)
    values = icc(areas, leave_out_weights(len(patients))[:, group])
    return _correlation_row(from_values(values, np.bincount(group), len(shared)))
