"""Combined masks of several readers: votes, and STAPLE against an iteration over pixels."""

import numpy as np
import pytest

from sightline.core import Array
from sightline.imaging.consensus import combine_masks, staple


def staple_by_pixels(masks: Array, iterations: int = 100) -> tuple[Array, Array, Array]:
    """Follow equations 12 to 19 of Warfield et al. 2004 pixel by pixel."""
    readers, pixels = len(masks), masks[0].size
    d = [[int(v) for v in mask.ravel()] for mask in masks]
    prior = sum(map(sum, d)) / (readers * pixels)
    p, q = [0.99999] * readers, [0.99999] * readers
    for last in range(iterations + 1):
        w = []
        for i in range(pixels):
            a, b = prior, 1 - prior
            for j in range(readers):
                a *= p[j] if d[j][i] else 1 - p[j]
                b *= 1 - q[j] if d[j][i] else q[j]
            w.append(a / (a + b))
        if last == iterations:
            break
        p = [sum(wi * dj for wi, dj in zip(w, d[j], strict=True)) / sum(w) for j in range(readers)]
        q = [
            sum((1 - wi) * (1 - dj) for wi, dj in zip(w, d[j], strict=True)) / (pixels - sum(w)) for j in range(readers)
        ]
    return np.array(w).reshape(masks[0].shape), np.array(p), np.array(q)


def test_staple_agrees_with_an_iteration_over_pixels() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((8, 9), bool)
    truth[2:6, 3:7] = True
    masks = np.stack([truth ^ (rng.random(truth.shape) < error) for error in (0.05, 0.1, 0.25, 0.3)])
    for found, expected in zip(staple(masks), staple_by_pixels(masks), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (combine_masks(masks, "staple") == (staple_by_pixels(masks)[0] >= 0.5)).all()


def test_staple_recovers_the_quality_of_readers_and_a_better_mask_than_the_majority() -> None:
    rng = np.random.default_rng(1)
    truth = np.zeros((100, 100), bool)
    truth[20:60, 30:80] = True
    rates = ((0.95, 0.99), (0.6, 0.9), (0.55, 0.9), (0.5, 0.9))
    draws = [np.where(truth, rng.random(truth.shape) < p, rng.random(truth.shape) > q) for p, q in rates]
    masks = np.stack(draws)
    _, sensitivity, specificity = staple(masks)
    np.testing.assert_allclose(np.stack([sensitivity, specificity], 1), rates, atol=0.03)
    errors = {rule: (combine_masks(masks, rule) != truth).mean() for rule in ("staple", "majority")}
    assert errors["staple"] < 0.5 * errors["majority"]


def test_votes_and_empty_masks() -> None:
    masks = np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], bool)
    assert combine_masks(masks, "majority").tolist() == [[False, True, False, False]]
    assert combine_masks(masks, "union").tolist() == [[True, True, True, False]]
    empty = np.zeros((3, 2, 2), bool)
    assert not combine_masks(empty, "staple").any()
    assert np.isnan(staple(empty)[1]).all()
    assert combine_masks(~empty, "staple").all()


@pytest.mark.parametrize("rule", ["union", "majority", "staple"])
def test_readers_who_agree_are_returned(rule: str) -> None:
    mask = np.zeros((5, 5), bool)
    mask[1:3, 2:4] = True
    assert (combine_masks(np.stack([mask] * 3), rule) == mask).all()  # type: ignore[arg-type]
