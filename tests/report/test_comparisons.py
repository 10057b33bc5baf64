"""Figures, tables and sentences of subgroups, of the choice of a network and of the suitability of metrics."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from sightline.report import metric_suitability, network_selection, report, subgroups
from sightline.report.run_view import RunView
from sightline.stats.subgroups import COLUMNS

NAN = float("nan")
BEST, READER = "small-net/grad-cam", "reader/simulated contours"


def subgroup_rows(source: str, low: float) -> list[dict[str, object]]:
    def row(attribute: str, group: str, mean: float, n: int, reason: str = "", **more: object) -> dict[str, object]:
        ends = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05} if not reason else {}
        head = {"protocol": "corrected", "metric": "iou", "source": source, "finding": "average", "versus": ""}
        return {
            **head,
            "attribute": attribute,
            "group": group,
            "n": n,
            "patients": n,
            "findings": 3,
            **ends,
            "reason": reason,
            **more,
        }

    gap = {"versus": "male", "difference": -0.2, "difference_low": -0.3, "difference_high": -0.1, "p": 0.001}
    return [
        row("sex", "female", low, 20, **gap, p_holm=0.002),
        row("sex", "male", low + 0.2, 30),
        row("sex", "unstated", NAN, 4, "4 patients, fewer than 10"),
        row("view", "frontal", low, 50),
        row("view", "lateral", NAN, 0, "no scored case"),
        row("age", "below 40 years", NAN, 0, "no scored case"),
        row("age", "65 years or more", NAN, 0, "no scored case"),
    ]


@pytest.fixture(scope="module")
def view(make_run) -> RunView:
    run = make_run(fresh=True, radiographs=8, protocol="corrected")
    rows = [*subgroup_rows(BEST, 0.3), *subgroup_rows(READER, 0.6)]
    run.write_table("subgroups", pd.DataFrame(rows, columns=list(COLUMNS)))
    chosen = [("grad-cam", "small-net", 0.4, True), ("grad-cam", "wide", 0.3, False), ("x", "small-net", 0.1, False)]
    chosen += [("x", "wide", 0.2, True)]
    run.write_table(
        "network_selection",
        pd.DataFrame(
            [
                {"protocol": "corrected", "metric": "iou", "method": a, "model": b, "mean": c, "low": c - 0.1}
                | {"high": c + 0.1, "n": 40, "patients": 20, "findings": 4, "chosen": d}
                for a, b, c, d in chosen
            ]
        ),
    )
    head = {
        "protocol": "corrected",
        "sources": 4,
        "n": 40,
        "patients": 20,
        "reader": READER,
        "control": "control/center",
    }
    suited = []
    for finding in ("Edema", "Lung Lesion"):
        for metric, tau, wins in (("iou", 0.9, 0.55), ("pointing-game", -0.1, NAN)):
            ends = {"reader_wins": wins, "reader_wins_low": wins - 0.1, "reader_wins_high": wins + 0.1}
            counts = {"reader_n": 40, "reader_patients": 20, "reason": ""}
            suited.append({**head, "finding": finding, "metric": metric, "rank_stability": tau, **ends, **counts})
    run.write_table("metric_suitability", pd.DataFrame(suited))
    pairs = [{"protocol": "corrected", "finding": f, "metric": "iou", "versus": "pointing-game"} for f in ("Edema",)]
    run.write_table("metric_agreement", pd.DataFrame(pairs).assign(rank_agreement=0.25, case_agreement=0.5))
    return RunView.from_run(run)


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_forest_plot_shows_every_group_and_why_one_is_empty(view):
    plot = subgroups.plot_subgroups(view)
    shown = texts(plot.svg)
    assert {"Sex", "female", "male", "reference"} <= set(map(str.strip, shown))
    assert "4 patients, fewer than 10" in " ".join(shown)
    assert "View" not in shown, "one group leaves nothing to compare"
    assert "sex, female: 0.30 [0.25, 0.35]" in plot.alt_text


def test_the_sentences_state_the_difference_and_claim_no_interaction(view):
    first, missing, single, caution = subgroups.subgroup_paragraphs(view)
    assert "1 subgroup differs clearly in IoU: sex, female minus male −0.20 [−0.30, −0.10]" in first
    assert "does not state age" in missing and "view (frontal only)" in single
    assert "no evidence that the effect of a method depends on the subgroup" in caution
    (row, *_) = subgroups.subgroup_table(view).rows
    assert row[0] == "Sex: female" and row[-1] == "0.002"


def test_the_chosen_network_is_filled_and_named(view):
    plot = network_selection.plot_network_selection(view)
    assert "Grad-CAM, IoU: small-net 0.40 [0.30, 0.50]" in plot.alt_text and "hollow: not chosen" in texts(plot.svg)
    rows = network_selection.network_selection_table(view).rows
    assert [row[:3] for row in rows] == [("IoU", "Grad-CAM", "small-net"), ("IoU", "x", "wide")]


def test_metrics_are_judged_by_finding(view):
    plot = metric_suitability.plot_metric_suitability(view)
    assert {".90", "−.10", ".55", "Pointing game"} <= set(texts(plot.svg))
    table = metric_suitability.metric_suitability_table(view)
    edema = next(row for row in table.rows if row[0] == "Edema")
    assert edema[3] == "IoU, τ 0.90" and edema[5] == "0.55 [0.45, 0.65]" and edema[6:] == ("0.25", "0.50")
    assert (
        "not shown to rate the reader above the best control for 2 findings"
        in metric_suitability.suitability_paragraphs(view)[1]
    )


def test_the_page_has_their_sections(view):
    text = report(view.run).read_text("utf-8")
    for name in ("subgroups", "selection", "metrics"):
        assert f'<section id="{name}">' in text
