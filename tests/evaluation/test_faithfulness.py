"""Criteria by erasing, on a network whose evidence is known to the pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import sightline as sl
from sightline.core import Case, Frame, Radiograph, SaliencyMap
from sightline.evaluation.faithfulness import (
    PatchOcclusions,
    PerturbedImage,
    complexity,
    score_erasure,
    score_faithfulness,
)
from sightline.runs.run import Run
from sightline.stats.faithfulness import RANDOM_ORDER

SIDE = 32
CORNER = np.zeros((SIDE, SIDE), np.float32)
CORNER[4:12, 6:14] = 1


class Corner(nn.Module):
    """Logit: the brightness of one square, and of another for the second finding."""

    def __init__(self) -> None:
        super().__init__()
        other = np.flip(CORNER).copy()
        self.masks = nn.Parameter(torch.from_numpy(np.stack([CORNER, other])))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,fhw->nf", x, self.masks) / 8 - 2


def film(seed: int = 0) -> PerturbedImage:
    model = sl.wrap(Corner(), ["Edema", "Nodule"], side=SIDE, channels=1, mean=0.0, std=1.0)
    image = (0.2 + 0.6 * CORNER + 0.05 * np.random.default_rng(1).random((SIDE, SIDE))).astype(np.float32)
    return PerturbedImage(model, "film", image, Frame.whole((SIDE, SIDE)), seed)


def test_the_right_map_is_more_faithful_than_chance_and_its_opposite() -> None:
    one = film()
    right, wrong, chance = (
        score_erasure(one, one.rank_pixels(v, "Edema"), "Edema") for v in (CORNER, -CORNER, CORNER * 0)
    )
    assert right["deletion"] < chance["deletion"] < wrong["deletion"]
    assert right["insertion"] > chance["insertion"] > wrong["insertion"]
    assert right["road"] > chance["road"] > wrong["road"]
    assert right["road"] == pytest.approx(-wrong["road"], abs=0.15)


def test_deletion_and_insertion_are_areas_under_the_probability() -> None:
    one = film()
    order = one.rank_pixels(CORNER, "Edema")
    p = []
    for share in (0, 0.1, 0.2, 0.4, 0.7, 1):
        image = one.image.ravel().copy()
        image[order[: round(share * order.size)]] = one.image.mean()
        with torch.no_grad():
            p.append(float(one.model.net(torch.from_numpy(image.reshape(1, 1, SIDE, SIDE)))[0, 0].sigmoid()))
    area = sum(
        (b - a) * (p[i] + p[i + 1]) / 2
        for i, (a, b) in enumerate([(0, 0.1), (0.1, 0.2), (0.2, 0.4), (0.4, 0.7), (0.7, 1)])
    )
    assert score_erasure(one, order, "Edema")["deletion"] == pytest.approx(area, abs=1e-6)


def test_infidelity_of_an_exact_attribution_is_nothing() -> None:
    one = film()
    squares = PatchOcclusions.from_image(one)
    exact = CORNER * (one.image - one.fill_value)  # what erasing each pixel takes from the logit
    assert squares.infidelity(exact, 0) == pytest.approx(0, abs=1e-6)
    assert squares.infidelity(17 * exact, 0) == pytest.approx(0, abs=1e-6)  # scale does not count
    assert squares.infidelity(-exact, 0) == pytest.approx(1)  # sign does
    assert squares.infidelity(exact * 0, 0) == 1
    assert squares.infidelity(np.flip(exact).copy(), 0) > 0.5
    sums = [float(exact[a:c, b:d].sum()) for a, b, c, d in squares.squares]
    np.testing.assert_allclose(squares.logit_drops[:, 0], np.array(sums) / 8, atol=1e-5)


def test_ties_and_chance_are_drawn_by_key() -> None:
    a, b = film(), film(seed=1)
    flat = np.zeros((SIDE, SIDE), np.float32)
    assert (a.rank_pixels(flat, "Edema") == film().rank_pixels(flat, "Edema")).all()
    assert (a.rank_pixels(flat, "Edema") != b.rank_pixels(flat, "Edema")).any()
    assert sorted(a.rank_pixels(CORNER, "Edema")[: int(CORNER.sum())]) == np.flatnonzero(CORNER.ravel()).tolist()


@given(st.lists(st.floats(-5, 5).map(lambda v: v if abs(v) > 1e-9 else 0.0), min_size=2, max_size=30))
def test_complexity_is_a_share_that_scale_and_sign_do_not_change(values: list[float]) -> None:
    map_ = np.array(values)
    found = complexity(map_)
    assert 0 <= found <= 1 + 1e-12
    assert complexity(-3 * map_) == pytest.approx(found)


class OneMap:
    """A run with the maps given."""

    def __init__(self, maps: list[SaliencyMap]) -> None:
        self.maps = maps
        self.sources = {m.source: (m.finding,) for m in maps}

    def maps_for(self, radiograph: str) -> list[SaliencyMap]:
        return [m for m in self.maps if m.radiograph == radiograph]


def test_stored_maps_are_tried_in_place_and_failures_are_chance(tmp_path: Path) -> None:
    one = film()
    frame = Frame.whole((2 * SIDE, 2 * SIDE))
    big = np.kron(one.image, np.ones((2, 2), np.float32))
    radiograph = Radiograph(id="film", patient="p", read=lambda: big, size=frame.size, labels={"Edema": 1.0})
    maps = OneMap(
        [
            SaliencyMap("film", "Edema", "net/right", CORNER[::2, ::2], frame),
            SaliencyMap("film", "Edema", "net/none", np.zeros((0, 0), np.float32), frame, status="refused"),
            SaliencyMap("film", "Edema", "control/right", CORNER[::4, ::4], frame),
        ]
    )
    run = Run.start(tmp_path / "run", "trust", {})
    sources = {"net/right": "right", "net/none": "none", "control/right": "control/right"}
    far = Radiograph(id="far", patient="q", read=lambda: big, size=frame.size, labels={"Edema": 1.0})
    maps.maps.append(SaliencyMap("far", "Edema", "net/right", -CORNER[::2, ::2], frame))
    score_faithfulness(run, maps, one.model, sources, [Case(radiograph, "Edema"), Case(far, "Edema")], seed=0)
    whole = run.table("faithfulness")
    whole = whole[whole["radiograph"] == "film"]
    right = whole[(whole["source"] == "right") & (whole["measure"] == "deletion")]
    assert float(right["value"].iloc[0]) < float(right["chance"].iloc[0])  # the other patient's map says the opposite
    assert whole[whole["source"] == "none"]["chance"].isna().all()  # it has no map of the other patient
    table = whole.pivot_table(index="source", columns="measure", values="value")
    assert table.loc["none", "deletion"] == table.loc[RANDOM_ORDER, "deletion"]
    assert table.loc["none", "infidelity"] == 1
    assert table.loc["right", "deletion"] < table.loc[RANDOM_ORDER, "deletion"]
    assert table.loc["right", "road"] > table.loc[RANDOM_ORDER, "road"]
    assert set(table.index) == {"right", "none", "control/right", RANDOM_ORDER}
