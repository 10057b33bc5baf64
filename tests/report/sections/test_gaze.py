"""The gaze sections: what is said follows the tables, and a run without them has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sightline.evaluation.gaze_agreement import CENTER_CONTROL, GAZE_CEILING, PUBLISHED_REGIONS
from sightline.report.run_view import RunView
from sightline.report.sections.gaze import figures, tables
from sightline.report.sections.gaze.sentences import summary_sentences
from sightline.runs.run import Run

MODELS, METHODS = ("labels", "gaze", "shuffled-gaze"), ("grad-cam", "gradient")
LEVELS = {
    "labels/grad-cam": 0.1,
    "labels/gradient": 0.0,
    "gaze/grad-cam": 0.3,
    "gaze/gradient": 0.0,
    "shuffled-gaze/grad-cam": 0.05,
    "shuffled-gaze/gradient": 0.0,
    CENTER_CONTROL: 0.0,
    GAZE_CEILING: 0.8,
}


def numbers(mean: float, reach: float = 0.02) -> dict[str, float]:
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "n": 40, "patients": 30}


def write_tables(folder: Path) -> Run:
    run = Run.start(folder, "gaze", {"rule": "f1"})
    kinds = {CENTER_CONTROL: "control", GAZE_CEILING: "ceiling"}
    rows = [
        {
            "protocol": "corrected",
            "metric": m,
            "source": s,
            "source_kind": kinds.get(s, "model"),
            "finding": f,
            **numbers(v),
        }
        for m in ("shuffled-ncc", "ncc", "ssim")
        for s, v in LEVELS.items()
        for f in ("Edema", "Fracture", "average")
    ]
    run.write_table("estimates", pd.DataFrame(rows))
    pairs = [["gaze", "labels"], ["shuffled-gaze", "labels"], ["gaze", "shuffled-gaze"]]
    gaps = [
        {
            "protocol": "corrected",
            "metric": m,
            "finding": "average",
            "source": f"{a}/{k}",
            "versus": f"{b}/{k}",
            "p": 0.01,
            **numbers(LEVELS[f"{a}/{k}"] - LEVELS[f"{b}/{k}"]),
        }
        for m in ("shuffled-ncc", "ncc", "ssim")
        for a, b in pairs
        for k in METHODS
    ]
    run.write_table("differences", pd.DataFrame(gaps))
    right = [
        {
            "protocol": "corrected",
            "metric": "ssim",
            "source": f"{m}/{k}",
            "finding": f,
            "cutoff": 0.3,
            "correct": 0.5,
            "correct_low": 0.4,
            "correct_high": 0.6,
            "correct_n": 30,
            "incorrect": 0.4,
            "incorrect_low": 0.3,
            "incorrect_high": 0.5,
            "incorrect_n": 10,
            "p": 0.01,
            "p_holm": 0.02,
            **numbers(0.1 if k == "grad-cam" else -0.01),
        }
        for m in MODELS
        for k in METHODS
        for f in ("Edema", "Fracture", "average")
    ]
    run.write_table("correctness", pd.DataFrame(right))
    areas = [
        {
            "model": m,
            "finding": f,
            "auroc": 0.8,
            "low": 0.7,
            "high": 0.9,
            "delong_low": 0.71,
            "delong_high": 0.89,
            "brier": 0.1,
            "brier_low": 0.05,
            "brier_high": 0.15,
            "calibration": 0.04,
            "n": 50,
            "positives": 20,
            "patients": 40,
        }
        for m in MODELS
        for f in ("Edema", "Fracture")
    ]
    run.write_table("discrimination", pd.DataFrame(areas))
    better = [
        {"model": a, "versus": b, "finding": f, "p": p, "p_holm": p, "p_resampled": p, "positives": 20, **numbers(0.1)}
        for a, b in pairs
        for f, p in (("Edema", 0.001), ("Fracture", 0.5))
    ]
    run.write_table("discrimination_differences", pd.DataFrame(better))
    parts = {
        "regions": PUBLISHED_REGIONS,
        "rectangles": ("Heart Box", "Carina Box", "Left Lung Box", "Trachea Box"),
    }
    spread = [
        {
            "source": s,
            "finding": "average",
            "region": r,
            "among": among,
            "distance": 0.1,
            "p": 0.4,
            "p_holm": 0.4,
            **numbers(0.4 - 0.1 * i),
        }
        for s in LEVELS
        for among, names in parts.items()
        for i, r in enumerate(names)
    ]
    run.write_table("region_distributions", pd.DataFrame(spread))
    told = {"radiographs": 40, "fixations": 900, "seconds": 300.5, "left_out": {"outside the image": 3}, "reader": "r"}
    models = [{"name": m, "training": {"data": "d"}} for m in MODELS]
    sweep = {"weights": {"3": 0.8, "10": 0.7}, "chosen": 3.0, "by": "cam"}
    return run.update_info(
        study="gaze", models=models, pairs=pairs, gaze=told, gaze_weight_search=sweep, duplicates=[], cutoffs=[]
    )


@pytest.fixture
def view(tmp_path: Path) -> RunView:
    return RunView.from_run(write_tables(tmp_path / "run"))


def test_sentences_follow_the_tables(view: RunView) -> None:
    assert summary_sentences(view) == [
        "Maps of the network trained on labels alone agree with gaze beyond chance, by 0.05 or more, with these "
        "methods: Grad-CAM.",
        "Maps of the network trained on labels alone do not agree with gaze beyond chance, by 0.05 or more, with these "
        "methods: Gradient.",
        "After gaze supervision, the maps of 1 of 2 methods agree better with gaze than after training on labels "
        "alone, by 0.05 or more; Grad-CAM gains most (+0.20 [0.18, 0.22]; n = 40 maps of 30 patients); it differs by "
        "less for 1.",
        "After gaze supervision, the maps of 1 of 2 methods agree better with gaze than after training on the gaze at "
        "radiographs of other patients, by 0.05 or more; Grad-CAM gains most (+0.25 [0.23, 0.27]; n = 40 maps of 30 "
        "patients); it differs by less for 1.",
        "Of 6 combinations of method and network, the SSIM with gaze is higher by 0.05 or more for correct predictions "
        "in 3 and lower in 0; it differs by less in 3, and 0 are undecided.",
        "Gaze supervision increases the AUROC of Edema and does not clearly change the AUROC of 1 finding (DeLong's "
        "test, adjusted by Holm).",
        "The controls behave as expected: the center of the image scores 0.00 [−0.02, 0.02] and the gaze itself 0.80 "
        "[0.78, 0.82] (n = 40 maps of 30 patients); differences from 0.05 on count.",
    ]


def test_a_measure_that_cannot_tell_and_maps_under_two_names_are_said(view: RunView) -> None:
    table = view.run.table("estimates")
    high = table["source"].eq(CENTER_CONTROL)
    ends = {end: table[end].where(~high, value) for end, value in (("low", 0.2), ("high", 0.3))}
    view.run.write_table("estimates", table.assign(**ends))
    run = view.run.update_info(duplicates=[{"source": "gaze/grad-cam", "versus": "gaze/intrinsic", "cells": 10}])
    said = summary_sentences(RunView.from_run(run))
    assert said[-2].startswith("Interpret the metric with care:")
    assert (
        said[-1]
        == "Grad-CAM · gaze and Intrinsic map · gaze are equal in all 10 table cells: they are one map under two names."
    )


def test_tables_hold_intervals_and_numbers_of_cases(view: RunView) -> None:
    made = {
        "ssim": tables.ssim_table(view),
        "gains": tables.gain_table(view),
        "regions": tables.region_table(view),
        "auroc": tables.auroc_table(view),
        "calibration": tables.calibration_table(view),
    }
    for name, table in made.items():
        assert table is not None and table.rows, name
    ssim = made["ssim"]
    assert ssim is not None and ssim.rows[0][:2] == ("labels", "Grad-CAM")
    assert ssim.rows[0][2] == "✓ 0.50 n 30\n[0.40, 0.60]\n✗ 0.40 n 10\n[0.30, 0.50]\np 0.020"
    assert "uniform window of 7 × 7, data range 1" in ssim.caption
    auroc = made["auroc"]
    assert auroc is not None and auroc.rows[0][1] == "50 / 20" and "p 0.001" in auroc.rows[0][-1]
    regions, boxes = made["regions"], tables.rectangle_table(view)
    assert regions is not None and boxes is not None and len(regions.rows) == len(boxes.rows) == len(LEVELS) - 1
    told = "Heart 0.40 [0.38, 0.42]\nCarina 0.30 [0.28, 0.32]\nLeft Lung 0.20 [0.18, 0.22]"
    assert boxes.rows[0][1:] == (told, "0.10", "0.400", "40")
    assert dict(tables.gaze_summary(view))["Left out"] == "3 outside the image"


def test_what_was_published_stands_beside(view: RunView) -> None:
    printed, areas = tables.published_ssim_table(view), tables.published_auroc_table(view)
    assert printed is not None and len(printed.rows) == 12
    assert "Grad-CAM and Layer conductance agree in 12 of 12 cells" in printed.caption
    assert areas is not None and areas.rows[0] == ("Atelectasis", "0.759 [0.742, 0.773]", "0.751 [0.735, 0.765]")


def test_figures_draw_every_source_once(view: RunView) -> None:
    taught = figures.plot_gaze_agreement(view)
    assert taught is not None and len(taught.data) == 2 * (3 * 2 + 2)
    right = figures.plot_correctness(view)
    assert right is not None and len(right.data) == 6 and np.isfinite(right.data["low"]).all()
    regions = figures.plot_regions(view)
    assert regions is not None and "Aortic Knob 40%" in regions.alt_text and "Heart" not in regions.alt_text


def test_another_study_has_no_such_section(make_run: Callable[..., Run]) -> None:
    view = RunView.from_run(make_run())
    made = (
        summary_sentences(view),
        tables.ssim_table(view),
        tables.published_ssim_table(view),
        tables.gain_table(view),
        tables.region_table(view),
        tables.rectangle_table(view),
        tables.auroc_table(view),
        tables.published_auroc_table(view),
        tables.calibration_table(view),
        tables.gaze_summary(view),
        figures.plot_gaze_agreement(view),
        figures.plot_correctness(view),
        figures.plot_regions(view),
    )
    assert not any(made)


def test_few_patients_leave_agreement_beyond_chance_not_estimable(view: RunView) -> None:
    table = view.run.table("estimates")
    view.run.write_table("estimates", table.assign(patients=3))
    sentence = summary_sentences(RunView.from_run(view.run))[0]
    assert sentence.startswith("It is not estimable whether maps of the network trained on labels alone agree")
    assert sentence.endswith("Grad-CAM, Gradient (3 patients, at least 8 are needed).")


def test_the_smallest_effects_of_the_run_are_used(view: RunView) -> None:
    run = view.run.update_info(smallest_effects={"shuffled-ncc": 0.9, "ssim": 0.05})
    said = summary_sentences(RunView.from_run(run))
    assert said[0].startswith(
        "Maps of the network trained on labels alone do not agree with gaze beyond chance, by 0.9"
    )
    assert "of 0 of 2 methods" in said[1]
