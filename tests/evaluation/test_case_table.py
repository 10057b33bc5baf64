"""Slices, tuning and the choice of the best source, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sightline.evaluation.case_table import (
    IOU_SWEEP,
    SLICES,
    CaseTable,
    best_source,
    cutoff_grid,
    model_sources,
    second_readers,
    slice_scores,
    tune_thresholds,
)
from sightline.protocol import CORRECTED, PUBLISHED, adjust_protocols

NAN = np.nan
#        marked predicted  both  iou  hit  probability human_predicted
ROWS = [
    ("a", 10, 12, 8, 8 / 14, 1.0, 0.9, 11),  # found by both
    ("b", 10, 0, 0, 0.0, 0.0, 0.2, 9),  # empty prediction
    ("c", 10, 5, 0, 0.0, 0.0, 0.6, 0),  # the reader saw nothing
    ("d", 0, 7, 0, NAN, NAN, 0.7, NAN),  # claims what nobody marked
    ("e", 0, 0, 0, NAN, NAN, 0.1, NAN),  # claims nothing, rightly
]


def a_case(protocol=CORRECTED) -> CaseTable:
    names = [
        "radiograph",
        "annotated_pixels",
        "predicted_pixels",
        "overlap_pixels",
        "iou",
        "pointing-game",
        "probability",
        "human_predicted_pixels",
    ]
    table = pd.DataFrame(ROWS, columns=names).assign(finding="Edema", patient=["p", "p", "q", "r", "s"], status="ok")
    return CaseTable(protocol, "m/grad-cam", table)


WANTED = {
    "gt_positive": [8 / 14, 0, 0, NAN, NAN],
    "gt&pred": [8 / 14, NAN, 0, NAN, NAN],
    "gt&pred&human": [8 / 14, NAN, NAN, NAN, NAN],
    "model_positive&gt": [8 / 14, NAN, 0, NAN, NAN],
    "full": [8 / 14, 0, 0, 0, NAN],
}


@pytest.mark.parametrize("which", SLICES)
def test_overlap_of_every_slice(which) -> None:
    assert a_case().overlap(which).tolist() == pytest.approx(WANTED[which], nan_ok=True)


def test_a_cutoff_silences_a_map_below_it() -> None:
    (protocol,) = adjust_protocols((CORRECTED,), probability_cutoffs={"Edema": 0.65})
    c = a_case(protocol)
    assert c.is_predicted.tolist() == [True, False, False, True, False]
    assert c.overlap("gt&pred").tolist() == pytest.approx([8 / 14, NAN, NAN, NAN, NAN], nan_ok=True)
    assert c.overlap("model_positive&gt").tolist() == pytest.approx([8 / 14, NAN, NAN, NAN, NAN], nan_ok=True)


def test_pointing_needs_no_threshold() -> None:
    c = a_case()
    for which in ("gt_positive", "gt&pred", "full"):
        assert c.hits(which).tolist() == pytest.approx([1, 0, 0, NAN, NAN], nan_ok=True)
    table = slice_scores([c], "gt_positive")
    assert set(table["metric"]) == {"iou", "pointing-game"} and len(table) == 2 * len(ROWS)


def test_tuning_takes_the_lowest_of_the_best() -> None:
    c = a_case(PUBLISHED)
    sweep = [0.2, 0.4, 0.4, 0.3, NAN, 0.1, 0.0]
    for name, value in zip(IOU_SWEEP, sweep, strict=True):
        c.table[name] = [value, value, value, NAN, NAN]
    (row,) = tune_thresholds(c).to_dict("records")
    assert (row["threshold"], row["n"]) == (0.3, 3) and row["iou"] == pytest.approx(0.4)
    # at 0.7 d falls silent, for it does not lie above; a, b and c remain, whatever becomes of c
    assert row["cutoff"] == 0.7 and row["cutoff_iou"] == round(8 / 14 / 3, 3) and row["cutoff_n"] == 3


def test_the_grid_of_cutoffs_has_its_published_exception() -> None:
    assert cutoff_grid("Lung Lesion", published=True)[0] == 0.1
    assert cutoff_grid("Lung Lesion", published=False)[0] == cutoff_grid("Edema", published=True)[0] == 0.0


def test_who_is_best_and_who_reads() -> None:
    names = ["m/grad-cam", "n/grad-cam", "control/center", "reader/radiologist", "reader/radiologist points"]
    assert model_sources(names) == names[:2]
    with_mean = [*names, "reader/all readers", "reader/all readers points"]
    assert second_readers(with_mean) == [names[3]]
    assert second_readers(with_mean, points=True) == [names[4]]
    assert second_readers(names[:2]) == []
    rows = [
        ("corrected", "iou", n, k, "average", v)
        for n, k, v in zip(
            names, ("model", "model", "control", "reader", "reader"), (0.2, 0.3, 0.9, 0.8, NAN), strict=True
        )
    ]
    table = pd.DataFrame(rows, columns=["protocol", "metric", "source", "source_kind", "finding", "mean"])
    assert best_source(table, "corrected", "iou") == "n/grad-cam"
    assert best_source(table, "published", "iou") == ""


def test_the_best_source_is_chosen_on_the_findings_that_all_have() -> None:
    """A source without the hard finding has the higher average, and is not better."""
    means = {
        ("m/grad-cam", "Mass"): 0.1,
        ("m/grad-cam", "Edema"): 0.6,
        ("m/grad-cam", "average"): 0.35,
        ("n/grad-cam", "Edema"): 0.5,
        ("n/grad-cam", "average"): 0.5,
    }
    rows = [("corrected", "iou", source, "model", finding, mean) for (source, finding), mean in means.items()]
    table = pd.DataFrame(rows, columns=["protocol", "metric", "source", "source_kind", "finding", "mean"])
    assert best_source(table, "corrected", "iou") == "m/grad-cam"
    assert best_source(table.assign(metric="iou-ceiling"), "corrected", "iou-ceiling") == "", "a level ranks nothing"
