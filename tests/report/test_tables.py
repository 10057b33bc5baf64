from sightline.report import tables
from sightline.report.averages import average_text, partial_averages_note
from sightline.report.run_view import RunView
from sightline.report.tables import comparison_table


def test_cells_are_the_numbers_of_the_run(make_run):
    view = RunView.from_run(make_run())
    iou, hit = tables.finding_tables(view)
    assert [r[0] for r in iou.rows] == [*view.findings, "Average"]
    for row in iou.rows:
        finding = "average" if row[0] == "Average" else row[0]
        number = view.estimate(view.best, "iou", finding)
        assert row[1:4] == (f"{number.n:,}", f"{number.patients:,}", number.text(3))
    assert "simulated contours" in iou.header and "simulated points" in hit.header


def test_every_source_and_metric_is_compared(make_run):
    view = RunView.from_run(make_run())
    table = tables.comparison_table(view)
    assert len(table.rows) == len(view.sources)
    assert table.header == ("Source", "Kind", "IoU", "Pointing game")
    assert all(len(row) == len(table.header) == len(table.right_aligned) for row in table.rows)


def test_differences_are_paired_with_the_reader_who_answers(make_run):
    view = RunView.from_run(make_run())
    table = tables.difference_table(view)
    assert table.header[1::2] == ("IoU minus simulated contours", "Pointing game minus simulated points")
    assert not any("–" in cell.split(" ") for row in table.rows for cell in row)
    (first,) = (row for row in table.rows if row[0] == view.label(view.best))
    assert first[2] == view.difference(view.best, view.control, "iou").text(3)


def test_failures_carry_their_reason(make_run):
    view = RunView.from_run(make_run())
    failed = view.run.table("maps").query("status != 'ok'")
    table = tables.failure_table(view)
    assert len(table.rows) == min(12, len(failed))
    assert {row[3:] for row in table.rows} == {("flat", "every value is 0")}
    counts = tables.status_table(view)
    assert counts.header == ("Source", "ok", "flat")
    assert sum(int(row[2]) for row in counts.rows) == len(failed)


def test_records_show_both_protocols_field_by_field(make_run):
    table = tables.protocol_fields_table(RunView.from_run(make_run()))
    rows = {row[0]: row for row in table.rows}
    assert table.header == ("Field", "Meaning", "published", "corrected")
    assert rows["fill_holes"][2:] == ("yes", "no")
    assert rows["frame"][2:] == ("stretched", "carried")
    assert all(row[1] for row in table.rows)


def test_training_records(make_run):
    (row,) = tables.model_table(RunView.from_run(make_run())).rows
    assert (
        row[0] == "small-net" and "5f5f5f5f5f5f" in row and "142,310" in row and row[-4:] == ("100 %", "4", "1", "0.87")
    )
    (row,) = tables.model_table(RunView.from_run(make_run(trained=False, radiographs=4))).rows
    assert "untrained" in row[0]


def test_published_figures_stand_beside_this_run(make_run):
    view = RunView.from_run(make_run())
    rows = {row[0]: row for row in tables.published_finding_table(view).rows}
    assert len(rows) == 10
    assert rows["Cardiomegaly"][1] == view.estimate(view.best, "iou", "Cardiomegaly").text(3)
    assert rows["Cardiomegaly"][-3:] == ("0.275 [0.242, 0.307]", "0.712", "0.972 [0.944, 0.994]")
    assert rows["Pneumothorax"][1] == "–"
    assert tables.load_published()["doi"] == "10.1038/s42256-022-00536-x"


def test_training_records_state_what_was_done_to_the_data(make_run):
    run = make_run()
    (model,) = run.info["models"]
    training = {**model["training"], "data": "nih:DIR", "derived": ["labels shuffled, seed 3"]}
    run = run.update_info(models=[{**model, "training": training}])
    (row,) = tables.model_table(RunView.from_run(run)).rows
    assert "nih:DIR; labels shuffled, seed 3" in row


def test_averages_over_fewer_findings_are_marked(make_run):
    run = make_run(fresh=True)
    estimates = run.table("estimates")
    source = "control/center"
    lost = (estimates["source"] == source) & (estimates["finding"] == "Edema")
    run.write_table("estimates", estimates[~lost])
    view = RunView.from_run(run)
    marked, whole = (average_text(view, s, "iou") for s in (source, view.best))
    assert marked.endswith("(3 of 4 findings)") and "findings" not in whole
    note = partial_averages_note(view, view.sources, ["iou"])
    assert view.label(source) in note and "no score of Edema" in note
    assert partial_averages_note(view, [view.best], ["iou"]) == ""
    row = next(r for r in comparison_table(view).rows if r[0] == view.label(source))
    assert "(3 of 4 findings)" in row[2]
