import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from matplotlib.textpath import TextPath

from sightline.report import figures, trends
from sightline.report import svg as draw
from sightline.report.page import draw_plots
from sightline.report.run_view import RunView

LONG = ("A finding whose name goes on and on, as names of findings in registries of the world sometimes do", "Edema")
TEN = (*(f"net-{i}/{m}" for i in range(4) for m in ("grad-cam", "x")), "control/center", "reader/simulated contours")
CASES = {
    "usual": {},
    "one finding": {"findings": ("Edema",)},
    "finding without marks": {"nan": "Lung Lesion"},
    "no reader": {"sources": ("n/grad-cam", "control/center")},
    "no model": {"sources": ("control/center", "reader/simulated contours")},
    "no control": {"sources": ("n/grad-cam", "reader/simulated contours")},
    "one source": {"sources": ("n/grad-cam",)},
    "untrained": {"trained": False},
    "one protocol": {"protocol": "corrected"},
    "published alone": {"protocol": "published"},
    "ten sources": {"sources": TEN},
    "long names": {"findings": LONG, "sources": (f"{'network-' * 9}/integrated-gradients", "control/center")},
    "one patient": {"radiographs": 2},
    "no accuracy": {"auroc": None},
}


@pytest.fixture(scope="module", params=CASES)
def view(request, make_run):
    return RunView.from_run(make_run(**{"radiographs": 8, **CASES[request.param]}))


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module")
def plots(view):
    return draw_plots(view)


def test_figures_are_whole_in_every_case(plots):
    for name, plot in plots.items():
        assert plot.name == name
        assert plot.alt_text and plot.caption and len(plot.data)
        assert texts(plot.svg)
        assert "nan" not in plot.alt_text.lower().split()


def test_nothing_is_drawn_outside_the_picture(plots):
    for plot in plots.values():
        root = ET.fromstring(plot.svg)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for element in root.iter("{http://www.w3.org/2000/svg}text"):
            x, y = float(element.attrib.get("x", 0)), float(element.attrib.get("y", 0))
            if "translate" in element.attrib.get("transform", ""):
                x, y = map(float, re.findall(r"translate\(([-\d.]+) ([-\d.]+)\)", element.attrib["transform"])[0])
            wide = 6.9 * len(element.text or "")
            style = element.attrib.get("style", "")
            start = x - wide if "text-anchor: end" in style else x - wide / 2 if "text-anchor: middle" in style else x
            assert start >= -1 and start + wide <= width + 1, element.text
            assert 0 <= y <= height


def test_figures_show_what_the_run_can_answer(make_run):
    assert list(draw_plots(RunView.from_run(make_run()))) == [
        "localization",
        "comparison",
        "differences",
        "size",
        "accuracy",
        "protocols",
    ]
    without = draw_plots(RunView.from_run(make_run(**CASES["no model"], radiographs=8)))
    assert list(without) == ["localization", "comparison", "protocols"]


def test_drawn_numbers_are_the_tables(make_run):
    view = RunView.from_run(make_run())
    estimates = view.run.table("estimates").query("protocol == 'corrected'")
    drawn = figures.plot_comparison(view).data
    merged = drawn.merge(estimates, on=["metric", "source", "finding"], suffixes=("", "_table"))
    known = merged["mean"].notna()
    assert known.sum() == len(view.sources) * 2 - 2, "two readers answer one metric each"
    for column in ("mean", "low", "high", "n", "patients"):
        np.testing.assert_array_equal(merged.loc[known, column], merged.loc[known, f"{column}_table"])


def test_a_finding_without_marks_is_said_to_have_none(make_run):
    view = RunView.from_run(make_run(nan="Lung Lesion"))
    assert "no annotation" in texts(figures.plot_localization(view).svg)


def test_protocols_differ_where_the_frame_matters(make_run):
    data = figures.plot_protocols(RunView.from_run(make_run())).data
    means = data[data["finding"] == "average"].pivot_table(index="metric", columns="protocol", values="mean")
    assert means.loc["iou", "corrected"] > means.loc["iou", "published"]


def test_bins_average_what_falls_into_them():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 400)
    scores = pd.DataFrame({"value": x, "area": x, "patient": [f"p{i % 50}" for i in range(400)]})
    edges = np.linspace(0, 1, 6)
    table = trends.bin_scores(scores, "area", edges)
    for k, row in table.iterrows():
        inside = x[(x >= edges[k]) & (x < edges[k + 1])]
        assert row["n"] == inside.size
        assert row["mean"] == pytest.approx(inside.mean())
        assert row["low"] <= row["mean"] <= row["high"]


def test_maps_without_probabilities_have_no_empty_panel(make_run):
    run = make_run(fresh=True)
    both = trends.plot_size_and_probability(RunView.from_run(run))
    run.write_table("scores", run.table("scores").assign(probability=np.nan))
    plot = trends.plot_size_and_probability(RunView.from_run(run))
    assert "Model's probability of the finding" in texts(both.svg)
    assert not any("robabilit" in text for text in texts(plot.svg))
    assert "Too few of these maps came with a probability" in plot.caption and set(plot.data["by"]) == {"area"}


@pytest.mark.parametrize("name", ["Edema", "Mass", "Average", "Emphysema", "Enlarged Cardiomediastinum"])
def test_labels_have_room_in_the_widest_font(name):
    wide = TextPath((0, 0), name, size=draw.TEXT_SIZE).get_extents().width
    assert draw.label_width([name]) >= wide + 12


def test_empty_bins_are_left_out_and_the_last_edge_belongs_to_the_last_bin():
    scores = pd.DataFrame({"value": [0.1, 0.2, 0.9], "area": [0.0, 0.1, 1.0], "patient": ["a", "b", "c"]})
    table = trends.bin_scores(scores, "area", np.array([0, 0.25, 0.5, 1.0]))
    assert table["n"].tolist() == [2, 1]
    assert table["x"].tolist() == [0.05, 1.0]
