"""The joint histogram against counting pixels one by one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sightline.errors import DataError
from sightline.metrics.histogram import QUANTIZATION_STEPS, joint_histogram, quantize

EVERYTHING = (slice(None), slice(None))


def case(seed: int, shape: tuple[int, int] = (23, 31)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), rng.random(shape) < 0.3


@given(st.integers(0, 10**6), st.floats(0.0, 0.99))
def test_confusion_at_any_threshold_equals_counting(seed: int, threshold: float) -> None:
    values, truth = case(seed)
    histogram = joint_histogram(values, truth, EVERYTHING)
    bin_ = histogram.bin_above(threshold)
    predicted = quantize(values, histogram.low, histogram.high, QUANTIZATION_STEPS) >= bin_
    c = histogram.confusion(bin_)
    counted = (
        (predicted & truth).sum(),
        (predicted & ~truth).sum(),
        (~predicted & truth).sum(),
        (~predicted & ~truth).sum(),
    )
    assert (c.tp, c.fp, c.fn, c.tn) == counted


@given(hnp.arrays(np.float32, (17, 19), elements=st.floats(-5, 5, width=32)))
def test_otsu_is_opencvs(values: np.ndarray) -> None:
    if values.max() == values.min():
        return
    histogram = joint_histogram(values, np.zeros(values.shape, bool), EVERYTHING)
    gray = quantize(values, histogram.low, histogram.high, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(gray, 0, 255, cv2.THRESH_OTSU)
    ours = histogram.otsu_bin() // (QUANTIZATION_STEPS // 255) - 1
    assert ((gray > ours) == (gray > threshold)).all()


def test_otsu_of_a_smooth_map_is_opencvs_level_exactly() -> None:
    rows, cols = np.mgrid[:200, :240]
    for seed in range(20):
        r, c, s = np.random.default_rng(seed).uniform([50, 50, 10], [150, 190, 60])
        values = np.exp(-((rows - r) ** 2 + (cols - c) ** 2) / s**2).astype(np.float32)
        histogram = joint_histogram(values, values > 2, EVERYTHING)
        gray = quantize(values, histogram.low, histogram.high, 255).astype(np.uint8)
        assert histogram.otsu_bin() // 20 - 1 == cv2.threshold(gray, 0, 255, cv2.THRESH_OTSU)[0]


def test_unseen_pixels_are_counted_apart_and_never_predicted() -> None:
    values, truth = case(3, (10, 12))
    window = (slice(2, 8), slice(0, 12))
    histogram = joint_histogram(values[window], truth, window)
    assert histogram.unseen == (truth[:2].sum() + truth[8:].sum(), (~truth[:2]).sum() + (~truth[8:]).sum())
    c = histogram.confusion(0)
    assert c.tp + c.fp == 6 * 12
    assert histogram.positives == truth.sum()
    true, false = histogram.threshold_counts()
    assert (true[-1], false[-1]) == (truth.sum(), (~truth).sum())


def test_top_takes_the_fewest_pixels_that_reach_the_share() -> None:
    values = np.arange(100, dtype=np.float32).reshape(10, 10)
    histogram = joint_histogram(values, values < 0, EVERYTHING)
    assert histogram.confusion(histogram.top_bin(0.05)).fp == 5
    assert histogram.confusion(histogram.top_bin(1.0)).fp == 100


def test_mass_is_the_sum_of_the_positive_part() -> None:
    values, truth = case(5)
    histogram = joint_histogram(values, truth, EVERYTHING)
    positive = np.clip(values, 0, None)
    assert histogram.positive_mass == pytest.approx((positive[truth].sum(), positive[~truth].sum()), rel=1e-5)


@pytest.mark.parametrize("values", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), np.inf)])
def test_a_map_without_two_values_has_no_histogram(values: np.ndarray) -> None:
    with pytest.raises(DataError, match="two finite values"):
        joint_histogram(values.astype(np.float32), np.ones((4, 4), bool), EVERYTHING)


def test_every_multiple_of_a_twentieth_is_an_exact_edge() -> None:
    values = np.linspace(0, 1, 21, dtype=np.float32)[None].repeat(2, 0)
    histogram = joint_histogram(values, values > 2, EVERYTHING)
    for k in range(20):
        assert histogram.confusion(histogram.bin_above(k / 20)).fp == 2 * (21 - k)
