"""Is one model no worse than another by more than a margin? Paired areas under ROC curves, against a bound set before.

A difference that is not significant has not shown that nothing is lost; an interval above the margin has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import NAN, Array
from sightline.stats import delong
from sightline.stats.auroc import bootstrap_auroc
from sightline.stats.bootstrap import RESAMPLES, draw_weights, nanmean, statistic_with_ci
from sightline.stats.estimates import AVERAGE
from sightline.stats.model_comparison import pair_studies

MARGIN = 0.05
"""Of AUROC: what studies of readers with and without an aid commonly allow to be lost. Another seed may change more:
one training is not its method."""
NOT_ABOVE_CHANCE = "not estimable: the network without it is not above chance"
"""The verdict where the other's interval reaches 0.5: whoever knows nothing loses nothing."""


def noninferiority(
    table: pd.DataFrame, pairs: Sequence[tuple[str, str]], margin: float = MARGIN, seed: int = 0
) -> pd.DataFrame:
    """Test whether models are no worse than others by more than a margin in AUROC, per finding and on average.

    Parameters
    ----------
    table : DataFrame
        Columns model, patient, study, finding, probability, label.
    pairs : sequence of (str, str)
        (model, versus).
    margin : float
        Loss of AUROC that is acceptable.
    seed : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Columns model, versus, finding, mean (model minus versus), low, high (95 %, over patients), delong_low,
        delong_high
        (images as if independent; NaN for the average), margin, verdict, n, positives, patients. verdict: see
        `noninferiority_verdict`; 'not estimable' without an interval; `NOT_ABOVE_CHANCE` if the interval of the other
        AUROC
        reaches 0.5. For the average, n and positives are sums over findings. Findings of one class are left out.
    """
    table = table.groupby(["model", "patient", "study", "finding"], sort=False, as_index=False).max()
    known = table[table["label"].isin([0, 1]) & table["probability"].notna()]
    patients = pd.Index(sorted(known["patient"].unique()))
    w = draw_weights(len(patients), RESAMPLES, seed)
    rows = []
    for model, versus in pairs:
        gaps, others, sizes, patient_names = list[Array](), list[Array](), list[tuple[int, int]](), set[str]()
        for finding, both in pair_studies(known, model, versus):
            p, q = (both[c].to_numpy(float) for c in ("probability", "probability_versus"))
            label, group = both["label"].to_numpy(int), patients.get_indexer(pd.Index(both["patient"]))
            mine, other = (np.append(*bootstrap_auroc(values, label, group, w)) for values in (p, q))
            _, low, high = delong.auroc_difference(p, q, label)
            head = {"model": model, "versus": versus, "finding": finding}
            size = {"n": len(both), "positives": int(label.sum()), "patients": int(np.unique(group).size)}
            rows.append(
                {
                    **head,
                    **_gap_row(mine - other, other, size["patients"], margin),
                    "delong_low": low,
                    "delong_high": high,
                    **size,
                }
            )
            gaps.append(mine - other)
            others.append(other)
            sizes.append((len(both), int(label.sum())))
            patient_names |= set(both["patient"])
        if len(gaps) > 1:
            gap, other = (nanmean(np.stack(parts, 1)) for parts in (gaps, others))
            n, positives = np.sum(sizes, 0).tolist()
            rows.append(
                {
                    "model": model,
                    "versus": versus,
                    "finding": AVERAGE,
                    **_gap_row(gap, other, len(patient_names), margin),
                    "delong_low": NAN,
                    "delong_high": NAN,
                    "n": n,
                    "positives": positives,
                    "patients": len(patient_names),
                }
            )
    return pd.DataFrame(rows)


def _gap_row(gap: Array, other: Array, patients: int, margin: float) -> dict[str, Any]:
    """Return interval and verdict of a difference (1 + B,), given the AUROC (1 + B,) of the other model."""
    (mean, low, high), (_, least, _) = statistic_with_ci(gap, patients), statistic_with_ci(other, patients)
    verdict = NOT_ABOVE_CHANCE if least <= 0.5 else noninferiority_verdict(low, high, margin)
    return {"mean": mean, "low": low, "high": high, "margin": margin, "verdict": verdict}


def noninferiority_verdict(low: float, high: float, margin: float) -> str:
    """Judge the interval of a difference by a margin.

    Parameters
    ----------
    low, high : float
        Bounds of the interval.
    margin : float
        Loss that is acceptable.

    Returns
    -------
    str
        'superior' (the interval lies above 0), 'non-inferior' (above -margin), 'inferior' (below -margin), otherwise
        'undecided'; 'not estimable' without an interval.

    Examples
    --------
    >>> noninferiority_verdict(-0.03, 0.01, 0.05), noninferiority_verdict(-0.08, 0.01, 0.05)
    ('non-inferior', 'undecided')
    >>> noninferiority_verdict(-0.2, -0.06, 0.05)
    'inferior'
    """
    if np.isnan(low) or np.isnan(high):
        return "not estimable"
    if low > 0:
        return "superior"
    return "non-inferior" if low > -margin else "inferior" if high < -margin else "undecided"
