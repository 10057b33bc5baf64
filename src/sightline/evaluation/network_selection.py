"""Choice of the network for each saliency method.

CheXlocalize chose an architecture in this way: Saporta et al. 2022, 10.1038/s42256-022-00536-x, Fig. 2a.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sightline.core import Source
from sightline.evaluation.case_table import model_sources
from sightline.evaluation.score_table import ScoreTable
from sightline.metrics.registry import parse_metric
from sightline.protocol import Protocol
from sightline.stats.estimates import AVERAGE, estimates

SELECTION_METRICS = ("iou", "pointing-game")
"""Metrics by which a network is chosen, each for itself."""
COLUMNS = ("protocol", "metric", "method", "model", "mean", "low", "high", "n", "patients", "findings", "chosen")
"""Columns of the table `network_selection`."""


def select_networks(scores: ScoreTable, protocols: Sequence[Protocol], *, seed: int) -> None:
    """Write the table `network_selection` of a run with several networks; nothing for one network.

    The networks of a method are compared on the findings that all of them have a map of, because averages over
    different findings are not comparable. The one with the best average is chosen. It was chosen on the radiographs
    that are scored, so that its own average is optimistic.

    Parameters
    ----------
    scores : ScoreTable
        Tables of the run.
    protocols : sequence of Protocol
        Protocols of scoring.
    seed : int
        Seed of the bootstrap.
    """
    by_method: dict[str, dict[str, str]] = {}
    for source in model_sources(scores.sources):
        parsed = Source.parse(source)
        if parsed.model:
            by_method.setdefault(parsed.method, {})[parsed.model] = source
    by_method = {method: sources for method, sources in by_method.items() if len(sources) > 1}
    rows = []
    for metric in SELECTION_METRICS if by_method else ():
        table = scores.scores([metric])
        for method, sources in by_method.items():
            part = table[table["source"].isin(list(sources.values()))]
            rows += _method_rows(part, metric, method, sources, protocols, seed)
    if rows:
        scores.run.write_table("network_selection", pd.DataFrame(rows, columns=pd.Index(COLUMNS)))


def _method_rows(
    table: pd.DataFrame, metric: str, method: str, sources: dict[str, str], protocols: Sequence[Protocol], seed: int
) -> list[dict[str, Any]]:
    """Return the rows of one metric and method."""
    findings = [set(rows["finding"]) for _, rows in table.groupby("source")]
    shared = set.intersection(*findings) if len(findings) == len(sources) else set()
    means = estimates(table[table["finding"].isin(sorted(shared))], protocols, seed=seed)
    means = means[means["finding"] == AVERAGE] if len(shared) > 1 else means[means["finding"] != AVERAGE]
    models = {source: model for model, source in sources.items()}
    is_highest = parse_metric(metric)[0].info.higher_is_better
    rows = []
    for protocol in protocols:
        of_protocol = means[means["protocol"] == protocol.name].dropna(subset="mean")
        ordered = of_protocol.sort_values("mean", ascending=not is_highest, kind="stable")
        best = next(iter(ordered["source"]), "")
        for row in of_protocol.to_dict("records"):
            numbers = {name: row[name] for name in ("mean", "low", "high", "n", "patients")}
            head = {"protocol": protocol.name, "metric": metric, "method": method, "model": models[row["source"]]}
            rows.append({**head, **numbers, "findings": len(shared), "chosen": row["source"] == best})
    return rows
