"""The figures and tables of the CheXlocalize study, on a run that was really scored and analyzed."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from report.conftest import FINDINGS, SOURCES, make_map, world
from sightline.evaluation.analysis import analyze
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.maps.collections import InMemoryMaps
from sightline.maps.storage import write_maps
from sightline.protocol import CORRECTED, PUBLISHED
from sightline.report import assurance, error_analysis, example_selection, human_benchmark, page, report
from sightline.report.published_results import published_estimates
from sightline.report.run_view import RunView
from sightline.runs.provenance import record_inputs
from sightline.runs.run import Run

NEW = ("decrease", "shapes", "regressions", "assurance", "slices", "thresholds")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    data = world("24")
    made_of = {
        s: [make_map(s, i, f, finding) for i in range(24) for f, finding in enumerate(FINDINGS)] for s in SOURCES
    }
    maps = InMemoryMaps.from_maps(m for some in made_of.values() for m in some)
    ids = [r.id for r in data.radiographs]
    made = Run.start(tmp_path_factory.mktemp("analyzed") / "run", "score", {"data": "world:24"})
    for number, (s, some) in enumerate(made_of.items()):
        made.write_part(f"maps-{number}", "0", lambda p, s=s, some=some: write_maps(p, ids, FINDINGS, {s: some}))
    with made.lock():
        made = record_inputs(made, data, (PUBLISHED, CORRECTED), title="Analyzed")
        made = made.update_info(models=[{"name": "small-net", "training": {"data": "disks", "epochs": 2.5}}])
        options = ScoringOptions((PUBLISHED, CORRECTED), FINDINGS, include_unannotated=True)
        scores = score_run(made, maps, data, options, workers=1)
        analyze(
            scores, data, options.protocols, seed=0, prevalence=dict(zip(FINDINGS, (0.1, 0.2, 0.3, 0.4), strict=True))
        )
    return made


@pytest.fixture(scope="module", params=["corrected", "published"])
def view(run: Run, request: pytest.FixtureRequest) -> RunView:
    return RunView(run, request.param)


def test_every_figure_of_the_paper_has_its_counterpart(view: RunView) -> None:
    drawn = page.draw_plots(view)
    assert set(NEW) < set(drawn)
    for name in NEW:
        plot = drawn[name]
        assert plot.alt_text and plot.caption and len(plot.data) and "nan" not in plot.alt_text.lower().split()
        root = ET.fromstring(plot.svg)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for element in root.iter("{http://www.w3.org/2000/svg}text"):
            x, y = float(element.attrib.get("x", 0)), float(element.attrib.get("y", 0))
            assert -1 <= x <= width + 1 and 0 <= y <= height, (name, element.text)


def test_findings_are_sorted_by_their_decrease(view: RunView) -> None:
    table = view.decreases("iou").set_index("finding")["decrease"]
    assert sorted(view.findings, key=lambda f: -table[f]) == list(view.findings)
    assert set(view.decreases("iou")["source"]) == {view.best_for("iou")}
    shown = human_benchmark.decrease_tables(view)[0]
    assert [row[0] for row in shown.rows][:-1] == list(table.index[:-1]) and shown.rows[-1][0] == "Average"


def test_the_best_source_is_chosen_per_metric(view: RunView) -> None:
    for metric in ("iou", "pointing-game"):
        means = {s: view.estimate(s, metric).mean for s in view.sources_of_kind("model")}
        assert view.best_for(metric) == max(means, key=lambda s: means[s])
    table = human_benchmark.best_source_table(view)
    assert table is not None and [row[0] for row in table.rows][:2] == ["IoU", "Dice"]
    assert "of the saliency methods, without controls and readers" in table.caption
    control = view.best_of_kind("control", "iou") or ""
    assert table.rows[0][2] == view.label(control) and int(table.rows[0][-1]) > 1
    assert table.rows[0][4] == view.difference(view.best_for("iou"), control, "iou").text(3)


def test_published_figures_stand_beside_under_our_names(view: RunView) -> None:
    assert published_estimates("regressions")["iou"]["size"].text(3) == "0.566 [0.526, 0.606]"
    assert published_estimates("assurance")["rho"]["Lung Opacity"].n == 381
    assert published_estimates("tuning")["threshold"]["Lung Lesion"].mean == 0.7
    table = error_analysis.regression_table(view)
    assert table is not None and {row[5] for row in table.rows} >= {"0.566 [0.526, 0.606]"}
    on_annotated, *_, on_all = assurance.assurance_tables(view)
    assert on_all.rows[-1][0] == on_annotated.rows[-1][0] == "All together"
    assert "(wrong n)" in on_all.header[-1] and "(wrong n)" not in on_annotated.header[-1]


def test_slices_and_thresholds_are_those_of_the_tables(view: RunView) -> None:
    table = human_benchmark.slice_table(view)
    assert table is not None and {row[0] for row in table.rows} == {
        "gt_positive",
        "gt&pred",
        "gt&pred&human",
        "model_positive&gt",
        "full",
    }
    plot = human_benchmark.plot_thresholds(view)
    assert plot is not None and sorted(set(plot.data["threshold"])) == [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    for r in plot.data.to_dict("records"):
        wanted = view.estimate(view.best_for("iou"), f"iou@above:{r['threshold']:g}", r["finding"]).mean
        assert r["mean"] == wanted or (np.isnan(r["mean"]) and np.isnan(wanted))
    assert all("@" not in metric for metric in view.metrics)
    tuned = human_benchmark.tuning_table(view)
    assert tuned is not None and {row[0] for row in tuned.rows} == set(FINDINGS)


def test_pictures_show_disagreement_and_shape(view: RunView) -> None:
    apart = example_selection.choose_disagreements(view)
    assert [e.hit for e in apart if e.category == "hit"] == [1.0, 1.0]
    assert all(e.hit == 0.0 for e in apart if e.category == "overlap")
    shapes = {e.category: e for e in example_selection.choose_shapes(view)}
    assert set(shapes) == set(example_selection.SHAPE_TITLES)
    table = view.analysis("shapes")
    limit = table["size"].quantile(0.25)
    small = table[(table["radiograph"] == shapes["size"].radiograph) & (table["finding"] == shapes["size"].finding)]
    assert float(small["size"].iloc[0]) <= limit
    assert example_selection.shape_caption(view, shapes["size"]).endswith("% of the image")


def test_what_goes_with_localization_across_findings(view: RunView) -> None:
    table = error_analysis.across_findings_table(view)
    assert table is not None and {row[2].split()[0] for row in table.rows} == {"share", "mean"}, "no average mask here"


def test_maps_without_probabilities_get_a_sentence_not_an_empty_figure(make_run: Callable[..., Run]) -> None:
    made = make_run(fresh=True)
    assert assurance.assurance_missing_reason(RunView.from_run(made)) == [], "a run that was not analyzed"
    keys = {"protocol": "corrected", "source": RunView.from_run(made).best, "stars": "", "rho_stars": "", "n": 9}
    numbers = dict.fromkeys(("slope", "low", "high", "rho", "rho_low", "rho_high"), np.nan)
    slices = (("iou", "full"), ("pointing-game", "gt_positive"))
    rows = [{**keys, **numbers, "finding": f, "metric": m, "slice": s} for f in FINDINGS for m, s in slices]
    made.write_table("confidence_regressions", pd.DataFrame(rows))
    view = RunView.from_run(made)
    assert assurance.plot_assurance(view) is None and assurance.assurance_tables(view) == []
    assert "came without probabilities" in report(made).read_text("utf-8")


def test_the_report_is_whole(run: Run) -> None:
    with run.lock():
        text = report(run).read_text("utf-8")
    for section in ("benchmark", "causes", "assurance", "slices"):
        assert f'<section id="{section}">' in text
    assert "Hit with low overlap" in text and "Different from a rectangle" in text
    assert "n = 1534" in text, "known errors of the published figures are named"
