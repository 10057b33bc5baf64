"""Intervals of the best of several sources, against truth in simulations and a slow computation of the level."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from sightline.protocol import CORRECTED
from sightline.stats.estimates import differences, estimates
from sightline.stats.intervals import infer
from sightline.stats.jackknife import LeaveOneOut, concatenate, leave_one_out
from sightline.stats.simultaneous import simultaneous_levels


def leave_out(values: np.ndarray) -> LeaveOneOut:
    return leave_one_out(values, np.arange(len(values)))


def test_the_level_is_that_of_the_largest_of_correlated_normals() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(80, 1)) + rng.normal(size=(80, 5))
    levels = simultaneous_levels(leave_out(values), list("abaca"))
    drawn = rng.multivariate_normal(np.zeros(3), np.corrcoef(values[:, [0, 2, 4]].T), 100_000)
    expected = 1 - 2 * norm.sf(np.quantile(np.abs(drawn).max(1), 0.95))
    assert levels[[0, 2, 4]] == pytest.approx(expected, abs=0.003)
    assert levels[[1, 3]].tolist() == [0.95, 0.95]
    assert 0.95 < expected < 1 - 0.05 / 3


def test_sources_that_vary_together_cost_nothing_and_independent_ones_nearly_bonferroni() -> None:
    one = np.random.default_rng(2).normal(size=(60, 1))
    same = simultaneous_levels(leave_out(np.repeat(one, 8, 1)), ["a"] * 8)
    assert same == pytest.approx(0.95, abs=0.01), "the quantile of the draws is not exactly that of the normal"
    apart = simultaneous_levels(leave_out(np.random.default_rng(3).normal(size=(400, 8))), ["a"] * 8)
    assert apart == pytest.approx(0.95 ** (1 / 8), abs=0.002)


def test_constants_and_undefined_columns_are_no_candidates() -> None:
    values = np.random.default_rng(4).normal(size=(30, 3))
    values[:, 1], values[:, 2] = 0.1, np.nan
    r = leave_out(values)
    assert simultaneous_levels(r, ["a"] * 3).tolist() == [0.95] * 3
    assert simultaneous_levels(r, list("abc")).tolist() == [0.95] * 3


def test_the_interval_of_the_best_of_twelve_holds_its_truth() -> None:
    pointwise, together = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        r = leave_out(0.3 + rng.normal(0, 0.15, (60, 1)) + rng.normal(0, 0.15, (60, 12)))
        best = int(r.point.argmax())
        for covered, level in ((pointwise, 0.95), (together, simultaneous_levels(r, ["a"] * 12))):
            numbers = infer(r, level=level)
            covered.append(numbers.low[best] <= 0.3 <= numbers.high[best])
    assert np.mean(pointwise) < 0.9, "choosing and reporting on the same data is optimistic"
    assert np.mean(together) >= 0.93


def make_scores(sources: tuple[str, ...]) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = [
        ("corrected", "iou", source, f"r{i}", f"p{i // 2}", finding, rng.uniform())
        for source in sources
        for i in range(30)
        for finding in ("Edema", "Fracture")
    ]
    names = ("protocol", "metric", "source", "radiograph", "patient", "finding", "value")
    return pd.DataFrame(rows, columns=pd.Index(names))


def test_tables_state_the_interval_among_sources_of_a_kind() -> None:
    scores = make_scores(("net/a", "net/b", "net/c", "control/center"))
    table = estimates(scores, (CORRECTED,))
    models = table["source_kind"] == "model"
    width, wide = table["high"] - table["low"], table["simultaneous_high"] - table["simultaneous_low"]
    assert (wide[models] > width[models]).all()
    assert wide[~models].tolist() == width[~models].tolist(), "a single control was not chosen from others"

    gaps = differences(scores, (CORRECTED,))
    assert (gaps["simultaneous_low"] < gaps["low"]).all()
    single = differences(scores[scores["source"].isin(["net/a", "control/center"])], (CORRECTED,))
    assert (single["simultaneous_low"] == single["low"]).all()
    shared = gaps[gaps["source"] == "net/a"].reset_index(drop=True)
    kept = ["finding", "mean", "low", "high", "p", "n", "patients"]
    pd.testing.assert_frame_equal(shared[kept], single[kept])


def test_joined_columns_keep_their_numbers() -> None:
    values = np.random.default_rng(6).normal(size=(9, 4))
    both, joined = leave_out(values), concatenate(leave_out(values[:, :1]), leave_out(values[:, 1:]))
    for name in ("point", "left_out", "weight", "n"):
        np.testing.assert_allclose(getattr(joined, name), getattr(both, name))
