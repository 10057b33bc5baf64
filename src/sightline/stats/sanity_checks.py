"""Sanity checks of maps: similarity with intervals, and verdicts against chance."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.stats.intervals import UNBOUNDED, mean_with_ci

_LEVEL_COLUMNS = ["comparison", "protocol", "measure", "method", "order", "step", "versus"]
_CASE_COLUMNS = ["method", "protocol", "measure", "radiograph", "patient", "finding"]
_EXPECTED_DISSIMILAR = ("randomization", "label-randomization")
"""Comparisons whose maps should be no more similar than chance."""
_EXPECTED_SIMILAR = ("repeatability", "reproducibility")
"""Comparisons whose maps should be more similar."""
MARGIN = 0.05
"""Similarity beyond chance, on a scale that ends at 1, that counts as none. It is a convention: with intervals over two
dozen patients, those of noise end at 0.02."""


def similarity_levels(similarity: pd.DataFrame) -> pd.DataFrame:
    """Estimate the mean similarity of every comparison over cases.

    Parameters
    ----------
    similarity : DataFrame
        Table of `sightline.evaluation.randomization`.

    Returns
    -------
    DataFrame
        Columns comparison, protocol, measure, method, order, step, versus, mean, low, high (95 %, over
        patients), n,
        patients, failed: cases of which a map failed. A failed map has similarity 0 where maps should be similar.
    """
    rows = []
    for key, part in _score_failures(similarity).groupby(_LEVEL_COLUMNS, sort=False):
        rows.append(dict(zip(_LEVEL_COLUMNS, _as_tuple(key), strict=True)) | _row_of(part["value"], part))
    return pd.DataFrame(rows)


def _score_failures(similarity: pd.DataFrame) -> pd.DataFrame:
    """Give failed maps the similarity 0, in comparisons and in their chance, so that failures lose.

    Where maps should be dissimilar, 0 would win; there failed maps stay NaN, and so does a comparison of which every
    map
    failed. Adds the column failed.
    """
    table = similarity.assign(failed=similarity["value"].isna())
    every = table.groupby(_LEVEL_COLUMNS, sort=False)["failed"].transform("all")
    lost = table["failed"] & ~every & ~table["comparison"].isin([*_EXPECTED_DISSIMILAR, "complexity"])
    return table.assign(value=table["value"].mask(lost, 0.0))


def _row_of(values: pd.Series[float], part: pd.DataFrame) -> dict[str, Any]:
    """Return the mean of values of rows of `_score_failures` with its interval, and how many of those failed.

    Similarities end at -1 and 1, and their differences at -2 and 2; entropies have no bounds.
    """
    bounds = UNBOUNDED if (part["comparison"] == "complexity").any() else (-2.0, 2.0)
    return {**mean_with_ci(values, part["patient"], bounds=bounds), "failed": int(part["failed"].sum())}


def verdicts(similarity: pd.DataFrame) -> pd.DataFrame:
    """Judge every comparison by its difference from chance, case by case.

    Chance of a comparison of two networks is the map of one against the map of the other for another patient, so that
    what both
    show on every radiograph is included; for a stage of randomization it is two maps of the trained network, as
    published.

    - randomization: the last stage of the cascade from the logits down; maps should be no more similar than chance.
    - label-randomization: the same network trained on shuffled labels; likewise.
    - complexity: the entropy of the map at that stage should have risen.
    - repeatability and reproducibility: maps should be more similar than chance.
    - repeatability-ceiling and reproducibility-ceiling: the same, minus the similarity of networks trained on
    annotations
      (methods 'localizer/...') on the same cases; 'chance' is then their level, and nothing above it is expected.

    Parameters
    ----------
    similarity : DataFrame
        Table of `sightline.evaluation.randomization`.

    Returns
    -------
    DataFrame
        Columns criterion, protocol, measure, method, versus, level, chance, mean, low, high, n, patients, failed (see
        `similarity_levels`), verdict: 'passes', 'fails', 'undecided', or 'not estimable' with fewer than two patients
        or only
        failed maps. 'More similar' is an interval above 0; 'no more similar' is one that ends below `MARGIN` and does
        not lie
        above 0.
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
        gap = _row_of(part["value"] - part["chance"], part)
        head = dict(zip(("criterion", "protocol", "measure", "method", "versus"), _as_tuple(key), strict=True))
        means = {"level": float(part["value"].mean()), "chance": float(part["chance"].mean())}
        margin = MARGIN if kind in (*_EXPECTED_DISSIMILAR, *_EXPECTED_SIMILAR) else 0.0
        rows.append({**head, **means, **gap, "verdict": verdict(gap, kind in _EXPECTED_DISSIMILAR, margin)})
    return pd.DataFrame(rows)


def _compare_with_ceiling(compared: pd.DataFrame) -> pd.DataFrame:
    """Return rows of repeatability and reproducibility with the mean of the localizers on the same case as chance."""
    again = compared[compared["comparison"].isin(["repeatability", "reproducibility"])]
    of_marks = again["method"].isin([m for m in again["method"].unique() if Source.parse(m).kind == "localizer"])
    key = ["comparison", *_CASE_COLUMNS[1:]]
    ceiling = again[of_marks].groupby(key)["value"].mean().rename("chance")
    rows = again[~of_marks].drop(columns="chance").join(ceiling, on=key)
    return rows[rows["chance"].notna()].assign(comparison=rows["comparison"] + "-ceiling")


def verdict(gap: dict[str, float], expected_below: bool, margin: float = 0.0) -> str:
    """Judge a difference by its interval.

    Parameters
    ----------
    gap : dict
        Keys low and high.
    expected_below : bool
        Whether the difference should not lie above zero; otherwise it should.
    margin : float
        Value up to which an interval may reach and still be no difference.

    Returns
    -------
    str
        'passes', 'fails', 'undecided', or 'not estimable' without an interval.

    Examples
    --------
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
