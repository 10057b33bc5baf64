"""How many marked films a detector needs to find marks as well as an element that has to do with labels and as many."""

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
    """The curves of both, and where they cross.

    scores: columns role ('element' or 'detector'), told (marked films it learned from), radiograph, patient, finding,
    value: of one metric, higher is better. Curves: role, told, mean (over findings), low, high (95 %, BCa, resampling
    patients), n, patients. The crossing: see `find_crossing`.
    """
    films = pd.Index(scores["radiograph"].unique())
    owner = scores.drop_duplicates("radiograph").set_index("radiograph")["patient"].loc[films]
    group = pd.factorize(owner, sort=True)[0]
    w = draw_weights(int(group.max()) + 1, RESAMPLES, seed)
    rows, draws = list[dict[str, Any]](), dict[tuple[str, int], Array]()
    for key, part in scores.groupby(["role", "n_annotated"], sort=True):
        role, told = str(key[0]), int(str(key[1]))
        wide = part.pivot_table(index="radiograph", columns="finding", values="value").reindex(films).to_numpy(float)
        r = replicate(wide, group, w)
        without, there = jackknife_means(wide, group)
        skew = acceleration(nanmean(without)[:, None], np.array(there.any(axis=1, keepdims=True)))
        n = int((~np.isnan(wide)).sum())
        people = np.array([np.unique(group[(~np.isnan(wide)).any(1)]).size])
        both = Replicates(nanmean(r.point[None]), nanmean(r.draws)[:, None], np.array([n]), people, skew)
        mean, low, high = (float(e[0]) for e in interval(both, "bca"))
        rows.append(
            {
                "role": role,
                "n_annotated": told,
                "mean": mean,
                "low": low,
                "high": high,
                "n": n,
                "patients": int(people[0]),
            }
        )
        draws[role, told] = np.append(both.point, both.draws[:, 0])
    return pd.DataFrame(rows), find_crossing(draws)


def find_crossing(draws: dict[tuple[str, int], Array]) -> dict[str, Any]:
    """Marked films from which on the detector finds marks at least as well as the element with as many.

    draws: (role, told) -> means (1 + B,), of the sample first. The gap, element less detector, stays at or below 0 from
    the crossing up to the most films tried; a detector that falls behind again has not crossed. Between budgets the gap
    is taken as straight over the logarithm of 1 + told. Returns point, low, high (95 %; NaN where a bound lies outside
    of what was tried), fewest and most (budgets that both have), outside ('above' where the element is ahead at `most`,
    'below' where the detector is ahead at every budget, else ''), times (how often the curves cross, either way), share
    (of resamples that cross between them), said (in words).
    """
    budgets = sorted({t for r, t in draws if r == SALIENCY_HEAD} & {t for r, t in draws if r == DETECTOR})
    if len(budgets) < 2:
        return {"point": NAN, "low": NAN, "high": NAN, "outside": "", "share": NAN, "text": "fewer than two budgets"}
    gap = np.stack([draws[SALIENCY_HEAD, t] - draws[DETECTOR, t] for t in budgets], 1)  # (1 + B, K)
    found = np.array([_last_crossing(row, np.log1p(budgets)) for row in gap])
    times = int(np.count_nonzero(np.diff(gap[0] > 0)))
    low, high = np.quantile(found[1:], [0.025, 0.975], method="closest_observation")
    fewest, most = budgets[0], budgets[-1]
    outside = "above" if found[0] == np.inf else "below" if found[0] == -np.inf else ""
    inside = [float(np.expm1(v)) if np.isfinite(v) else NAN for v in (found[0], low, high)]
    share = float(np.isfinite(found[1:]).mean())
    first, *ends = (_format_budget(v, fewest, most) for v in (found[0], low, high))
    if outside == "above":
        first = f"element ahead at {most}" if times else f"not shown to cross up to {most}"
    said = f"{first} films [{ends[0]}, {ends[1]}]"
    return {
        "point": inside[0],
        "low": inside[1],
        "high": inside[2],
        "fewest": fewest,
        "most": most,
        "outside": outside,
        "times": times,
        "share": share,
        "text": said,
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
