"""Mean scores in subgroups of cases, and differences between subgroups, from one bootstrap of patients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Array
from sightline.protocol import Protocol
from sightline.stats.bootstrap import (
    Replicates,
    acceleration,
    average_columns,
    interval,
    jackknife_means,
    nanmean,
    p_value,
    replicate,
)
from sightline.stats.estimates import AVERAGE, ScoreMatrix
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
    two averages in the same resamples of patients. It is not paired, because a patient belongs to one subgroup.

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
        part = _Part(matrix.values[:, part_columns], matrix.group, matrix.weights, names, protocol)
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
    group: Array
    """int64 (N,): patient of each row."""
    weights: Array
    """(B, G)."""
    findings: list[str]
    protocol: Protocol

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
        means = {name: self._average(values[name], shared) for name in large} if shared else {}
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
                **(
                    {}
                    if reason or name == versus or not versus
                    else self._difference(means, values, shared, name, versus)
                ),
            }
            if name in large:
                yield from self._finding_rows(name, values[name], per_finding[name])

    def _patients(self, values: Array) -> Array:
        return np.unique(self.group[(~np.isnan(values)).any(axis=1)])

    def _average(self, values: Array, shared: Sequence[int]) -> Replicates:
        kept = values[:, shared]
        single = replicate(kept, self.group, self.weights)
        return average_columns(single, [np.arange(len(shared))], kept, self.group)

    @staticmethod
    def _reason(patients: int, has_shared: bool) -> str:
        if not patients:
            return "no scored case"
        if patients < MIN_PATIENTS:
            return f"{patients} patient{'s' if patients > 1 else ''}, fewer than {MIN_PATIENTS}"
        return "" if has_shared else f"no finding with {MIN_PATIENTS_PER_FINDING} patients in every group"

    def _estimate(self, r: Replicates) -> dict[str, Any]:
        mean, low, high = interval(r, self.protocol.interval)
        counts = {"n": int(r.n[0]), "patients": int(r.groups[0])}
        return {"mean": float(mean[0]), "low": float(low[0]), "high": float(high[0]), **counts}

    def _difference(
        self,
        means: Mapping[str, Replicates],
        values: Mapping[str, Array],
        shared: Sequence[int],
        name: str,
        versus: str,
    ) -> dict[str, Any]:
        a, b = means[name], means[versus]
        (means_a, in_a), (means_b, in_b) = (jackknife_means(values[g][:, shared], self.group) for g in (name, versus))
        gap = nanmean(means_a) - nanmean(means_b)  # (G,)
        present = np.asarray(in_a.any(axis=1) | in_b.any(axis=1))
        r = Replicates(
            a.point - b.point,
            a.draws - b.draws,
            a.n + b.n,
            np.minimum(a.groups, b.groups),  # the smaller group decides how much the difference varies
            acceleration(gap[:, None], present[:, None]),
        )
        difference, low, high = interval(r, self.protocol.interval)
        return {
            "versus": versus,
            "difference": float(difference[0]),
            "difference_low": float(low[0]),
            "difference_high": float(high[0]),
            "p": p_value(r.draws[:, 0]),
        }

    def _finding_rows(self, name: str, values: Array, patients: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield the mean of each finding in a group."""
        r = replicate(values, self.group, self.weights)
        mean, low, high = interval(r, self.protocol.interval)
        for j, finding in enumerate(self.findings):
            row: dict[str, Any] = {"group": name, "finding": finding, "n": int(r.n[j]), "patients": patients[j]}
            reason = self._reason(patients[j], True)
            if not reason:
                row |= {"mean": float(mean[j]), "low": float(low[j]), "high": float(high[j])}
            yield {**row, "findings": int(not reason), "reason": reason}
