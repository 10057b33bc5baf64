"""Comparison of all pairs of methods or models on the same radiographs, adjusted for their number, and their ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from sightline.core import NAN, Source
from sightline.errors import DataError, UnknownNameError
from sightline.metrics.registry import parse_metric
from sightline.protocol import Protocol, ProtocolNames
from sightline.stats.estimates import AVERAGE, arrange_scores, paired_differences, require_sources, select_protocols
from sightline.stats.multiplicity import holm
from sightline.stats.trainings import Trainings, group_sources, require_trainings, rows_over_trainings

PairChoice = Literal["source", "method", "model"]
"""Pairs that are compared: all; those of one model that differ in their method; those of one method that differ in
their model."""
SIGNIFICANCE_LEVEL = 0.05
_KEY = ["protocol", "metric", "source", "versus", "finding"]
COLUMNS = [*_KEY, "mean", "low", "high", "p", "p_holm", "n", "patients", "trainings", "scope", "reason"]
"""Columns of a table of comparisons."""


def compare(
    scores: pd.DataFrame,
    protocols: ProtocolNames | None = None,
    *,
    by: PairChoice = "source",
    sources: Sequence[str] = (),
    trainings: Trainings | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare all pairs of sources on the radiographs that both have, with p values adjusted by Holm's method.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores, as `sightline.score` returns them.
    protocols : str, Protocol, or sequence of them, optional
        Protocols to report, by name or as records; by default all that the table was scored under.
    by : {'source', 'method', 'model'}
        'source': all pairs; 'method': pairs of methods on the same model; 'model': pairs of models with the same
        method.
    sources : sequence of str
        Sources that are compared; by default all of models, without readers and controls.
    trainings : mapping of str to sequence of str, optional
        Name of a network -> names of the models that are its trainings. They are compared as one, with intervals over
        trainings and patients (see `sightline.stats.trainings`).
    resamples, seed : int
        Number and seed of the resamples.

    Returns
    -------
    DataFrame
        Columns protocol, metric, source, versus, finding, mean (source minus versus), low, high (95 %, not adjusted), p
        (two-sided), p_holm, n, patients, trainings (of the two networks, as '3 and 1'), scope (what the interval
        covers, see `sightline.stats.trainings.Scope`) and reason (why a row has no interval; empty if it has one).
        Holm's method adjusts the averages over findings for the number of pairs, and the single findings for the
        number of pairs and findings, within each protocol and metric.

    Raises
    ------
    DataError
        If there are fewer than two sources, or no pair of the kind that `by` names.
    UnknownNameError
        If the table has no scores of a source, or of a model in `trainings`.

    Examples
    --------
    >>> cases = [(f"r{i}", f"p{i}", name, i / 20 + gain) for i in range(10) for name, gain in (("a", 0.1), ("b", 0))]
    >>> table = pd.DataFrame(cases, columns=["radiograph", "patient", "source", "value"])
    >>> table = table.assign(protocol="corrected", metric="iou", finding="Edema")
    >>> rows = compare(table)
    >>> rows[["source", "versus", "finding"]].iloc[0].tolist(), round(float(rows["mean"].iloc[0]), 3)
    (['a', 'b', 'Edema'], 0.1)
    """
    require_sources(scores, sources)
    known = [s for s in dict.fromkeys(scores["source"]) if s in sources or not sources]
    compared = known if sources else [s for s in known if Source.parse(s).kind == "model"]
    grouped = group_sources(compared, trainings or {})
    require_trainings(compared, trainings or {})
    pairs = select_pairs(list(grouped), by)
    if not pairs:
        raise DataError(
            f"there is no pair to compare by {by}; of models, the table has {', '.join(compared) or 'no source'}"
        )
    rows = scores[scores["source"].isin(compared)]
    records = select_protocols(rows, protocols)
    rows = rows[rows["protocol"].isin([record.name for record in records])]
    single = [(a, b) for a, b in pairs if len(grouped[a]) == len(grouped[b]) == 1]
    members = {(grouped[a][0], grouped[b][0]): (a, b) for a, b in single}
    table = paired_differences(rows, _choose(list(members)), records, resamples, seed)
    table = _rename_pairs(table, members).assign(trainings="1 and 1", scope="patients")
    repeated = list(_compare_trainings(rows, grouped, [pair for pair in pairs if pair not in single], records))
    parts = [part for part in (table, pd.DataFrame(repeated)) if len(part)] or [table]
    return _adjust(_complete(pd.concat(parts, ignore_index=True), rows, grouped, pairs))


def select_pairs(sources: Sequence[str], by: PairChoice = "source") -> list[tuple[str, str]]:
    """Return the pairs of sources that are compared, each once.

    Parameters
    ----------
    sources : sequence of str
        Sources.
    by : {'source', 'method', 'model'}
        Pairs, see `PairChoice`.

    Returns
    -------
    list of (str, str)
        Pairs in the order of the sources.

    Examples
    --------
    >>> select_pairs(["a/cam", "a/lrp", "b/cam"], "model")
    [('a/cam', 'b/cam')]
    """

    def belongs(a: Source, b: Source) -> bool:
        return by == "source" or (a.model == b.model if by == "method" else a.method == b.method)

    return [(a, b) for a, b in combinations(sources, 2) if belongs(Source.parse(a), Source.parse(b))]


def _choose(pairs: list[tuple[str, str]]) -> Callable[[Sequence[str]], list[tuple[str, str]]]:
    return lambda sources: [(a, b) for a, b in pairs if a in sources and b in sources]


def _rename_pairs(table: pd.DataFrame, names: Mapping[tuple[str, str], tuple[str, str]]) -> pd.DataFrame:
    """Give pairs of trainings the names of their networks."""
    pairs = [names[pair] for pair in zip(table["source"], table["versus"], strict=True)]
    return table.assign(source=[a for a, _ in pairs], versus=[b for _, b in pairs])


def _compare_trainings(
    scores: pd.DataFrame,
    grouped: Mapping[str, tuple[str, ...]],
    pairs: Sequence[tuple[str, str]],
    protocols: Sequence[Protocol],
) -> Iterator[dict[str, Any]]:
    """Yield the differences of networks, one of which has several trainings."""
    for protocol in protocols if pairs else ():
        for metric in dict.fromkeys(scores["metric"]):
            matrix = arrange_scores(scores, metric, protocol, 1, 0)
            for source, versus in pairs:
                head = {"protocol": protocol.name, "metric": metric, "source": source, "versus": versus}
                counts = f"{len(grouped[source])} and {len(grouped[versus])}"
                for row in rows_over_trainings(matrix, (grouped[source], grouped[versus])):
                    yield head | row | {"trainings": counts}


def _complete(
    table: pd.DataFrame, scores: pd.DataFrame, grouped: Mapping[str, tuple[str, ...]], pairs: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """Add the rows of pairs that share no score, and say of every row without an interval why it has none."""
    member = {source: group for group, sources in grouped.items() for source in sources}
    cells = scores[["protocol", "metric", "source", "finding"]].drop_duplicates()
    cells = cells.assign(source=cells["source"].map(member)).drop_duplicates()
    findings = cells.groupby(["protocol", "metric", "source"], sort=False)["finding"].agg(list).to_dict()
    keys = []
    for protocol, metric in cells[["protocol", "metric"]].drop_duplicates().itertuples(index=False, name=None):
        for a, b in pairs:
            both = dict.fromkeys([*findings.get((protocol, metric, a), ()), *findings.get((protocol, metric, b), ())])
            keys += [(protocol, metric, a, b, finding) for finding in (*both, AVERAGE)]
    table = pd.DataFrame(keys, columns=pd.Index(_KEY)).merge(table, on=_KEY, how="left")
    reasons = table["reason"] if "reason" in table else pd.Series("", table.index)
    numbers = table[["mean", "low", "n", "patients"]].fillna({"n": 0, "patients": 0})
    stated = [
        str(reason) if isinstance(reason, str) and reason and row[2] else _reason(*row)
        for reason, row in zip(reasons, numbers.itertuples(index=False, name=None), strict=True)
    ]
    counts = {name: table[name].fillna(0).astype(int) for name in ("n", "patients")}
    return table.assign(**counts, reason=stated)


def _reason(mean: float, low: float, n: float, patients: float) -> str:
    """Say why a difference has no interval."""
    if not np.isnan(low):
        return ""
    if not n:
        return "no radiograph has a score of both"
    if patients < 2:
        return "one patient: an interval needs at least two"
    return "no interval can be computed"


def _adjust(table: pd.DataFrame) -> pd.DataFrame:
    """Add p values adjusted by Holm's method within each protocol and metric, averages and single findings apart."""
    family = [table["protocol"], table["metric"], table["finding"] == AVERAGE]
    adjusted = table.groupby(family, sort=False)["p"].transform(lambda p: holm(p.to_numpy(float)))
    return table.assign(p_holm=adjusted).reindex(columns=COLUMNS)


def rank_sources(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Rank the sources of a table of comparisons, with confidence sets for the ranks.

    A source ranks below each source that is better on the radiographs that both have. The confidence set is that of
    all ranks at once: a source ranks below those that are better, and above those that are worse, with an adjusted p
    below 0.05, and anywhere between (Mogstad, Romano, Shaikh and Wilhelm 2024, 10.1093/restud/rdad006).

    Parameters
    ----------
    comparisons : DataFrame
        All pairs of some sources, as `compare` returns them.

    Returns
    -------
    DataFrame
        Columns protocol, metric, finding, source, rank (1 is best; ties share the mean of their ranks; NaN for a source
        without scores), low and high (95 %, simultaneous over the sources; NaN as rank), and sources (their number).

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {"protocol": "corrected", "metric": "iou", "finding": "Edema", "source": ["a", "a", "b"],
    ...      "versus": ["b", "c", "c"], "mean": [0.1, 0.3, 0.2], "p_holm": [0.4, 0.01, 0.03]}
    ... )
    >>> rank_sources(table)[["source", "rank", "low", "high"]].to_numpy().tolist()
    [['a', 1.0, 1.0, 2.0], ['b', 2.0, 1.0, 2.0], ['c', 3.0, 3.0, 3.0]]
    """
    rows = []
    for key, part in comparisons.groupby(["protocol", "metric", "finding"], sort=False):
        names = list(dict.fromkeys([*part["source"], *part["versus"]]))
        index = pd.Index(names)
        gap, p = np.full((2, len(names), len(names)), NAN)
        i, j = index.get_indexer(pd.Index(part["source"])), index.get_indexer(pd.Index(part["versus"]))
        mean = part["mean"].to_numpy(float) * (1 if _higher_is_better(str(key[1])) else -1)
        gap[i, j], gap[j, i] = mean, -mean
        p[i, j] = p[j, i] = part["p_holm"].to_numpy(float)
        known, differs = ~np.isnan(gap), p < SIGNIFICANCE_LEVEL
        undefined = ~known.any(1)
        numbers = np.stack(
            [
                1 + (gap < 0).sum(1) + (gap == 0).sum(1) / 2,
                1 + (differs & (gap < 0)).sum(1),
                1 + known.sum(1) - (differs & (gap > 0)).sum(1),
            ],
            1,
        )
        numbers[undefined] = NAN
        rows += [(*key, name, *ranks, len(names)) for name, ranks in zip(names, numbers.tolist(), strict=True)]
    columns = ("protocol", "metric", "finding", "source", "rank", "low", "high", "sources")
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _higher_is_better(metric: str) -> bool:
    try:
        return parse_metric(metric)[0].info.higher_is_better
    except UnknownNameError:
        return True  # a column of a user's own table


def concordance(ranks: pd.DataFrame, settings: Sequence[str]) -> float:
    """Compute Kendall's coefficient of concordance W of the ranks under several settings.

    Kendall and Babington Smith 1939, 10.1214/aoms/1177732186, with the correction for ties.

    Parameters
    ----------
    ranks : DataFrame
        Table of `rank_sources`.
    settings : sequence of str
        Columns whose values form a setting, such as metric and protocol.

    Returns
    -------
    float
        1 if all settings give the same order, 0 if the orders have nothing in common; NaN with fewer than two settings
        or two sources, or if all sources tie.

    Examples
    --------
    >>> table = pd.DataFrame({"metric": ["x", "x", "y", "y"], "source": ["a", "b", "a", "b"], "rank": [1, 2, 1, 2]})
    >>> concordance(table, ["metric"])
    1.0
    """
    wide = ranks.dropna(subset="rank").pivot_table(index=list(settings), columns="source", values="rank")
    values = wide.dropna(axis=0).to_numpy(float)
    m, n = values.shape
    if m < 2 or n < 2:
        return NAN
    ties = sum(float((count**3 - count).sum()) for count in (np.unique(row, return_counts=True)[1] for row in values))
    possible = m * m * (n**3 - n) - m * ties
    sums = values.sum(0)
    return float(12 * ((sums - sums.mean()) ** 2).sum() / possible) if possible > 0 else NAN
