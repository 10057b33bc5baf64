"""Intervals and p values of statistics of patients.

The standard error of any statistic is that of the delete-one-patient jackknife (Efron and Stein 1981,
10.1214/aos/1176345462; for regressions MacKinnon, Nielsen and Webb 2023, 10.1002/jae.2969), which is not biased
downward with few patients. Bounds come from Student's t. Its degrees of freedom are those of the effective number of
patients (Carter, Schnepel and Steigerwald 2017, 10.1162/REST_a_00639), and no more than the kurtosis of their
contributions allows. Where the contributions are skewed, a bound moves outward by the first term of the expansion of t
in their skewness (Johnson 1978, 10.1080/01621459.1978.10480051; Hall 1992, 10.1111/j.2517-6161.1992.tb01872.x, whose
cubic transformation is not used because its inverse leaps from three standard errors to ten). The p value is that of
the same distribution, so that it is below 0.05 exactly where the 95 % interval excludes 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from sightline.core import NAN, Array
from sightline.stats.jackknife import LeaveOneOut, leave_one_out

MIN_PATIENTS = 5
"""Least number of patients for an interval and a p value."""
UNBOUNDED = (-np.inf, np.inf)
"""Range of a quantity that has no bounds."""
Scale = Literal["linear", "share", "correlation"]
"""Scale of an interval, see `infer`."""


Levels = float | Array
"""One number for all K columns, or one for each."""
_Ends = tuple[Array, Array, Array]
"""Lower bounds, upper bounds and p values."""


@dataclass(frozen=True, slots=True)
class Inference:
    """Intervals and p values of K statistics."""

    point: Array
    """float64 (K,): estimates."""
    low: Array
    """float64 (K,): lower bounds; NaN without an interval."""
    high: Array
    """float64 (K,): upper bounds."""
    p: Array
    """float64 (K,): two-sided p value of the statistic being 0; NaN without an interval, and of shares."""
    reason: tuple[str, ...]
    """K × why there is no interval, or ''."""
    n: Array
    """int64 (K,): values."""
    patients: Array
    """int64 (K,): patients."""

    def row(self, column: int = 0) -> dict[str, Any]:
        """Return one column as the cells of a table.

        Parameters
        ----------
        column : int
            Column.

        Returns
        -------
        dict
            mean, low, high, p, n, patients, reason.
        """
        numbers = {key: float(getattr(self, key)[column]) for key in ("low", "high", "p")}
        sizes = {"n": int(self.n[column]), "patients": int(self.patients[column])}
        return {"mean": float(self.point[column]), **numbers, **sizes, "reason": self.reason[column]}


def infer(
    r: LeaveOneOut, scale: Scale = "linear", bounds: tuple[float, float] = UNBOUNDED, level: Levels = 0.95
) -> Inference:
    """Compute intervals and p values.

    Parameters
    ----------
    r : LeaveOneOut
        K statistics.
    scale : {'linear', 'share', 'correlation'}
        linear: estimate ± t standard errors. share: Wilson's score interval between the bounds (1927,
        10.1080/01621459.1927.10502953), with the number of patients of which the standard error would be that of a
        proportion (Korn and Graubard 1998, Survey Methodology 24:193). correlation: Fisher's z.
    bounds : (float, float)
        Lowest and highest possible value of the statistic.
    level : float or (K,) array
        Confidence level, of all columns or of each.

    Returns
    -------
    Inference
        No interval and no p with fewer than `MIN_PATIENTS` patients, or where the statistic is undefined without one of
        them. Where all patients agree, the interval holds what a share of other patients could change that would be
        missed with probability (1 - level) / 2 (Clopper and Pearson 1934, 10.1093/biomet/26.4.404); without bounds
        there is none.

    Examples
    --------
    >>> hits = leave_one_out(np.array([[1.0], [0], [1], [1], [0], [1], [1], [1]]), np.arange(8))
    >>> [round(float(bound[0]), 2) for bound in (hits.point, infer(hits, "share", (0, 1)).low)]
    [0.75, 0.33]
    """
    moments = _Moments.from_jackknife(r)
    constant = _is_constant(moments.error, r.point)
    reason = _find_reasons(r, constant, bounds)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high, p = _SCALES[scale](r.point, moments, bounds, (1 + level) / 2)
        fixed = _infer_constant(r.point, r.patients, bounds, (1 + level) / 2)
    kept = np.array([not text for text in reason])
    ends = [np.where(kept, np.where(constant, f, v), NAN) for f, v in zip(fixed, (low, high, p), strict=True)]
    if scale == "share":
        ends[2] = np.full(len(kept), NAN)
    return Inference(r.point, ends[0], ends[1], ends[2], reason, r.n, r.patients)


def infer_ratio(above: LeaveOneOut, below: LeaveOneOut, level: float = 0.95) -> Inference:
    """Compute intervals of ratios of paired statistics by Fieller's theorem (1954, 10.1111/j.2517-6161.1954.tb00159.x).

    Parameters
    ----------
    above, below : LeaveOneOut
        Numerators and denominators, K statistics of the same patients.
    level : float
        Confidence level.

    Returns
    -------
    Inference
        Ratios. The interval holds every ratio r for which above - r * below may be 0; it is without bounds, and
        therefore not given, where the denominator may be 0. p is NaN.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        point = above.point / np.where(below.point == 0, NAN, below.point)
        gap = replace(above, left_out=above.left_out - point * below.left_out, weight=below.weight)
        m = _Moments.from_jackknife(gap)
        t = stdtrit(m.freedom(), (1 + level) / 2)
        bottom, top = _Moments.from_jackknife(below).error, _Moments.from_jackknife(above).error
        shared = (point**2 * bottom**2 + top**2 - m.error**2) / (2 * point)  # covariance
        shared = np.where(point == 0, 0.0, shared)
        square = below.point**2 - (t * bottom) ** 2
        middle = above.point * below.point - t**2 * shared
        root = np.sqrt(np.maximum(middle**2 - square * (above.point**2 - (t * top) ** 2), 0))
        low, high = (middle - root) / square, (middle + root) / square
    may_be_zero = np.where(square > 0, "", "the denominator is not clearly above 0")
    reasons = _find_reasons(gap, _is_constant(m.error, above.point), UNBOUNDED)
    reason = tuple(a or str(b) for a, b in zip(reasons, may_be_zero, strict=True))
    kept = np.array([not text for text in reason])
    lowest, highest = (np.where(kept, end, NAN) for end in (low, high))
    return Inference(point, lowest, highest, np.full(len(point), NAN), reason, above.n, above.patients)


def mean_with_ci(
    values: Array | pd.Series[float],
    patients: pd.Series[str],
    scale: Scale = "linear",
    bounds: tuple[float, float] = UNBOUNDED,
) -> dict[str, Any]:
    """Return a mean with its 95 % interval over patients.

    Parameters
    ----------
    values : (N,) array
        Values; undefined ones (NaN) are left out, also of n.
    patients : Series of str
        Patient of each value.
    scale, bounds
        As in `infer`.

    Returns
    -------
    dict
        mean, low, high, p (of a mean of 0), n, patients, reason (why there is no interval, or '').
    """
    group = pd.factorize(patients, sort=True)[0]
    return infer(leave_one_out(np.asarray(values, float)[:, None], group), scale, bounds).row()


@dataclass(frozen=True, slots=True)
class _Moments:
    """Of the contributions of the patients to K statistics."""

    error: Array
    """float64 (K,): standard error."""
    effective: Array
    """float64 (K,): effective number of patients."""
    patients: Array
    """int64 (K,): patients, at least 2."""
    kurtosis: Array
    """float64 (K,): of the contributions; 3 for normal ones."""
    skewness: Array
    """float64 (K,): sum of cubed contributions over the sum of squares to the power 3 / 2, in [-1, 1]."""

    @classmethod
    def from_jackknife(cls, r: LeaveOneOut) -> _Moments:
        """Compute them from the statistics without each patient."""
        present, patients = r.weight > 0, np.maximum(r.patients, 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            center = np.where(present, r.left_out, 0.0).sum(0) / patients
            gap = np.where(present, center - r.left_out, 0.0)  # (G, K): contributions
            squares = (gap**2).sum(0)
            kurtosis = patients * (gap**4).sum(0) / squares**2
            skewness = np.nan_to_num((gap**3).sum(0) / squares**1.5)
            effective = r.weight.sum(0) ** 2 / (r.weight**2).sum(0)
        error = np.sqrt((patients - 1) / patients * squares)
        return cls(error, effective, patients, kurtosis, skewness)

    def freedom(self, expected_skewness: float | Array = 0.0) -> Array:
        """Degrees of freedom, at least 1.

        The variance of the variance is (kurtosis - 1) / patients, relative to its square. Where the scale takes the
        variance from the estimate, as Wilson's does, the estimate explains the square of the skewness of a proportion.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            unexplained = (self.kurtosis - 1) / self.patients - np.square(expected_skewness)
            freedom = np.fmin(self.effective - 1, 2 / np.maximum(unexplained, 1e-9))
        clipped: Array = np.maximum(np.nan_to_num(freedom, nan=1.0), 1.0)
        return clipped


def _is_constant(error: Array, point: Array) -> Array:
    """Whether the patients differ by no more than rounding."""
    constant: Array = error <= 1e-12 * np.maximum(np.abs(point), 1e-2)
    return constant


def _find_reasons(r: LeaveOneOut, constant: Array, bounds: tuple[float, float]) -> tuple[str, ...]:
    """Say why columns have no interval."""
    decisive = np.asarray((np.isnan(r.left_out) & (r.weight > 0)).any(0))
    columns = zip(r.reasons(), r.point, r.patients, decisive, constant, strict=True)
    return tuple(reason or _reason(point, size, alone, same, bounds) for reason, point, size, alone, same in columns)


def _reason(point: float, patients: int, alone: bool, constant: bool, bounds: tuple[float, float]) -> str:
    if patients == 0 or np.isnan(point):
        return "not defined"
    if patients < MIN_PATIENTS:
        return f"{patients} of at least {MIN_PATIENTS} patients"
    if alone:
        return "not defined without one of the patients"
    return "all patients agree" if constant and not np.isfinite(bounds).all() else ""


def _reach(t: Array, skewness: Array) -> tuple[Array, Array]:
    """Return how many standard errors the lower and the upper bound are away: t, or more on the side of the tail."""
    correction = skewness * (2 * t**2 + 1) / 6
    return t + np.maximum(-correction, 0), t + np.maximum(correction, 0)


def _p_of_zero(ratio: Array, moments: _Moments) -> Array:
    """Return the p value of a statistic `ratio` standard errors from 0: that of the t whose `_reach` ends at 0."""
    size, tail = np.abs(ratio), np.maximum(-np.sign(ratio) * moments.skewness, 0)
    beyond = size - tail / 6
    t = 2 * beyond / (1 + np.sqrt(1 + 4 / 3 * tail * beyond))
    p: Array = 2 * stdtr(moments.freedom(), -np.maximum(t, 0))
    return p


def _infer_linear(
    point: Array, m: _Moments, bounds: tuple[float, float], q: float | Array
) -> tuple[Array, Array, Array]:
    below, above = _reach(stdtrit(m.freedom(), q), m.skewness)
    return point - below * m.error, point + above * m.error, _p_of_zero(point / m.error, m)


def _infer_correlation(
    point: Array, m: _Moments, bounds: tuple[float, float], q: float | Array
) -> tuple[Array, Array, Array]:
    low, high, p = _infer_linear(np.arctanh(point), replace(m, error=m.error / (1 - point**2)), bounds, q)
    return np.tanh(low), np.tanh(high), p


def _infer_share(
    point: Array, m: _Moments, bounds: tuple[float, float], q: float | Array
) -> tuple[Array, Array, Array]:
    """Wilson's interval; only skewness beyond that of a proportion, which it has already, moves a bound."""
    start, width = bounds[0], bounds[1] - bounds[0]
    share = (point - start) / width
    patients = share * (1 - share) / (m.error / width) ** 2  # effective number
    expected = (1 - 2 * share) / np.sqrt(patients * share * (1 - share))
    excess = np.sign(m.skewness) * np.maximum(np.abs(m.skewness) - np.abs(expected), 0)
    ends = []
    for sign, t in zip((-1, 1), _reach(stdtrit(m.freedom(expected), q), np.nan_to_num(excess)), strict=True):
        center, scale = share + t**2 / (2 * patients), 1 + t**2 / patients
        half = t * np.sqrt(share * (1 - share) / patients + t**2 / (4 * patients**2))
        ends.append(start + width * (center + sign * half) / scale)
    return ends[0], ends[1], np.full(len(point), NAN)


_SCALES = {"linear": _infer_linear, "share": _infer_share, "correlation": _infer_correlation}


def _infer_constant(
    point: Array, patients: Array, bounds: tuple[float, float], q: float | Array
) -> tuple[Array, Array, Array]:
    """Bounds and p of values on which all patients agree: a share of others of at most `missed` is consistent."""
    low, high = bounds
    missed = 1 - (1 - q) ** (1 / np.maximum(patients, 1))
    worst = np.where(point > 0, low, high)  # the value that others would need to have for the mean to be 0
    p = np.where(point == 0, 1.0, np.minimum(1.0, 2 * (worst / (worst - point)) ** patients))
    return point - missed * (point - low), point + missed * (high - point), p
