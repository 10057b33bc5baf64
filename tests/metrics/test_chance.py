"""Chance levels against moving masks to every place, and the properties that a correction for chance must have."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.core import Annotation, Dataset, Frame, SaliencyMap
from sightline.evaluation.chance_levels import ChanceMaps
from sightline.evaluation.scoring import score, score_map
from sightline.maps.references import ControlMaps
from sightline.metrics.chance import AverageMask, ChanceLevels, correct_for_chance
from sightline.metrics.histogram import joint_histogram
from sightline.metrics.placed_map import binarize_map, place_map
from sightline.protocol import CORRECTED

SHAPE = (60, 84)
NAMES = ["iou", "pointing-game", "chance-corrected-iou", "chance-corrected-hit"]


def make_map(seed: int, frame: Frame | None = None, shape: tuple[int, int] = SHAPE) -> SaliencyMap:
    values = cv2.GaussianBlur(np.random.default_rng(seed).random(shape).astype(np.float32), (0, 0), 5)
    return SaliencyMap("r", "Edema", "m/x", values, frame or Frame.whole(SHAPE))


def make_reference(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = np.zeros(SHAPE, bool)
    row, col, height, width = rng.integers([5, 5, 5, 5], [30, 40, 25, 35])
    truth[row : row + height, col : col + width] = True
    return truth


def move_everywhere(mask: np.ndarray, truth: np.ndarray, window: tuple[slice, slice]) -> float:
    """Mean IoU over all places of the part of a mask in a window, one by one."""
    total, part = [], mask[window]
    for down in range(part.shape[0]):
        for across in range(part.shape[1]):
            moved = mask.copy()
            moved[window] = np.roll(part, (down, across), (0, 1))
            total.append((moved & truth).sum() / (moved | truth).sum())
    return float(np.mean(total))


@pytest.mark.parametrize("seed", range(3))
def test_chance_is_the_mean_over_all_places_of_the_image(seed: int) -> None:
    m, truth = make_map(seed), make_reference(seed)
    scores = score_map(m, truth, NAMES, CORRECTED)
    chance = move_everywhere(binarize_map(m, CORRECTED), truth, (slice(0, 60), slice(0, 84)))
    expected = (scores["iou"][0] - chance) / (1 - chance)
    assert scores["chance-corrected-iou"][0] == pytest.approx(expected, abs=2e-3)
    area = truth.mean()
    assert scores["chance-corrected-hit"][0] == pytest.approx((scores["pointing-game"][0] - area) / (1 - area))
    assert "whole image" in scores["chance-corrected-iou"][2]


def test_chance_within_a_body_moves_masks_in_the_box_around_it() -> None:
    m, truth, body = make_map(4), make_reference(4), np.zeros(SHAPE, bool)
    cv2.ellipse(body.view(np.uint8), (40, 30), (35, 28), 0, 0, 360, 1, -1)
    levels = ChanceLevels(truth, body)
    window = (slice(2, 59), slice(5, 76))
    assert levels.window == window
    scores = score_map(m, truth, NAMES, CORRECTED, levels)
    chance = move_everywhere(binarize_map(m, CORRECTED), truth, window)
    assert scores["chance-corrected-iou"][0] == pytest.approx(correct_for_chance(scores["iou"][0], chance), abs=4e-3)
    share = (truth & body).sum() / body.sum()
    assert scores["chance-corrected-hit"][0] == pytest.approx(correct_for_chance(scores["pointing-game"][0], share))
    assert scores["chance-corrected-hit"][2] == "chance: placed at random within the body"


def test_large_images_are_sampled_and_crops_leave_unseen_pixels_empty() -> None:
    size = (1100, 1500)
    truth = np.zeros(size, bool)
    truth[300:700, 500:1100] = True
    m = make_map(0, Frame(size, (50.0, 200.0, 1050.0, 1300.0)))
    placed = place_map(m, truth, CORRECTED)
    mask = placed.mask
    small = mask[::10, ::10]
    chance = move_everywhere(small, truth[::10, ::10], (slice(0, 110), slice(0, 150)))
    corrected = score_map(m, truth, ["chance-corrected-iou"], CORRECTED)["chance-corrected-iou"][0]
    iou = score_map(m, truth, ["iou"], CORRECTED)["iou"][0]
    assert corrected == pytest.approx(correct_for_chance(iou, chance), abs=5e-3)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_a_mask_moved_at_random_scores_nothing_on_average(seed: int) -> None:
    rng, m, truth = np.random.default_rng(seed), make_map(seed), make_reference(seed)
    values = []
    for _ in range(60):
        moved = np.roll(m.values, tuple(rng.integers(0, 60, 2)), (0, 1))
        one = SaliencyMap("r", "Edema", "m/x", moved, m.frame)
        values.append([score_map(one, truth, [name], CORRECTED)[name][0] for name in NAMES[2:]])
    means, errors = np.mean(values, 0), np.std(values, 0) / np.sqrt(60)
    assert (np.abs(means) < 5 * errors + 0.05).all()


def test_an_annotation_of_the_whole_body_leaves_nothing_to_correct() -> None:
    m, truth = make_map(0), np.ones(SHAPE, bool)
    value, status, reason = score_map(m, truth, ["chance-corrected-hit"], CORRECTED)["chance-corrected-hit"]
    assert np.isnan(value) and status == "ok" and "chance alone" in reason


def test_the_average_mask_is_cut_to_as_many_pixels() -> None:
    rng = np.random.default_rng(0)
    values, truth = rng.random(SHAPE).astype(np.float32), make_reference(1)
    prior = AverageMask(joint_histogram(values, truth, (slice(None), slice(None))), 0.0)
    for pixels in (10, 500, 3000):
        top = np.zeros(values.size, bool)
        top[np.argsort(-values.ravel())[:pixels]] = True
        expected = (top & truth.ravel()).sum() / (top | truth.ravel()).sum()
        assert prior.iou_at(pixels) == pytest.approx(expected, abs=2e-3)


def test_scores_of_a_data_set_are_corrected_for_the_average_mask_of_other_patients(toy_data: Dataset) -> None:
    names = ["iou", "pointing-game", "prior-corrected-iou", "prior-corrected-hit"]
    table = score(ControlMaps(toy_data, ("average-mask", "center")), toy_data, names)
    wide = table.pivot_table(index=["source", "radiograph", "finding"], columns="metric", values="value")
    average = wide.loc["control/average-mask"]
    assert len(average) and average["prior-corrected-iou"].abs().max() < 5e-3, "the average mask is its own chance"
    assert wide.loc["control/center"]["prior-corrected-iou"].abs().max() > 0.01


def test_chance_maps_are_prepared_only_for_metrics_that_need_them(toy_data: Dataset) -> None:
    assert ChanceMaps.from_dataset(toy_data, ["iou", "pixel-auroc"]) is None
    assert ChanceMaps.from_dataset(toy_data, ["chance-corrected-iou"]) is not None


def test_a_region_of_the_body_is_used_where_a_data_set_has_one(toy_data: Dataset) -> None:
    body = np.zeros((40, 48), bool)
    body[5:35, 6:40] = True

    def annotate(radiograph: str, finding: str, reader: str) -> Annotation | None:
        if finding == "Thorax":
            return Annotation(radiograph, finding, reader, "region", body.shape, body.copy)
        return toy_data.annotation(radiograph, finding, reader)

    data = replace(toy_data, regions=("Thorax",), annotation=annotate)
    chance = ChanceMaps.from_dataset(data, ["chance-corrected-hit"])
    assert chance is not None
    levels = chance.levels(data.radiographs[0], data.findings[0], np.ones((40, 48), bool))
    assert (levels.body == body).all() and levels.area.endswith("within the body")
