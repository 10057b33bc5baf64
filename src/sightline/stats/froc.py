"""FROC curves: how many marks are found at how many false candidates a film, with intervals over patients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sightline.core import Array
from sightline.stats.estimates import AVERAGE
from sightline.stats.intervals import infer
from sightline.stats.jackknife import LeaveOneOut, average, leave_out_weights

FALSE_POSITIVE_RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""False candidates a film at which curves are read."""
MEAN_OVER_RATES = "mean over rates"


def froc(table: pd.DataFrame) -> pd.DataFrame:
    """Compute FROC curves: the share of annotated pieces that are found at given rates of false candidates.

    A piece that several candidates hit counts once, by the highest; further hits are neither true nor false.
    Candidates of equal
    score enter together.

    Parameters
    ----------
    table : DataFrame
        Rows of `sightline.evaluation.froc_candidates.Candidate`.

    Returns
    -------
    DataFrame
        Columns source, radiographs ('annotated': those that show the finding; 'all': also those that do not, where the
        source has maps of them), finding (and 'average' over them), rate (false candidates per radiograph as text, or
        'mean over rates'), mean, low, high (95 %, over patients), n (pieces), n_radiographs, patients, reason (why
        there is no interval, or '').
    """
    patients = pd.Index(sorted(table["patient"].unique()))
    w = leave_out_weights(len(patients))
    rows = list[dict[str, Any]]()
    for subset, rows_of_subset in (
        ("annotated", table[table["n_pieces"] > 0]),
        ("all", _sources_with_negatives(table)),
    ):
        for source, candidates in rows_of_subset.groupby("source", sort=False):
            curves = {
                str(f): _compute_curve(part, patients, w) for f, part in candidates.groupby("finding", sort=False)
            }
            curves = {f: c for f, c in curves.items() if c.values.n[0]}
            if len(curves) > 1:
                counts = candidates["radiograph"].nunique(), candidates[candidates["n_pieces"] > 0]["patient"].nunique()
                curves[AVERAGE] = _Curve(average([c.values for c in curves.values()]), *counts)
            for finding, curve in curves.items():
                head = {"source": source, "radiographs": subset, "finding": finding}
                rows += [head | row for row in _curve_rows(curve)]
    return pd.DataFrame(rows)


def _sources_with_negatives(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of sources that have maps of films without the finding."""
    sources = table[table["n_pieces"] == 0]["source"].unique()
    return table[table["source"].isin(sources)]


class _Curve(NamedTuple):
    """Of one source and finding."""

    values: LeaveOneOut
    """A column for each rate; the last is the mean over rates. n counts the pieces."""
    n_radiographs: int
    n_patients: int


def _compute_curve(part: pd.DataFrame, patients: pd.Index[Any], weights: Array) -> _Curve:
    radiographs = part.drop_duplicates("radiograph")
    group = patients.get_indexer(pd.Index(radiographs["patient"]))
    total = np.zeros((2, len(patients)))  # films and pieces of each patient
    np.add.at(total[0], group, 1.0)
    np.add.at(total[1], group, radiographs["n_pieces"].to_numpy(float))
    count, pieces = weights @ total[0], weights @ total[1]  # (1 + B,)
    ordered = part[part["score"].notna()].sort_values("score", ascending=False, kind="stable")
    true = (ordered["piece"] > 0) & ~ordered.duplicated(["radiograph", "piece"])
    false = ordered["piece"] < 0
    owner = patients.get_indexer(pd.Index(ordered["patient"]))
    drawn = weights[:, owner]  # (1 + B, C)
    last = np.flatnonzero(np.append(np.diff(ordered["score"].to_numpy(float)) != 0, [True][: len(ordered)]))
    wrong = np.cumsum(drawn * false.to_numpy(float), 1)[:, last]
    right = np.cumsum(drawn * true.to_numpy(float), 1)[:, last]
    with np.errstate(invalid="ignore", divide="ignore"):
        rate, share = wrong / count[:, None], right / pieces[:, None]
    read = np.stack([_read_at_rate(rate, share, r, pieces) for r in FALSE_POSITIVE_RATES], 1)
    read = np.column_stack([read, read.mean(1)])
    weight, n = np.tile(total[0][:, None], read.shape[1]), np.full(read.shape[1], int(total[1].sum()))
    return _Curve(LeaveOneOut(read[0], read[1:], weight, n), len(radiographs), int((total[1] > 0).sum()))


def _read_at_rate(rate: Array, share: Array, target_rate: float, pieces: Array) -> Array:
    """Share found at the lowest threshold whose rate is not above `at`, (1 + B,); NaN for resamples without a piece."""
    allowed = (rate <= target_rate + 1e-12).sum(1)
    padded = np.column_stack([np.zeros(len(rate)), share])
    sensitivity: Array = padded[np.arange(len(rate)), allowed]
    return np.where(pieces > 0, sensitivity, np.nan)


def _curve_rows(curve: _Curve) -> Iterator[dict[str, Any]]:
    inference = infer(curve.values, "share", (0.0, 1.0))
    for k, rate in enumerate([*(f"{r:g}" for r in FALSE_POSITIVE_RATES), MEAN_OVER_RATES]):
        row = {key: value for key, value in inference.row(k).items() if key != "p"}
        yield {"rate": rate, **row, "n_radiographs": curve.n_radiographs, "patients": curve.n_patients}
