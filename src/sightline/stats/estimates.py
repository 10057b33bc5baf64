"""From the score table to estimates and paired differences, each with interval, n and patients."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Array, Source
from sightline.errors import DataError, UnknownNameError
from sightline.metrics.registry import metrics
from sightline.protocol import Protocol, ProtocolNames, get_protocols
from sightline.stats import bootstrap, jackknife
from sightline.stats.bootstrap import draw_published_weights, draw_weights, interval, p_value, replicate
from sightline.stats.intervals import UNBOUNDED, Scale, infer
from sightline.stats.jackknife import leave_one_out
from sightline.stats.simultaneous import simultaneous_levels

AVERAGE = "average"
"""The finding column of an unweighted mean over findings."""


_ENDS = ("low", "high", "simultaneous_low", "simultaneous_high")
_ESTIMATE = ("protocol", "metric", "source", "source_kind", "finding", "mean", *_ENDS, "n", "patients", "reason")
_DIFFERENCE = (
    *("protocol", "metric", "finding", "source", "versus", "mean", *_ENDS),
    *("p", "n", "patients", "reason"),
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
    radiographs: list[str]
    """Radiograph of each row."""

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
    return ScoreMatrix(values, group, keys, drawn, list(radiographs["radiograph"]))


def _number_pairs(first: pd.Series[str], second: pd.Series[str]) -> tuple[Array, Array, Array]:
    """Enumerate the distinct pairs in order of appearance: codes (n,), and the K firsts and seconds behind them.

    By codes, because a tuple of strings a row would outweigh the scores themselves.
    """
    (a, firsts), (b, seconds) = pd.factorize(first), pd.factorize(second)
    pair, distinct = pd.factorize(a.astype(np.int64) * max(1, len(seconds)) + b)
    at, bt = np.divmod(np.asarray(distinct), max(1, len(seconds)))
    return pair, np.asarray(firsts)[at], np.asarray(seconds)[bt]


def select_protocols(scores: pd.DataFrame, protocols: ProtocolNames | None) -> tuple[Protocol, ...]:
    """Return the protocols of a table of scores that are asked for.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores, with the column protocol.
    protocols : str, Protocol, sequence of them, or None
        Protocols by name or as records; None for all that the table was scored under.

    Returns
    -------
    tuple of Protocol
        The records of those that the table has scores under.

    Raises
    ------
    UnknownNameError
        If a name is that of no built-in protocol, so that its record is needed.
    DataError
        If the table has scores, but none under any of the protocols.
    """
    scored = list(dict.fromkeys(scores["protocol"]))
    if protocols is None and not scored:
        return ()
    records = get_protocols(scored if protocols is None else protocols)
    present = tuple(record for record in records if record.name in scored)
    if scored and records and not present:
        names = ", ".join(record.name for record in records)
        raise DataError(f"the table has no scores under {names}; it was scored under {', '.join(scored)}")
    return present


def estimates(
    scores: pd.DataFrame, protocols: ProtocolNames | None = None, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Estimate the mean score per protocol, metric, source and finding, and over findings ('average').

    Parameters
    ----------
    scores : DataFrame
        Rows of scores: columns protocol, metric, source, radiograph, patient, finding, value.
    protocols : str, Protocol, or sequence of them, optional
        Protocols to report, by name or as records; by default all that the table was scored under.
    resamples, seed : int
        Number and seed of the resamples, of protocols whose intervals need them.

    Returns
    -------
    DataFrame
        Columns protocol, metric, source, source_kind, finding, mean, low, high (95 %), simultaneous_low,
        simultaneous_high (95 % for all sources of the kind together, so also for the best of them; equal to low and
        high under a protocol whose intervals are quantiles of resamples), n, patients (or images, where the protocol
        draws images), reason (why there is no interval, or '').
    """
    rows: list[dict[str, Any]] = []
    for protocol, metric in _protocol_metric_pairs(scores, select_protocols(scores, protocols)):
        c = arrange_scores(scores, metric, protocol, resamples, seed)
        if not c.keys:
            continue
        sources, parts = c.columns_by_source()
        low, high = metric_bounds(metric)
        names = [*c.keys, *((source, AVERAGE) for source in sources)]
        share = bool(np.isfinite([low, high]).all())
        kinds = [Source.parse(source).kind for source, _ in names]
        families = [(kind, finding) for kind, (_, finding) in zip(kinds, names, strict=True)]
        scale: Scale = "share" if share else "linear"
        numbers = _infer_means([(c.values, parts)], c, families, protocol, (scale, (low, high)))
        for (source, finding), kind, row in zip(names, kinds, numbers, strict=True):
            head = {"protocol": protocol.name, "metric": metric, "source": source, "finding": finding}
            rows.append({**head, "source_kind": kind, **row})
    return pd.DataFrame(rows, columns=pd.Index(_ESTIMATE))


def differences(
    scores: pd.DataFrame,
    protocols: ProtocolNames | None = None,
    resamples: int = 1000,
    seed: int = 0,
    *,
    versus: str | Sequence[str] = (),
) -> pd.DataFrame:
    """Estimate paired differences of sources, over the rows that both have.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores, as in `estimates`.
    protocols : str, Protocol, or sequence of them, optional
        Protocols to report, by name or as records; by default all that the table was scored under.
    resamples, seed : int
        Number and seed of the resamples.
    versus : str or sequence of str
        Sources that every other source is compared with. By default every model source is compared with every reader,
        control and localizer, and localizers with controls; `sightline.compare` compares all pairs.

    Returns
    -------
    DataFrame
        Columns protocol, metric, finding, source, versus, mean (source minus versus), low, high (95 %),
        simultaneous_low, simultaneous_high (95 % for all pairs of the same two kinds together), p, n, patients, reason
        (why there is no interval, or ''). p is two-sided, from the distribution of the interval, and not adjusted for
        multiplicity.

    Raises
    ------
    UnknownNameError
        If the table has no scores of a source in `versus`.
    """
    references = [versus] if isinstance(versus, str) else list(versus)
    require_sources(scores, references)

    def pairs_with_references(sources: Sequence[str]) -> list[tuple[str, str]]:
        return [(s, v) for i, v in enumerate(references) for s in sources if s not in references[: i + 1]]

    return paired_differences(
        scores, pairs_with_references if references else _comparison_pairs, protocols, resamples, seed
    )


def require_sources(scores: pd.DataFrame, sources: Sequence[str]) -> None:
    """Check that a table has scores of sources.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores.
    sources : sequence of str
        Names of sources.

    Raises
    ------
    UnknownNameError
        For a source without scores.
    """
    known = list(dict.fromkeys(scores["source"]))
    unknown = [source for source in sources if source not in known]
    if unknown:
        raise UnknownNameError(
            f"the table has no source {', '.join(map(repr, unknown))}; it has {', '.join(known) or 'none'}"
        )


def _comparison_pairs(sources: Sequence[str]) -> list[tuple[str, str]]:
    kinds = {s: Source.parse(s).kind for s in sources}
    models = [s for s in sources if kinds[s] == "model"]
    localizers = [s for s in sources if kinds[s] == "localizer"]
    opposed = {versus: models + (localizers if kinds[versus] == "control" else []) for versus in sources}
    return [(source, versus) for versus, compared in opposed.items() if kinds[versus] != "model" for source in compared]


def paired_differences(
    scores: pd.DataFrame,
    pairs: Callable[[Sequence[str]], Sequence[tuple[str, str]]],
    protocols: ProtocolNames | None = None,
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
    protocols : str, Protocol, or sequence of them, optional
        Protocols to report, by name or as records; by default all that the table was scored under.
    resamples, seed : int
        Number and seed of the resamples.

    Returns
    -------
    DataFrame
        Columns as in `differences`.
    """
    rows: list[dict[str, Any]] = []
    for protocol, metric in _protocol_metric_pairs(scores, select_protocols(scores, protocols)):
        c = arrange_scores(scores, metric, protocol, resamples, seed)
        low, high = metric_bounds(metric)
        heads, gaps = [], []
        for source, versus in pairs(list(dict.fromkeys(s for s, _ in c.keys))):
            findings, gap = _subtract(c, source, versus)
            if findings:
                heads += [(source, versus, finding) for finding in [*findings, AVERAGE]]
                gaps.append((gap, [np.arange(len(findings))]))
        kinds = {name: Source.parse(name).kind for head in heads for name in head[:2]}
        families = [(kinds[source], kinds[versus], finding) for source, versus, finding in heads]
        width = high - low
        numbers = _infer_means(gaps, c, families, protocol, ("linear", (-width, width))) if gaps else ()
        for (source, versus, finding), row in zip(heads, numbers, strict=True):
            head = {"protocol": protocol.name, "metric": metric, "source": source, "versus": versus}
            rows.append({**head, "finding": finding, **row})
    return pd.DataFrame(rows, columns=pd.Index(_DIFFERENCE))


def _subtract(matrix: ScoreMatrix, source: str, versus: str) -> tuple[list[str], Array]:
    """Return the F findings that both sources have, and their differences (N, F)."""
    at = {key: j for j, key in enumerate(matrix.keys)}
    findings = [f for s, f in matrix.keys if s == source and (versus, f) in at]
    columns = [matrix.values[:, at[source, f]] - matrix.values[:, at[versus, f]] for f in findings]
    return findings, np.stack(columns, 1) if columns else np.zeros((len(matrix.values), 0))


def _infer_means(
    blocks: Sequence[tuple[Array, list[Array]]],
    c: ScoreMatrix,
    families: Sequence[Hashable],
    protocol: Protocol,
    scale_and_bounds: tuple[Scale, tuple[float, float]],
) -> Iterator[dict[str, Any]]:
    """Yield, block by block, the numbers of each column of values (N, K), then those of the average of each part.

    families: of each row, for the intervals that hold for a family together.
    """
    if protocol.interval == "jackknife":
        singles = [leave_one_out(values, c.group) for values, _ in blocks]
        pairs = [(r, jackknife.average_columns(r, parts)) for r, (_, parts) in zip(singles, blocks, strict=True)]
        columns = jackknife.concatenate(*(part for pair in pairs for part in pair))
        pointwise = infer(columns, *scale_and_bounds)
        wide = infer(columns, *scale_and_bounds, simultaneous_levels(columns, families))
        for j in range(len(columns.point)):
            yield {**pointwise.row(j), "simultaneous_low": wide.low[j], "simultaneous_high": wide.high[j]}
        return
    for values, parts in blocks:
        drawn = replicate(values, c.group, c.weights)
        for r in (drawn, bootstrap.average_columns(drawn, parts, values, c.group)):
            yield from _quantile_rows(r, protocol)


def _quantile_rows(r: bootstrap.Replicates, protocol: Protocol) -> Iterator[dict[str, Any]]:
    """Yield the numbers of each column; the intervals of quantiles are not adjusted for a choice."""
    mean, low, high = interval(r, protocol.interval)  # type: ignore[arg-type]
    for j in range(mean.size):
        ends = dict(zip(_ENDS, (low[j], high[j]) * 2, strict=True))
        patients = int(r.groups[j])
        p, reason = (p_value(r.draws[:, j]), "") if patients > 1 else (float("nan"), "a single group to draw from")
        yield {"mean": mean[j], **ends, "n": int(r.n[j]), "patients": patients, "p": p, "reason": reason}


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
