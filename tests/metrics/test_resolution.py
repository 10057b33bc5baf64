"""The ceiling of a grid: what no map as coarse can exceed by much, and every map may reach."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sightline.core import Frame, SaliencyMap
from sightline.evaluation.scoring import score_map
from sightline.imaging.geometry import resample_area
from sightline.metrics.resolution import best_iou, iou_ceiling
from sightline.protocol import CORRECTED

SIZE = (96, 112)
WHOLE = Frame.whole(SIZE)


def make_reference(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = np.zeros(SIZE, np.uint8)
    center, axes = (int(rng.integers(25, 85)), int(rng.integers(20, 75))), (int(rng.integers(8, 24)), 14)
    cv2.ellipse(truth, center, axes, float(rng.integers(0, 180)), 0, 360, 1, -1)
    return truth.astype(bool)


@pytest.mark.parametrize("seed", range(4))
def test_climbing_from_the_shares_of_the_cells_does_not_get_much_higher(seed: int) -> None:
    """A search that changes random cells, hundreds of times, and keeps what overlaps better."""
    rng, truth, shape = np.random.default_rng(seed), make_reference(seed), (6, 7)
    ceiling = iou_ceiling(shape, WHOLE, truth)
    values = resample_area(truth, WHOLE, shape)
    best = start = best_iou(values, WHOLE, truth)
    for _ in range(400):
        change = rng.normal(size=shape) * (rng.random(shape) < 0.15) * 10 ** rng.uniform(-2, 0)
        changed = (values + change).astype(np.float32)
        reached = best_iou(changed, WHOLE, truth)
        if reached >= best:
            values, best = changed, reached
    assert ceiling >= start
    assert best <= ceiling + 0.04
    assert ceiling < 1


def test_finer_grids_reach_more_and_very_fine_ones_have_no_ceiling() -> None:
    truth = make_reference(1)
    reached = [iou_ceiling((n, n), WHOLE, truth) for n in (2, 4, 8, 16, 32)]
    assert reached == sorted(reached)
    assert reached[0] < 0.9 and reached[-1] > 0.97
    assert np.isnan(iou_ceiling((64, 64), WHOLE, truth))


def test_what_lies_outside_the_frame_cannot_be_reached() -> None:
    truth = np.zeros(SIZE, bool)
    truth[20:60, 30:90] = True
    left = Frame(SIZE, (0.0, 0.0, 96.0, 60.0))
    assert iou_ceiling((12, 12), left, truth) == pytest.approx(0.5, abs=0.03)


def test_no_map_exceeds_the_ceiling_that_stands_beside_its_score() -> None:
    for seed in range(6):
        truth = make_reference(seed)
        values = np.random.default_rng(seed).random((4, 5)).astype(np.float32)
        scores = score_map(SaliencyMap("r", "Edema", "m/x", values, WHOLE), truth, ["iou", "iou-ceiling"], CORRECTED)
        assert scores["iou"][0] <= scores["iou-ceiling"][0] <= 1


def test_a_map_that_failed_has_no_ceiling_and_a_fine_one_says_why() -> None:
    truth = make_reference(0)
    flat = SaliencyMap("r", "Edema", "m/x", np.zeros((4, 5), np.float32), WHOLE)
    value, status, reason = score_map(flat, truth, ["iou-ceiling"], CORRECTED)["iou-ceiling"]
    assert np.isnan(value) and (status, reason) == ("flat", "the map is flat")
    fine = SaliencyMap("r", "Edema", "m/x", np.random.default_rng(0).random(SIZE).astype(np.float32), WHOLE)
    value, status, reason = score_map(fine, truth, ["iou-ceiling"], CORRECTED)["iou-ceiling"]
    assert np.isnan(value) and status == "ok" and "not coarse" in reason
