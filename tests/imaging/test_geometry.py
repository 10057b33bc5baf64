"""Frames, placement and rasterization against torch, hand-drawn masks and the released files."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.core import Annotation, Frame
from sightline.errors import DataError
from sightline.imaging.geometry import input_frame, project_to_image, project_whole, resample_area
from sightline.imaging.masks import (
    boxes_to_mask,
    contours_to_mask,
    mask_to_contours,
    mask_to_rle,
    points_to_mask,
    rasterize_annotation,
    rle_to_mask,
)

SAMPLE = Path(__file__).resolve().parents[2].parent / "shared/data/chexlocalize/CheXlocalize"
SIZES = st.tuples(st.integers(3, 60), st.integers(3, 60))


@given(SIZES, SIZES, st.integers(0, 100))
def test_placing_on_the_whole_image_is_torchs_bilinear(grid: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=grid).astype(np.float32)
    ours, window = project_to_image(values, Frame.whole(size))
    theirs = torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], size, mode="bilinear")[0, 0]
    assert window == (slice(0, size[0]), slice(0, size[1]))
    assert ours == pytest.approx(theirs.numpy(), abs=2e-5)


@given(SIZES, SIZES, st.integers(0, 100))
def test_a_crop_at_whole_pixels_is_placed_as_its_own_image(
    grid: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    """Placing on a sub-box equals placing on an image of that box: the sparse path against OpenCV's."""
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, 20, 2)
    values = rng.normal(size=grid).astype(np.float32)
    outer = (size[0] + int(top) + 5, size[1] + int(left) + 3)
    frame = Frame(outer, (float(top), float(left), float(top + size[0]), float(left + size[1])))
    ours, window = project_to_image(values, frame)
    alone, _ = project_to_image(values, Frame.whole(size))
    assert window == (slice(top, top + size[0]), slice(left, left + size[1]))
    assert ours == pytest.approx(alone, abs=2e-5)


@given(SIZES, st.integers(8, 64), st.sampled_from(["stretch", "center-crop", "pad"]))
def test_input_frames_keep_proportions_and_meet_the_edges(size: tuple[int, int], side: int, how: str) -> None:
    resized, frame = input_frame(size, side, how)
    top, left, bottom, right = frame.box
    scale = [(bottom - top) / side, (right - left) / side]
    assert scale == pytest.approx([size[0] / resized[0], size[1] / resized[1]])
    if how == "center-crop":
        assert min(resized) == side
        assert top >= -1e-9
        assert bottom <= size[0] + 1e-9
    if how == "pad":
        assert max(resized) == side
        assert bottom - top >= size[0] - scale[0]


def test_center_crop_is_torchvisions() -> None:
    importlib.import_module("sightline.models.torchvision_compat").define_missing_operators()
    from torchvision.transforms import v2

    image = torch.rand(1, 232, 283)
    seen = v2.CenterCrop(64)(v2.Resize(64)(image))[0].numpy()
    resized, frame = input_frame((232, 283), 64, "center-crop")
    whole = v2.functional.resize(image, list(resized))[0].numpy()
    top, left = (round(frame.box[i] * resized[i] / (232, 283)[i]) for i in (0, 1))
    assert (whole[top : top + 64, left : left + 64] == seen).all()


@given(st.integers(0, 1000))
def test_cut_undoes_place_on_average(seed: int) -> None:
    """What a grid sees of a map that was placed through the same frame is the map, for maps that vary slowly."""
    rng = np.random.default_rng(seed)
    frame = Frame((120, 150), (10.0, 20.5, 110.0, 130.5))
    rows, cols = np.mgrid[:10, :10]
    values = (rng.normal() * rows + rng.normal() * cols).astype(np.float32)
    seen = resample_area(project_whole(values, frame), frame, (10, 10))
    assert seen[1:-1, 1:-1] == pytest.approx(values[1:-1, 1:-1], abs=0.05)  # at the rim, edges are clamped


def test_what_lies_beyond_the_image_is_seen_as_zero() -> None:
    frame = Frame((4, 4), (-2.0, 0.0, 6.0, 4.0))
    assert resample_area(np.ones((4, 4)), frame, (4, 2))[:, 0].tolist() == [0, 1, 1, 0]
    with pytest.raises(DataError, match="frame of"):
        resample_area(np.ones((4, 5)), frame, (2, 2))


def test_unseen_pixels_get_the_lowest_value() -> None:
    whole = project_whole(np.float32([[3, 5]]), Frame((1, 8), (0.0, 2.0, 1.0, 6.0)))
    assert whole[0, [0, 1, 6, 7]].tolist() == [3, 3, 3, 3]


def test_boxes_cover_pixels_whose_centers_lie_inside() -> None:
    mask = boxes_to_mask(np.array([[0.4, 1.5, 2.6, 3.4], [-5, -5, 1, 1], [9, 9, 12, 12]]), (4, 5))
    expected = np.zeros((4, 5), bool)
    expected[0:3, 1:3] = True
    expected[0, 0] = True
    assert (mask == expected).all()


def test_points_mark_their_pixel_and_a_disk() -> None:
    assert np.argwhere(points_to_mask(np.array([[2.9, 1.1]]), (5, 5), 0)).tolist() == [[2, 1]]
    disk = points_to_mask(np.array([[10, 10]]), (20, 20), 4)
    assert disk.sum() == pytest.approx(np.pi * 16, rel=0.1)
    assert not points_to_mask(np.array([[-9.0, 50.0]]), (5, 5), 2).any()


@given(st.integers(0, 10**6))
def test_run_lengths_and_contours_keep_the_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((17, 23)) < 0.4
    assert (rle_to_mask(mask_to_rle(mask)) == mask).all()
    solid = np.zeros((30, 40), bool)
    r, c = rng.integers(2, 12, 2)
    solid[r : r + 9, c : c + 12] = True
    assert (contours_to_mask(mask_to_contours(solid), (30, 40)) == solid).all()


def test_marks_of_every_kind_become_masks() -> None:
    def mark(kind: str, value: object, size: tuple[int, int] = (20, 30)) -> Annotation:
        return Annotation("r", "Mass", "truth", kind, size, lambda: value)

    square = np.zeros((20, 30), bool)
    square[5:10, 5:15] = True
    assert (rasterize_annotation(mark("region", square)) == square).all()
    assert (rasterize_annotation(mark("boxes", [[5, 5, 10, 15]])) == square).all()
    assert (rasterize_annotation(mark("contours", [np.array([[5, 5], [5, 14], [9, 14], [9, 5]])])) == square).all()
    assert rasterize_annotation(mark("points", [[7.5, 7.5]])).sum() >= 1
    assert rasterize_annotation(mark("density", square / square.sum())).sum() == 50
    with pytest.raises(DataError, match=r"is \(20, 30\), but its image is \(21, 30\)"):
        rasterize_annotation(mark("region", square, (21, 30)))
    with pytest.raises(DataError, match="at least 2"):
        rasterize_annotation(mark("contours", [np.array([[5, 5]])]))


@pytest.mark.skipif(not SAMPLE.exists(), reason="the CheXlocalize sample is not beside this checkout")
def test_annotations_become_the_released_masks_bit_for_bit() -> None:
    annotations = json.loads((SAMPLE / "gt_annotations_val.json").read_text())
    released = json.loads((SAMPLE / "gt_segmentations_val.json").read_text())
    compared = 0
    for radiograph, found in annotations.items():
        height, width = found.pop("img_size")
        for task, contours in found.items():
            rows_cols = [np.asarray(contour)[:, ::-1] for contour in contours]
            mask = contours_to_mask(rows_cols, (height, width))
            assert (mask == rle_to_mask(released[radiograph][task])).all(), task
            compared += 1
    assert compared == 3
