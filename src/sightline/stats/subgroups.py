"""Mean scores in subgroups of cases, and differences between subgroups, with intervals over patients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Array
from sightline.protocol import Protocol
from sightline.stats import bootstrap, jackknife
from sightline.stats.bootstrap import Replicates
from sightline.stats.estimates import AVERAGE, ScoreMatrix, metric_bounds
from sightline.stats.intervals import infer
from sightline.stats.jackknife import LeaveOneOut
from sightline.stats.multiplicity import add_holm

MIN_PATIENTS = 10
"""Fewest patients of a subgroup that has a mean: below, an interval says little and one patient can be recognized."""
MIN_PATIENTS_PER_FINDING = 3
"""Fewest patients with a finding in every subgroup, for the finding to enter the averages that are compared."""
COLUMNS = (
    "protocol",
    "metric",
    "source",
    "attribute",
    "group",
    "finding",
    "mean",
    "low",
    "high",
    "n",
    "patients",
    "findings",
    "versus",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "p_holm",
    "reason",
)
"""Columns of the table of subgroups."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Cases of the groups of one attribute."""

    attribute: str
    """Name of the attribute."""
    groups: Mapping[str, Array]
    """Group -> bool (N, F): the cases of a score matrix, radiographs in rows and findings in columns, that belong to
    it. A case that belongs to none is left out."""


def estimate_subgroups(
    matrix: ScoreMatrix,
    findings: Sequence[str],
    memberships: Sequence[Membership],
    protocol: Protocol,
    metric: str,
) -> pd.DataFrame:
    """Estimate the mean score of every source in every subgroup, and the difference from the largest subgroup.

    The average of a source is taken over the findings that `MIN_PATIENTS_PER_FINDING` patients have in every compared
    subgroup, with equal weight: otherwise subgroups would differ by what their patients have. The difference is that of
    two averages; a patient who belongs to both subgroups, as by the size of findings, counts in both.

    Parameters
    ----------
    matrix : ScoreMatrix
        Scores of one metric.
    findings : sequence of str
        Findings in the columns of the memberships.
    memberships : sequence of Membership
        Cases of the groups of each attribute.
    protocol : Protocol
        Protocol, which decides the kind of interval.
    metric : str
        Name of the metric.

    Returns
    -------
    DataFrame
        `COLUMNS`: a row for each source, attribute, group and finding, and for the average. `findings` is the number of
        averaged findings. `versus` is the group that is subtracted, the one with most patients; its own row has no
        difference. `p` is two-sided; `p_holm` is adjusted for all differences of the source. `reason` states why a mean
        is missing.
    """
    sources, columns = matrix.columns_by_source()
    place = {finding: i for i, finding in enumerate(findings)}
    rows: list[dict[str, Any]] = []
    for source, part_columns in zip(sources, columns, strict=True):
        names = [matrix.keys[j][1] for j in part_columns]
        part = _Part(matrix.values[:, part_columns], matrix, names, protocol, metric_bounds(metric))
        head = {"protocol": protocol.name, "metric": metric, "source": source}
        compared: list[dict[str, Any]] = []
        for membership in memberships:
            groups = {name: cases[:, [place[f] for f in names]] for name, cases in membership.groups.items()}
            for row in part.rows(groups):
                rows.append({**head, "attribute": membership.attribute, "versus": "", **row})
                compared += [rows[-1]] if "p" in row else []
        add_holm(compared)
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


@dataclass(frozen=True, slots=True)
class _Part:
    """Scores of one source."""

    values: Array
    """float64 (N, F)."""
    matrix: ScoreMatrix
    """Scores of all sources, for patients and resamples."""
    findings: list[str]
    protocol: Protocol
    bounds: tuple[float, float]
    """Range of the metric."""

    def rows(self, groups: Mapping[str, Array]) -> Iterator[dict[str, Any]]:
        """Yield the rows of the groups of one attribute."""
        values = {name: np.where(cases, self.values, np.nan) for name, cases in groups.items()}
        patients = {name: self._patients(v) for name, v in values.items()}
        large = [name for name in groups if len(patients[name]) >= MIN_PATIENTS]
        per_finding = {name: [len(self._patients(v[:, [j]])) for j in range(v.shape[1])] for name, v in values.items()}
        shared = [
            j
            for j in range(len(self.findings))
            if large and all(per_finding[name][j] >= MIN_PATIENTS_PER_FINDING for name in large)
        ]
        means = {name: self._averages(values[name], shared) for name in large} if shared else {}
        versus = max(means, key=lambda name: len(patients[name]), default="") if len(means) > 1 else ""
        for name in groups:
            reason = self._reason(len(patients[name]), bool(shared))
            yield {
                "group": name,
                "finding": AVERAGE,
                "n": int(np.count_nonzero(~np.isnan(values[name]))),
                "patients": len(patients[name]),
                "findings": len(shared) if not reason else 0,
                "reason": reason,
                **({} if reason else self._estimate(means[name])),
                **self._difference(means, name, versus),
            }
            if name in large:
                yield from self._finding_rows(name, values[name], per_finding[name])

    def _patients(self, values: Array) -> Array:
        return np.unique(self.matrix.group[(~np.isnan(values)).any(axis=1)])

    def _averages(self, values: Array, shared: Sequence[int]) -> LeaveOneOut | Replicates:
        """Return the average over findings, without each patient or in each resample."""
        kept, columns = values[:, shared], [np.arange(len(shared))]
        if self.protocol.interval == "jackknife":
            return jackknife.average_columns(jackknife.leave_one_out(kept, self.matrix.group), columns)
        single = bootstrap.replicate(kept, self.matrix.group, self.matrix.weights)
        return bootstrap.average_columns(single, columns, kept, self.matrix.group)

    def _numbers(self, r: LeaveOneOut | Replicates, *, is_difference: bool = False) -> list[dict[str, Any]]:
        """Return mean, low, high and p of each column, as the protocol computes intervals."""
        low, high = self.bounds
        if isinstance(r, LeaveOneOut):
            if is_difference:
                inference = infer(r, "linear", (low - high, high - low))
            else:
                inference = infer(r, "share" if np.isfinite(self.bounds).all() else "linear", self.bounds)
            return [inference.row(j) for j in range(len(r.point))]
        if self.protocol.interval == "jackknife":
            raise ValueError("a protocol with jackknife intervals has no resamples")
        ends = bootstrap.interval(r, self.protocol.interval)
        p = [bootstrap.p_value(r.draws[:, j]) for j in range(r.draws.shape[1])]
        return [
            {"mean": float(m), "low": float(lo), "high": float(hi), "p": q, "n": int(n), "patients": int(g)}
            for m, lo, hi, q, n, g in zip(*ends, p, r.n, r.groups, strict=True)
        ]

    @staticmethod
    def _reason(patients: int, has_shared: bool) -> str:
        if not patients:
            return "no scored case"
        if patients < MIN_PATIENTS:
            return f"{patients} patient{'s' if patients > 1 else ''}, fewer than {MIN_PATIENTS}"
        return "" if has_shared else f"no finding with {MIN_PATIENTS_PER_FINDING} patients in every group"

    def _estimate(self, r: LeaveOneOut | Replicates) -> dict[str, Any]:
        (row,) = self._numbers(r)
        return {name: row[name] for name in ("mean", "low", "high", "n", "patients")}

    def _difference(self, means: Mapping[str, LeaveOneOut | Replicates], name: str, versus: str) -> dict[str, Any]:
        """Return the difference of a group from the largest one; nothing for that one, or without a mean."""
        if name == versus or not versus or name not in means:
            return {}
        a, b = means[name], means[versus]
        if isinstance(a, LeaveOneOut) and isinstance(b, LeaveOneOut):
            (row,) = self._numbers(a - b, is_difference=True)
        elif isinstance(a, Replicates) and isinstance(b, Replicates):
            groups = np.minimum(a.groups, b.groups)
            (row,) = self._numbers(Replicates(a.point - b.point, a.draws - b.draws, a.n + b.n, groups))
        ends = {"difference": row["mean"], "difference_low": row["low"], "difference_high": row["high"]}
        return {"versus": versus, **ends, "p": row["p"]}

    def _finding_rows(self, name: str, values: Array, patients: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield the mean of each finding in a group."""
        if self.protocol.interval == "jackknife":
            numbers = self._numbers(jackknife.leave_one_out(values, self.matrix.group))
        else:
            numbers = self._numbers(bootstrap.replicate(values, self.matrix.group, self.matrix.weights))
        for finding, count, row in zip(self.findings, patients, numbers, strict=True):
            reason = self._reason(count, True)
            ends = {} if reason else {end: row[end] for end in ("mean", "low", "high")}
            sizes = {"n": row["n"], "patients": count, "findings": int(not reason)}
            yield {"group": name, "finding": finding, **sizes, **ends, "reason": reason}
