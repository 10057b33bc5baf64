"""The weight-matrix bootstrap against drawing patients one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.stats.bootstrap import (
    Replicates,
    average_columns,
    draw_published_weights,
    draw_weights,
    interval,
    p_value,
    replicate,
)


@given(st.integers(0, 1000))
def test_replicates_equal_drawing_patients_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 6, 20)
    values = rng.random((20, 3))
    values[rng.random((20, 3)) < 0.3] = np.nan
    w = draw_weights(6, 15, seed)
    r = replicate(values, group, w)
    for b in range(15):
        rows = np.concatenate([np.repeat(np.flatnonzero(group == g), int(w[b, g])) for g in range(6)])
        for k in range(3):
            drawn = values[rows, k]
            expected = np.nan if np.isnan(drawn).all() else np.nanmean(drawn)
            assert r.draws[b, k] == pytest.approx(expected, nan_ok=True)
    assert r.n.tolist() == (~np.isnan(values)).sum(0).tolist()


def test_order_statistics_are_the_published_positions() -> None:
    draws = np.random.default_rng(1).permutation(1000.0 * np.arange(1000))[:, None]
    r = Replicates(np.array([0.0]), draws, np.array([5]), np.array([5]))
    mean, low, high = interval(r, "order-statistics")
    assert (mean[0], low[0], high[0]) == (draws.mean(), 24_000, 974_000)


def test_percentiles_are_numpys() -> None:
    draws = np.random.default_rng(1).normal(size=(1000, 4))
    draws[:200, 2] = np.nan
    r = Replicates(draws.mean(0), draws, np.full(4, 9), np.full(4, 9))
    _, low, high = interval(r)
    assert low == pytest.approx(np.nanquantile(draws, 0.025, axis=0))
    assert high == pytest.approx(np.nanquantile(draws, 0.975, axis=0))


@given(st.integers(0, 50), st.floats(-3, 3), st.floats(0.1, 5))
def test_intervals_move_with_the_values(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    values, group = rng.random((30, 1)), rng.integers(0, 12, 30)
    w = draw_weights(12, 200, seed)
    before = np.array(interval(replicate(values, group, w)))
    after = np.array(interval(replicate(scale * values + shift, group, w)))
    assert after == pytest.approx(scale * before + shift, abs=1e-6)


def test_published_resamples_are_those_of_numpys_global_generator() -> None:
    np.random.seed(7)  # noqa: NPY002 (what the script of the paper does)
    rows = [np.random.choice(11, size=11, replace=True) for _ in range(20)]  # noqa: NPY002
    assert draw_published_weights(11, 20, 7).tolist() == [np.bincount(r, minlength=11).tolist() for r in rows]


def test_one_patient_says_nothing_about_the_population() -> None:
    r = replicate(np.array([[0.3], [0.4]]), np.array([0, 0]), draw_weights(1, 100, 0))
    mean, low, high = interval(r)
    assert mean[0] == pytest.approx(0.35)
    assert np.isnan([low[0], high[0]]).all()


def test_average_follows_replicates() -> None:
    values = np.random.default_rng(0).random((8, 2))
    group = np.arange(8)
    single = replicate(values, group, draw_weights(8, 5, 0))
    together = average_columns(single, [np.array([0, 1])], values, group)
    assert together.draws[:, 0] == pytest.approx(single.draws.mean(1))


def test_p_values_count_the_smaller_tail() -> None:
    assert p_value(np.r_[np.ones(998), -np.ones(1)]) == pytest.approx(2 * 2 / 1000)
    assert np.isnan(p_value(np.array([np.nan])))
    assert p_value(np.zeros(9)) == 1.0
