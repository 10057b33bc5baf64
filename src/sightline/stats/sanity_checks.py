"""What similarities say: levels with intervals, and verdicts against chance that are never a bare yes or no."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.stats.bootstrap import mean_with_ci

_LEVEL_COLUMNS = ["comparison", "protocol", "measure", "method", "order", "step", "versus"]
_CASE_COLUMNS = ["method", "protocol", "measure", "radiograph", "patient", "finding"]
_EXPECTED_DISSIMILAR = ("randomization", "label-randomization")
"""Where maps should be no more alike than chance."""
_EXPECTED_SIMILAR = ("repeatability", "reproducibility")
"""Where they should be more alike."""
MARGIN = 0.05
"""Similarity beyond chance, on a scale that ends at 1, that is as good as none. A convention: with intervals over two
dozen patients noise, which has no memory, ends at 0.02."""


def similarity_levels(similarity: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Mean similarity of every comparison, over cases; intervals resample patients (expanded BCa).

    Columns: kind, protocol, measure, method, order, step, versus, mean, low, high, n, patients, failed: cases of which
    a map failed (see `_score_failures`).
    """
    rows = []
    for key, part in _score_failures(similarity).groupby(_LEVEL_COLUMNS, sort=False):
        rows.append(dict(zip(_LEVEL_COLUMNS, _as_tuple(key), strict=True)) | _row_of(part["value"], part, seed))
    return pd.DataFrame(rows)


def _score_failures(similarity: pd.DataFrame) -> pd.DataFrame:
    """The table, where a failed map is like nothing: 0, in comparisons and in their chance, so that failures lose.

    Not where maps should forget: there 0 would win, and what says nothing has nothing to forget. Those stay NaN, and so
    does a comparison of which every map failed. Adds the column failed.
    """
    table = similarity.assign(failed=similarity["value"].isna())
    every = table.groupby(_LEVEL_COLUMNS, sort=False)["failed"].transform("all")
    lost = table["failed"] & ~every & ~table["comparison"].isin([*_EXPECTED_DISSIMILAR, "complexity"])
    return table.assign(value=table["value"].mask(lost, 0.0))


def _row_of(values: pd.Series[float], part: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return the mean of values of rows of `_score_failures` with its interval, and how many of those failed."""
    return {**mean_with_ci(values, part["patient"], seed), "failed": int(part["failed"].sum())}


def verdicts(similarity: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """How far each comparison lies from chance: its similarity less that of two different patients' maps, case by case.

    Chance of a comparison of two networks is the map of the one with the other's of another patient, so that what
    either shows of every film is in both; of a stage of randomization, two maps of the trained network, as published.
    randomization: the last stage of the cascade from the logits down; no more alike than chance, the map forgot what
    the network forgot; label-randomization: the same network trained on shuffled labels.
    complexity: at that stage the entropy of the map should have risen. repeatability and reproducibility: more alike
    than chance, the map comes back. 'More' is an interval above 0, 'no more' one that ends below `MARGIN` and does not
    lie above 0. repeatability-ceiling and reproducibility-ceiling: the same less that of the networks trained on
    marks (methods 'localizer/...'), on the same cases; 'chance' is then their level, and nothing is expected above.
    Columns: criterion, protocol, measure, method, versus, level, chance, mean, low, high, n, patients, failed (see
    `similarity_levels`), verdict. A verdict is 'passes', 'fails', 'undecided', or 'not estimable' with fewer than two
    patients or
    failed maps alone.
    """
    counted = _score_failures(similarity)
    pairs = counted[counted["comparison"] == "pair"].rename(columns={"versus": "partner", "value": "chance"})
    last = counted[counted["order"].isin(["", "top-down"]) & (counted["comparison"] != "pair")]
    last = last[last["step"] == last.groupby(["comparison", "order"])["step"].transform("max")]
    last = last.assign(partner=last["versus"].mask(last["comparison"] == "randomization", ""))
    compared = last.join(pairs.set_index([*_CASE_COLUMNS, "partner"])["chance"], on=[*_CASE_COLUMNS, "partner"])
    compared.loc[compared["comparison"] == "complexity", "chance"] = 0.0  # a rise is compared with none
    compared = pd.concat([compared, _compare_with_ceiling(compared)], ignore_index=True)
    rows = []
    for key, part in compared.groupby(["comparison", "protocol", "measure", "method", "versus"], sort=False):
        kind = str(_as_tuple(key)[0])
        gap = _row_of(part["value"] - part["chance"], part, seed)
        head = dict(zip(("criterion", "protocol", "measure", "method", "versus"), _as_tuple(key), strict=True))
        means = {"level": float(part["value"].mean()), "chance": float(part["chance"].mean())}
        margin = MARGIN if kind in (*_EXPECTED_DISSIMILAR, *_EXPECTED_SIMILAR) else 0.0
        rows.append({**head, **means, **gap, "verdict": verdict(gap, kind in _EXPECTED_DISSIMILAR, margin)})
    return pd.DataFrame(rows)


def _compare_with_ceiling(compared: pd.DataFrame) -> pd.DataFrame:
    """Rows of methods that came back, or not, with the mean of the localizers' on the same case in place of chance."""
    again = compared[compared["comparison"].isin(["repeatability", "reproducibility"])]
    of_marks = again["method"].isin([m for m in again["method"].unique() if Source.parse(m).kind == "localizer"])
    key = ["comparison", *_CASE_COLUMNS[1:]]
    ceiling = again[of_marks].groupby(key)["value"].mean().rename("chance")
    rows = again[~of_marks].drop(columns="chance").join(ceiling, on=key)
    return rows[rows["chance"].notna()].assign(comparison=rows["comparison"] + "-ceiling")


def verdict(gap: dict[str, float], expected_below: bool, margin: float = 0.0) -> str:
    """What a difference with its interval says, if it should lie above zero, or (`below`) should not.

    margin: how far above zero an interval may end and still be no difference.

    >>> verdict({"low": -0.3, "high": -0.1}, expected_below=True)
    'passes'
    >>> verdict({"low": -0.3, "high": 0.1}, expected_below=True)
    'undecided'
    >>> noise = {"low": -0.02, "high": 0.02}
    >>> verdict(noise, expected_below=True, margin=0.05), verdict(noise, expected_below=False, margin=0.05)
    ('passes', 'fails')
    """
    low, high = gap["low"], gap["high"]
    if np.isnan(low) or np.isnan(high):
        return "not estimable"
    if low > 0:
        return "fails" if expected_below else "passes"
    if high < margin:
        return "passes" if expected_below else "fails"
    return "undecided"


def _as_tuple(key: Hashable) -> tuple[Hashable, ...]:
    return key if isinstance(key, tuple) else (key,)
