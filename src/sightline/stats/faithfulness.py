"""What erasing and small changes say of methods: means with intervals, and the gap to an order drawn by chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from sightline.core import NAN
from sightline.stats.intervals import UNBOUNDED, Scale, infer, mean_with_ci
from sightline.stats.regression import rank_correlation_left_out
from sightline.stats.verdicts import SMALLEST_EFFECTS, Criterion, Direction

HIGHER_IS_BETTER = {"deletion": False, "insertion": True, "road": True}
"""Measures that another patient's map answers too, and whether more is better."""
_BOUNDS = {"deletion": (0.0, 1.0), "insertion": (0.0, 1.0), "road": (-1.0, 1.0)}
"""Lowest and highest value of a measure."""
RANDOM_ORDER = "random"
"""The source whose order is drawn place by place."""
RESPONSE = "response"
"""Measure of the largest change of the probability when the whole image is erased or blurred, whatever the map."""
_CASE_COLUMNS = ["radiograph", "patient", "finding"]


def summarize_faithfulness(
    faithfulness: pd.DataFrame, changed: pd.DataFrame, smallest_effects: Mapping[str, float] = SMALLEST_EFFECTS
) -> pd.DataFrame:
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
    smallest_effects : mapping of str to float
        Measure -> smallest difference that counts.

    Returns
    -------
    DataFrame
        Columns measure, method, mean, low, high, n, patients; gap, gap_low, gap_high (minus chance, case by case) with
        verdict, patients_needed and reason; random, random_low, random_high (minus pixels in random order on the same
        case; a map below them explains nothing) with the same columns after random_; direction and smallest_effect of
        both (see `sightline.stats.verdicts.Verdict`). Where the output changes by less than the smallest effect even
        if the whole image is erased or blurred (measure `RESPONSE`), no absence is shown and the verdict is 'not
        estimable'. Intervals are 95 %, over patients.
    """
    table = pd.DataFrame([*_faithfulness_rows(faithfulness, smallest_effects), *_robustness_rows(changed)])
    return table.drop(columns="p", errors="ignore")  # no hypothesis: 0 is no special level


def _faithfulness_rows(table: pd.DataFrame, smallest_effects: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    response = float(table.loc[table["measure"] == RESPONSE, "value"].mean())
    random = table[table["source"] == RANDOM_ORDER].set_index(["measure", *_CASE_COLUMNS])["value"].rename("random")
    table = table.join(random, on=["measure", *_CASE_COLUMNS])
    for (measure, method), part in table.groupby(["measure", "source"], sort=False):
        low, high = _BOUNDS.get(str(measure), UNBOUNDED)
        scale: Scale = "share" if str(measure) in _BOUNDS else "linear"
        numbers = mean_with_ci(part["value"], part["patient"], scale, (low, high))
        row = {"measure": measure, "method": method, **numbers}
        for reference, gap, prefix in (("chance", "gap", ""), ("random", "random", "random_")):
            if measure in HIGHER_IS_BETTER and method != RANDOM_ORDER and part[reference].notna().any():
                ends = (low - high, high - low)
                difference = mean_with_ci(part["value"] - part[reference], part["patient"], bounds=ends)
                direction: Direction = "higher" if HIGHER_IS_BETTER[str(measure)] else "lower"
                criterion = Criterion(str(measure), direction, smallest_effects[str(measure)])
                verdict = criterion.judge(difference).require_sensitivity(
                    not response < criterion.smallest_effect,
                    f"erasing everything changes the probability by {response:.3f} only",
                )
                row |= {gap: difference["mean"], f"{gap}_low": difference["low"], f"{gap}_high": difference["high"]}
                row |= verdict.columns(prefix)
        yield row


def _robustness_rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for method, part in table.groupby("method", sort=False):
        each = (
            part.groupby(_CASE_COLUMNS, sort=False)
            .agg(distance=("distance", lambda v: v.max(skipna=False)), rank_correlation=("rank_correlation", "mean"))
            .reset_index()
        )
        for measure, column in (("max-sensitivity", "distance"), ("rank-correlation", "rank_correlation")):
            yield {"measure": measure, "method": method, **mean_with_ci(each[column], each["patient"])}
        yield {"measure": "moves-with-model", "method": method, **_correlate_changes(part)}


def _correlate_changes(part: pd.DataFrame) -> dict[str, Any]:
    """Spearman's correlation of distance and logit_change over cases and changes."""
    known = part[part["distance"].notna()]
    group = pd.factorize(known["patient"], sort=True)[0]
    if len(known) < 3 or known["distance"].nunique() < 2 or known["logit_change"].nunique() < 2:
        sizes = {"n": len(known), "patients": int(group.max(initial=-1)) + 1}
        return {"mean": NAN, "low": NAN, "high": NAN, "p": NAN, **sizes, "reason": "not defined"}
    x, y = (known[name].to_numpy(float) for name in ("distance", "logit_change"))
    return infer(rank_correlation_left_out(x, y, group), "correlation", (-1.0, 1.0)).row()
