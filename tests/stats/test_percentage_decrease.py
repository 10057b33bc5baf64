"""Percent below the second reader, against a loop that resamples by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.stats.bootstrap import draw_published_weights
from sightline.stats.intervals import infer
from sightline.stats.jackknife import leave_one_out
from sightline.stats.percentage_decrease import detectable_difference, percentage_decrease

NO_RESAMPLES = np.zeros((0, 0))


def scores(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(40), 2)
    human, model = 0.6 + 0.2 * rng.random((80, 3)), 0.2 + 0.3 * rng.random((80, 3))
    human[rng.random((80, 3)) < 0.2] = np.nan
    model[rng.random((80, 3)) < 0.2] = np.nan
    return human, model, group


def test_corrected_pairs_the_cases() -> None:
    human, model, group = scores()
    table = percentage_decrease(["a", "b", "c"], human, model, group, NO_RESAMPLES, published=False).set_index(
        "finding"
    )
    both = ~np.isnan(human) & ~np.isnan(model)
    for k, finding in enumerate("abc"):
        h, m = human[both[:, k], k].mean(), model[both[:, k], k].mean()
        assert table.loc[finding, "decrease"] == pytest.approx(100 * (h - m) / h)
        assert table.loc[finding, "n"] == both[:, k].sum()
    means = [(human[both[:, k], k].mean(), model[both[:, k], k].mean()) for k in range(3)]
    h, m = np.mean(means, axis=0)
    assert table.loc["average", "decrease"] == pytest.approx(100 * (h - m) / h)
    assert (table["low"] < table["decrease"]).all() and (table["decrease"] < table["high"]).all()


def test_published_takes_each_mean_over_its_own_cases() -> None:
    human, model, _ = scores(1)
    w = draw_published_weights(80, 1000, 0)
    table = percentage_decrease(["a", "b", "c"], human, model, np.arange(80), w, published=True).set_index("finding")
    draws = []
    rng = np.random.RandomState(0)
    for _ in range(1000):
        rows = rng.choice(80, size=80)
        draws.append((np.nanmean(human[rows], axis=0), np.nanmean(model[rows], axis=0)))
    h, m = (np.array(x) for x in zip(*draws, strict=True))
    ratio = np.sort(100 * (h - m) / h, axis=0)
    assert table.loc[list("abc"), "low"].to_numpy() == pytest.approx(ratio[24])
    assert table.loc[list("abc"), "high"].to_numpy() == pytest.approx(ratio[974])
    assert table.loc[list("abc"), "decrease"].to_numpy() == pytest.approx(100 * (h.mean(0) - m.mean(0)) / h.mean(0))
    of = [round(x.mean(0).mean(), 3) for x in (h, m)]
    assert table.loc["average", "decrease"] == pytest.approx(100 * (of[0] - of[1]) / of[0])
    over = np.sort(100 * (h.mean(1) - m.mean(1)) / h.mean(1))
    assert table.loc["average", ["low", "high"]].tolist() == pytest.approx([over[24], over[974]])


def test_the_bounds_are_the_ratios_that_fieller_cannot_tell_from_the_means() -> None:
    """At a bound r the mean of model - r * reader lies t standard errors from 0; skewness only lengthens its tail."""
    human, model, group = scores(2)
    row = percentage_decrease(["a"], human[:, :1], model[:, :1], group, NO_RESAMPLES, published=False).iloc[0]
    both = ~np.isnan(human[:, 0]) & ~np.isnan(model[:, 0])
    for end in ("low", "high"):
        gap = np.where(both, model[:, 0] - (1 - row[end] / 100) * human[:, 0], np.nan)
        assert infer(leave_one_out(gap[:, None], group)).p[0] == pytest.approx(0.055, abs=0.015)


def test_a_reader_near_0_leaves_no_interval_and_says_so() -> None:
    human, model = np.eye(10)[:, :1], np.full((10, 1), 0.3) + np.eye(10)[:, 1:2]
    row = percentage_decrease(["a"], human, model, np.arange(10), NO_RESAMPLES, published=False).iloc[0]
    assert np.isnan(row["low"]) and row["reason"] == "the denominator is not clearly above 0"


def test_a_reader_who_never_overlaps_leaves_nothing_to_compare_with() -> None:
    human, model = np.zeros((10, 1)), np.full((10, 1), 0.5)
    table = percentage_decrease(["a"], human, model, np.arange(10), NO_RESAMPLES, published=False)
    assert table["decrease"].isna().all()


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(60), 2)

    def gap(shift: float) -> np.ndarray:
        return shift + rng.normal(size=60)[group] * 0.2 + rng.normal(size=120) * 0.1

    wanted = float(np.mean([detectable_difference(gap(0.0)[:, None], group)[0] for _ in range(50)]))
    found = 0
    for _ in range(600):
        values = gap(wanted)
        totals = np.bincount(group, values - values.mean())
        error = np.sqrt((totals**2).sum() * 60 / 59) / 120
        found += abs(values.mean()) > 1.96 * error
    assert 0.74 < found / 600 < 0.86
    assert np.isnan(detectable_difference(np.ones((3, 1)), np.zeros(3, int)))[0]
