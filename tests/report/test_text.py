import dataclasses
import re

import numpy as np
import pandas as pd

from sightline.protocol import Protocol
from sightline.report.page import tiles
from sightline.report.text import FIELDS, average_auroc, verdict, versus, warnings
from sightline.report.view import View


def test_every_number_of_the_verdict_is_in_the_tables(make_run):
    view = View.of(make_run())
    known = {
        text
        for name in ("estimates", "differences")
        for row in view.run.table(name).query("protocol == 'corrected'").itertuples()
        for text in (f"{row.mean:.2f}", f"{row.low:.2f}", f"{row.high:.2f}")
    }
    found = re.findall(r"\d\.\d+", " ".join(verdict(view)))
    assert len(found) >= 12
    assert set(found) <= known


def test_no_number_of_the_verdict_stands_without_interval_and_n(make_run):
    view = View.of(make_run())
    for sentence in verdict(view):
        bare = re.sub(r"−?\d\.\d\d \[−?\d\.\d\d, −?\d\.\d\d\]", "", sentence)
        assert bare != sentence and not re.search(r"\d\.\d", bare), sentence
        assert re.search(r"n = [\d to]+ maps? of [\d to]+ patients?", bare), sentence


def test_the_best_says_what_it_is_the_best_of_and_which_controls_beat_it(make_run):
    assert "Best of 2 saliency methods (controls and readers aside), " in verdict(View.of(make_run()))[0]
    run = make_run(fresh=True)
    table = run.table("differences")
    table.loc[table["versus"].str.startswith("control"), ["mean", "low", "high"]] = [-0.1, -0.2, -0.01]
    run.write_table("differences", table)
    view = View.of(run)
    other = next(c for c in view.of_kind("control") if c != view.control)
    (said,) = [s for s in verdict(view) if s.endswith("patients).") and s.startswith("It is on average clearly worse")]
    assert view.label(other).removeprefix("control: ") in said and "−0.10 [−0.20, −0.01]" in said


def test_one_finding_is_called_by_its_name(make_run):
    said = " ".join(verdict(View.of(make_run(findings=("Edema",)))))
    assert " on Edema; the paired difference is " in said and "the one" not in said and "on average" not in said


def test_the_average_of_a_run_without_one_has_no_interval(make_run):
    run = make_run(fresh=True, radiographs=6)
    known = average_auroc(View.of(run), "small-net")
    assert known is not None and known.low < known.mean < known.high
    table = run.table("classification")
    run.write_table("classification", table[table["finding"] != "average"])
    bare = average_auroc(View.of(run), "small-net")
    assert bare is not None and np.isnan(bare.low)
    assert not [t for t in tiles(View.of(run)) if t.label.startswith("AUROC")], "no number without interval"


def test_every_tile_shows_interval_and_n(make_run):
    view = View.of(make_run())
    made = tiles(view)
    assert [t.note for t in made][-1] == "small-net" and len(made) == 5
    for tile in made:
        assert re.fullmatch(r"\[\d\.\d\d, \d\.\d\d\]", tile.interval)
        assert re.fullmatch(r"n = \d+ (map|label)s of 20 patients|n = \d+ maps of 10 patients", tile.among)


def test_the_verdict_begins_with_model_human_and_control(make_run):
    view = View.of(make_run())
    first = verdict(view)[0]
    for source in (view.best, view.reader, view.control):
        assert view.number(source, "iou").text() in first
    assert "simulated" in first


def test_findings_are_sorted_by_their_paired_interval(make_run):
    view = View.of(make_run())
    v = versus(view, view.best, view.control, "iou")
    assert v.total == len(view.findings)
    for finding in v.better:
        assert view.difference(view.best, view.control, "iou", finding).low > 0
    for finding in v.worse:
        assert view.difference(view.best, view.control, "iou", finding).high < 0
    assert any(f"{len(v.better)} of {v.total}" in s or f"all {v.total}" in s for s in verdict(view))


def test_maps_that_beat_no_control_are_said_to_first(make_run):
    run = make_run(fresh=True)
    table = run.table("differences")
    table.loc[table["versus"].str.startswith("control"), ["mean", "low", "high"]] = [-0.01, -0.05, 0.03]
    run.write_table("differences", table)
    first, *_ = warnings(View.of(run))
    assert first.grave
    assert "are not shown to locate" in first.title
    assert "−0.01 [−0.05, 0.03]" in first.text
    assert "shortcut" in first.text, "the model is accurate all the same"


def test_what_is_known_of_a_model_comes_first(make_run):
    note = "mine has no training record, so it counts as an untrained control"
    first, *_ = warnings(View.of(make_run(fresh=True).describe(notes=[note])))
    assert first.grave and first.text == f"{note}."


def test_good_maps_of_a_good_model_carry_no_grave_warning(make_run):
    assert not [w for w in warnings(View.of(make_run())) if w.grave]


def test_one_patient_proves_nothing(make_run):
    view = View.of(make_run(radiographs=2))
    first, *others = warnings(view)
    assert first.title == "Only 1 patient"
    assert not any("locate" in w.title for w in others), "without an interval there is nothing to claim"
    assert not any("clearly" in s for s in verdict(view))


def test_maps_clearly_worse_than_a_control_are_said_to_be(make_run):
    run = make_run(fresh=True)
    table = run.table("differences")
    table.loc[table["versus"].str.startswith("control"), ["mean", "low", "high"]] = [-0.1, -0.2, -0.01]
    run.write_table("differences", table)
    first, *_ = warnings(View.of(run))
    assert first.title == "A control locates the findings better"
    assert "worse than" in first.text
    first, *_ = warnings(View.of(run.describe(study="gaze")))
    assert first.title == "A control agrees better with gaze"


def test_a_poor_model_is_called_so(make_run):
    found = [w for w in warnings(View.of(make_run(auroc=0.54))) if "not accurate" in w.title]
    assert len(found) == 1
    assert "0.54" in found[0].text or "0.52" in found[0].text
    assert "told from chance" in found[0].text


def test_failed_maps_of_models_are_counted(make_run):
    view = View.of(make_run())
    failed = view.run.table("maps").query("status != 'ok'")
    caution = next(w for w in warnings(view) if "failed" in w.title)
    assert f"{len(failed)} of {2 * 20 * 4} maps" in caution.title
    assert "misses" in caution.text


def test_the_published_protocol_does_not_claim_to_count_failures(make_run):
    caution = next(w for w in warnings(View.of(make_run(protocol="published"))) if "failed" in w.title)
    assert "leaves them out" in caution.text


def test_no_model_no_claim(make_run):
    view = View.of(make_run(sources=("control/center", "reader/simulated contours"), radiographs=6))
    (only,) = verdict(view)
    assert "no maps of a trained model" in only
    assert view.number("control/center", "iou").text() in only


def test_no_average_auroc_where_none_was_measured(make_run):
    assert average_auroc(View.of(make_run(auroc=None, radiographs=6)), "small-net") is None


def test_every_protocol_field_is_explained():
    assert set(FIELDS) == {f.name for f in dataclasses.fields(Protocol)} - {"name"}


def test_methods_that_score_alike_are_called_one(make_run):
    view = View.of(make_run(fresh=True, radiographs=8))
    assert not [c for c in warnings(view) if c.title == "Methods that are one here"]
    rows = view.run.table("estimates")
    twin = rows[rows["source"] == view.best].assign(source="small-net/hires-cam")
    view.run.write_table("estimates", pd.concat([rows, twin], ignore_index=True))
    (found,) = [c for c in warnings(View.of(view.run)) if c.title == "Methods that are one here"]
    assert "Grad-CAM · small-net and HiResCAM · small-net" in found.text and not found.grave
