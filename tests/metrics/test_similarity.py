"""Similarity of maps beside scikit-image and SciPy, and what it does with maps that say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from sightline.metrics.similarity import Normalization, PreparedMap, normalize, rank_correlation, ssim, top_overlap

SHAPES = st.tuples(st.integers(7, 20), st.integers(7, 20))
PAIRS = SHAPES.flatmap(lambda s: hnp.arrays(np.float64, (2, *s), elements=st.floats(0, 1, width=32)))


@given(PAIRS, st.sampled_from([1.0, 2.0]))
def test_ssim_is_scikit_images(pair: np.ndarray, data_range: float) -> None:
    wanted = structural_similarity(*pair, data_range=data_range)
    assert float(ssim(pair[0], pair[1], data_range)) == pytest.approx(wanted, abs=1e-6)


def test_ssim_of_smooth_and_of_sparse_maps_at_full_size() -> None:
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:320, :320] / 320
    smooth = np.exp(-((rows - 0.4) ** 2 + (cols - 0.6) ** 2) / 0.02)
    sparse = np.where(rng.random((320, 320)) < 0.02, rng.random((320, 320)), 0)
    for other in (smooth, sparse, 1 - smooth, np.zeros_like(smooth)):
        for data_range in (1.0, 2.0):
            wanted = structural_similarity(smooth, other, data_range=data_range)
            assert float(ssim(smooth, other, data_range)) == pytest.approx(wanted, abs=1e-6)


@given(PAIRS)
def test_rank_correlation_is_scipys(pair: np.ndarray) -> None:
    if (np.ptp(pair, axis=(1, 2)) == 0).any():
        return
    assert float(rank_correlation(pair[0], pair[1])) == pytest.approx(
        spearmanr(*pair.reshape(2, -1)).statistic, abs=1e-9
    )


@given(PAIRS)
def test_all_are_symmetric_and_alike_is_most(pair: np.ndarray) -> None:
    for measure in (ssim, rank_correlation, top_overlap):
        assert float(measure(pair[0], pair[1])) == pytest.approx(float(measure(pair[1], pair[0])), abs=1e-9)
        assert float(measure(pair[0], pair[1])) <= float(measure(pair[0], pair[0])) + 1e-9
    assert 0 <= float(top_overlap(pair[0], pair[1])) <= 1


def test_flat_maps_are_alike_and_like_nothing_else() -> None:
    flat, other = np.zeros((9, 9)), np.random.default_rng(0).random((9, 9))
    assert float(rank_correlation(flat, flat + 3)) == 1
    assert float(rank_correlation(flat, other)) == 0
    assert float(top_overlap(flat, other, 0.1)) == pytest.approx(8 * (8 / 81) / 8)  # chance


def test_maps_that_are_not_finite_have_no_likeness() -> None:
    good = np.random.default_rng(0).random((2, 9, 9))
    bad = good.copy()
    bad[0, 4, 4] = np.nan
    for measure in (ssim, rank_correlation, top_overlap):
        found = measure(normalize(bad), normalize(good))
        assert np.isnan(found[0]) and found[1] == pytest.approx(1)


def test_shown_as_published_and_raw() -> None:
    values = np.random.default_rng(0).normal(size=(3, 30, 30))
    for one, seen in zip(values, normalize(values, "published"), strict=True):
        magnitude = np.abs(one)
        cut = np.clip((magnitude - magnitude.min()) / (np.percentile(magnitude, 99) - magnitude.min()), 0, 1)
        assert seen == pytest.approx(cut, abs=1e-12)
    raw = normalize(values)
    assert raw.min((1, 2)) == pytest.approx(0) and raw.max((1, 2)) == pytest.approx(1)
    assert (normalize(np.full((7, 7), 4.0)) == 0).all()


def test_maps_too_small_for_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 7 × 7"):
        ssim(np.zeros((6, 9)), np.zeros((6, 9)))


@pytest.mark.parametrize("how", ["raw", "published"])
def test_a_look_is_compared_as_the_maps_are(how: Normalization) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 20, 24))
    b[5:9] = np.round(b[5:9])  # ties
    found = PreparedMap.from_values(a, how).similarities(PreparedMap.from_values(b, how), 2.0)
    first, second = normalize(a, how), normalize(b, how)
    assert found["ssim"] == pytest.approx(float(ssim(first, second, 2.0)), abs=1e-12)
    assert found["rank"] == pytest.approx(float(rank_correlation(first, second)), abs=1e-12)
    assert found["top"] == pytest.approx(float(top_overlap(first, second)), abs=1e-12)
    b[0, 0] = np.inf
    assert all(
        np.isnan(v) for v in PreparedMap.from_values(a, how).similarities(PreparedMap.from_values(b, how), 2.0).values()
    )


def test_a_flat_map_has_no_likeness_but_others_have_one_to_it() -> None:
    flat, other = (PreparedMap.from_values(v) for v in (np.full((9, 9), 3.0), np.arange(81.0).reshape(9, 9)))
    assert all(np.isnan(v) for v in flat.similarities(flat, 1.0).values())
    assert all(np.isnan(v) for v in flat.similarities(other, 1.0).values())
    assert other.similarities(flat, 1.0)["rank"] == 0
