"""Descriptors of marks with known shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.imaging.shape import measure_shape


def block(height: int, width: int, size: int = 80) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[10 : 10 + height, 20 : 20 + width] = True
    return mask


def test_published_sides_reach_from_pixel_center_to_pixel_center() -> None:
    s = measure_shape(block(10, 40), None, "published")
    assert s.elongation == pytest.approx(39 / 9)
    assert s.irrectangularity == pytest.approx(0, abs=1e-6)
    assert s.size == 400 / 6400


def test_a_line_one_pixel_wide_is_infinitely_long_only_as_published() -> None:
    assert measure_shape(block(1, 40), None, "published").elongation == np.inf
    assert measure_shape(block(1, 40), None, "corrected").elongation == pytest.approx(40)
    assert measure_shape(block(1, 1), None, "corrected").elongation == pytest.approx(1)


@given(st.integers(1, 40), st.integers(1, 40))
def test_corrected_sides_of_a_block_are_its_sides(height: int, width: int) -> None:
    s = measure_shape(block(height, width), None, "corrected")
    assert s.elongation == pytest.approx(max(height, width) / min(height, width), rel=1e-4)
    assert s.irrectangularity == pytest.approx(0, abs=1e-4)
    assert s.instances == 1


def test_a_disk_fills_a_quarter_pi_of_its_rectangle() -> None:
    rows, cols = np.ogrid[:200, :200]
    s = measure_shape((rows - 100) ** 2 + (cols - 100) ** 2 <= 60**2, None, "corrected")
    assert s.irrectangularity == pytest.approx(1 - np.pi / 4, abs=0.02)
    assert s.elongation == pytest.approx(1, abs=0.02)


def test_instances_are_contours_drawn_or_pieces_of_the_mask() -> None:
    mask = block(10, 10)
    mask[50:60, 50:70] = True
    assert measure_shape(mask, 3, "published").instances == 3
    assert measure_shape(mask, None, "published").instances == 2
    assert measure_shape(mask, 3, "corrected").instances == 2


def test_the_dominant_piece_has_the_longest_outline() -> None:
    mask = block(4, 50)
    mask[40:60, 40:60] = True  # more pixels, shorter outline
    assert measure_shape(mask, None, "corrected").elongation == pytest.approx(12.5)


def test_a_hole_can_win_only_as_published() -> None:
    mask = np.zeros((80, 80), bool)
    mask[5:75, 5:75] = True
    mask[6:74, 6:74] = False
    assert measure_shape(mask, None, "corrected").irrectangularity == pytest.approx(0, abs=1e-4)
    assert measure_shape(mask, None, "published").size == mask.mean()


@pytest.mark.parametrize("definition", ["published", "corrected"])
def test_an_empty_mark_has_no_shape(definition: str) -> None:
    s = measure_shape(np.zeros((9, 9), bool), None, definition)
    assert (s.instances, s.size) == (0, 0)
    assert np.isnan([s.elongation, s.irrectangularity]).all()
