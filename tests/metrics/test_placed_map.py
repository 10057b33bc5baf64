"""Masks of signed maps: thresholds act on positive evidence, unless the protocol says otherwise."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.core import Frame, SaliencyMap
from sightline.evaluation.scoring import score_map
from sightline.metrics.placed_map import binarize_map, place_map
from sightline.protocol import CORRECTED, PUBLISHED, Protocol

SHAPE = (30, 36)


def make_map(values: np.ndarray) -> SaliencyMap:
    return SaliencyMap("r", "Edema", "m/x", values.astype(np.float32), Frame.whole(values.shape))


def signed(seed: int) -> np.ndarray:
    return cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, SHAPE).astype(np.float32), (0, 0), 2)


@pytest.mark.parametrize("binarizer", ["otsu", "above:0.3", "above:0", "top:0.2", "top:1"])
@given(seed=st.integers(0, 10**6))
def test_masks_of_signed_maps_are_those_of_their_positive_part(binarizer: str, seed: int) -> None:
    values, protocol = signed(seed), replace(CORRECTED, binarizer=binarizer)
    mask = binarize_map(make_map(values), protocol)
    positive = binarize_map(make_map(np.maximum(values, 0)), protocol)
    assert (mask == (positive & (values > values.max() / 5100))).all()
    truth = np.zeros(SHAPE, bool)
    truth[5:20, 8:25] = True
    expected = (mask & truth).sum() / (mask | truth).sum()
    assert score_map(make_map(values), truth, ["iou"], protocol)["iou"][0] == pytest.approx(expected)
    assert score_map(make_map(values), truth, [f"iou@{binarizer}"], CORRECTED)[f"iou@{binarizer}"][0] == pytest.approx(
        expected
    )


def test_strong_evidence_against_a_finding_does_not_move_the_mask() -> None:
    values = np.zeros(SHAPE)
    values[5:10, 5:10] = 1.0
    values[20:25, 20:25] = -4.0
    assert binarize_map(make_map(values), CORRECTED).sum() == 25
    whole = binarize_map(make_map(values), replace(CORRECTED, signed_maps="whole-range"))
    assert whole.sum() == values.size - 25, "the threshold separates the evidence against from everything else"
    assert (binarize_map(make_map(values), replace(PUBLISHED, fill_holes=False)) == whole).all()


@pytest.mark.parametrize("protocol", [CORRECTED, replace(CORRECTED, smooth_window=5)])
def test_a_map_without_positive_evidence_predicts_nothing(protocol: Protocol) -> None:
    m, truth = make_map(-1 - np.abs(signed(0))), np.ones(SHAPE, bool)
    assert not binarize_map(m, protocol).any()
    assert score_map(m, truth, ["iou", "precision", "specificity"], protocol) == {
        "iou": (0.0, "ok", ""),
        "precision": (0.0, "ok", ""),
        "specificity": (1.0, "ok", ""),
    }


def test_smoothing_a_signed_map_keeps_its_positive_part() -> None:
    values = signed(3)
    mask = binarize_map(make_map(values), replace(CORRECTED, smooth_window=3))
    filtered = cv2.blur(values, (3, 3), borderType=cv2.BORDER_REFLECT_101)
    assert mask.any() and (filtered[mask] > 0).all()


@given(st.integers(0, 10**6))
def test_maps_without_negative_values_are_not_touched(seed: int) -> None:
    m = make_map(signed(seed) - signed(seed).min())
    placed = place_map(m, np.zeros(SHAPE, bool), CORRECTED)
    assert placed.confusion() == placed.histogram.confusion(placed.histogram.otsu_bin())
    assert (binarize_map(m, CORRECTED) == binarize_map(m, replace(CORRECTED, signed_maps="whole-range"))).all()
