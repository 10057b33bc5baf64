"""What erasing and small changes say of methods: means with intervals, and the gap to an order drawn by chance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import NAN, Array
from sightline.stats.bootstrap import RESAMPLES, draw_weights, mean_with_ci
from sightline.stats.sanity_checks import verdict

HIGHER_IS_BETTER = {"deletion": False, "insertion": True, "road": True}
"""Measures that another patient's map answers too, and whether more is better."""
RANDOM_ORDER = "random"
"""The source whose order is drawn place by place."""
_CASE_COLUMNS = ["radiograph", "patient", "finding"]


def summarize_faithfulness(faithfulness: pd.DataFrame, changed: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Summarize faithfulness and robustness per measure and method.

    Measures of robustness are 'max-sensitivity', the largest distance over the changes of a case; 'rank-correlation',
    the mean
    rank correlation; 'moves-with-model', the rank correlation over cases and changes of how far logit and map moved.

    Parameters
    ----------
    faithfulness : DataFrame
        Table of `sightline.evaluation.faithfulness`.
    changed : DataFrame
        Table of `sightline.evaluation.robustness`.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Columns measure, method, mean, low, high, n, patients; gap, gap_low, gap_high (minus chance, case by case) with
        verdict; random, random_low, random_high (minus pixels in random order on the same case; a map below them
        explains
        nothing) with random_verdict. A verdict states whether the whole interval is on the better side. Intervals are
        95 %,
        over patients.
    """
    return pd.DataFrame([*_faithfulness_rows(faithfulness, seed), *_robustness_rows(changed, seed)])


def _faithfulness_rows(table: pd.DataFrame, seed: int) -> Iterator[dict[str, Any]]:
    random = table[table["source"] == RANDOM_ORDER].set_index(["measure", *_CASE_COLUMNS])["value"].rename("random")
    table = table.join(random, on=["measure", *_CASE_COLUMNS])
    for (measure, method), part in table.groupby(["measure", "source"], sort=False):
        row = {"measure": measure, "method": method, **mean_with_ci(part["value"], part["patient"], seed)}
        for reference, gap, verdict_column in (("chance", "gap", "verdict"), ("random", "random", "random_verdict")):
            if measure in HIGHER_IS_BETTER and method != RANDOM_ORDER and part[reference].notna().any():
                difference = mean_with_ci(part["value"] - part[reference], part["patient"], seed)
                better = verdict(difference, expected_below=not HIGHER_IS_BETTER[str(measure)])
                row |= {
                    gap: difference["mean"],
                    f"{gap}_low": difference["low"],
                    f"{gap}_high": difference["high"],
                    verdict_column: better,
                }
        yield row


def _robustness_rows(table: pd.DataFrame, seed: int) -> Iterator[dict[str, Any]]:
    for method, part in table.groupby("method", sort=False):
        each = (
            part.groupby(_CASE_COLUMNS, sort=False)
            .agg(distance=("distance", lambda v: v.max(skipna=False)), rank_correlation=("rank_correlation", "mean"))
            .reset_index()
        )
        for measure, column in (("max-sensitivity", "distance"), ("rank-correlation", "rank_correlation")):
            yield {"measure": measure, "method": method, **mean_with_ci(each[column], each["patient"], seed)}
        yield {"measure": "moves-with-model", "method": method, **_correlate_changes(part, seed)}


def _correlate_changes(part: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Spearman's correlation of distance and logit_change over cases and changes; patients are drawn, ranks stay."""
    known = part[part["distance"].notna()]
    group = pd.factorize(known["patient"], sort=True)[0]
    counts = {"n": len(known), "patients": int(group.max(initial=-1)) + 1}
    if len(known) < 3 or known["distance"].nunique() < 2 or known["logit_change"].nunique() < 2:
        return {"mean": NAN, "low": NAN, "high": NAN, **counts}
    a, b = (known[name].rank().to_numpy() for name in ("distance", "logit_change"))
    whole = _weighted_correlation(a, b, np.ones((1, len(a))))[0]
    if counts["patients"] < 2:
        return {"mean": whole, "low": NAN, "high": NAN, **counts}
    drawn = _weighted_correlation(a, b, draw_weights(counts["patients"], RESAMPLES, seed)[:, group].astype(float))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"mean": float(whole), "low": float(low), "high": float(high), **counts}


def _weighted_correlation(a: Array, b: Array, weights: Array) -> Array:
    """Correlation of a and b (K,) under each row of weights (B, K)."""
    total = weights.sum(1)
    mean_a, mean_b = weights @ a / total, weights @ b / total
    spread = np.sqrt((weights @ a**2 / total - mean_a**2) * (weights @ b**2 / total - mean_b**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation: Array = (weights @ (a * b) / total - mean_a * mean_b) / spread
    return correlation
