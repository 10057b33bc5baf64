"""Does a method find marks better than what never saw the image or never learned, and how far is it from the ceiling?

After Arun et al. 2021, 10.1148/ryai.2021200267: areas under precision-recall curves image by image, compared by
Wilcoxon's signed-rank test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sightline.core import NAN, Array, Source
from sightline.protocol import Protocol
from sightline.stats.estimates import AVERAGE
from sightline.stats.multiplicity import add_holm
from sightline.stats.sanity_checks import verdict

AVERAGE_MASK, UNTRAINED = str(Source("control", "", "average-mask")), "untrained"
CRITERIA = ("utility", "learned", "ceiling")
MEASURES = ("average-precision", "pr-area")
MIN_PAIRS = 6
"""Pairs: with five, no signed-rank test can reach 0.05 on both sides."""


def compare_with_prior(
    scores: pd.DataFrame, differences: pd.DataFrame, model: str, protocols: Sequence[Protocol]
) -> pd.DataFrame:
    """Methods of the model `name`, and localizers, less the prior, the untrained model and the best localizer.

    Criteria: 'utility' (less the average mask), 'learned' (less the same method on the untrained model), 'ceiling'
    (less each localizer; nothing is expected above). Mean and interval are those of `differences`, over findings.
    p: signed-rank test of the mean difference of each patient (or image, as the protocol draws), adjusted by Holm over
    all rows of one criterion, measure and protocol. effect: rank-biserial correlation of the pairs in [-1, 1].
    """
    rows: list[dict[str, Any]] = []
    for protocol in protocols:
        unit = "patient" if protocol.resample == "patient" else "radiograph"
        for measure in MEASURES:
            some = scores[(scores["protocol"] == protocol.name) & (scores["metric"] == measure)]
            wide = some.assign(unit=some[unit]).pivot_table(
                index=["unit", "radiograph", "finding"], columns="source", values="value"
            )
            found = list(_utility_rows(wide, differences, protocol.name, measure, model))
            for criterion in CRITERIA:
                add_holm([row for row in found if row["criterion"] == criterion], "p")
            rows += found
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
            told = {"low": float(gap["low"]), "high": float(gap["high"])}
            yield {
                **head,
                "versus": versus,
                **numbers,
                "p": signed_rank(each),
                "effect": rank_biserial(each),
                "verdict": verdict(told, expected_below=False),
            }


def signed_rank(gaps: Array) -> float:
    """Two-sided p of Wilcoxon's test that paired differences (K,) are symmetric about 0; NaN with fewer than six."""
    if len(gaps) < MIN_PAIRS or not gaps.any():
        return NAN
    return float(stats.wilcoxon(gaps).pvalue)


def rank_biserial(gaps: Array) -> float:
    """Share of the rank sum that speaks for the first less the share that speaks against, in [-1, 1]; NaN without any.

    Kerby 2014, doi:10.2466/11.IT.3.1.

    >>> rank_biserial(np.array([3.0, 1.0, -2.0]))
    0.3333333333333333
    """
    nonzero = gaps[gaps != 0]
    if not nonzero.size:
        return NAN
    ranks = stats.rankdata(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum())
