"""From the score table to estimates and paired differences, each with interval, n and patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Array, Source
from sightline.protocol import Protocol
from sightline.stats.bootstrap import (
    Replicates,
    average_columns,
    draw_published_weights,
    draw_weights,
    interval,
    p_value,
    replicate,
)

AVERAGE = "average"
"""The finding column of an unweighted mean over findings."""


_ESTIMATE = ("protocol", "metric", "source", "source_kind", "finding", "mean", "low", "high", "n", "patients")
_DIFFERENCE = ("protocol", "metric", "finding", "source", "versus", "mean", "low", "high", "p", "n", "patients")


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """The scores of one metric as a matrix: a row per radiograph, a column per (source, finding)."""

    values: Array
    """float64 (N, K), NaN = no score or undefined."""
    group: Array
    """int64 (N,): what the bootstrap draws, numbered."""
    keys: list[tuple[str, str]]
    """K × (source, finding)."""
    weights: Array
    """uint8 (B, G)."""

    def columns_by_source(self) -> tuple[list[str], list[Array]]:
        """Group the columns by source.

        Returns
        -------
        sources : list of str
            Sources, in order.
        columns : list of int array
            Columns of the findings of each source.
        """
        sources = list(dict.fromkeys(source for source, _ in self.keys))
        return sources, [np.array([j for j, (s, _) in enumerate(self.keys) if s == source]) for source in sources]


def arrange_scores(scores: pd.DataFrame, metric: str, protocol: Protocol, resamples: int, seed: int) -> ScoreMatrix:
    """Arrange the scores of one metric under one protocol as a matrix.

    The resamples are the same for every metric and source of a table of scores.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores: columns protocol, metric, source, radiograph, patient, finding, value.
    metric : str
        Metric.
    protocol : Protocol
        Protocol, which states what the bootstrap draws.
    resamples, seed : int
        Number and seed of the resamples.

    Returns
    -------
    ScoreMatrix
        Scores with their resamples.
    """
    unit = "patient" if protocol.resample == "patient" else "radiograph"
    groups = pd.Index(sorted(scores[unit].unique()))
    rows = scores[(scores["metric"] == metric) & (scores["protocol"] == protocol.name) & scores["value"].notna()]
    radiographs = rows.drop_duplicates("radiograph")
    pair, source, finding = _number_pairs(rows["source"], rows["finding"])
    keys = list(zip(source, finding, strict=True))
    values = np.full((len(radiographs), len(keys)), np.nan)
    row = pd.Index(radiographs["radiograph"]).get_indexer(pd.Index(rows["radiograph"]))
    values[row, pair] = rows["value"]
    draw = draw_weights if protocol.resample == "patient" else draw_published_weights
    group = groups.get_indexer(pd.Index(radiographs[unit]))
    return ScoreMatrix(values, group, keys, draw(len(groups), resamples, seed))


def _number_pairs(first: pd.Series[str], second: pd.Series[str]) -> tuple[Array, Array, Array]:
    """Enumerate the distinct pairs in order of appearance: codes (n,), and the K firsts and seconds behind them.

    By codes, because a tuple of strings a row would outweigh the scores themselves.
    """
    (a, firsts), (b, seconds) = pd.factorize(first), pd.factorize(second)
    pair, distinct = pd.factorize(a.astype(np.int64) * max(1, len(seconds)) + b)
    at, bt = np.divmod(np.asarray(distinct), max(1, len(seconds)))
    return pair, np.asarray(firsts)[at], np.asarray(seconds)[bt]


def estimates(
    scores: pd.DataFrame, protocols: Sequence[Protocol], resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Estimate the mean score per protocol, metric, source and finding, and over findings ('average').

    Parameters
    ----------
    scores : DataFrame
        Rows of scores: columns protocol, metric, source, radiograph, patient, finding, value.
    protocols : sequence of Protocol
        Protocols to report.
    resamples, seed : int
        Number and seed of the resamples.

    Returns
    -------
    DataFrame
        Columns protocol, metric, source, source_kind, finding, mean, low, high (95 %), n, patients (or images, where
        the
        protocol draws images).
    """
    rows: list[dict[str, Any]] = []
    for protocol, metric in _protocol_metric_pairs(scores, protocols):
        c = arrange_scores(scores, metric, protocol, resamples, seed)
        if not c.keys:
            continue
        single = replicate(c.values, c.group, c.weights)
        sources, parts = c.columns_by_source()
        together = average_columns(single, parts, c.values, c.group)
        for keys, r in ((c.keys, single), ([(s, AVERAGE) for s in sources], together)):
            for (source, finding), numbers in zip(keys, _interval_rows(r, protocol), strict=True):
                kind = Source.parse(source).kind
                head = {"protocol": protocol.name, "metric": metric, "source": source, "source_kind": kind}
                rows.append({**head, "finding": finding, **numbers})
    return pd.DataFrame(rows, columns=pd.Index(_ESTIMATE))


def differences(
    scores: pd.DataFrame, protocols: Sequence[Protocol], resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Estimate paired differences of sources, over the rows that both have.

    Every model source is compared with every reader, control and localizer, and localizers with controls.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores, as in `estimates`.
    protocols : sequence of Protocol
        Protocols to report.
    resamples, seed : int
        Number and seed of the resamples.

    Returns
    -------
    DataFrame
        Columns protocol, metric, finding, source, versus, mean (source minus versus), low, high (95 %), p, n,
        patients. p is
        two-sided, from the same resamples, and not adjusted for multiplicity.
    """
    return paired_differences(scores, _comparison_pairs, protocols, resamples, seed)


def _comparison_pairs(sources: Sequence[str]) -> list[tuple[str, str]]:
    kinds = {s: Source.parse(s).kind for s in sources}
    models = [s for s in sources if kinds[s] == "model"]
    localizers = [s for s in sources if kinds[s] == "localizer"]
    opposed = {versus: models + (localizers if kinds[versus] == "control" else []) for versus in sources}
    return [(source, versus) for versus, compared in opposed.items() if kinds[versus] != "model" for source in compared]


def paired_differences(
    scores: pd.DataFrame,
    pairs: Callable[[Sequence[str]], Sequence[tuple[str, str]]],
    protocols: Sequence[Protocol],
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate paired differences between chosen sources, as in `differences`.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores, as in `estimates`.
    pairs : callable
        Function of the sources that returns the pairs (source, versus).
    protocols : sequence of Protocol
        Protocols to report.
    resamples, seed : int
        Number and seed of the resamples.

    Returns
    -------
    DataFrame
        Columns as in `differences`.
    """
    rows: list[dict[str, Any]] = []
    for protocol, metric in _protocol_metric_pairs(scores, protocols):
        c = arrange_scores(scores, metric, protocol, resamples, seed)
        for source, versus in pairs(list(dict.fromkeys(s for s, _ in c.keys))):
            head = {"protocol": protocol.name, "metric": metric, "source": source, "versus": versus}
            rows += [{**head, **numbers} for numbers in _difference_rows(c, source, versus, protocol)]
    return pd.DataFrame(rows, columns=pd.Index(_DIFFERENCE))


def _difference_rows(matrix: ScoreMatrix, source: str, versus: str, protocol: Protocol) -> Iterator[dict[str, Any]]:
    at = {key: j for j, key in enumerate(matrix.keys)}
    findings = [f for s, f in matrix.keys if s == source and (versus, f) in at]
    if not findings:
        return
    gap = np.stack([matrix.values[:, at[source, f]] - matrix.values[:, at[versus, f]] for f in findings], 1)  # (N, F)
    single = replicate(gap, matrix.group, matrix.weights)
    together = average_columns(single, [np.arange(len(findings))], gap, matrix.group)
    for names, r in ((findings, single), ([AVERAGE], together)):
        for j, (finding, numbers) in enumerate(zip(names, _interval_rows(r, protocol), strict=True)):
            p = p_value(r.draws[:, j]) if numbers["patients"] > 1 else float("nan")
            yield {"finding": finding, **numbers, "p": p}


def _protocol_metric_pairs(scores: pd.DataFrame, protocols: Sequence[Protocol]) -> Iterator[tuple[Protocol, str]]:
    names = list(dict.fromkeys(scores["metric"]))
    return ((protocol, metric) for protocol in protocols for metric in names)


def _interval_rows(r: Replicates, protocol: Protocol) -> Iterator[dict[str, Any]]:
    mean, low, high = interval(r, protocol.interval)
    for j in range(mean.size):
        yield {"mean": mean[j], "low": low[j], "high": high[j], "n": int(r.n[j]), "patients": int(r.groups[j])}
