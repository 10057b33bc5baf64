"""Label budget: the number of annotated radiographs from which a detector is as good as a self-explaining network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import NAN, Array
from sightline.stats.intervals import Inference, infer
from sightline.stats.jackknife import LeaveOneOut, average_columns, leave_one_out

SALIENCY_HEAD, DETECTOR = "self-explaining", "detector"


def label_budget_curves(
    scores: pd.DataFrame, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Estimate the curves of a self-explaining network and a detector over the number of annotated radiographs.

    Parameters
    ----------
    scores : DataFrame
        Columns role ('self-explaining' or 'detector'), n_annotated (annotated radiographs that it was trained on),
        radiograph, patient, finding, value: of one metric, higher is better.
    bounds : (float, float)
        Lowest and highest possible value.

    Returns
    -------
    curves : DataFrame
        Columns role, n_annotated, mean (over findings), low, high (95 %, over patients), n, patients, reason (why there
        is no interval, or '').
    crossing : dict
        Where they cross, see `find_crossing`.
    """
    radiographs = pd.Index(scores["radiograph"].unique())
    owner = scores.drop_duplicates("radiograph").set_index("radiograph")["patient"].loc[radiographs]
    group = pd.factorize(owner, sort=True)[0]
    rows, cells = list[dict[str, Any]](), dict[tuple[str, int], LeaveOneOut]()
    for key, part in scores.groupby(["role", "n_annotated"], sort=True):
        role, n_annotated = str(key[0]), int(str(key[1]))
        wide = part.pivot_table(index="radiograph", columns="finding", values="value").reindex(radiographs)
        values = wide.to_numpy(float)
        cell = average_columns(leave_one_out(values, group), [np.arange(values.shape[1])])
        numbers = infer(cell, "share", bounds).row()
        del numbers["p"]
        rows.append({"role": role, "n_annotated": n_annotated, **numbers})
        cells[role, n_annotated] = cell
    return pd.DataFrame(rows), find_crossing(cells)


def find_crossing(cells: dict[tuple[str, int], LeaveOneOut]) -> dict[str, Any]:
    """Find the number of annotated radiographs from which on the detector is at least as good.

    The difference, self-explaining minus detector, stays at or below 0 from the crossing up to the largest budget; a
    detector that falls behind again has not crossed. Between budgets the difference is linear in the logarithm of 1 +
    n_annotated.

    Parameters
    ----------
    cells : dict of (role, n_annotated) to LeaveOneOut
        Means of the same patients.

    Returns
    -------
    dict
        point, low, high (95 %; NaN where a bound lies outside the budgets), fewest and most (budgets that both have),
        outside ('above' if the self-explaining network is ahead at `most`, 'below' if the detector is ahead at every
        budget, else ''), times (number of crossings in either direction), reason (why there is no interval, or ''),
        text (the result in words). The interval begins at the largest budget at which the 95 % interval of the
        difference lies above 0, and ends at the largest one at which it reaches above 0 (Fieller's argument, at a grid
        of budgets).
    """
    budgets = sorted({t for r, t in cells if r == SALIENCY_HEAD} & {t for r, t in cells if r == DETECTOR})
    if len(budgets) < 2:
        reason = "fewer than two budgets"
        return {"point": NAN, "low": NAN, "high": NAN, "outside": "", "times": 0, "reason": reason, "text": reason}
    gaps = [cells[SALIENCY_HEAD, t] - cells[DETECTOR, t] for t in budgets]
    means = np.array([float(gap.point[0]) for gap in gaps])
    positions = np.log1p(budgets)
    crossing, fewest, most = _last_crossing(means, positions), budgets[0], budgets[-1]
    grid, along = _infer_along(gaps, positions)
    reason = next((text for text in along.reason if text), "")
    ends = (NAN, NAN) if reason else tuple(_last_crossing(end, grid) for end in (along.low, along.high))
    inside = [float(np.expm1(v)) if np.isfinite(v) else NAN for v in (crossing, *ends)]
    times = int(np.count_nonzero(np.diff(means > 0)))
    outside = "above" if crossing == np.inf else "below" if crossing == -np.inf else ""
    first, *words = (_format_budget(v, fewest, most) for v in (crossing, *ends))
    if outside == "above":
        first = f"self-explaining network ahead at {most}" if times else f"not shown to cross up to {most}"
    text = f"{first} radiographs" + (f" (no interval: {reason})" if reason else f" [{words[0]}, {words[1]}]")
    numbers = dict(zip(("point", "low", "high"), inside, strict=True))
    return {
        **numbers,
        "fewest": fewest,
        "most": most,
        "outside": outside,
        "times": times,
        "reason": reason,
        "text": text,
    }


def _infer_along(gaps: Sequence[LeaveOneOut], positions: Array, steps: int = 50) -> tuple[Array, Inference]:
    """Intervals of the difference at budgets between those measured, and their positions."""
    grid = np.concatenate([np.linspace(a, b, steps, endpoint=False) for a, b in pairwise(positions)] + [positions[-1:]])
    mix = np.stack([np.interp(grid, positions, row) for row in np.eye(len(positions))])  # (budgets, M)
    left_out, weight = (np.hstack([getattr(gap, name) for gap in gaps]) @ mix for name in ("left_out", "weight"))
    points = np.concatenate([gap.point for gap in gaps]) @ mix
    return grid, infer(LeaveOneOut(points, left_out, weight, np.full(len(grid), gaps[0].n[0])), bounds=(-1.0, 1.0))


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
