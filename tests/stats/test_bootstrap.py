"""The weight-matrix bootstrap against drawing patients one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sightline.protocol import CORRECTED, PUBLISHED
from sightline.stats.bootstrap import (
    Replicates,
    average_columns,
    draw_published_weights,
    draw_weights,
    interval,
    p_value,
    replicate,
)
from sightline.stats.estimates import differences, estimates


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
    r = Replicates(np.array([0.0]), draws, np.array([5]), np.array([5]), np.zeros(1))
    mean, low, high = interval(r, "order-statistics")
    assert (mean[0], low[0], high[0]) == (draws.mean(), 24_000, 974_000)


def test_percentiles_are_numpys() -> None:
    draws = np.random.default_rng(1).normal(size=(1000, 4))
    draws[:200, 2] = np.nan
    r = Replicates(draws.mean(0), draws, np.full(4, 9), np.full(4, 9), np.zeros(4))
    _, low, high = interval(r)
    assert low == pytest.approx(np.nanquantile(draws, 0.025, axis=0))
    assert high == pytest.approx(np.nanquantile(draws, 0.975, axis=0))


def test_bca_agrees_with_scipys() -> None:
    rng = np.random.default_rng(3)
    sample = rng.exponential(size=60)
    r = replicate(sample[:, None], np.arange(60), draw_weights(60, 20_000, 0))
    _, low, high = interval(replace(r, groups=np.array([10**9])), "bca")  # so many groups expand nothing
    assert interval(r, "bca")[2][0] > high[0]
    peer = scipy.stats.bootstrap((sample,), np.mean, method="BCa", n_resamples=20_000, rng=1).confidence_interval
    plain = interval(r, "percentile")[2][0]
    assert low[0] == pytest.approx(peer.low, abs=0.01)
    assert high[0] == pytest.approx(peer.high, abs=0.01)
    assert high[0] > plain + 0.01  # skewed to the right: the upper bound moves up


def test_bca_by_hand_for_clusters() -> None:
    rng = np.random.default_rng(4)
    group = np.sort(rng.integers(0, 25, 70))
    values = rng.random(70) ** 3
    r = replicate(values[:, None], group, draw_weights(25, 999, 0))
    without = np.array([values[group != g].mean() for g in np.unique(group)])
    gap = without.mean() - without
    a = (gap**3).sum() / (6 * (gap**2).sum() ** 1.5)
    z0 = scipy.stats.norm.ppf((r.draws[:, 0] < values.mean()).mean())
    groups = len(np.unique(group))
    reach = scipy.stats.t.ppf(0.975, groups - 1) * np.sqrt(groups / (groups - 1))
    levels = [scipy.stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in (-reach, reach)]
    _, low, high = interval(r, "bca")
    assert [low[0], high[0]] == pytest.approx(np.quantile(r.draws[:, 0], levels).tolist())


def test_bca_of_an_average_leaves_out_whole_patients() -> None:
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(20), 3)
    values = rng.random((60, 2)) ** 2
    values[rng.random((60, 2)) < 0.4] = np.nan
    single = replicate(values, group, draw_weights(20, 500, 0))
    together = average_columns(single, [np.array([0, 1])], values, group)
    without = np.array([np.nanmean(values[group != g], axis=0).mean() for g in range(20)])
    gap = without.mean() - without
    assert together.acceleration[0] == pytest.approx((gap**3).sum() / (6 * (gap**2).sum() ** 1.5))


@given(st.integers(0, 50), st.floats(-3, 3), st.floats(0.1, 5))
def test_intervals_move_with_the_values(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    values, group = rng.random((30, 1)), rng.integers(0, 12, 30)
    w = draw_weights(12, 200, seed)
    for kind in ("percentile", "bca"):
        before = np.array(interval(replicate(values, group, w), kind))
        after = np.array(interval(replicate(scale * values + shift, group, w), kind))
        assert after == pytest.approx(scale * before + shift, abs=1e-6)


def test_values_that_do_not_vary_have_an_interval_of_one_point() -> None:
    r = replicate(np.full((9, 1), 0.5), np.arange(9), draw_weights(9, 100, 0))
    assert [x[0] for x in interval(r, "bca")] == pytest.approx([0.5, 0.5, 0.5])


def test_published_resamples_are_those_of_numpys_global_generator() -> None:
    np.random.seed(7)  # noqa: NPY002 (what the script of the paper does)
    rows = [np.random.choice(11, size=11, replace=True) for _ in range(20)]  # noqa: NPY002
    assert draw_published_weights(11, 20, 7).tolist() == [np.bincount(r, minlength=11).tolist() for r in rows]


def test_one_patient_says_nothing_about_the_population() -> None:
    r = replicate(np.array([[0.3], [0.4]]), np.array([0, 0]), draw_weights(1, 100, 0))
    mean, low, high = interval(r)
    assert mean[0] == pytest.approx(0.35)
    assert np.isnan([low[0], high[0]]).all()


def test_coverage_of_clustered_data() -> None:
    """Intervals that draw patients cover the truth about 95 % of the time where images of a patient agree; intervals
    that draw images do not."""
    rng = np.random.default_rng(0)
    covered = {"patient": 0, "image": 0}
    for trial in range(300):
        patient = np.repeat(np.arange(60), 4)
        values = (rng.normal(size=60)[patient] + 0.3 * rng.normal(size=240))[:, None]
        for unit, group in (("patient", patient), ("image", np.arange(240))):
            _, low, high = interval(replicate(values, group, draw_weights(group.max() + 1, 400, trial)))
            covered[unit] += low[0] <= 0 <= high[0]
    assert 0.91 <= covered["patient"] / 300 <= 0.985
    assert covered["image"] / 300 < 0.8


def table(seed: int = 0, sources: tuple[str, ...] = ("net/cam", "control/center", "reader/human")) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "protocol": p,
            "metric": "iou",
            "source": s,
            "finding": f,
            "radiograph": f"r{i}",
            "patient": f"p{i // 2}",
            "value": rng.random() + 0.2 * k,
        }
        for p in ("corrected", "published")
        for k, s in enumerate(sources)
        for f in ("Edema", "Mass")
        for i in range(30)
    ]
    return pd.DataFrame(rows)


def test_estimates_are_the_means_with_n_and_patients() -> None:
    scores = table()
    found = estimates(scores, [CORRECTED])
    rows = scores[(scores.protocol == "corrected") & (scores.source == "net/cam")]
    edema = found[(found.source == "net/cam") & (found.finding == "Edema")].iloc[0]
    assert edema["mean"] == pytest.approx(rows[rows.finding == "Edema"].value.mean())
    assert (edema["n"], edema["patients"], edema["source_kind"]) == (30, 15, "model")
    assert edema["low"] < edema["mean"] < edema["high"]
    both = found[(found.source == "net/cam") & (found.finding == "average")].iloc[0]
    assert both["mean"] == pytest.approx(rows.groupby("finding").value.mean().mean())
    assert (both["n"], both["patients"]) == (60, 15)


def test_the_published_protocol_draws_images() -> None:
    found = estimates(table(), [PUBLISHED])
    assert set(found["patients"]) == {30}


def test_row_order_changes_nothing() -> None:
    scores = table()
    shuffled = scores.sample(frac=1, random_state=3)
    keys = ["metric", "source", "finding"]
    for make in (estimates, differences):
        a, b = (make(s, [CORRECTED]).sort_values(keys).reset_index(drop=True) for s in (scores, shuffled))
        pd.testing.assert_frame_equal(a, b)


def test_differences_are_paired() -> None:
    """A constant gap has an interval of no width, however wide the two estimates are."""
    scores = table()
    reader = scores[scores.source == "net/cam"].assign(source="reader/human", value=lambda d: d.value + 0.1)
    gap = differences(pd.concat([scores[scores.source == "net/cam"], reader]), [CORRECTED])
    assert np.allclose(gap[["mean", "low", "high"]], -0.1)
    assert (gap["p"] < 0.01).all()


def test_a_source_that_answers_for_one_finding_is_compared_on_it() -> None:
    scores = table()
    scores = scores[~((scores.source == "control/center") & (scores.finding == "Mass"))]
    gap = differences(scores, [CORRECTED])
    assert set(gap[gap.versus == "control/center"].finding) == {"Edema", "average"}


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
