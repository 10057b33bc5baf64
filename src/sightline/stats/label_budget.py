"""Label budget: the number of annotated radiographs from which a detector is as good as a self-explaining network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sightline.core import NAN, Array
from sightline.stats.bootstrap import (
    Replicates,
    acceleration,
    draw_weights,
    interval,
    jackknife_means,
    nanmean,
    replicate,
)

RESAMPLES = 1000
SALIENCY_HEAD, DETECTOR = "self-explaining", "detector"


def label_budget_curves(scores: pd.DataFrame, seed: int = 0) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Estimate the curves of a self-explaining network and a detector over the number of annotated radiographs.

    Parameters
    ----------
    scores : DataFrame
        Columns role ('self-explaining' or 'detector'), n_annotated (annotated radiographs that it was trained on),
        radiograph, patient, finding, value: of one metric, higher is better.
    seed : int
        Seed of the resamples.

    Returns
    -------
    curves : DataFrame
        Columns role, n_annotated, mean (over findings), low, high (95 %, BCa, over patients), n, patients.
    crossing : dict
        Where they cross, see `find_crossing`.
    """
    radiographs = pd.Index(scores["radiograph"].unique())
    owner = scores.drop_duplicates("radiograph").set_index("radiograph")["patient"].loc[radiographs]
    group = pd.factorize(owner, sort=True)[0]
    w = draw_weights(int(group.max()) + 1, RESAMPLES, seed)
    rows, draws = list[dict[str, Any]](), dict[tuple[str, int], Array]()
    for key, part in scores.groupby(["role", "n_annotated"], sort=True):
        role, n_annotated = str(key[0]), int(str(key[1]))
        wide = (
            part.pivot_table(index="radiograph", columns="finding", values="value").reindex(radiographs).to_numpy(float)
        )
        r = replicate(wide, group, w)
        without, present = jackknife_means(wide, group)
        skew = acceleration(nanmean(without)[:, None], np.array(present.any(axis=1, keepdims=True)))
        n = int((~np.isnan(wide)).sum())
        n_patients = np.array([np.unique(group[(~np.isnan(wide)).any(1)]).size])
        both = Replicates(nanmean(r.point[None]), nanmean(r.draws)[:, None], np.array([n]), n_patients, skew)
        mean, low, high = (float(e[0]) for e in interval(both, "bca"))
        rows.append(
            {
                "role": role,
                "n_annotated": n_annotated,
                "mean": mean,
                "low": low,
                "high": high,
                "n": n,
                "patients": int(n_patients[0]),
            }
        )
        draws[role, n_annotated] = np.append(both.point, both.draws[:, 0])
    return pd.DataFrame(rows), find_crossing(draws)


def find_crossing(draws: dict[tuple[str, int], Array]) -> dict[str, Any]:
    """Find the number of annotated radiographs from which on the detector is at least as good.

    The difference, self-explaining minus detector, stays at or below 0 from the crossing up to the largest budget; a
    detector
    that falls behind again has not crossed. Between budgets the difference is linear in the logarithm of 1 +
    n_annotated.

    Parameters
    ----------
    draws : dict of (role, n_annotated) to (1 + B,) array
        Means, that of the sample first.

    Returns
    -------
    dict
        point, low, high (95 %; NaN where a bound lies outside the budgets), fewest and most (budgets that both have),
        outside ('above' if the self-explaining network is ahead at `most`, 'below' if the detector is ahead at every
        budget, else ''), times (number of crossings in either direction), share (of resamples that cross between them),
        text (the result in words).
    """
    budgets = sorted({t for r, t in draws if r == SALIENCY_HEAD} & {t for r, t in draws if r == DETECTOR})
    if len(budgets) < 2:
        return {"point": NAN, "low": NAN, "high": NAN, "outside": "", "share": NAN, "text": "fewer than two budgets"}
    gap = np.stack([draws[SALIENCY_HEAD, t] - draws[DETECTOR, t] for t in budgets], 1)  # (1 + B, K)
    crossings = np.array([_last_crossing(row, np.log1p(budgets)) for row in gap])
    times = int(np.count_nonzero(np.diff(gap[0] > 0)))
    low, high = np.quantile(crossings[1:], [0.025, 0.975], method="closest_observation")
    fewest, most = budgets[0], budgets[-1]
    outside = "above" if crossings[0] == np.inf else "below" if crossings[0] == -np.inf else ""
    inside = [float(np.expm1(v)) if np.isfinite(v) else NAN for v in (crossings[0], low, high)]
    share = float(np.isfinite(crossings[1:]).mean())
    first, *ends = (_format_budget(v, fewest, most) for v in (crossings[0], low, high))
    if outside == "above":
        first = f"self-explaining network ahead at {most}" if times else f"not shown to cross up to {most}"
    text = f"{first} radiographs [{ends[0]}, {ends[1]}]"
    return {
        "point": inside[0],
        "low": inside[1],
        "high": inside[2],
        "fewest": fewest,
        "most": most,
        "outside": outside,
        "times": times,
        "share": share,
        "text": text,
    }


def _last_crossing(gap: Array, positions: Array) -> float:
    """Where the gap falls to 0 for good: -inf if it is never above, inf if it ends above."""
    up = np.flatnonzero(gap > 0)
    if not up.size:
        return -np.inf
    k = int(up[-1])
    if k == len(gap) - 1:
        return np.inf
    return float(positions[k] + (positions[k + 1] - positions[k]) * gap[k] / (gap[k] - gap[k + 1]))


def _format_budget(value: float, lowest: int, highest: int) -> str:
    if value == np.inf:
        return f"above {highest}"
    return f"below {lowest}" if value == -np.inf else f"{np.expm1(value):.0f}"
