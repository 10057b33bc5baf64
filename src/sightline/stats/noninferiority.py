"""Is one model no worse than another by more than a margin? Paired areas under ROC curves, against a bound set before.

A difference that is not significant has not shown that nothing is lost; an interval above the margin has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sightline.core import NAN
from sightline.stats import delong
from sightline.stats.auroc import auroc_left_out, select_known
from sightline.stats.estimates import AVERAGE
from sightline.stats.intervals import infer
from sightline.stats.jackknife import LeaveOneOut, average
from sightline.stats.model_comparison import pair_studies
from sightline.stats.verdicts import SMALLEST_EFFECTS, Criterion, Verdict

MARGIN = SMALLEST_EFFECTS["auroc"]
"""Loss of AUROC that is acceptable by default. Another seed may change more: one training is not its method."""
NOT_ABOVE_CHANCE = "the network without it is not above chance"
"""Why nothing is estimable where the other's interval reaches 0.5: it has no accuracy to lose."""


def noninferiority(table: pd.DataFrame, pairs: Sequence[tuple[str, str]], margin: float = MARGIN) -> pd.DataFrame:
    """Test whether models are no worse than others by more than a margin in AUROC, per finding and on average.

    Parameters
    ----------
    table : DataFrame
        Columns model, patient, study, finding, probability, label.
    pairs : sequence of (str, str)
        (model, versus).
    margin : float
        Loss of AUROC that is acceptable.

    Returns
    -------
    DataFrame
        Columns model, versus, finding, mean (model minus versus), low, high (95 %, over patients), delong_low,
        delong_high (images as if independent; NaN for the average), margin, verdict, patients_needed, reason (see
        `noninferiority_term`; not estimable, `NOT_ABOVE_CHANCE`, if the interval of the other AUROC reaches 0.5), n,
        positives, patients. For the average, n and positives are sums over findings. Findings of one class are left
        out.
    """
    known = select_known(table)
    patients = pd.Index(sorted(known["patient"].unique()))
    rows = list[dict[str, Any]]()
    for model, versus in pairs:
        head = {"model": model, "versus": versus}
        pair, sizes = list[tuple[LeaveOneOut, LeaveOneOut]](), list[int]()
        for finding, both in pair_studies(known, model, versus):
            p, q = (both[c].to_numpy(float) for c in ("probability", "probability_versus"))
            label, group = both["label"].to_numpy(int), patients.get_indexer(pd.Index(both["patient"]))
            mine, other = (auroc_left_out(values, label, group, len(patients)) for values in (p, q))
            _, low, high = delong.auroc_difference(p, q, label)
            delong_ends = {"delong_low": low, "delong_high": high, "positives": int(label.sum())}
            rows.append({**head, "finding": finding, **_gap_row(mine - other, other, margin), **delong_ends})
            pair.append((mine - other, other))
            sizes.append(int(label.sum()))
        if len(pair) > 1:
            gap, other = (average(parts) for parts in zip(*pair, strict=True))
            no_ends = {"delong_low": NAN, "delong_high": NAN, "positives": sum(sizes)}
            rows.append({**head, "finding": AVERAGE, **_gap_row(gap, other, margin), **no_ends})
    return pd.DataFrame(rows)


def _gap_row(gap: LeaveOneOut, other: LeaveOneOut, margin: float) -> dict[str, Any]:
    """Return interval and verdict of a difference, given the AUROC of the other model."""
    row, least = infer(gap, bounds=(-1.0, 1.0)).row(), infer(other, "share", (0.0, 1.0)).low[0]
    verdict = Criterion("auroc", "not lower", margin).judge(row)
    if verdict.outcome != "not estimable" and least <= 0.5:
        verdict = Verdict(verdict.criterion, "not estimable", reason=NOT_ABOVE_CHANCE)
    outcome = {"patients_needed": verdict.patients_needed, "reason": verdict.reason}
    return {**row, "margin": margin, "verdict": noninferiority_term(verdict, row["low"]), **outcome}


def noninferiority_term(verdict: Verdict, low: float) -> str:
    """Name a verdict on a loss in the terms of noninferiority trials.

    Parameters
    ----------
    verdict : Verdict
        Verdict on the claim that a difference is not lower than minus the margin.
    low : float
        Lower bound of the difference.

    Returns
    -------
    str
        'superior' (shown, and the interval lies above 0), 'non-inferior' (shown), 'inferior' (shown absent),
        'undecided' or 'not estimable'.

    Examples
    --------
    >>> loss = {"mean": -0.01, "low": -0.03, "high": 0.01, "patients": 40}
    >>> noninferiority_term(Criterion("auroc", "not lower", 0.05).judge(loss), -0.03)
    'non-inferior'
    """
    terms = {"shown": "superior" if low > 0 else "non-inferior", "shown absent": "inferior"}
    return terms.get(verdict.outcome, verdict.outcome)
