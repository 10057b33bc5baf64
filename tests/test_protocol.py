"""A protocol's fields mean what they say: a third one inherits nothing from the two built in."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sightline.core import Annotation, Frame, Radiograph, SaliencyMap
from sightline.errors import DataError
from sightline.evaluation.analysis import _regress_on_confidence, _regress_on_features
from sightline.evaluation.case_table import CaseTable, cutoff_grid, tune_thresholds
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.scoring import _measure_shapes, score_map
from sightline.maps.resample import GRID_SHAPE, resample_evidence
from sightline.metrics.placed_map import binarize_map
from sightline.protocol import CORRECTED, PUBLISHED, Protocol
from sightline.stats.bootstrap import draw_published_weights, draw_weights
from sightline.stats.estimates import arrange_scores
from sightline.stats.regression import regress_on_confidence, regress_on_features

ROOT = Path(__file__).resolve().parents[1]

THIRD = Protocol("third", "carried", "otsu", True, "first", "drop", "image", "percentile")
"""All that the published protocol does with holes, ties and empty masks."""


def lesions(protocol: Protocol) -> CaseTable:
    rng = np.random.default_rng(0)
    n = 60
    numbers = ("iou", "probability", "size", "elongation", "irrectangularity", "human_iou", "human_hit")
    table = pd.DataFrame({name: rng.random(n) for name in numbers})
    table["pointing-game"] = rng.integers(0, 2, n).astype(float)
    table["instances"] = rng.integers(1, 4, n).astype(float)
    table["predicted_pixels"] = table["human_predicted_pixels"] = rng.integers(0, 2, n)
    ids = {"radiograph": [f"r{i}" for i in range(n)], "patient": [f"p{i // 2}" for i in range(n)]}
    return CaseTable(protocol, "m/cam", table.assign(**ids, finding="Lung Lesion", annotated_pixels=10, status="ok"))


def test_the_two_built_in_protocols_carry_their_own_definitions() -> None:
    assert (PUBLISHED.definitions, CORRECTED.definitions, THIRD.definitions) == ("published", "corrected", "corrected")


def test_fields_that_a_protocol_leaves_out_have_no_quirk() -> None:
    defaults = {f.name: f.default for f in fields(Protocol) if f.default is not MISSING}
    assert defaults == {name: getattr(CORRECTED, name) for name in defaults}


def test_a_third_protocol_that_draws_images_draws_them_as_corrected() -> None:
    rng = np.random.default_rng(0)
    rows = {"radiograph": [f"r{i}" for i in range(12)], "patient": [f"p{i // 2}" for i in range(12)]}
    scores = pd.DataFrame({**rows, "value": rng.random(12), "metric": "iou", "source": "m", "finding": "Edema"})
    for protocol, draw in ((THIRD, draw_weights), (PUBLISHED, draw_published_weights)):
        matrix = arrange_scores(scores.assign(protocol=protocol.name), "iou", protocol, 50, 3)
        assert (matrix.weights == draw(12, 50, 3)).all()


def test_protocols_of_one_run_have_one_radius_of_points() -> None:
    with pytest.raises(DataError, match=r"different radii \(published: 0.05, third: 0.1\); give them one"):
        ScoringOptions((PUBLISHED, replace(THIRD, point_radius=0.1)), ("Edema",))


def test_an_empty_prediction_leaves_the_average_or_loses() -> None:
    reference = np.ones((30, 30), bool)
    single = np.zeros((30, 30), np.float32)
    single[3, 3] = 1  # a single pixel, which published masks lose
    flat = np.ones((30, 30), np.float32)
    scores = [
        score_map(SaliencyMap("r", "Edema", "m", values, Frame.whole((30, 30))), reference, ["iou"], protocol)["iou"]
        for protocol in (PUBLISHED, replace(CORRECTED, fill_holes=True))
        for values in (single, flat)
    ]
    assert np.isnan([scores[0][0], scores[1][0]]).all() and "dropped by the published protocol" in scores[0][2]
    assert [scores[2][0], scores[3][0]] == [0, 0]


def documented_differences() -> list[list[str]]:
    text = (ROOT / "docs/conventions.md").read_text("utf-8").partition("## Published and corrected")[2]
    return [line.strip("| ").split(" | ") for line in text.splitlines() if "`tests/" in line]


def test_every_documented_difference_names_a_test_that_exists() -> None:
    rows = documented_differences()
    assert len(rows) > 25 and all(len(row) == 4 for row in rows)
    for *_, name in rows:
        path, _, function = name.strip("`").partition("::")
        assert re.search(rf"^def {function}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), name


def test_every_field_in_which_the_two_protocols_differ_is_documented() -> None:
    listed = " ".join(row[0] for row in documented_differences())
    for field in fields(Protocol):
        if field.name != "name" and getattr(PUBLISHED, field.name) != getattr(CORRECTED, field.name):
            assert f"`{field.name}`" in listed, field.name


def test_a_third_protocol_with_filled_holes_gets_corrected_definitions() -> None:
    """Regressions and the grid of cutoffs: of two protocols, the definitions decide and not the filled holes."""
    for protocol in (THIRD, replace(THIRD, definitions="published"), CORRECTED):
        c = lesions(protocol)
        form = protocol.definitions
        outcomes = c.outcomes("gt&pred" if form == "published" else "gt_positive")
        rows = _regress_on_features(c)
        wanted = regress_on_features(outcomes, "iou", form).assign(outcome="iou")
        pd.testing.assert_frame_equal(rows[rows["outcome"] == "iou"].reset_index(drop=True), wanted)
        hits = c.table.assign(hit=c.hits("gt_positive"))
        told = _regress_on_confidence(c)
        wanted = regress_on_confidence(hits, "pointing-game", form).assign(metric="pointing-game", slice="gt_positive")
        pd.testing.assert_frame_equal(told[told["metric"] == "pointing-game"].reset_index(drop=True), wanted)
        assert tune_thresholds(c)["cutoff"][0] in cutoff_grid("Lung Lesion", published=form == "published")
    best = tune_thresholds(replace(lesions(THIRD), table=lesions(THIRD).table.assign(iou=1.0, predicted=5)))
    assert best["cutoff"].tolist() == [0.0]  # the published grid of this finding begins at 0.1


def test_shapes_and_masks_follow_each_its_own_field() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    mask[15:25, 15:25] = False
    mark = Annotation("r", "Edema", "truth", "region", (40, 40), lambda: mask, n_outlines=3)
    radiograph = Radiograph("r", "p", lambda: np.zeros((40, 40), np.float32))
    published, third = _measure_shapes(mark, mask, radiograph, (PUBLISHED, THIRD))
    assert (published.instances, third.instances) == (3, 1)
    m = SaliencyMap("r", "Edema", "m", mask.astype(np.float32), Frame.whole((40, 40)))
    assert binarize_map(m, THIRD).sum() == 400
    assert binarize_map(m, replace(THIRD, fill_holes=False)).sum() == 300


def test_smoothing_follows_the_definitions_and_not_the_filled_holes() -> None:
    rng = np.random.default_rng(1)
    m = SaliencyMap("r", "Edema", "m", rng.random((40, 40), np.float32), Frame.whole((40, 40)))
    masks = [
        binarize_map(m, replace(p, smooth_window=5, fill_holes=False, frame="carried"))
        for p in (PUBLISHED, THIRD, CORRECTED)
    ]
    assert (masks[1] == masks[2]).all() and (masks[0] != masks[1]).any()


@pytest.mark.parametrize(("protocol", "wanted"), [(PUBLISHED, [2, 2]), (THIRD, [0, 2])])
def test_evidence_of_a_map_against_gaze_follows_the_definitions(protocol: Protocol, wanted: list[int]) -> None:
    """Two fine columns in a cell: magnitudes before they are averaged, as published, or positive parts after."""
    values = np.tile(np.float32([-2, -2, 3, 1]), (2 * GRID_SHAPE[0], GRID_SHAPE[1] // 2))
    m = SaliencyMap("r", "Edema", "m", values, Frame.whole(GRID_SHAPE))
    assert resample_evidence(m, protocol.definitions)[0, :2].tolist() == wanted
    opposed = replace(m, values=values * np.float32([1, -1] * (GRID_SHAPE[1])))
    assert resample_evidence(opposed, "published")[0, :2].tolist() == [2, 2]
    assert resample_evidence(opposed, "corrected")[0, :2].tolist() == [0, 1]
