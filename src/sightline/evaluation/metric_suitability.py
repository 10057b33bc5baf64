"""Which metric suits which finding: tables of a scored run."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sightline.evaluation.score_table import ScoreTable
from sightline.metrics.registry import parse_metric
from sightline.protocol import Protocol
from sightline.stats.metric_suitability import MetricScores, metric_agreement, metric_suitability


def compare_metrics(scores: ScoreTable, protocols: Sequence[Protocol], *, seed: int) -> None:
    """Write the tables `metric_suitability` and `metric_agreement` of a scored run.

    Left out are metrics with a binarizer of their own (iou@above:0.4), those corrected for chance, which repeat
    another metric on another scale, and levels that rank no source.

    Parameters
    ----------
    scores : ScoreTable
        Tables of the run.
    protocols : sequence of Protocol
        Protocols of scoring.
    seed : int
        Seed of the divisions and of the bootstrap.
    """
    compared = [name for name in dict.fromkeys(scores.estimates["metric"]) if _is_compared(name)]
    suitability: list[pd.DataFrame] = []
    agreement: list[pd.DataFrame] = []
    for protocol in protocols:
        of_metric = [
            MetricScores(name, scores.matrix(name, protocol, seed), parse_metric(name)[0].info.higher_is_better)
            for name in compared
        ]
        findings = list(dict.fromkeys(finding for m in of_metric for _, finding in m.matrix.keys))
        for table, frames in (
            (metric_suitability(of_metric, findings, seed), suitability),
            (metric_agreement(of_metric, findings), agreement),
        ):
            table.insert(0, "protocol", protocol.name)
            frames.append(table)
    scores.run.write_table("metric_suitability", pd.concat(suitability, ignore_index=True))
    scores.run.write_table("metric_agreement", pd.concat(agreement, ignore_index=True))


def _is_compared(metric: str) -> bool:
    info = parse_metric(metric)[0].info
    return "@" not in metric and info.is_score and not info.chance
