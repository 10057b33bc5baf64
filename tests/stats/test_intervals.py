"""Intervals over patients against textbook formulas, and their p values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sightline.core import Array
from sightline.stats.intervals import MIN_PATIENTS, infer, infer_ratio, mean_with_ci
from sightline.stats.jackknife import LeaveOneOut, average, average_columns, concatenate, leave_one_out


def of_patients(*values: float) -> LeaveOneOut:
    return leave_one_out(np.array(values)[:, None], np.arange(len(values)))


def test_symmetric_values_of_one_image_a_patient_have_students_interval() -> None:
    x = np.random.default_rng(0).normal(size=400)
    x = np.r_[x, -x] + 1
    found = infer(of_patients(*x)).row()
    peer = scipy.stats.ttest_1samp(x, 0)
    ends = peer.confidence_interval()
    assert [found["low"], found["high"]] == pytest.approx([ends.low, ends.high], rel=1e-4)
    assert found["p"] == pytest.approx(peer.pvalue, rel=1e-2)


@given(st.integers(0, 200), st.integers(MIN_PATIENTS, 30), st.floats(-0.3, 0.3))
def test_p_is_below_5_percent_exactly_where_the_interval_excludes_0(seed: int, patients: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, patients, 3 * patients)
    values = np.round(rng.gamma(0.5, 0.5, (3 * patients, 4)) - 0.25 + shift, 1)
    values[:, 3] = np.clip(values[:, 3], -1, 1)
    for scale in ("linear", "correlation"):
        found = infer(leave_one_out(np.clip(values, -0.9, 0.9), group), scale, (-1, 1))
        known = ~np.isnan(found.low)
        excluded = (found.low > 0) | (found.high < 0)
        assert (excluded == (found.p < 0.05))[known].all() and np.isnan(found.p[~known]).all()


def test_a_standard_error_is_that_of_patients_left_out_by_hand() -> None:
    rng = np.random.default_rng(3)
    group, values = np.repeat(np.arange(30), 2), rng.normal(size=(60, 1)) + 5
    values[::7] = np.nan
    r = leave_one_out(values, group)
    without = np.array([np.nanmean(values[group != g]) for g in range(30)])
    assert r.left_out[:, 0] == pytest.approx(without)
    found = infer(r)
    error = np.sqrt(29 / 30 * ((without - without.mean()) ** 2).sum())
    half = (found.high[0] - found.low[0]) / 2 / error
    assert scipy.stats.t.ppf(0.975, 29) < half < scipy.stats.t.ppf(0.975, 12)


def test_an_average_leaves_out_whole_patients() -> None:
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(20), 3)
    values = rng.random((60, 2)) ** 2
    values[rng.random((60, 2)) < 0.4] = np.nan
    single = leave_one_out(values, group)
    together = average_columns(single, [np.array([0, 1])])
    without = [np.nanmean(values[group != g], axis=0).mean() for g in range(20)]
    assert together.left_out[:, 0] == pytest.approx(without)
    each = [leave_one_out(values[:, [k]], group) for k in range(2)]
    assert average(each).left_out == pytest.approx(together.left_out)
    assert concatenate(*each).weight == pytest.approx(single.weight)


def test_a_finding_of_one_patient_leaves_the_average_with_him() -> None:
    values = np.c_[np.linspace(0.1, 0.9, 8), np.r_[0.3, np.full(7, np.nan)]]
    together = average_columns(leave_one_out(values, np.arange(8)), [np.arange(2)])
    assert together.left_out[0, 0] == pytest.approx(values[1:, 0].mean()) and not np.isnan(infer(together).low[0])


def wilson_of_share(p: float, n: int, z: float) -> Array:
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return (p + z**2 / (2 * n) + np.array([-half, half])) / (1 + z**2 / n)


@pytest.mark.parametrize(("hits", "n"), [(1, 80), (3, 10), (20, 40), (49, 50)])
def test_hits_have_wilsons_interval(hits: int, n: int) -> None:
    """With one image a patient; n - 1 because the standard error is that of the sample, t because it is estimated."""
    found = infer(of_patients(*[1.0] * hits, *[0.0] * (n - hits)), "share", (0, 1)).row()
    peer = wilson_of_share(hits / n, n - 1, scipy.stats.t.ppf(0.975, n - 1))
    assert [found["low"], found["high"]] == pytest.approx(list(peer)) and np.isnan(found["p"])


@pytest.mark.parametrize("n", [8, 25, 80])
@pytest.mark.parametrize("level", [0.95, 0.995])
def test_bounds_of_more_hits_are_higher(n: int, level: float) -> None:
    columns = leave_one_out((np.arange(n)[:, None] < np.arange(n + 1)).astype(float), np.arange(n))
    found = infer(columns, "share", (0, 1), level)
    assert (np.diff(found.low) > 0).all() and (np.diff(found.high) > 0).all()


@pytest.mark.parametrize("n", [10, 25, 60])
def test_a_bound_moves_smoothly_with_the_level(n: int) -> None:
    """Also of skewed values: the inverse of the cubic transformation that removes skewness leaps."""
    r = leave_one_out(np.random.default_rng(0).gamma(0.5, size=(n, 20)), np.arange(n))
    distance = [infer(r, level=1 - miss).high - r.point for miss in np.geomspace(0.1, 0.001, 60)]
    steps = np.diff(np.log(distance), axis=0)
    assert (steps > 0).all() and steps.max() < 0.1


def test_p_of_skewed_values_is_that_of_their_interval_at_every_level() -> None:
    r = of_patients(*(0.55 - np.random.default_rng(4).gamma(0.7, size=14)))
    p = infer(r).p[0]
    ends = [infer(r, level=1 - p * factor).low[0] for factor in (0.999, 1.001)]
    ends += [infer(r, level=1 - p * factor).high[0] for factor in (0.999, 1.001)]
    assert 0.001 < p < 0.99 and min(ends[0] * ends[1], ends[2] * ends[3]) < 0


@pytest.mark.parametrize("n", [5, 8, 40])
def test_where_all_patients_agree_the_bounds_are_clopper_and_pearsons(n: int) -> None:
    for value in (0.0, 1.0):
        found = infer(of_patients(*[value] * n), "share", (0, 1)).row()
        peer = scipy.stats.binomtest(int(value) * n, n).proportion_ci()
        assert [found["low"], found["high"]] == pytest.approx([peer.low, peer.high])
    sign = infer(of_patients(*[1.0] * n), bounds=(-1, 1)).row()
    assert sign["p"] == pytest.approx(scipy.stats.binomtest(n, n).pvalue)  # the sign test
    assert infer(of_patients(*[0.0] * n), bounds=(-1, 1)).row()["p"] == 1
    unbounded = infer(of_patients(*[3.0] * n)).row()
    assert np.isnan(unbounded["low"]) and unbounded["reason"] == "all patients agree"


def test_a_range_is_only_a_unit() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((30, 1))
    plain, wide = (
        infer(leave_one_out(v, np.arange(30)), "share", b) for v, b in ((values, (0, 1)), (1 + 4 * values, (1, 5)))
    )
    assert [wide.low[0], wide.high[0]] == pytest.approx([1 + 4 * plain.low[0], 1 + 4 * plain.high[0]])


def test_the_longer_tail_has_the_wider_side() -> None:
    found = infer(of_patients(*np.random.default_rng(0).exponential(size=25))).row()
    assert found["high"] - found["mean"] > 1.2 * (found["mean"] - found["low"])


def test_few_patients_none_and_one_that_carries_all_have_a_reason() -> None:
    few = infer(of_patients(*np.arange(MIN_PATIENTS - 1.0))).row()
    assert few["reason"] == "4 of at least 5 patients" and np.isnan([few["low"], few["p"]]).all()
    none = infer(leave_one_out(np.full((6, 1), np.nan), np.arange(6))).row()
    assert none["reason"] == "not defined" and none["n"] == none["patients"] == 0
    r = of_patients(*np.arange(9.0))
    carried = LeaveOneOut(r.point, np.where(np.arange(9)[:, None] == 2, np.nan, r.left_out), r.weight, r.n)
    assert infer(carried).row()["reason"] == "not defined without one of the patients"


def test_ratios_are_fiellers() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(3, 1, (50, 1)), rng.normal(2, 1, (50, 1))
    above, below = (leave_one_out(x, np.arange(50)) for x in (a, b))
    found = infer_ratio(above, below)
    v = np.cov(a[:, 0], b[:, 0]) / 50
    q = scipy.stats.t.ppf(0.975, 49) ** 2
    roots = np.roots(
        [
            below.point[0] ** 2 - q * v[1, 1],
            -2 * (above.point[0] * below.point[0] - q * v[0, 1]),
            above.point[0] ** 2 - q * v[0, 0],
        ]
    )
    assert sorted([found.low[0], found.high[0]]) == pytest.approx(sorted(roots.real), rel=0.02)


def test_a_mean_names_its_patients() -> None:
    found = mean_with_ci(np.array([0.1, 0.2, np.nan, 0.3, 0.5, 0.4, 0.6]), pd.Series(list("aabcdef")))
    assert (found["n"], found["patients"], found["reason"]) == (6, 5, "")
    assert found["low"] < found["mean"] < found["high"]


def test_intervals_of_few_patients_cover() -> None:
    """A quick form of benchmarks/coverage.py: 2000 samples of 15 patients with skewed scores and several images."""
    rng = np.random.default_rng(0)
    level = rng.gamma(1.5, 0.1, (15, 1, 2000))
    values = level + rng.normal(0, 0.05, (15, 3, 2000))
    values[rng.random(values.shape) < 0.3] = np.nan
    found = infer(leave_one_out(values.reshape(45, 2000), np.repeat(np.arange(15), 3)))
    held = np.mean((found.low <= 0.15) & (found.high >= 0.15))
    assert 0.925 < held < 0.975
