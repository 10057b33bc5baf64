"""Statistics of a sample, and of the sample without each of its patients.

Radiographs of a patient are alike, so that patients and not radiographs are independent. What a statistic becomes
without each patient (the delete-one-patient jackknife) shows how far it would vary with other patients, whatever the
statistic is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightline.core import Array


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """K statistics of the sample, and of the sample without each of its G patients."""

    point: Array
    """float64 (K,): statistics of the sample; NaN is undefined."""
    left_out: Array
    """float64 (G, K): statistics without each patient; NaN where they are undefined without that patient."""
    weight: Array
    """float64 (G, K): how much each patient counts, such as its number of values; 0 for those not in the sample."""
    n: Array
    """int64 (K,): values."""
    reason: tuple[str, ...] = ()
    """Why a column has no interval, '' where nothing speaks against one; none for all columns is allowed."""

    @property
    def patients(self) -> Array:
        """int64 (K,): patients in the sample of each column."""
        counts: Array = (self.weight > 0).sum(0)
        return counts

    def __sub__(self, other: LeaveOneOut) -> LeaveOneOut:
        """Subtract paired statistics of the same patients."""
        weight = (_normalize(self.weight) + _normalize(other.weight)) / 2
        reason = tuple(a or b for a, b in zip(self.reasons(), other.reasons(), strict=True))
        return LeaveOneOut(self.point - other.point, self.left_out - other.left_out, weight, self.n, reason)

    def reasons(self) -> tuple[str, ...]:
        """Return the K reasons.

        Returns
        -------
        tuple of str
            As `reason`, filled with ''.
        """
        return self.reason or ("",) * len(self.point)


def leave_one_out(values: Array, group: Array) -> LeaveOneOut:
    """Compute the mean of each column in the sample and without each patient.

    Parameters
    ----------
    values : (N, K) array
        Values; NaN is undefined and leaves the mean.
    group : (N,) int
        Patient of each row, in [0, G).

    Returns
    -------
    LeaveOneOut
        Means of the K columns.
    """
    sums, counts = sum_by_patient(values, group)
    with np.errstate(invalid="ignore", divide="ignore"):
        point = sums.sum(0) / counts.sum(0)
        left_out = (sums.sum(0) - sums) / (counts.sum(0) - counts)
    return LeaveOneOut(point, left_out, counts, counts.sum(0).astype(int))


def sum_by_patient(values: Array, group: Array, patients: int | None = None) -> tuple[Array, Array]:
    """Sum the defined values of each patient.

    Parameters
    ----------
    values : (N, K) array
        Values; NaN is undefined.
    group : (N,) int
        Patient of each row, in [0, G).
    patients : int, optional
        Number of patients G; one more than the last of `group` if not given.

    Returns
    -------
    sums, counts : (G, K) float64
        Sum and number of the defined values.
    """
    valid = ~np.isnan(values)
    size = int(group.max(initial=-1)) + 1 if patients is None else patients
    sums = np.zeros((size, values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, group, np.where(valid, values, 0.0))
    np.add.at(counts, group, valid)
    return sums, counts


def leave_out_weights(patients: int) -> Array:
    """Weigh the sample and the sample without each patient, for statistics that take weights of patients.

    Parameters
    ----------
    patients : int
        Number of patients G.

    Returns
    -------
    (1 + G, G) float64
        Ones; then ones with a zero on the diagonal.

    Examples
    --------
    >>> leave_out_weights(2).tolist()
    [[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    """
    return np.concatenate([np.ones((1, patients)), 1 - np.eye(patients)])


def from_values(values: Array, weight: Array, n: int) -> LeaveOneOut:
    """Make the record of one statistic from its values under `leave_out_weights`.

    Parameters
    ----------
    values : (1 + G,) array
        Statistic of the sample first, then without each patient.
    weight : (G,) array
        How much each patient counts.
    n : int
        Number of values.

    Returns
    -------
    LeaveOneOut
        One column.
    """
    return LeaveOneOut(values[:1], values[1:, None], np.asarray(weight, float)[:, None], np.array([n]))


def average(parts: Sequence[LeaveOneOut]) -> LeaveOneOut:
    """Average statistics without weights, such as those of several findings, over the same G patients.

    Parameters
    ----------
    parts : sequence of LeaveOneOut
        Statistics of the same number of columns.

    Returns
    -------
    LeaveOneOut
        Averages. A statistic that is undefined without a patient leaves the average without that patient.
    """
    point = nanmean(np.stack([p.point for p in parts]), 0)
    left_out = nanmean(np.stack([p.left_out for p in parts]), 0)
    weight = np.mean([_normalize(p.weight) for p in parts], axis=0)
    return LeaveOneOut(point, left_out, weight, np.sum([p.n for p in parts], axis=0))


def average_columns(r: LeaveOneOut, parts: Sequence[Array]) -> LeaveOneOut:
    """Average sets of columns (findings) without weights.

    Parameters
    ----------
    r : LeaveOneOut
        K columns.
    parts : sequence of int array
        Columns of each average.

    Returns
    -------
    LeaveOneOut
        A column for each part. A finding that only one patient has leaves the average without that patient.
    """
    share = _normalize(r.weight)
    point = np.array([nanmean(r.point[p], 0) for p in parts])
    left_out = np.stack([nanmean(r.left_out[:, p], 1) for p in parts], 1)
    weight = np.stack([share[:, p].mean(1) for p in parts], 1)
    return LeaveOneOut(point, left_out, weight, np.array([int(r.n[p].sum()) for p in parts]))


def concatenate(*parts: LeaveOneOut) -> LeaveOneOut:
    """Set the columns of several records of the same patients side by side.

    Parameters
    ----------
    *parts : LeaveOneOut
        At least one.

    Returns
    -------
    LeaveOneOut
        All their columns, in order.
    """
    return LeaveOneOut(
        np.concatenate([part.point for part in parts]),
        np.hstack([part.left_out for part in parts]),
        np.hstack([part.weight for part in parts]),
        np.concatenate([part.n for part in parts]),
        tuple(reason for part in parts for reason in part.reasons()),
    )


def _normalize(weight: Array) -> Array:
    """Weights of the patients that sum to 1 in each column."""
    total = weight.sum(0)
    return weight / np.where(total > 0, total, 1.0)


def nanmean(values: Array, axis: int) -> Array:
    """Compute means over the defined entries along an axis, without warnings.

    Parameters
    ----------
    values : array
        Values of any shape; NaN is undefined.
    axis : int
        Axis that the mean is taken over.

    Returns
    -------
    float64 array
        Means, with the axis removed; NaN where no entry is defined.

    Examples
    --------
    >>> nanmean(np.array([[1.0, np.nan], [3.0, np.nan]]), 0).tolist()
    [2.0, nan]
    """
    valid = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Array = np.where(valid, values, 0.0).sum(axis) / valid.sum(axis)
    return means
