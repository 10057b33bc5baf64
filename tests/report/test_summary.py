import dataclasses
import re

from sightline.protocol import Protocol
from sightline.report.page import build_tiles
from sightline.report.run_view import RunView
from sightline.report.summary import PROTOCOL_FIELDS, compare_by_finding, summary_sentences

ENDS = ("low", "high", "simultaneous_low", "simultaneous_high")


def test_every_number_of_the_verdict_is_in_the_tables(make_run):
    view = RunView.from_run(make_run())
    known = {
        text
        for name in ("estimates", "differences")
        for row in view.run.table(name).query("protocol == 'corrected'").itertuples()
        for text in (f"{row.mean:.2f}", f"{row.low:.2f}", f"{row.high:.2f}")
    }
    found = re.findall(r"\d\.\d+", " ".join(summary_sentences(view)))
    assert len(found) >= 12
    assert set(found) <= known


def test_no_number_of_the_verdict_stands_without_interval_and_n(make_run):
    view = RunView.from_run(make_run())
    *measured, choice = summary_sentences(view)
    assert choice.startswith("It was chosen by IoU on the radiographs of this report") and "all 2 together" in choice
    for sentence in measured:
        bare = re.sub(r"−?\d\.\d\d \[−?\d\.\d\d, −?\d\.\d\d\]", "", sentence)
        assert bare != sentence and not re.search(r"\d\.\d", bare), sentence
        assert re.search(r"n = [\d to]+ maps? of [\d to]+ patients?", bare), sentence


def test_the_best_says_what_it_is_the_best_of_and_which_controls_beat_it(make_run):
    assert "The best of 2 saliency methods, " in summary_sentences(RunView.from_run(make_run()))[0]
    run = make_run(fresh=True)
    table = run.table("differences")
    table.loc[table["versus"].str.startswith("control"), ["mean", *ENDS]] = [-0.1, -0.2, -0.01, -0.2, -0.01]
    run.write_table("differences", table)
    view = RunView.from_run(run)
    other = next(c for c in view.sources_of_kind("control") if c != view.control)
    (said,) = [
        s
        for s in summary_sentences(view)
        if s.endswith("patients).") and s.startswith("It is on average also clearly worse")
    ]
    assert view.label(other).removeprefix("control: ") in said and "−0.10 [−0.20, −0.01]" in said


def test_one_finding_is_called_by_its_name(make_run):
    said = " ".join(summary_sentences(RunView.from_run(make_run(findings=("Edema",)))))
    assert " on Edema; the paired difference is " in said and "the one" not in said and "on average" not in said


def test_every_tile_shows_interval_and_n(make_run):
    view = RunView.from_run(make_run())
    made = build_tiles(view)
    assert [t.note for t in made][-1] == "small-net" and len(made) == 5
    for tile in made:
        assert re.fullmatch(r"\[\d\.\d\d, \d\.\d\d\]", tile.interval)
        assert re.fullmatch(r"n = \d+ (map|label)s of 20 patients|n = \d+ maps of 10 patients", tile.sample_size)


def test_the_verdict_begins_with_model_human_and_control(make_run):
    view = RunView.from_run(make_run())
    first = summary_sentences(view)[0]
    for source in (view.best, view.reader, view.control):
        assert view.estimate(source, "iou").text() in first
    assert "simulated" in first


def test_findings_are_sorted_by_their_paired_interval(make_run):
    view = RunView.from_run(make_run())
    v = compare_by_finding(view, view.best, view.control, "iou")
    assert v.total == len(view.findings)
    for finding in v.better:
        assert view.difference(view.best, view.control, "iou", finding).low > 0
    for finding in v.worse:
        assert view.difference(view.best, view.control, "iou", finding).high < 0
    assert any(f"{len(v.better)} of {v.total}" in s or f"all {v.total}" in s for s in summary_sentences(view))


def test_no_model_no_claim(make_run):
    view = RunView.from_run(make_run(sources=("control/center", "reader/simulated contours"), radiographs=6))
    (only,) = summary_sentences(view)
    assert "no maps of a trained model" in only
    assert view.estimate("control/center", "iou").text() in only


def test_every_protocol_field_is_explained():
    assert set(PROTOCOL_FIELDS) == {f.name for f in dataclasses.fields(Protocol)} - {"name"}


def test_the_best_is_adjusted_for_its_choice_unless_it_was_chosen_on_other_data(make_run):
    run = make_run(fresh=True)
    table = run.table("estimates")
    table[["simultaneous_low", "simultaneous_high"]] = table[["low", "high"]] + [-0.07, 0.07]
    run.write_table("estimates", table)
    view = RunView.from_run(run)
    rows = table.set_index(["protocol", "metric", "source", "finding"])
    plain = rows.loc["corrected", "iou", view.best, "average"]
    assert view.estimate(view.best, "iou").low == plain["simultaneous_low"] < plain["low"]
    published = rows.loc["published", "iou", view.best, "average"]
    assert view.estimate(view.best, "iou", protocol="published").low == published["low"], "published stays published"

    other = next(s for s in view.sources_of_kind("model") if s != view.best)
    control = next(s for s in view.sources_of_kind("control") if s != view.control)
    averages = table[(table["finding"] == "average") & (table["protocol"] == "corrected")].copy()
    averages.loc[averages["source"].isin([other, control]), "mean"] = 0.999
    run.write_table("selection", averages)
    run.update_info(selection={"from": "runs/val", "data": "world:8", "patients": 4, "radiographs": 8})
    chosen = RunView.from_run(run)
    assert (chosen.best, chosen.control, chosen.best_per_model) == (other, control, (other,))
    rows = rows.loc["corrected", "iou", other, "average"]
    assert chosen.estimate(other, "iou").low == rows["low"] > rows["simultaneous_low"]
    first, *_, last = summary_sentences(chosen)
    assert first.startswith(f"{chosen.label(other)}, chosen from 2 saliency methods, reaches")
    assert last.startswith("It was chosen by IoU on other patients (world:8, 4 patients)")
    assert not any("best of" in sentence.lower() for sentence in summary_sentences(chosen))


def test_p_values_of_the_table_reach_the_statements_by_finding(make_run):
    """Without them every finding would be called undecided."""
    run = make_run()
    run.write_table("differences", run.table("differences").assign(p=0.01, reason=""))
    view = RunView.from_run(run)
    assert view.difference(view.best, view.control, "iou").p == 0.01
    run.write_table("differences", run.table("differences").assign(p=float("nan"), reason="too few patients"))
    view = RunView.from_run(run)
    assert view.difference(view.best, view.control, "iou").reason == "too few patients"
