"""Comparison of methods with maps that never saw the image or never learned, and with the ceiling.

After Arun et al. 2021, 10.1148/ryai.2021200267: areas under precision-recall curves image by image, compared by
Wilcoxon's signed-rank test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sightline.core import NAN, Array, Source
from sightline.protocol import Protocol
from sightline.stats.estimates import AVERAGE
from sightline.stats.multiplicity import add_holm
from sightline.stats.verdicts import SMALLEST_EFFECTS, Criterion, Direction

AVERAGE_MASK, UNTRAINED = str(Source("control", "", "average-mask")), "untrained"
_DIRECTIONS: dict[str, Direction] = {"utility": "higher", "learned": "higher", "ceiling": "not lower"}
"""Criterion -> its claim about the difference."""
MEASURES = ("average-precision", "pr-area")
MIN_PAIRS = 6
"""Least number of pairs: with five, no two-sided signed-rank test can reach 0.05."""


def compare_with_prior(
    scores: pd.DataFrame,
    differences: pd.DataFrame,
    model: str,
    protocols: Sequence[Protocol],
    smallest_effects: Mapping[str, float] = SMALLEST_EFFECTS,
) -> pd.DataFrame:
    """Compare methods and localizers with the average mask, the untrained model and localizers.

    Criteria are 'utility' (better than the average mask), 'learned' (better than the same method on the untrained
    model) and 'ceiling' (not worse than a localizer), each by at least the smallest effect of the measure.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores.
    differences : DataFrame
        Table of `sightline.stats.estimates.differences`, which has mean and interval over findings.
    model : str
        Name of the model.
    protocols : sequence of Protocol
        Protocols to report.
    smallest_effects : mapping of str to float
        Measure -> smallest difference that counts.

    Returns
    -------
    DataFrame
        Columns criterion, protocol, measure, method, versus, mean, low, high, n, patients, p (signed-rank test of the
        mean difference of each patient, or image as the protocol draws, adjusted by Holm over all rows of one
        criterion, measure and protocol), effect (rank-biserial correlation of the pairs, in [-1, 1]), verdict,
        patients_needed, reason, direction, smallest_effect (see `sightline.stats.verdicts.Verdict`).
    """
    rows: list[dict[str, Any]] = []
    for protocol in protocols:
        unit = "patient" if protocol.resample == "patient" else "radiograph"
        for measure in MEASURES:
            selected = scores[(scores["protocol"] == protocol.name) & (scores["metric"] == measure)]
            wide = selected.assign(unit=selected[unit]).pivot_table(
                index=["unit", "radiograph", "finding"], columns="source", values="value"
            )
            results = list(_utility_rows(wide, differences, protocol.name, measure, model))
            for row in results:
                direction = _DIRECTIONS[row["criterion"]]
                row |= Criterion(measure, direction, smallest_effects[measure]).judge(row).columns()
            for criterion in _DIRECTIONS:
                add_holm([row for row in results if row["criterion"] == criterion], "p")
            rows += results
    return pd.DataFrame(rows)


def _utility_rows(
    wide: pd.DataFrame, differences: pd.DataFrame, protocol: str, measure: str, model: str
) -> Iterator[dict[str, Any]]:
    chosen = differences[
        (differences["protocol"] == protocol) & (differences["metric"] == measure) & (differences["finding"] == AVERAGE)
    ]
    gaps = {(row["source"], row["versus"]): row for row in chosen.to_dict("records")}
    parsed = {s: Source.parse(s) for s in wide.columns}
    ceilings = [s for s, source in parsed.items() if source.kind == "localizer"]
    methods = {s: source.method for s, source in parsed.items() if (source.kind, source.model) == ("model", model)}
    for source, method in (methods | {s: s for s in ceilings}).items():
        against = {AVERAGE_MASK: "utility", str(Source("control", UNTRAINED, method)): "learned"}
        against |= {} if source in ceilings else dict.fromkeys(ceilings, "ceiling")
        for versus, criterion in against.items():
            if versus not in wide.columns or (source, versus) not in gaps:
                continue
            gap = gaps[source, versus]
            each = (wide[source] - wide[versus]).groupby(level="unit").mean().dropna().to_numpy()
            numbers = {key: gap[key] for key in ("mean", "low", "high", "n", "patients")}
            head = {"criterion": criterion, "protocol": protocol, "measure": measure, "method": method}
            yield {
                **head,
                "versus": versus,
                **numbers,
                "p": signed_rank(each),
                "effect": rank_biserial(each),
            }


def signed_rank(gaps: Array) -> float:
    """Compute the two-sided p value of Wilcoxon's signed-rank test.

    Parameters
    ----------
    gaps : (K,) array
        Paired differences.

    Returns
    -------
    float
        p of the differences being symmetric about 0; NaN with fewer than `MIN_PAIRS`, or if all are 0.
    """
    if len(gaps) < MIN_PAIRS or not gaps.any():
        return NAN
    return float(stats.wilcoxon(gaps).pvalue)


def rank_biserial(gaps: Array) -> float:
    """Compute the share of the rank sum in favor minus the share against (Kerby 2014, 10.2466/11.IT.3.1).

    Parameters
    ----------
    gaps : (K,) array
        Paired differences.

    Returns
    -------
    float
        Correlation in [-1, 1]; NaN if all differences are 0.

    Examples
    --------
    >>> rank_biserial(np.array([3.0, 1.0, -2.0]))
    0.3333333333333333
    """
    nonzero = gaps[gaps != 0]
    if not nonzero.size:
        return NAN
    ranks = stats.rankdata(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum())
