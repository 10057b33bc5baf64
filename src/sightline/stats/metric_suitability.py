"""Suitability of metrics for a finding: stable ranks of sources, readers above controls, and agreement of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sightline.core import NAN, Array, Source
from sightline.stats.estimates import ScoreMatrix
from sightline.stats.intervals import infer
from sightline.stats.jackknife import leave_one_out

MIN_PATIENTS = 10
"""Fewest patients with a finding: halves of fewer rank nothing."""
MIN_SOURCES = 3
"""Fewest sources whose order means anything."""
_SPLITS = 200
SUITABILITY_COLUMNS = (
    "finding",
    "metric",
    "rank_stability",
    "sources",
    "n",
    "patients",
    "reader",
    "control",
    "reader_wins",
    "reader_wins_low",
    "reader_wins_high",
    "reader_n",
    "reader_patients",
    "reason",
)
"""Columns of the table of suitability, without the protocol."""
AGREEMENT_COLUMNS = ("finding", "metric", "versus", "rank_agreement", "case_agreement", "sources", "n", "patients")
"""Columns of the table of agreement, without the protocol."""


@dataclass(frozen=True, slots=True)
class MetricScores:
    """Scores of one metric; higher is better."""

    name: str
    """Name of the metric."""
    matrix: ScoreMatrix
    """Scores."""
    higher_is_better: bool
    """Whether a higher score is a better one."""

    def columns(self, finding: str, kinds: Sequence[str]) -> dict[str, Array]:
        """Return the scores of a finding, of sources of some kinds, oriented so that higher is better.

        Parameters
        ----------
        finding : str
            Name of the finding.
        kinds : sequence of str
            Kinds of sources.

        Returns
        -------
        dict of str to (N,) float64
            Source -> scores.
        """
        sign = 1.0 if self.higher_is_better else -1.0
        return {
            source: sign * self.matrix.values[:, j]
            for j, (source, name) in enumerate(self.matrix.keys)
            if name == finding and Source.parse(source).kind in kinds
        }


def metric_suitability(scores: Sequence[MetricScores], findings: Sequence[str], seed: int) -> pd.DataFrame:
    """Measure how well each metric ranks sources for each finding.

    `rank_stability` is Kendall's tau-b between the order of the sources (models and controls) in one random half of the
    patients and in the other half, averaged over 200 divisions: 1 for the same order, about 0 where the order is
    chance. `reader_wins` is the share of cases on which the reader scores better than the control with the best mean, a
    tie counting half, with a 95 % interval over patients: where it is not above 0.5, the metric does not tell a
    radiologist from a map that has not seen the image.

    Parameters
    ----------
    scores : sequence of MetricScores
        Scores of each metric.
    findings : sequence of str
        Findings.
    seed : int
        Seed of the divisions.

    Returns
    -------
    DataFrame
        `SUITABILITY_COLUMNS`; `reason` states why a stability is missing.
    """
    rows = []
    for finding in findings:
        for metric in scores:
            ranked = metric.columns(finding, ("model", "control"))
            row: dict[str, Any] = {"finding": finding, "metric": metric.name, "sources": len(ranked)}
            rows.append(row | _stability(ranked, metric.matrix.group, seed) | _reader_wins(metric, finding))
    return pd.DataFrame(rows, columns=pd.Index(SUITABILITY_COLUMNS))


def _stability(ranked: Mapping[str, Array], group: Array, seed: int) -> dict[str, Any]:
    """Return the stability of the order of sources, or the reason why there is none."""
    values = np.stack(list(ranked.values()), 1) if ranked else np.empty((len(group), 0))
    kept = ~np.isnan(values).any(axis=1) if ranked else np.zeros(len(group), bool)
    patients, patient = np.unique(group[kept], return_inverse=True)
    row = {"n": int(kept.sum()), "patients": len(patients), "rank_stability": NAN}
    if len(patients) < MIN_PATIENTS:
        return {**row, "reason": f"{len(patients)} patients, fewer than {MIN_PATIENTS}"}
    if len(ranked) < MIN_SOURCES:
        return {**row, "reason": f"{len(ranked)} sources, fewer than {MIN_SOURCES}"}
    halves = _draw_halves(len(patients), seed)
    first, second = (_half_means(values[kept], patient, half) for half in (halves, 1 - halves))
    taus = kendall_tau(first, second)
    return {**row, "rank_stability": float(np.nanmean(taus)) if (~np.isnan(taus)).any() else NAN, "reason": ""}


def _draw_halves(patients: int, seed: int) -> Array:
    """Return (B, G): 1 for the patients of the first half."""
    rng = np.random.default_rng((seed, patients, _SPLITS))
    order = np.argsort(rng.random((_SPLITS, patients)), axis=1)
    return (order < patients // 2).astype(float)


def _half_means(values: Array, patient: Array, half: Array) -> Array:
    """Return the means (B, S) of the patients of each half."""
    sums = np.zeros((half.shape[1], values.shape[1]))
    np.add.at(sums, patient, values)
    counts = np.bincount(patient, minlength=half.shape[1]).astype(float)
    means: Array = (half @ sums) / (half @ counts)[:, None]
    return means


def kendall_tau(first: Array, second: Array) -> Array:
    """Compute Kendall's tau-b of rows of values.

    Parameters
    ----------
    first, second : (B, S) array
        Values of S sources.

    Returns
    -------
    (B,) float64
        Tau in [-1, 1]; NaN for a row in which all values of one side are equal.

    Examples
    --------
    >>> kendall_tau(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, 2.0]])).round(3).tolist()
    [0.333]
    """
    a, b = (np.sign(np.round(x[:, :, None] - x[:, None, :], 12)) for x in (first, second))
    with np.errstate(invalid="ignore"):
        tau: Array = (a * b).sum((1, 2)) / np.sqrt((a != 0).sum((1, 2)) * (b != 0).sum((1, 2)))
    return tau


def _reader_wins(metric: MetricScores, finding: str) -> dict[str, Any]:
    """Return how often the first reader with a score beats the control with the best mean."""
    readers = metric.columns(finding, ("reader",))
    controls = {s: v for s, v in metric.columns(finding, ("control",)).items() if not np.isnan(v).all()}
    reader = next((s for s, v in readers.items() if not np.isnan(v).all()), "")
    empty = {"reader": reader, "control": "", "reader_wins": NAN, "reader_wins_low": NAN, "reader_wins_high": NAN}
    if not reader or not controls:
        return {**empty, "reader_n": 0, "reader_patients": 0}
    control = max(controls, key=lambda s: float(np.nanmean(controls[s])))
    gap = readers[reader] - controls[control]
    wins = np.where(np.isnan(gap), np.nan, (np.sign(np.round(gap, 12)) + 1) / 2)[:, None]
    row = infer(leave_one_out(wins, metric.matrix.group), "share", (0.0, 1.0)).row()
    counts = {"reader_n": row["n"], "reader_patients": row["patients"]}
    ends = {"reader_wins": row["mean"], "reader_wins_low": row["low"], "reader_wins_high": row["high"]}
    return {**empty, **ends, **counts, "control": control}


def metric_agreement(scores: Sequence[MetricScores], findings: Sequence[str]) -> pd.DataFrame:
    """Measure how far two metrics agree for each finding.

    `rank_agreement` is Kendall's tau-b between the orders of the sources (models and controls) by the two metrics;
    `case_agreement` is Spearman's correlation of the two scores over the cases of a source, averaged over the model
    sources.

    Parameters
    ----------
    scores : sequence of MetricScores
        Scores of each metric.
    findings : sequence of str
        Findings.

    Returns
    -------
    DataFrame
        `AGREEMENT_COLUMNS`: a row for each finding and pair of metrics; NaN where fewer than `MIN_SOURCES` sources or
        fewer than `MIN_PATIENTS` patients have both scores.
    """
    rows = []
    for finding in findings:
        by_metric = {m.name: (m, m.columns(finding, ("model", "control"))) for m in scores}
        rows += [
            {"finding": finding, "metric": first, "versus": second, **_agree(by_metric[first], by_metric[second])}
            for first, second in combinations(by_metric, 2)
        ]
    return pd.DataFrame(rows, columns=pd.Index(AGREEMENT_COLUMNS))


def _agree(
    first: tuple[MetricScores, dict[str, Array]], second: tuple[MetricScores, dict[str, Array]]
) -> dict[str, Any]:
    (a, of_a), (b, of_b) = first, second
    shared = [s for s in of_a if s in of_b]
    rows = {name: i for i, name in enumerate(b.matrix.radiographs)}
    both = [(i, rows[name]) for i, name in enumerate(a.matrix.radiographs) if name in rows]
    at = np.array(both, int).reshape(-1, 2)
    x = np.stack([of_a[s][at[:, 0]] for s in shared], 1) if shared else np.empty((len(at), 0))
    y = np.stack([of_b[s][at[:, 1]] for s in shared], 1) if shared else np.empty((len(at), 0))
    kept = ~(np.isnan(x) | np.isnan(y)).any(axis=1)
    patients = len(np.unique(a.matrix.group[at[kept, 0]])) if kept.any() else 0
    counts = {"sources": len(shared), "n": int(kept.sum()), "patients": patients}
    if len(shared) < MIN_SOURCES or patients < MIN_PATIENTS:
        return {"rank_agreement": NAN, "case_agreement": NAN, **counts}
    models = [i for i, s in enumerate(shared) if Source.parse(s).kind == "model"]
    return {
        "rank_agreement": float(kendall_tau(x[kept].mean(0)[None], y[kept].mean(0)[None])[0]),
        "case_agreement": _mean_spearman(x[kept][:, models], y[kept][:, models]),
        **counts,
    }


def _mean_spearman(x: Array, y: Array) -> float:
    """Return Spearman's correlation of each pair of columns, averaged over those that vary."""
    if not x.size:
        return NAN
    a, b = rankdata(x, axis=0), rankdata(y, axis=0)
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return float(np.mean((a * b).sum(0)[scale > 0] / scale[scale > 0])) if (scale > 0).any() else NAN
