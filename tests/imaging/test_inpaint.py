"""Imputation against the linear system it solves, written out and solved directly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from sightline.imaging.inpaint import inpaint

WEIGHTS = {
    (dy, dx): (1 / 6 if 0 in (dy, dx) else 1 / 12) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)
}


def directly(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Every missing pixel is the weighted mean of the neighbors that exist: one row of a matrix each."""
    places = np.argwhere(missing)
    number = {tuple(place): i for i, place in enumerate(places.tolist())}
    matrix, right = lil_matrix((len(places), len(places))), np.zeros(len(places))
    for i, (row, col) in enumerate(places.tolist()):
        for (dy, dx), weight in WEIGHTS.items():
            other = (row + dy, col + dx)
            if not (0 <= other[0] < image.shape[0] and 0 <= other[1] < image.shape[1]):
                continue
            matrix[i, i] += weight
            if other in number:
                matrix[i, number[other]] -= weight
            else:
                right[i] += weight * image[other]
    out = image.copy()
    out[missing] = spsolve(matrix.tocsc(), right)
    return out


@pytest.mark.parametrize("kind", ["scattered", "block", "half", "border"])
def test_it_is_the_solution_of_the_system(kind: str) -> None:
    rng = np.random.default_rng(0)
    image = np.cumsum(rng.normal(size=(40, 33)), 1).astype(np.float32)
    image = (image - image.min()) / np.ptp(image)
    missing = np.zeros(image.shape, bool)
    if kind == "scattered":
        missing = rng.random(image.shape) < 0.6
    elif kind == "block":
        missing[8:30, 5:25] = True
    elif kind == "half":
        missing[:20] = True
    else:
        missing[:3] = missing[-2:] = missing[:, :4] = True
    np.testing.assert_allclose(inpaint(image, missing), directly(image, missing), atol=2e-3)


@given(st.integers(0, 10**6), st.floats(0.05, 0.95))
def test_what_is_known_stays_and_nothing_leaves_its_range(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((17, 19), np.float32)
    missing = rng.random(image.shape) < share
    found = inpaint(image, missing)
    np.testing.assert_array_equal(found[~missing], image[~missing])
    if not missing.all():
        assert found.min() >= image[~missing].min() - 1e-3  # harmonic: no new extremes
        assert found.max() <= image[~missing].max() + 1e-3


def test_nothing_missing_everything_missing_and_a_constant() -> None:
    image = np.random.default_rng(0).random((12, 12), np.float32)
    np.testing.assert_array_equal(inpaint(image, np.zeros((12, 12), bool)), image)
    assert np.unique(inpaint(image, np.ones((12, 12), bool))).tolist() == [pytest.approx(image.mean())]
    flat = np.full((30, 30), 0.5, np.float32)
    hole = np.zeros((30, 30), bool)
    hole[5:25, 5:25] = True
    np.testing.assert_allclose(inpaint(flat, hole), 0.5, atol=1e-5)
