"""Sixteen bits a pixel keep what scores are made of."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sightline.core import Frame, SaliencyMap, map_status
from sightline.evaluation.scoring import score_map
from sightline.maps.quantization import LEVELS, dequantize_maps, quantize_maps
from sightline.protocol import CORRECTED, PUBLISHED

FLOATS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
MAPS = hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)), elements=FLOATS)


@given(MAPS)
@example(np.float32([[[0.5, 0, -65000]]]))  # the maximum less than a step above zero
@example(np.float32([[[0, -0.5, -65000]]]))
def test_values_move_by_at_most_one_step_and_zero_not_at_all(maps):
    back = dequantize_maps(*quantize_maps(maps))
    spread = np.ptp(maps.astype(np.float64), axis=(1, 2))
    error = np.abs(back.astype(np.float64) - maps)
    slack = 1e-6 * np.abs(maps).max(axis=(1, 2))  # of float32 itself
    assert (error.max(axis=(1, 2)) <= 1.5 * spread / LEVELS + slack).all()
    assert (back[maps == 0] == 0).all()


@given(MAPS)
def test_order_flatness_and_the_places_of_the_maximum_are_kept(maps):
    codes, step, lowest = quantize_maps(maps)
    for before, after, code in zip(maps, dequantize_maps(codes, step, lowest), codes, strict=True):
        assert map_status(before) == map_status(after)
        assert ((before == before.max()) == (code == code.max())).all()
        order = np.argsort(before, axis=None, kind="stable")
        assert (np.diff(code.ravel()[order].astype(int)) >= 0).all()


def test_a_map_that_is_not_finite_stays_so():
    maps = np.zeros((2, 3, 3), np.float32)
    maps[0, 1, 1] = np.nan
    maps[1, 1, 1] = 2
    back = dequantize_maps(*quantize_maps(maps))
    assert np.isnan(back[0]).all()
    assert back[1, 1, 1] == 2


@pytest.mark.parametrize("protocol", [CORRECTED, PUBLISHED], ids=lambda p: p.name)
@pytest.mark.parametrize("kind", ["signed, heavy tails", "smooth", "sparse", "far from zero"])
def test_scores_stay_the_same(kind, protocol):
    rng = np.random.default_rng(0)
    noise = rng.standard_t(4, (320, 320))
    rows, cols = np.mgrid[:320, :320] / 320
    smooth = np.exp(-((rows - 0.4) ** 2 + (cols - 0.6) ** 2) / 0.03)
    sparse = np.where(rng.random((320, 320)) < 0.02, noise, 0)
    values = {"signed, heavy tails": noise, "smooth": smooth, "sparse": sparse, "far from zero": 500 + smooth}[kind]
    values = values.astype(np.float32)
    truth = np.zeros((500, 400), bool)
    truth[150:300, 180:330] = True
    names = [
        "iou",
        "dice",
        "pointing-game",
        "precision",
        "recall",
        "specificity",
        "pixel-auroc",
        "average-precision",
        "pr-area",
        "relevance-mass",
        "relevance-rank",
        "iou@above:0.4",
        "iou@top:0.05",
    ]

    def scores(v):
        m = SaliencyMap("r", "Edema", "s", v, Frame.whole((500, 400)))
        return np.array([value for value, *_ in score_map(m, truth, names, protocol).values()])

    back = dequantize_maps(*quantize_maps(values[None]))[0]
    np.testing.assert_allclose(scores(back), scores(values), atol=1e-4)
