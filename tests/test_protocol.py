"""A protocol's fields mean what they say: a third one inherits nothing from the two built in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sightline.core import Annotation, Frame, Radiograph, SaliencyMap
from sightline.evaluation.analysis import _regress_on_confidence, _regress_on_features
from sightline.evaluation.case_table import CaseTable, cutoff_grid, tune_thresholds
from sightline.evaluation.scoring import _measure_shapes
from sightline.maps.resample import extract_evidence
from sightline.metrics.placed_map import binarize_map
from sightline.protocol import CORRECTED, PUBLISHED, Protocol
from sightline.stats.regression import regress_on_confidence, regress_on_features

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
        wanted = regress_on_confidence(hits, "pointing-game", form).assign(metric="pointing-game")
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


@pytest.mark.parametrize(("protocol", "wanted"), [(PUBLISHED, [2, 1]), (THIRD, [0, 1])])
def test_evidence_of_a_map_against_gaze_follows_the_definitions(protocol: Protocol, wanted: list[int]) -> None:
    assert extract_evidence(np.array([-2.0, 1.0]), protocol.definitions).tolist() == wanted
