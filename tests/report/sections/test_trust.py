"""The trust section: what is said follows the verdicts, and a run without them has no such section."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sightline.report import report
from sightline.report.page import build_tiles
from sightline.report.run_view import RunView
from sightline.report.sections.trust import figures, perturbations, tables
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


@pytest.fixture(scope="module")
def made(make_run: Callable[..., Run]) -> Run:
    made = make_run(fresh=True, radiographs=8, protocol="corrected")
    table = similarity()
    made.write_table("similarity_levels", similarity_levels(table))
    made.write_table("verdicts", verdicts(table))
    return made


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    """A copy that a test may change."""
    return Run.open(shutil.copytree(made.path, tmp_path / "run"))


def test_sentences_follow_the_verdicts(run: Run) -> None:
    said = summary_sentences(RunView.from_run(run))
    assert said[0] == (
        "Methods for which each claim is shown: repeats more than chance: 2 of 2; repeatable: 0 of 2; sensitive to the "
        "weights: 1 of 2 (n = 20 maps of 20 patients)."
    )
    assert said[1] == "When the network is retrained, the maps of Grad-CAM and Gradient repeat more than chance."
    assert said[2].startswith("The maps of Grad-CAM change when the weights are randomized")
    undecided = "Undecided with this number of patients: sensitive to the weights for Gradient (about "
    assert said[3].startswith(undecided) and said[3].endswith(" patients would decide).")
    assert said[4] == "Not estimable: repeatable (no two networks trained on annotations to compare with)."
    assert said[5] == "The test is valid: the control methods (edges) get the expected verdicts."
    assert len(said) == 6


def test_a_claim_must_hold_for_every_network(run: Run) -> None:
    table = run.table("verdicts")
    other = table[(table["criterion"] == "repeatability") & (table["method"] == "gradient")]
    absent = pd.concat([table, other.assign(versus="again-2", verdict="shown absent")])
    run.write_table("verdicts", absent)
    said = summary_sentences(RunView.from_run(run))
    assert "When the network is retrained, the maps of Grad-CAM repeat more than chance." in said
    assert "When the network is retrained, the maps of Gradient do not repeat more than chance." in said


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        ("shown", "This test is not valid: the edge detector, which does not use the network"),
        ("undecided", "It is undecided whether the test is valid; undecided for control methods: edges: sensitive to"),
    ],
)
def test_controls_validate_the_test(run: Run, verdict: str, sentence: str) -> None:
    table = run.table("verdicts")
    run.write_table("verdicts", table.assign(verdict=table["verdict"].where(table["method"] != "edges", verdict)))
    assert summary_sentences(RunView.from_run(run))[-1].startswith(sentence)


def test_maps_that_reach_networks_trained_on_annotations_are_repeatable(run: Run) -> None:
    net = similarity()
    net = net[(net["method"] == "edges") & net["comparison"].isin(["repeatability", "pair"])]
    net = net.assign(method="localizer/net-1-unet/intrinsic", versus=net["versus"].replace("again-1", "net-2-unet"))
    run.write_table("verdicts", verdicts(pd.concat([similarity(), net], ignore_index=True)))
    said = summary_sentences(RunView.from_run(run))
    assert any("Grad-CAM" in s and "are repeatable: as similar as those of networks" in s for s in said)
    table, _ = tables.difference_tables(RunView.from_run(run))
    assert ", networks 0.5" in table.rows[0][2] and "net-1" not in {row[0] for row in table.rows}


def test_the_tables_give_level_chance_difference_interval_and_verdict(run: Run) -> None:
    verdict_table = tables.criteria_table(RunView.from_run(run))
    assert verdict_table is not None
    assert verdict_table.header == ("Method", "Repeats more than chance", "Repeatable", "Sensitive to the weights")
    assert verdict_table.caption.endswith("n = 20 maps of 20 patients")
    words = {row[0]: row[1:] for row in verdict_table.rows}
    assert words["Grad-CAM"] == ("shown", "not estimable", "shown")
    assert (words["edges"][2], words["Gradient"][2]) == ("shown absent", "undecided")
    repeated, depends = tables.difference_tables(RunView.from_run(run))
    assert repeated.header[1] == "Repeats more than chance: difference above 0.05"
    assert depends.header[1] == "Sensitive to the weights: difference below 0.05"
    level, gap, verdict = {row[0]: row[1] for row in repeated.rows}["Grad-CAM"].split("\n")
    assert level.startswith("0.6") and ", chance 0.3" in level and gap.startswith("+0.29 [0.27") and verdict == "shown"
    assert "undecided: about" in {row[0]: row[1] for row in depends.rows}["Gradient"]


def test_every_measure_has_its_smallest_effect(run: Run) -> None:
    both = pd.concat([similarity(), similarity().assign(measure="rank")], ignore_index=True)
    run.write_table("verdicts", verdicts(both))
    table = tables.measure_table(RunView.from_run(run))
    assert table is not None
    assert table.header[3:] == ("SSIM, smallest effect 0.05", "Rank correlation, smallest effect 0.1")


def test_verdicts_lead_the_page_and_the_terminal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Run.start(run.path.parent / "trust", "trust", {})
    for name in ("estimates", "differences", "similarity_levels", "verdicts", "status", "maps"):
        Run.open(run.path.parent / "trust").write_table(name, run.table(name))
    made = Run.open(run.path.parent / "trust").update_info(evaluated_model="small-net")
    shown = build_tiles(RunView.from_run(made))
    assert [(t.label, t.value, t.interval) for t in shown] == [
        ("Repeats more than chance", "2 of 2", "methods"),
        ("Repeatable", "0 of 2", "methods; 2 not estimable"),
        ("Sensitive to the weights", "1 of 2", "methods; 1 undecided"),
    ]
    assert shown[0].sample_size == "n = 20 maps of 20 patients"
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
    assert perturbations.robustness_tables(RunView.from_run(run)) == []
    rows = [
        ("deletion", "grad-cam", 0.3, 0.2, 0.4, 9, 5, -0.1, -0.2, -0.05, "shown", "lower", 0.02),
        ("complexity", "grad-cam", 0.8, 0.7, 0.9, 9, 5, np.nan, np.nan, np.nan, None, None, np.nan),
        ("deletion", "random", 0.5, 0.4, 0.6, 9, 5, np.nan, np.nan, np.nan, None, None, np.nan),
        ("response", "random", 0.4, 0.3, 0.5, 9, 5, np.nan, np.nan, np.nan, None, None, np.nan),
        ("rank-correlation", "grad-cam", 0.9, 0.8, 0.95, 9, 5, np.nan, np.nan, np.nan, None, None, np.nan),
    ]
    columns = ["measure", "method", "mean", "low", "high", "n", "patients", "gap", "gap_low", "gap_high", "verdict"]
    table = pd.DataFrame(rows, columns=[*columns, "direction", "smallest_effect"]).assign(patients_needed=np.nan)
    random = {"random": -0.2, "random_low": -0.3, "random_high": 0.1, "random_verdict": "undecided"}
    judged = table.assign(reason="", random_patients_needed=50.0)
    for name, value in random.items():
        judged[name] = [value if isinstance(verdict, str) else None for verdict in judged["verdict"]]
    run.write_table("perturbation_summary", judged)
    faithful, steady = perturbations.robustness_tables(RunView.from_run(run))
    assert [row[0] for row in faithful.rows] == ["Grad-CAM", "random order"]
    assert faithful.rows[0][1] == (
        "0.300 [0.200, 0.400]\nother patient −0.100 [−0.200, −0.050]\nrandom order −0.200 [−0.300, 0.100]\n"
        "undecided: about 50 patients\nwould decide"
    )
    assert faithful.header[1] == "Deletion ↓, smallest effect 0.02" and faithful.header[5] == "Complexity"
    assert "changes the probability by 0.40 [0.30, 0.50]" in faithful.caption
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
    plain, _ = tables.difference_tables(RunView.from_run(run))
    assert "failed" not in plain.caption
    table = similarity()
    table.loc[(table["method"] == "grad-cam") & table["radiograph"].isin(["r1", "r2"]), "value"] = np.nan
    run.write_table("similarity_levels", similarity_levels(table))
    run.write_table("verdicts", verdicts(table))
    repeated, depends = tables.difference_tables(RunView.from_run(run))
    measures = tables.similarity_table(RunView.from_run(run))
    assert measures is not None
    assert "failed maps count as similarity 0" in repeated.caption and "n = 18 to 20 maps" in depends.caption
    cells = {row[0]: row[1] for part in (repeated, depends) for row in part.rows}
    assert cells["Grad-CAM"].endswith("(2 failed)") and "failed" not in cells["edges"]
    assert {row[-1] for row in measures.rows if row[0] == "Grad-CAM"} == {"2"}


def test_a_run_without_has_no_section(make_run: Callable[..., Run], run: Run) -> None:
    title = "Results of the sanity checks"
    assert title in report(run.update_info(study="trust")).read_text()
    other = make_run(fresh=True, radiographs=8, protocol="corrected")
    assert summary_sentences(RunView.from_run(other)) == [] and figures.plot_cascade(RunView.from_run(other)) is None
    assert title not in report(other).read_text()
