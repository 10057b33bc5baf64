"""The joint histogram against counting pixels one by one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from sightline.errors import DataError
from sightline.metrics.histogram import QUANTIZATION_STEPS, joint_histogram, quantize
from sightline.metrics.localization import average_precision, pixel_auroc, relevance_rank

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


def heavy(kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (40, 50)
    values = {
        "hot pixel": cv2.GaussianBlur(rng.random(shape), (0, 0), 3),
        "hot pixel on an offset": 1e4 + rng.random(shape),
        "hot pixel on zeros": np.maximum(rng.normal(-1, 1, shape), 0),
        "hot pixel on four levels": rng.integers(0, 4, shape),
        "hot pixel on two scales": np.where(rng.random(shape) < 0.5, 1e-12, 1) * rng.random(shape),
        "heavy tails": rng.standard_t(1, shape),
        "heavier tails": np.exp(6 * rng.normal(size=shape)),
        "negative": -np.exp(4 * rng.normal(size=shape)),
    }[kind].astype(np.float32)
    if kind.startswith("hot"):
        values[5, 7] = 1e4 * values.max()
    return values


HEAVY = [
    "hot pixel",
    "hot pixel on an offset",
    "hot pixel on zeros",
    "hot pixel on four levels",
    "hot pixel on two scales",
    "heavy tails",
    "heavier tails",
    "negative",
]


@pytest.mark.parametrize("kind", HEAVY)
@pytest.mark.parametrize("seed", range(4))
def test_areas_do_not_depend_on_the_spread_of_the_values(kind: str, seed: int) -> None:
    values, truth = heavy(kind, seed), np.zeros((40, 50), bool)
    truth[10 : 14 + 5 * seed, 20:33] = True
    values[truth] *= np.float32(1.5)
    histogram = joint_histogram(values, truth, EVERYTHING)
    mark, flat = truth.ravel(), values.ravel().astype(float)
    assert pixel_auroc(histogram) == pytest.approx(sk.roc_auc_score(mark, flat), abs=2e-3)
    assert average_precision(histogram) == pytest.approx(sk.average_precision_score(mark, flat), abs=1e-2)
    k = int(truth.sum())
    ranks = np.sort(flat)[::-1]
    above, tied = flat > ranks[k - 1], flat == ranks[k - 1]
    expected = (mark[above].sum() + (k - above.sum()) * mark[tied].mean()) / k
    assert relevance_rank(histogram) == pytest.approx(expected, abs=2e-2)


def test_one_hot_pixel_changes_no_area() -> None:
    """One pixel of 10 000 leaves all other values in the lowest bin of 5101, where nothing would be told apart."""
    truth = np.zeros((60, 60), bool)
    truth[20:40, 20:40] = True
    values = np.where(truth, 0.9, 0.1).astype(np.float32) + case(0, (60, 60))[0] * np.float32(0.01)
    values[0, 0] = 1e4
    histogram = joint_histogram(values, truth, EVERYTHING)
    assert pixel_auroc(histogram) == pytest.approx(1 - 1 / (~truth).sum(), abs=1e-4)
    assert relevance_rank(histogram) == pytest.approx(1 - 1 / truth.sum())


def test_unseen_pixels_rank_with_the_lowest_value_among_exact_ranks_as_well() -> None:
    values, truth = heavy("hot pixel on an offset", 0), case(1, (40, 50))[1]
    window = (slice(5, 30), slice(3, 50))
    counts = joint_histogram(values[window], truth, window).threshold_counts()
    padded = np.full(values.shape, values[window].min())
    padded[window] = values[window]
    same = joint_histogram(padded, truth, EVERYTHING).threshold_counts()
    for a, b in zip(counts, same, strict=True):
        assert (a == b).all()
