"""Small changes: what is measured of maps that move with the image, not at all, or by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sightline as sl
from sightline.evaluation.robustness import (
    CHANGES,
    _align,
    map_stability,
    relative_distance,
    score_robustness,
    shift_in_pixels,
)
from sightline.evaluation.sampling import sample_positive_cases
from sightline.methods.inference import ExplainOptions
from sightline.metrics.similarity import rank_correlation
from sightline.runs.run import Run


def test_changes_are_small_and_repeat() -> None:
    image = sl.open_dataset("phantom:1?size=96").radiographs[0].read()[:96, :96]
    for name, change in CHANGES.items():
        np.testing.assert_array_equal(change(image, "a"), change(image, "a"))
        after = change(image, "a").clip(0, 1)
        assert after.shape == image.shape
        assert 0 < np.abs(after - image).mean() < 0.06, name
    assert (CHANGES["noise"](image, "a") != CHANGES["noise"](image, "b")).any()


def test_a_shift_is_undone_before_maps_are_compared() -> None:
    map_ = np.random.default_rng(0).random((100, 100), np.float32)
    by = shift_in_pixels(100)
    moved = np.roll(map_, (by, by), (0, 1))
    a, b = _align(map_, moved, "shift")
    assert relative_distance(a, b) == 0
    assert relative_distance(map_, moved) > 0.1


def test_distance_is_undefined_for_nothing() -> None:
    assert np.isnan(relative_distance(np.zeros(3), np.ones(3)))
    assert np.isnan(relative_distance(np.ones(3), np.array([1, np.nan, 1])))


def test_what_says_nothing_did_not_hold_still() -> None:
    rng = np.random.default_rng(0)
    a, b, flat, ones = rng.random((9, 9)), rng.random((9, 9)), np.zeros((9, 9)), np.ones((9, 9))
    refused = np.full((9, 9), np.nan)
    failed = [(flat, flat), (ones, ones), (flat, a), (a, flat), (ones, a), (refused, refused), (a, refused)]
    for before, after in failed:
        far, rank = map_stability(before, after)
        assert far >= 1 and rank == 0
    assert map_stability(ones, 50 * a)[0] == relative_distance(ones, 50 * a) > 1  # a failure is no excuse
    assert map_stability(a, a) == (0, 1) and map_stability(a, b) == (relative_distance(a, b), rank_correlation(a, b))


def test_a_flat_method_is_the_least_steady_and_no_case_of_it_leaves(tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:4?size=64")
    model = sl.open_model("small?side=64&width=8", data.findings)
    torch.nn.init.zeros_(model.net.head.weight)  # type: ignore[arg-type, union-attr]
    some = sample_positive_cases(data, data.findings, 2, 0)
    run = Run.start(tmp_path / "run", "trust", {})
    score_robustness(run, model, ("gradient", "edges"), some, ExplainOptions(data.findings))
    table = run.table("robustness")
    gradient = table[table["method"] == "gradient"]
    assert (gradient["rank_correlation"] == 0).all() and (gradient["distance"] == 1).all()
    assert len(gradient) == len(CHANGES) * len(some)
    assert table[table["method"] == "edges"]["rank_correlation"].mean() > 0.6


def test_noise_maps_move_for_no_reason_and_edges_with_the_image(tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:6?size=96")
    model = sl.open_model("small?side=64", data.findings)
    some = sample_positive_cases(data, data.findings, 4, 0)
    run = Run.start(tmp_path / "run", "trust", {})
    score_robustness(run, model, ("grad-cam", "noise", "edges"), some, ExplainOptions(data.findings))
    table = run.table("robustness")
    assert len(table) == 3 * len(CHANGES) * len(some)
    means = table.groupby("method")["rank_correlation"].mean()
    assert means["edges"] > 0.6
    assert table[table["change"] == "less contrast"].groupby("method")["rank_correlation"].mean()["edges"] > 0.99
    one = table[table["method"] == "grad-cam"].groupby(["radiograph", "finding", "change"])["logit_change"].first()
    two = table[table["method"] == "edges"].groupby(["radiograph", "finding", "change"])["logit_change"].first()
    assert (one == two).all()  # how far the logit moved is the model's, whatever explains it
    assert one.max() > 0
    contrast = table[(table["method"] == "edges") & (table["change"] == "less contrast")]["distance"]
    assert contrast.to_numpy() == pytest.approx(np.full(len(contrast), 0.1), abs=0.02)
