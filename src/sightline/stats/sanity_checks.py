"""Sanity checks of maps: similarity with intervals, and verdicts against chance."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.stats.intervals import UNBOUNDED, mean_with_ci
from sightline.stats.verdicts import SMALLEST_EFFECTS, Criterion, Direction, Verdict

_LEVEL_COLUMNS = ["comparison", "protocol", "measure", "method", "order", "step", "versus"]
_CASE_COLUMNS = ["method", "protocol", "measure", "radiograph", "patient", "finding"]
_EXPECTED_DISSIMILAR = ("randomization", "label-randomization")
"""Comparisons whose maps should be no more similar than chance."""
_EXPECTED_SIMILAR = ("repeatability", "reproducibility")
"""Comparisons whose maps should be more similar."""
_DIRECTIONS: dict[str, Direction] = {
    "randomization": "not higher",
    "label-randomization": "not higher",
    "complexity": "higher",
    "repeatability": "higher",
    "reproducibility": "higher",
    "repeatability-ceiling": "not lower",
    "reproducibility-ceiling": "not lower",
}
"""Criterion -> its claim about the difference."""
LEAST_CEILING = 0.5
"""Least similarity, by any measure, of networks trained on annotations that is a level to reach; Arun et al. 2021 draw
a line at an SSIM of 0.5. Where they do not reproduce each other, nothing can be called repeatable by their level."""


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
    return pd.DataFrame(rows).drop(columns="p", errors="ignore")  # no hypothesis: 0 is no special level


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


def verdicts(similarity: pd.DataFrame, smallest_effects: Mapping[str, float] = SMALLEST_EFFECTS) -> pd.DataFrame:
    """Judge every comparison by its difference from chance, case by case.

    Chance of a comparison of two networks is the map of one against the map of the other for another patient, so that
    what both show on every radiograph is included; for a stage of randomization it is two maps of the trained network,
    as published.

    - randomization: the last stage of the cascade from the logits down; claim: maps are no more similar than chance.
    - label-randomization: the same network trained on shuffled labels; likewise.
    - complexity: the entropy of the map at that stage has risen.
    - repeatability and reproducibility: maps repeat more than chance.
    - repeatability-ceiling and reproducibility-ceiling: maps are repeatable: they reach the similarity of networks
      trained on annotations (methods 'localizer/...') on the same cases, whose level is the 'chance' of the row, up to
      the smallest effect, and repeat more than chance.

    Parameters
    ----------
    similarity : DataFrame
        Table of `sightline.evaluation.randomization`.
    smallest_effects : mapping of str to float
        Measure -> smallest difference that counts.

    Returns
    -------
    DataFrame
        Columns criterion, protocol, measure, method, versus, level, chance, mean, low, high, n, patients, failed (see
        `similarity_levels`), verdict, patients_needed, reason, direction, smallest_effect (see
        `sightline.stats.verdicts.Verdict`). A ceiling is not estimable without networks trained on annotations, or if
        their similarity is below `LEAST_CEILING`.
    """
    compared = _join_chance(_score_failures(similarity))
    compared = pd.concat([compared, _compare_with_ceiling(compared)], ignore_index=True)
    rows, judged = list[dict[str, Any]](), dict[tuple[Hashable, ...], Verdict]()
    for key, part in compared.groupby(["comparison", "protocol", "measure", "method", "versus"], sort=False):
        kind, *rest = _as_tuple(key)
        base = str(kind).removesuffix("-ceiling")
        gap = _row_of(part["value"] - part["chance"], part)
        means = {"level": float(part["value"].mean()), "chance": float(part["chance"].mean())}
        measure = str(rest[1])
        verdict = Criterion(measure, _DIRECTIONS[str(kind)], smallest_effects[measure]).judge(gap)
        if kind != base:
            verdict = _require_ceiling(verdict, means["chance"]).combine(judged[base, *rest])
        judged[kind, *rest] = verdict
        head = dict(zip(("criterion", "protocol", "measure", "method", "versus"), (kind, *rest), strict=True))
        rows.append({**head, **means, **gap, **verdict.columns()})
    return pd.DataFrame(rows)


def _join_chance(counted: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the last stage and of other networks, with the column chance of the same case."""
    pairs = counted[counted["comparison"] == "pair"].rename(columns={"versus": "partner", "value": "chance"})
    last = counted[counted["order"].isin(["", "top-down"]) & (counted["comparison"] != "pair")]
    last = last[last["step"] == last.groupby(["comparison", "order"])["step"].transform("max")]
    last = last.assign(partner=last["versus"].mask(last["comparison"] == "randomization", ""))
    compared = last.join(pairs.set_index([*_CASE_COLUMNS, "partner"])["chance"], on=[*_CASE_COLUMNS, "partner"])
    compared.loc[compared["comparison"] == "complexity", "chance"] = 0.0  # a rise is compared with none
    return compared


def _compare_with_ceiling(compared: pd.DataFrame) -> pd.DataFrame:
    """Return rows of repeatability and reproducibility with the mean of the localizers on the same case as chance."""
    again = compared[compared["comparison"].isin(_EXPECTED_SIMILAR)]
    of_marks = again["method"].isin([m for m in again["method"].unique() if Source.parse(m).kind == "localizer"])
    key = ["comparison", *_CASE_COLUMNS[1:]]
    ceiling = again[of_marks].groupby(key)["value"].mean().rename("chance")
    rows = again[~of_marks].drop(columns="chance").join(ceiling, on=key)
    return rows.assign(comparison=rows["comparison"] + "-ceiling")


def _require_ceiling(verdict: Verdict, ceiling: float) -> Verdict:
    """Return the verdict, or 'not estimable' where networks trained on annotations give no level to reach."""
    if np.isnan(ceiling):
        reason = "no two networks trained on annotations to compare with"
    elif ceiling < LEAST_CEILING:
        reason = f"networks trained on annotations reach a similarity of {ceiling:.2f} only, below {LEAST_CEILING:g}"
    else:
        return verdict
    return Verdict(verdict.criterion, "not estimable", reason=reason)


def _as_tuple(key: Hashable) -> tuple[Hashable, ...]:
    return key if isinstance(key, tuple) else (key,)
