"""From the score table to estimates and paired differences, each with interval, n and patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Array, Source
from sightline.errors import UnknownNameError
from sightline.metrics.registry import metrics
from sightline.protocol import Protocol
from sightline.stats import bootstrap, jackknife
from sightline.stats.bootstrap import draw_published_weights, draw_weights, interval, p_value, replicate
from sightline.stats.intervals import UNBOUNDED, Scale, infer
from sightline.stats.jackknife import leave_one_out

AVERAGE = "average"
"""The finding column of an unweighted mean over findings."""


_NUMBERS = ("mean", "low", "high", "n", "patients", "reason")
_ESTIMATE = ("protocol", "metric", "source", "source_kind", "finding", *_NUMBERS)
_DIFFERENCE = (
    "protocol",
    "metric",
    "finding",
    "source",
    "versus",
    "mean",
    "low",
    "high",
    "p",
    "n",
    "patients",
    "reason",
)


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
    """uint8 (B, G): counts of each group in each resample; B = 0 where the protocol needs no resamples."""

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
    draw = draw_published_weights if protocol.definitions == "published" else draw_weights
    group = groups.get_indexer(pd.Index(radiographs[unit]))
    drawn = (
        np.zeros((0, len(groups)), np.uint8) if protocol.interval == "jackknife" else draw(len(groups), resamples, seed)
    )
    return ScoreMatrix(values, group, keys, drawn)


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
        Number and seed of the resamples, of protocols whose intervals need them.

    Returns
    -------
    DataFrame
        Columns protocol, metric, source, source_kind, finding, mean, low, high (95 %), n, patients (or images, where
        the protocol draws images), reason (why there is no interval, or '').
    """
    rows: list[dict[str, Any]] = []
    for protocol, metric in _protocol_metric_pairs(scores, protocols):
        c = arrange_scores(scores, metric, protocol, resamples, seed)
        if not c.keys:
            continue
        sources, parts = c.columns_by_source()
        low, high = metric_bounds(metric)
        names = [*c.keys, *((source, AVERAGE) for source in sources)]
        share = bool(np.isfinite([low, high]).all())
        numbers = _infer_means(c.values, c, parts, protocol, "share" if share else "linear", (low, high))
        for (source, finding), row in zip(names, numbers, strict=True):
            head = {"protocol": protocol.name, "metric": metric, "source": source, "finding": finding}
            rows.append({**head, "source_kind": Source.parse(source).kind, **row})
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
        patients, reason (why there is no interval, or ''). p is two-sided, from the distribution of the interval, and
        not adjusted for multiplicity.
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
        low, high = metric_bounds(metric)
        for source, versus in pairs(list(dict.fromkeys(s for s, _ in c.keys))):
            head = {"protocol": protocol.name, "metric": metric, "source": source, "versus": versus}
            rows += [{**head, **numbers} for numbers in _difference_rows(c, source, versus, protocol, high - low)]
    return pd.DataFrame(rows, columns=pd.Index(_DIFFERENCE))


def _difference_rows(
    matrix: ScoreMatrix, source: str, versus: str, protocol: Protocol, width: float
) -> Iterator[dict[str, Any]]:
    """Rows of the findings that both have and of their average; width: of the range of the metric."""
    at = {key: j for j, key in enumerate(matrix.keys)}
    findings = [f for s, f in matrix.keys if s == source and (versus, f) in at]
    if not findings:
        return
    gap = np.stack([matrix.values[:, at[source, f]] - matrix.values[:, at[versus, f]] for f in findings], 1)  # (N, F)
    numbers = _infer_means(gap, matrix, [np.arange(len(findings))], protocol, "linear", (-width, width))
    for finding, row in zip([*findings, AVERAGE], numbers, strict=True):
        yield {"finding": finding, **row}


def _infer_means(
    values: Array, c: ScoreMatrix, parts: list[Array], protocol: Protocol, scale: Scale, bounds: tuple[float, float]
) -> Iterator[dict[str, Any]]:
    """Yield the numbers of each column of values (N, K), then those of the average of each part."""
    if protocol.interval == "jackknife":
        single = leave_one_out(values, c.group)
        for columns in (single, jackknife.average_columns(single, parts)):
            inference = infer(columns, scale, bounds)
            yield from (inference.row(j) for j in range(len(columns.point)))
        return
    drawn = replicate(values, c.group, c.weights)
    for r in (drawn, bootstrap.average_columns(drawn, parts, values, c.group)):
        mean, low, high = interval(r, protocol.interval)
        for j in range(mean.size):
            ends = {"mean": mean[j], "low": low[j], "high": high[j], "n": int(r.n[j]), "patients": int(r.groups[j])}
            enough = ends["patients"] > 1
            reason = "" if enough else "a single group to draw from"
            yield {**ends, "p": p_value(r.draws[:, j]) if enough else float("nan"), "reason": reason}


def metric_bounds(metric: str) -> tuple[float, float]:
    """Return the lowest and the highest possible value of a metric.

    Parameters
    ----------
    metric : str
        Name; one that no metric has is without bounds.

    Returns
    -------
    low, high : float
        Bounds, infinite where there is none.

    Examples
    --------
    >>> metric_bounds("iou"), metric_bounds("seconds")
    ((0.0, 1.0), (-inf, inf))
    """
    try:
        return metrics[metric].info.range
    except UnknownNameError:
        return UNBOUNDED


def _protocol_metric_pairs(scores: pd.DataFrame, protocols: Sequence[Protocol]) -> Iterator[tuple[Protocol, str]]:
    names = list(dict.fromkeys(scores["metric"]))
    return ((protocol, metric) for protocol in protocols for metric in names)
