"""What is said before any figure: of the data, of the models, of the maps."""

import numpy as np
import pandas as pd

from sightline.report.page import build_tiles
from sightline.report.run_view import RunView
from sightline.report.summary import summary_sentences
from sightline.report.warnings import average_auroc, collect_warnings

ENDS = ("low", "high", "simultaneous_low", "simultaneous_high")


def test_the_average_of_a_run_without_one_has_no_interval(make_run):
    run = make_run(fresh=True, radiographs=6)
    known = average_auroc(RunView.from_run(run), "small-net")
    assert known is not None and known.low < known.mean < known.high
    table = run.table("classification")
    run.write_table("classification", table[table["finding"] != "average"])
    bare = average_auroc(RunView.from_run(run), "small-net")
    assert bare is not None and np.isnan(bare.low)
    assert not [t for t in build_tiles(RunView.from_run(run)) if t.label.startswith("AUROC")], (
        "no number without interval"
    )


def test_maps_that_beat_no_control_are_said_to_first(make_run):
    run = make_run(fresh=True)
    table = run.table("differences")
    table.loc[table["versus"].str.startswith("control"), ["mean", *ENDS]] = [-0.01, -0.05, 0.03, -0.05, 0.03]
    run.write_table("differences", table)
    first, *_ = collect_warnings(RunView.from_run(run))
    assert first.is_severe
    assert "No map is shown to localize" in first.title
    assert "−0.01 [−0.05, 0.03]" in first.text
    assert "shortcut" in first.text, "the model is accurate all the same"


def test_what_is_known_of_a_model_comes_first(make_run):
    note = "mine has no training record, so it counts as an untrained control"
    first, *_ = collect_warnings(RunView.from_run(make_run(fresh=True).update_info(notes=[note])))
    assert first.is_severe and first.text == f"{note}."


def test_good_maps_of_a_good_model_carry_no_grave_warning(make_run):
    assert not [w for w in collect_warnings(RunView.from_run(make_run())) if w.is_severe]


def test_one_patient_proves_nothing(make_run):
    view = RunView.from_run(make_run(radiographs=2))
    first, *others = collect_warnings(view)
    assert first.title == "Only 1 patient"
    assert not any("localize" in w.title for w in others), "without an interval there is nothing to claim"
    assert not any("clearly" in s for s in summary_sentences(view))


def test_maps_clearly_worse_than_a_control_are_said_to_be(make_run):
    run = make_run(fresh=True)
    table = run.table("differences")
    table.loc[table["versus"].str.startswith("control"), ["mean", *ENDS]] = [-0.1, -0.2, -0.01, -0.2, -0.01]
    run.write_table("differences", table)
    first, *_ = collect_warnings(RunView.from_run(run))
    assert first.title == "A control localizes the findings better than the best map"
    assert "worse than" in first.text
    first, *_ = collect_warnings(RunView.from_run(run.update_info(study="gaze")))
    assert first.title == "A control agrees better with gaze than the best map"


def test_a_poor_model_is_called_so(make_run):
    found = [w for w in collect_warnings(RunView.from_run(make_run(auroc=0.54))) if "not accurate" in w.title]
    assert len(found) == 1
    assert "0.54" in found[0].text or "0.52" in found[0].text
    assert "not clearly better than chance" in found[0].text


def test_failed_maps_of_models_are_counted(make_run):
    view = RunView.from_run(make_run())
    failed = view.run.table("maps").query("status != 'ok'")
    caution = next(w for w in collect_warnings(view) if "failed" in w.title)
    assert f"{len(failed)} of {2 * 20 * 4} maps" in caution.title
    assert "misses" in caution.text


def test_the_published_protocol_does_not_claim_to_count_failures(make_run):
    caution = next(w for w in collect_warnings(RunView.from_run(make_run(protocol="published"))) if "failed" in w.title)
    assert "leaves them out" in caution.text


def test_no_average_auroc_where_none_was_measured(make_run):
    assert average_auroc(RunView.from_run(make_run(auroc=None, radiographs=6)), "small-net") is None


def test_methods_that_score_alike_are_called_one(make_run):
    view = RunView.from_run(make_run(fresh=True, radiographs=8))
    assert not [c for c in collect_warnings(view) if c.title == "Methods with identical maps"]
    rows = view.run.table("estimates")
    twin = rows[rows["source"] == view.best].assign(source="small-net/hires-cam")
    view.run.write_table("estimates", pd.concat([rows, twin], ignore_index=True))
    (found,) = [c for c in collect_warnings(RunView.from_run(view.run)) if c.title == "Methods with identical maps"]
    assert "Grad-CAM · small-net and HiResCAM · small-net" in found.text and not found.is_severe
