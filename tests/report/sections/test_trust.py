"""The trust section: what is said follows the verdicts, and a run without them has no such section."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from sightline.report import report
from sightline.report.page import build_tiles
from sightline.report.run_view import RunView
from sightline.report.sections.trust import figures, tables
from sightline.report.sections.trust.sentences import summary_sentences
from sightline.report.terminal import show
from sightline.report.warnings import collect_warnings
from sightline.runs.run import Run
from sightline.stats.sanity_checks import similarity_levels, verdicts

STAGES = ("head", "body", "stem")
FINAL = {"grad-cam": 0.1, "edges": 1.0, "gradient": 0.3}
"""Similarity at the last stage; chance is 0.3."""
SPREAD = {"grad-cam": 0.05, "edges": 0.05, "gradient": 0.15}


def similarity(patients: int = 20) -> pd.DataFrame:
    rng, partner = np.random.default_rng(0), np.random.default_rng(1)
    rows = []
    for method, final in FINAL.items():
        for number in range(patients):
            head = {"method": method, "radiograph": f"r{number}", "patient": f"p{number}", "finding": "Edema"}
            head |= {"protocol": "corrected", "measure": "ssim"}
            compared = [
                ("randomization", s, "top-down", i + 1, 1 + (final - 1) * (i + 1) / 3) for i, s in enumerate(STAGES)
            ]
            compared += [
                ("repeatability", "again-1", "", 0, 0.6),
                ("pair", "", "", 0, 0.3),
                ("pair", "again-1", "", 0, 0.3),
            ]
            for kind, versus, order, step, mean in compared:
                drawn = partner if (kind, versus) == ("pair", "again-1") else rng
                value = mean + SPREAD[method] * drawn.standard_normal()
                rows.append(
                    {**head, "comparison": kind, "versus": versus, "order": order, "step": step, "value": value}
                )
    return pd.DataFrame(rows)


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    made = make_run(fresh=True)
    table = similarity()
    made.write_table("similarity_levels", similarity_levels(table))
    made.write_table("verdicts", verdicts(table))
    return made


def test_sentences_follow_the_verdicts(run: Run) -> None:
    said = summary_sentences(RunView.from_run(run))
    assert said[0] == (
        "Methods that pass each criterion: repeatable: 2 of 2 methods; sensitive to the weights: 1 of 2 methods "
        "(n = 20 maps of 20 patients)."
    )
    assert said[1] == "The maps of Grad-CAM and Gradient repeat when the network is retrained."
    assert said[2] == "The maps of Grad-CAM change when the weights are randomized."
    assert said[3] == "The test is valid: the control methods (edges, noise) get the expected verdicts."
    assert len(said) == 4  # gradient is undecided: nothing is said
    table = run.table("verdicts")
    other = table[(table["criterion"] == "repeatability") & (table["method"] == "gradient")]
    run.write_table("verdicts", pd.concat([table, other.assign(versus="again-2", verdict="undecided")]))
    assert "The maps of Grad-CAM repeat when the network is retrained." in summary_sentences(
        RunView.from_run(run)
    )  # all or none
    run.write_table("verdicts", table.assign(verdict=table["verdict"].where(table["method"] != "edges", "passes")))
    assert summary_sentences(RunView.from_run(run))[-1].startswith(
        "This test is not valid: the edge detector, which does not use the network"
    )


def test_the_summary_gives_difference_interval_and_verdict(run: Run) -> None:
    table = tables.criteria_table(RunView.from_run(run))
    assert table is not None
    assert table.header == (
        "Method",
        "Repeatable: similar after retraining",
        "Sensitive to the weights: not similar after randomization",
    )
    assert table.caption.endswith("n = 20 maps of 20 patients")
    cells = {row[0]: row[2] for row in table.rows}
    assert cells["Grad-CAM"].startswith("−0.1") and cells["Grad-CAM"].endswith("passes")
    assert cells["edges"].endswith("fails") and cells["Gradient"].endswith("undecided")


def test_verdicts_lead_the_page_and_the_terminal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Run.start(run.path.parent / "trust", "trust", {})
    for name in ("estimates", "differences", "similarity_levels", "verdicts", "status", "maps"):
        Run.open(run.path.parent / "trust").write_table(name, run.table(name))
    made = Run.open(run.path.parent / "trust").update_info(evaluated_model="small-net")
    shown = build_tiles(RunView.from_run(made))
    assert [(t.label, t.value, t.interval) for t in shown] == [
        ("Repeatable", "2 of 2", "methods pass"),
        ("Sensitive to the weights", "1 of 2", "methods pass"),
    ]
    assert {t.sample_size for t in shown} == {"n = 20 maps of 20 patients"}
    assert not [c for c in collect_warnings(RunView.from_run(made)) if "localize" in c.title]
    show(made.path)
    printed = capsys.readouterr().out
    assert printed.index("undecided") < printed.index("mean over findings") and "Repeatable" in printed


def test_the_figure_draws_every_stage_of_every_method(run: Run) -> None:
    plot = figures.plot_cascade(RunView.from_run(run))
    assert plot is not None
    assert len(plot.data) == 9 and set(plot.data["versus"]) == set(STAGES)
    assert "edges 1.0" in plot.alt_text and all(stage in plot.svg for stage in STAGES)


def test_agreement_draws_every_partner_beside_chance(run: Run) -> None:
    plot = figures.plot_repeatability(RunView.from_run(run))
    assert plot is not None
    assert set(plot.data["comparison"]) == {"repeatability", "pair"} and len(plot.data) == 6
    assert "Grad-CAM 0.6" in plot.alt_text


def test_robustness_says_what_chance_is(run: Run) -> None:
    assert tables.robustness_tables(RunView.from_run(run)) == []
    rows = [
        ("deletion", "grad-cam", 0.3, 0.2, 0.4, 9, 5, -0.1, -0.2, -0.05, "passes"),
        ("complexity", "grad-cam", 0.8, 0.7, 0.9, 9, 5, np.nan, np.nan, np.nan, None),
        ("deletion", "random", 0.5, 0.4, 0.6, 9, 5, np.nan, np.nan, np.nan, None),
        ("rank-correlation", "grad-cam", 0.9, 0.8, 0.95, 9, 5, np.nan, np.nan, np.nan, None),
    ]
    columns = ["measure", "method", "mean", "low", "high", "n", "patients", "gap", "gap_low", "gap_high", "verdict"]
    run.write_table("perturbation_summary", pd.DataFrame(rows, columns=columns))
    faithful, steady = tables.robustness_tables(RunView.from_run(run))
    assert [row[0] for row in faithful.rows] == ["Grad-CAM", "random order"]
    assert faithful.rows[0][1] == "0.30 [0.20, 0.40]\n−0.10 [−0.20, −0.05]\npasses"
    assert faithful.rows[0][5] == "0.80 [0.70, 0.90]" and faithful.rows[1][5] == "–"
    assert steady.rows[0][2] == "0.90 [0.80, 0.95]"


def test_published_values_stand_beside(run: Run) -> None:
    table = tables.published_table(RunView.from_run(run))
    assert table is not None
    cells = {tuple(row[:2]): row for row in table.rows}
    assert cells["Grad-CAM", "RSNA"][2:5] == ("0.405", "0.120", "0.37 and 0.55: passed")
    assert cells["Gradient", "SIIM"][4] == "0.25 and 0.24: failed"
    assert cells["localizer: U-Net", "SIIM"][2] == "0.404" and ("edges", "RSNA") not in cells


def test_levels_by_every_measure_name_what_was_compared(run: Run) -> None:
    table = tables.similarity_table(RunView.from_run(run))
    assert table is not None
    assert {row[2] for row in table.rows} == {"stem", "again-1", "another patient", "another patient, again-1"}


def test_failed_maps_are_told_in_cells_and_captions(run: Run) -> None:
    plain = tables.criteria_table(RunView.from_run(run))
    assert plain is not None and "failed" not in plain.caption
    table = similarity()
    table.loc[(table["method"] == "grad-cam") & table["radiograph"].isin(["r1", "r2"]), "value"] = np.nan
    run.write_table("similarity_levels", similarity_levels(table))
    run.write_table("verdicts", verdicts(table))
    summary, measures = tables.criteria_table(RunView.from_run(run)), tables.similarity_table(RunView.from_run(run))
    assert summary is not None and measures is not None
    assert "failed maps count as similarity 0" in summary.caption and "n = 18 to 20 maps" in summary.caption
    cells = {row[0]: row[1:] for row in summary.rows}
    assert all(cell.endswith(" (2 failed)") for cell in cells["Grad-CAM"])
    assert not any("failed" in cell for cell in cells["edges"])
    assert {row[-1] for row in measures.rows if row[0] == "Grad-CAM"} == {"2"}


def test_a_run_without_has_no_section(make_run: Callable[..., Run], run: Run) -> None:
    title = "Results of the sanity checks"
    assert title in report(run.update_info(study="trust")).read_text()
    other = make_run(fresh=True)
    assert summary_sentences(RunView.from_run(other)) == [] and figures.plot_cascade(RunView.from_run(other)) is None
    assert title not in report(other).read_text()
