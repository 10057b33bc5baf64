"""The mean over several readers as a source of its own, with intervals for readers in general.

With two or more readers of a kind, contours or points, the human benchmark is 'reader/all readers' or 'reader/all
readers points': every reader counts the same, and the interval speaks of other readers of other patients, see
`sightline.stats.multi_reader`. A map and a reader are compared on the cases that both have, against the same
reference: where the reference combines readers, the one that leaves this reader out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from sightline.core import NAN, WITHOUT, Array, Source
from sightline.protocol import Protocol
from sightline.stats.estimates import AVERAGE
from sightline.stats.jackknife import nanmean
from sightline.stats.multi_reader import (
    MIN_READERS,
    MultiReaderEstimate,
    jackknife_covariance,
    multi_reader_estimate,
)

ALL_READERS = "all readers"
"""Name of the mean over readers among the readers of a table; no reader may have it."""
_CASE = ["radiograph", "patient", "finding"]


def is_average(source: str) -> bool:
    """Return True for the mean over readers.

    Parameters
    ----------
    source : str
        The source.

    Returns
    -------
    bool
        False for a single reader, and for every source that is no reader.

    Examples
    --------
    >>> is_average("reader/all readers points"), is_average("reader/R1")
    (True, False)
    """
    parsed = Source.parse(source)
    return parsed.kind == "reader" and parsed.model == ALL_READERS


def readers_behind(sources: Sequence[str], average: str) -> tuple[str, ...]:
    """Return the sources of the readers whose mean a source is.

    Parameters
    ----------
    sources : sequence of str
        All sources of a table.
    average : str
        The source.

    Returns
    -------
    tuple of str
        Readers of the same kind, contours or points; none if the source is not the mean over readers.

    Examples
    --------
    >>> readers_behind(["reader/R1", "reader/R1 points", "reader/R2", "reader/all readers"], "reader/all readers")
    ('reader/R1', 'reader/R2')
    """
    if not is_average(average):
        return ()
    parsed = {source: Source.parse(source) for source in sources}
    method = Source.parse(average).method
    return tuple(s for s, p in parsed.items() if (p.kind, p.method) == ("reader", method) and not is_average(s))


@dataclass(frozen=True, slots=True)
class ReaderSums:
    """Sums of scores by group of cases, reader and finding, of columns that are all defined or all not."""

    sums: Mapping[str, Array]
    """Column -> float64 (G, J, F)."""
    counts: Array
    """float64 (G, J, F): number of scores."""
    findings: tuple[str, ...]
    """F findings."""

    @classmethod
    def from_rows(cls, rows: pd.DataFrame, columns: Sequence[str], group: str) -> ReaderSums:
        """Sum the rows of a table.

        Parameters
        ----------
        rows : DataFrame
            Columns reader, finding, that of the groups, and the values; a row with an undefined value counts nowhere.
        columns : sequence of str
            Columns of values.
        group : str
            Column of the independent groups of cases: patient or radiograph.

        Returns
        -------
        ReaderSums
            The sums.
        """
        rows = rows.dropna(subset=list(columns))
        codes, names = zip(*(pd.factorize(rows[c], sort=c == group) for c in (group, "reader", "finding")), strict=True)
        shape = tuple(map(len, names))
        values = {c: np.zeros(shape) for c in columns}
        counts = np.zeros(shape)
        np.add.at(counts, codes, 1)
        for column, total in values.items():
            np.add.at(total, codes, rows[column].to_numpy(float))
        return cls(values, counts, tuple(map(str, names[2])))

    def select(self, findings: Sequence[int]) -> ReaderSums:
        """Return the sums of some findings, of the groups and readers that have any of them.

        A reader who has a finding in a single group is left out of it, because a mean of one has no variance; unless
        this is so for all, who then have a mean without an interval.

        Parameters
        ----------
        findings : sequence of int
            Positions of the findings.

        Returns
        -------
        ReaderSums
            The sums.
        """
        counts = self.counts[..., list(findings)]
        groups = (counts > 0).sum(0)  # (J, F)
        kept = groups >= (2 if (groups >= 2).any() else 1)
        counts = counts * kept
        used, readers = counts.any((1, 2)), kept.any(1)
        sums = {c: (s[..., list(findings)] * kept)[used][:, readers] for c, s in self.sums.items()}
        return ReaderSums(sums, counts[used][:, readers], tuple(self.findings[i] for i in findings))

    def levels(self, column: str) -> tuple[float, Array, Array]:
        """Compute the mean over readers and findings, and the level of every reader.

        The level of a reader is the mean over findings; a finding that a reader lacks counts as this reader's mean
        deviation from the mean over readers, so that nobody is better for having read the easy findings.

        Parameters
        ----------
        column : str
            Column of values.

        Returns
        -------
        mean : float
            Mean over findings of the means over readers.
        levels : (J,) float64
            Level of every reader.
        without : (G, J) float64
            Levels with each group left out.
        """
        total, number = self.sums[column].sum(0), self.counts.sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = total / number  # (J, F), NaN where a reader lacks a finding
            means_without = (total - self.sums[column]) / (number - self.counts)  # (G, J, F)
        mean, levels = _levels(means)
        return float(mean), levels, _levels(means_without)[1]

    @property
    def size(self) -> dict[str, int]:
        """Number of scores, and of groups."""
        return {"n": int(self.counts.sum()), "patients": len(self.counts)}


def _levels(means: Array) -> tuple[Array, Array]:
    """Return the mean over readers and findings (...,), and the levels of the readers (..., J), of (..., J, F)."""
    by_finding = nanmean(means, -2)  # (..., F)
    mean = nanmean(by_finding, -1)
    return mean, mean[..., None] + nanmean(means - by_finding[..., None, :], -1)


def average_readers(scores: pd.DataFrame, protocols: Sequence[Protocol]) -> pd.DataFrame:
    """Estimate the mean over readers per protocol, metric and finding, and over findings ('average').

    Parameters
    ----------
    scores : DataFrame
        Rows of scores: columns protocol, metric, source, radiograph, patient, finding, value.
    protocols : sequence of Protocol
        Protocols to report.

    Returns
    -------
    DataFrame
        Columns as in `sightline.stats.estimates.estimates`; no row with fewer than two readers. n counts the maps of
        all readers.
    """
    rows = []
    for head, protocol, table, readers in _tables_with_readers(scores, protocols):
        human = table.loc[table["source"].isin(readers), [*_CASE, "source", "value"]].rename(
            columns={"source": "reader"}
        )
        bounds = (0.0, 1.0) if human["value"].between(0, 1).all() else (-np.inf, np.inf)  # a share stays one
        sums = ReaderSums.from_rows(human, ["value"], _group_column(protocol))
        for finding, part in _parts(sums):
            mean, levels, without = part.levels("value")
            estimate = multi_reader_estimate(levels, jackknife_covariance(without), len(without))
            low, high = np.clip(estimate.interval(), *bounds)
            ends = {"low": float(low), "high": float(high)}
            ends |= {f"simultaneous_{end}": value for end, value in ends.items()}  # the mean is chosen from nothing
            numbers = {"finding": finding, "mean": mean, **ends, **part.size, "reason": estimate.reason}
            rows.append({**head, "source_kind": "reader", **numbers})
    return pd.DataFrame(rows)


def differences_from_readers(
    scores: pd.DataFrame, left_out: pd.DataFrame, protocols: Sequence[Protocol]
) -> pd.DataFrame:
    """Estimate paired differences of every model source from the mean over readers.

    Parameters
    ----------
    scores : DataFrame
        Rows of scores, as in `average_readers`.
    left_out : DataFrame
        Scores against the references that leave a reader out: the same columns and reader, the name of the reference;
        empty where the reference was made without its readers.
    protocols : sequence of Protocol
        Protocols to report.

    Returns
    -------
    DataFrame
        Columns as in `sightline.stats.estimates.differences`; no row with fewer than two readers. n counts pairs of a
        map and a reader.
    """
    rows, candidates = [], _count_models(scores)
    for head, source, paired, group in _pairs(scores, left_out, protocols):
        paired = paired.assign(value=paired["model"] - paired["human"])
        for finding, part in _parts(ReaderSums.from_rows(paired, ["value"], group)):
            mean, levels, without = part.levels("value")
            estimate = multi_reader_estimate(levels, jackknife_covariance(without), len(without))
            numbers = {"mean": mean, **_interval_ends(estimate, candidates), "p": estimate.p, **part.size}
            names = {"finding": finding, "source": source, "versus": head["source"], "reason": estimate.reason}
            rows.append({**head, **names, **numbers})
    return pd.DataFrame(rows)


def percentage_below_readers(
    scores: pd.DataFrame, left_out: pd.DataFrame, protocols: Sequence[Protocol]
) -> pd.DataFrame:
    """Compute by how many percent every model source lies below the mean over readers.

    The decrease is (human - model) / human of the means; its variance is that of its linear form (delta method).

    Parameters
    ----------
    scores, left_out, protocols
        As in `differences_from_readers`.

    Returns
    -------
    DataFrame
        Columns metric, source, versus and those of `sightline.stats.percentage_decrease.percentage_decrease`; no row
        with fewer than two readers.
    """
    rows, candidates = [], _count_models(scores)
    for head, source, paired, group in _pairs(scores, left_out, protocols):
        for finding, part in _parts(ReaderSums.from_rows(paired, ["human", "model"], group)):
            human, human_levels, human_without = part.levels("human")
            model, model_levels, model_without = part.levels("model")
            decrease = (human - model) / human if human else NAN
            gap, gap_without = human_levels - model_levels, human_without - model_without
            share, share_without = gap - decrease * human_levels, gap_without - decrease * human_without
            error = multi_reader_estimate(share, jackknife_covariance(share_without), len(share_without))
            estimate = MultiReaderEstimate(decrease, error.error / human if human else NAN, error.degrees, error.reason)
            plain = multi_reader_estimate(gap, jackknife_covariance(gap_without), len(gap_without))
            most = 1.0 if (paired["model"] >= 0).all() else np.inf  # where no score is below 0
            ends = {end: 100 * min(value, most) for end, value in _interval_ends(estimate, candidates).items()}
            numbers = {"decrease": 100 * decrease, **ends, **part.size}
            numbers |= {"human": human, "model": model, "detectable": _detectable_difference(plain)}
            reason = estimate.reason if human else "the mean of the readers is 0"
            rows.append(
                {**head, "reason": reason, "finding": finding, "source": source, "versus": head["source"], **numbers}
            )
    return pd.DataFrame(rows)


def readers_in_reference(scores: pd.DataFrame, left_out: pd.DataFrame) -> list[str]:
    """Return the sources of readers whose annotations are part of the reference.

    A map is compared with none of them directly, because they are scored against another reference than the map.

    Parameters
    ----------
    scores, left_out : DataFrame
        As in `differences_from_readers`.

    Returns
    -------
    list of str
        Sources of `scores`.
    """
    people = set(_people_left_out(left_out).values())
    parsed = {source: Source.parse(source) for source in dict.fromkeys(scores["source"])}
    return [source for source, p in parsed.items() if p.kind == "reader" and p.model in people]


def _people_left_out(left_out: pd.DataFrame) -> dict[str, str]:
    """Return reference -> the reader whom it leaves out."""
    return {name: name.partition(WITHOUT)[2] for name in dict.fromkeys(left_out["reader"])}


def _count_models(scores: pd.DataFrame) -> int:
    return max(sum(Source.parse(source).kind == "model" for source in dict.fromkeys(scores["source"])), 1)


def _interval_ends(estimate: MultiReaderEstimate, candidates: int) -> dict[str, float]:
    """Return the ends of the interval of one source, and of one that holds for all candidates (Bonferroni)."""
    names = ("low", "high", "simultaneous_low", "simultaneous_high")
    ends = (*estimate.interval(), *estimate.interval(1 - 0.05 / candidates))
    return dict(zip(names, ends, strict=True))


def _detectable_difference(estimate: MultiReaderEstimate, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest true difference that a two-sided test would find; NaN without a standard error."""
    return float(stdtrit(estimate.degrees, 1 - alpha / 2) + stdtrit(estimate.degrees, power)) * estimate.error


def _group_column(protocol: Protocol) -> str:
    return "patient" if protocol.resample == "patient" else "radiograph"


def _parts(sums: ReaderSums) -> Iterator[tuple[str, ReaderSums]]:
    """Yield each finding, then all of them together."""
    for i, finding in enumerate(sums.findings):
        yield finding, sums.select([i])
    if sums.findings:
        yield AVERAGE, sums.select(range(len(sums.findings)))


def _tables_with_readers(
    scores: pd.DataFrame, protocols: Sequence[Protocol]
) -> Iterator[tuple[dict[str, Any], Protocol, pd.DataFrame, list[str]]]:
    """Yield (protocol, metric and source of the mean), protocol, scores and readers, where there are at least two."""
    kinds: dict[str, list[str]] = {}
    for source in dict.fromkeys(scores["source"]):
        if (parsed := Source.parse(source)).kind == "reader":
            kinds.setdefault(parsed.method, []).append(source)
    several = {method: sources for method, sources in kinds.items() if len(sources) >= MIN_READERS}
    for protocol in protocols if several else ():
        of_protocol = scores[(scores["protocol"] == protocol.name) & scores["value"].notna()]
        for metric, table in of_protocol.groupby("metric", sort=False):
            present = set(table["source"])
            for method, sources in several.items():
                readers = [source for source in sources if source in present]
                if len(readers) >= MIN_READERS:
                    average = str(Source("reader", ALL_READERS, method))
                    yield {"protocol": protocol.name, "metric": metric, "source": average}, protocol, table, readers


def _pairs(
    scores: pd.DataFrame, left_out: pd.DataFrame, protocols: Sequence[Protocol]
) -> Iterator[tuple[dict[str, Any], str, pd.DataFrame, str]]:
    """Yield, for every model source, the pairs of its scores and those of the readers against the same reference."""
    for head, protocol, table, readers in _tables_with_readers(scores, protocols):
        human = table.loc[table["source"].isin(readers), [*_CASE, "source", "value"]]
        human = human.rename(columns={"source": "reader", "value": "human"})
        human["person"] = human["reader"].map({r: Source.parse(r).model for r in readers})
        without = left_out[(left_out["protocol"] == protocol.name) & (left_out["metric"] == head["metric"])]
        without = without.assign(person=without["reader"].map(_people_left_out(without)))
        is_member = human["reader"].isin(readers_in_reference(table, left_out))
        for source in dict.fromkeys(table["source"]):
            if Source.parse(source).kind != "model":
                continue
            whole = table.loc[table["source"] == source, ["radiograph", "finding", "value"]]
            partial = without.loc[without["source"] == source, ["radiograph", "finding", "person", "value"]]
            paired = [
                part.merge(values.rename(columns={"value": "model"}), on=keys)
                for part, values, keys in (
                    (human[~is_member], whole, ["radiograph", "finding"]),
                    (human[is_member], partial, ["radiograph", "finding", "person"]),
                )
                if len(part) and len(values)
            ]
            if paired:
                yield head, source, pd.concat(paired, ignore_index=True), _group_column(protocol)
