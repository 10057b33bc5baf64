from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from references import chexlocalize_scripts as scripts
from sightline.errors import UnknownNameError
from sightline.metrics.binarization import fill_contours, mask_from_bin, smoothed_otsu_mask, threshold_bin
from sightline.metrics.histogram import QUANTIZATION_STEPS, joint_histogram, quantize

NOTHING = np.zeros((40, 40), bool)
WHOLE = (slice(0, 40), slice(0, 40))


@given(st.integers(0, 10**6), st.integers(-30, 30), st.integers(0, QUANTIZATION_STEPS), st.floats(-1e4, 1e4))
def test_one_comparison_tells_the_same_as_counting_bins(seed: int, power: int, bin_: int, offset: float) -> None:
    values = np.random.default_rng(seed).standard_t(2, (40, 40)).astype(np.float32)
    values = ((values + np.float32(offset)) * np.float32(10.0**power)).astype(np.float32)
    if not values.max() > values.min():
        return
    histogram = joint_histogram(values, NOTHING, WHOLE)
    counted = quantize(values, histogram.low, histogram.high, QUANTIZATION_STEPS) >= bin_
    assert (mask_from_bin(values, histogram, bin_) == counted).all()


@given(st.integers(0, 10**6))
def test_otsu_is_opencvs(seed: int) -> None:
    values = cv2.GaussianBlur(np.random.default_rng(seed).random((40, 40)).astype(np.float32), (0, 0), 3)
    histogram = joint_histogram(values, NOTHING, WHOLE)
    gray = quantize(values, histogram.low, histogram.high, 255).astype(np.uint8)
    level = cv2.threshold(gray, 0, 255, cv2.THRESH_OTSU)[0]
    assert (mask_from_bin(values, histogram, threshold_bin(histogram, "otsu")) == (gray > level)).all()


def test_redrawing_fills_holes_and_drops_single_pixels() -> None:
    mask = NOTHING.copy()
    mask[5:15, 5:15], mask[8:12, 8:12] = True, False
    mask[30, 30] = mask[35, 35] = mask[35, 36] = True
    wanted = ndimage.binary_fill_holes(mask)
    wanted[30, 30] = False
    assert (fill_contours(mask) == wanted).all() and wanted[35, 36]


@pytest.mark.parametrize("side", [3, 9])
def test_published_smoothing_is_that_of_the_script(side: int) -> None:
    values = cv2.GaussianBlur(np.random.default_rng(side).random((40, 40)).astype(np.float32), (0, 0), 4)
    theirs = scripts.to_mask(scripts.HeatMap(values, 0.5, (40, 40)), smoothing=True, k=side).astype(bool)
    assert (fill_contours(smoothed_otsu_mask(values, side, published=True)) == theirs).all()


def test_correct_smoothing_keeps_high_values_high() -> None:
    rows, cols = np.mgrid[:40, :40]
    bump = np.exp(-((rows - 20) ** 2 + (cols - 12) ** 2) / 60).astype(np.float32)
    noisy = bump + np.random.default_rng(0).normal(0, 0.15, bump.shape).astype(np.float32)
    mask = smoothed_otsu_mask(noisy, 0.15, published=False)
    assert mask[20, 12] and not mask[35, 35]
    gray = cv2.boxFilter(noisy, -1, (6, 6), borderType=cv2.BORDER_REFLECT_101)
    assert gray[mask].min() > gray[~mask].max() - 1e-6


def test_published_smoothing_makes_low_and_high_alike() -> None:
    ramp = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (40, 1))
    published = smoothed_otsu_mask(ramp, 3, published=True)
    assert published[:, 1].all() and published[:, 38].all() and not published[:, 20].any(), "JET is dark at both ends"


def test_names_that_are_none() -> None:
    histogram = joint_histogram(np.eye(40, dtype=np.float32), NOTHING, WHOLE)
    for name in ("otsu:3", "above:1", "above:x", "top:0", "half"):
        with pytest.raises(UnknownNameError, match="allowed"):
            threshold_bin(histogram, name)
