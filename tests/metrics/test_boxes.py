from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label, regionprops

from sightline.metrics.boxes import box_iou, fill_boxes, peak_box_iou


def plain(mask: np.ndarray) -> np.ndarray:
    drawn = np.zeros(mask.shape, bool)
    for piece in regionprops(label(mask, connectivity=2)):
        top, left, bottom, right = piece.bbox
        drawn[top:bottom, left:right] = True
    return drawn


@given(st.integers(0, 10**6), st.floats(0.02, 0.7))
def test_boxes_are_those_of_scikit_image(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    mask, truth = rng.random((2, 24, 31)) < share
    truth[rng.integers(24), rng.integers(31)] = True
    assert (fill_boxes(mask) == plain(mask)).all()
    a, b = plain(mask), plain(truth)
    assert box_iou(mask, truth) == pytest.approx((a & b).sum() / (a | b).sum())


def test_an_empty_prediction_overlaps_by_nothing() -> None:
    truth = np.zeros((8, 8), bool)
    truth[2, 3] = True
    assert box_iou(np.zeros((8, 8), bool), truth) == 0.0


@given(st.integers(0, 10**6))
def test_peaks_are_the_pieces_above_half_of_the_highest_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(24, 31)).astype(np.float32)
    truth = rng.random((24, 31)) < 0.1
    truth[3, 4] = True
    a, b = plain(values >= values.max() / 2), plain(truth)
    assert peak_box_iou(values, truth) == pytest.approx((a & b).sum() / (a | b).sum())
    assert peak_box_iou(7 * values, truth) == peak_box_iou(values, truth), "the unit of a map does not count"


def test_a_map_without_positive_evidence_has_no_peak() -> None:
    truth = np.zeros((8, 8), bool)
    truth[2, 3] = True
    assert peak_box_iou(-np.random.default_rng(0).random((8, 8)), truth) == 0.0
