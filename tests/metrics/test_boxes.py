from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label, regionprops

from sightline.metrics.boxes import box_iou, fill_boxes


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
