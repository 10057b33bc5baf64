import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.report.estimate import Estimate, format_decimal
from sightline.report.run_view import RunView


def test_the_corrected_protocol_is_the_main_one(make_run):
    assert RunView.from_run(make_run()).protocol == "corrected"
    assert RunView.from_run(make_run(protocol="published", radiographs=4)).protocol == "published"


def test_who_stands_for_model_control_and_reader(make_run):
    view = RunView.from_run(make_run())
    table = view.run.table("estimates").query("finding == 'average' and metric == 'iou' and protocol == 'corrected'")
    models = table[table["source_kind"] == "model"].set_index("source")["mean"]
    assert view.best == models.idxmax()
    assert view.control in ("control/center", "control/untrained/grad-cam")
    assert view.best_per_model == (view.best,), "one source per model"


def test_readers_answer_the_metric_they_can(make_run):
    view = RunView.from_run(make_run())
    assert view.best_of_kind("reader", "iou") == "reader/simulated contours"
    assert view.source_for_metric(view.reader, "pointing-game") == "reader/simulated points"
    assert view.source_for_metric(view.best, "pointing-game") == view.best


def test_a_model_without_training_is_a_control(make_run):
    view = RunView.from_run(make_run(trained=False, radiographs=4))
    assert view.best is None
    assert view.kind("small-net/grad-cam") == "control"
    assert "(untrained)" in view.label("small-net/grad-cam")


def test_simulated_readers_are_called_so(make_run):
    view = RunView.from_run(make_run())
    assert view.label("reader/simulated points") == "simulated points"
    assert view.has_simulated_readers


@pytest.mark.parametrize(
    ("source", "label"),
    [
        ("small-net/grad-cam", "Grad-CAM · small-net"),
        ("control/average-mask", "control: average mask"),
        ("control/untrained/grad-cam", "control: untrained Grad-CAM"),
        ("my_maps", "my_maps"),
        ("net/occlusion?patch=40", "Occlusion (patch=40) · net"),
    ],
)
def test_labels(make_run, source, label):
    assert RunView.from_run(make_run()).label(source) == label


def test_differences_turn_round(make_run):
    view = RunView.from_run(make_run())
    there = view.difference(view.best, view.control, "iou")
    back = view.difference(view.control, view.best, "iou")
    assert there.is_defined
    assert (back.mean, back.low, back.high) == (-there.mean, -there.high, -there.low)


def test_the_average_of_one_finding_is_that_finding(make_run):
    view = RunView.from_run(make_run(findings=("Edema",)))
    assert view.estimate(view.best, "iou") == view.estimate(view.best, "iou", "Edema")


@given(st.floats(-2, 2), st.integers(1, 4))
def test_decimals_read_back(value, digits):
    text = format_decimal(value, digits)
    assert abs(float(text.replace("−", "-")) - value) <= 0.5 * 10**-digits + 1e-12
    assert "-" not in text and text not in ("−0.0", "−0.00", "−0.000", "−0.0000")


def test_numbers_without_interval_or_mean():
    nan = math.nan
    assert Estimate(0.5, nan, nan, 3, 1).text() == "0.50"
    assert Estimate(nan, nan, nan, 0, 0).text() == "–"
    assert Estimate(-0.25, -0.5, 0, 9, 9).text(1) == "−0.2 [−0.5, 0.0]"
