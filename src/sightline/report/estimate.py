"""Estimates: means with their intervals and sample sizes, as a report reads them from tables and writes them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from sightline.core import NAN

AVERAGE = "average"
"""Finding of the rows that are averages over findings."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean with its 95 % interval and its sample size."""

    mean: float
    """Mean; NaN if it is not defined."""
    low: float
    """Lower end of the interval; NaN if there is none."""
    high: float
    """Upper end of the interval; NaN if there is none."""
    n: int
    """Number of maps, or of what else was averaged; 0 if unknown."""
    patients: int
    """Number of patients; 0 if unknown."""
    p: float = field(default=NAN, compare=False)
    """Two-sided p value of a mean of 0, not adjusted; NaN if unknown."""
    reason: str = ""
    """Why there is no interval; '' if there is one, or if it is unknown."""

    @property
    def is_defined(self) -> bool:
        """Whether there is a number."""
        return not np.isnan(self.mean)

    def __neg__(self) -> Estimate:
        return replace(self, mean=-self.mean, low=-self.high, high=-self.low)

    @classmethod
    def undefined(cls) -> Estimate:
        """Make the estimate that stands for a missing one.

        Returns
        -------
        Estimate
            NaN, from 0 cases.
        """
        return cls(NAN, NAN, NAN, 0, 0)

    def text(self, digits: int = 2) -> str:
        """Write the number with its interval.

        Parameters
        ----------
        digits : int
            Number of decimals.

        Returns
        -------
        str
            Such as '0.31 [0.28, 0.34]'; the reason instead of the interval where there is none, and an en dash for NaN.
        """
        if not self.is_defined:
            return "–"
        if np.isnan(self.low) or np.isnan(self.high):
            reason = f" (no interval: {self.reason})" if self.reason else ""
            return format_decimal(self.mean, digits) + reason
        mean, low, high = (format_decimal(value, digits) for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"


@dataclass(frozen=True, slots=True)
class Auroc:
    """AUROC of a model for one finding, or averaged over findings."""

    model: str
    finding: str
    estimate: Estimate
    positives: int


def format_decimal(value: float, digits: int = 2) -> str:
    """Format a number for reading: fixed decimals, a true minus sign, no negative zero.

    Parameters
    ----------
    value : float
        The number.
    digits : int
        Number of decimals.

    Returns
    -------
    str
        The text; an en dash for NaN.

    Examples
    --------
    >>> format_decimal(-0.125, 3), format_decimal(-0.001), format_decimal(float("nan"))
    ('−0.125', '0.00', '–')
    """
    if np.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "" if not text.strip("-0.") else "−")


def read_estimates(
    table: pd.DataFrame, keys: list[str], mean: str = "mean", low: str = "low", high: str = "high"
) -> list[tuple[tuple[str, ...], Estimate]]:
    """Read the rows of a table as estimates.

    Parameters
    ----------
    table : DataFrame
        Table with the named columns, and `n` and `patients` where known.
    keys : list of str
        Columns that identify a row.
    mean : str
        Column of the mean.
    low : str
        Column of the lower end.
    high : str
        Column of the upper end.

    Returns
    -------
    list[tuple[tuple[str, ...], Estimate]]
        Pairs of keys and estimate, in the order of the rows.
    """
    names = list(zip(*(table[key].astype(str) for key in keys), strict=True))
    means = table[[mean, low, high]].to_numpy(float)
    empty = pd.Series(0, table.index)
    counts = np.stack([table.get(c, empty).fillna(0).to_numpy(int) for c in ("n", "patients")], axis=1)
    p = table.get("p", pd.Series(NAN, table.index)).to_numpy(float)
    reasons = table.get("reason", pd.Series("", table.index)).fillna("").astype(str)
    return [
        (key, Estimate(float(m), float(lo), float(hi), int(n), int(patients), float(chance), reason))
        for key, (m, lo, hi), (n, patients), chance, reason in zip(names, means, counts, p, reasons, strict=True)
    ]


def read_aurocs(table: pd.DataFrame) -> tuple[Auroc, ...]:
    """Read the AUROC of every model and finding.

    Parameters
    ----------
    table : DataFrame
        Table `classification` of a run.

    Returns
    -------
    tuple of Auroc
        In the order of the rows.
    """
    table = table[table["metric"] == "auroc"]
    positives = table["positives"].fillna(0).to_numpy(int)
    rows = zip(read_estimates(table, ["model", "finding"]), positives, strict=True)
    return tuple(Auroc(model, finding, number, int(p)) for ((model, finding), number), p in rows)
