"""The trust section: what is said follows the verdicts, and a run without them has no such section."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from sightline.report import report, trust
from sightline.report.view import View
from sightline.stats.trust import levels, verdicts
from sightline.store import Run

STAGES = ("head", "body", "stem")
FINAL = {"grad-cam": 0.1, "edges": 1.0, "gradient": 0.3}
"""Similarity at the last stage; chance is 0.3."""


def similarity(patients: int = 20) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for method, final in FINAL.items():
        for number in range(patients):
            head = {"method": method, "radiograph": f"r{number}", "patient": f"p{number}", "finding": "Edema"}
            head |= {"protocol": "corrected", "measure": "ssim"}
            compared = [
                ("randomization", s, "top-down", i + 1, 1 + (final - 1) * (i + 1) / 3) for i, s in enumerate(STAGES)
            ]
            compared += [("repeatability", "again-1", "", 0, 0.6), ("pair", f"r{number + 1}", "", 0, 0.3)]
            for kind, versus, order, step, mean in compared:
                value = mean + 0.05 * rng.standard_normal()
                rows.append({**head, "kind": kind, "versus": versus, "order": order, "step": step, "value": value})
    return pd.DataFrame(rows)


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    made = make_run(fresh=True)
    table = similarity()
    made.write_table("levels", levels(table))
    made.write_table("verdicts", verdicts(table))
    return made


def test_sentences_follow_the_verdicts(run: Run) -> None:
    said = trust.said(View.of(run))
    assert said[0] == "When the network forgets, its maps change as much as between patients: Grad-CAM."
    assert said[1].endswith("whatever the network forgets: edges.")
    assert said[2].endswith("more alike than chance: Grad-CAM, edges, Gradient.")
    assert len(said) == 3  # gradient is undecided: nothing is said


def test_the_summary_gives_difference_interval_and_verdict(run: Run) -> None:
    table = trust.summary(View.of(run))
    assert table is not None
    assert table.head == ("Method", "Forgets with the network", "Comes back, trained again")
    cells = {row[0]: row[1] for row in table.rows}
    assert cells["Grad-CAM"].startswith("−0.1") and cells["Grad-CAM"].endswith("passes")
    assert cells["edges"].endswith("fails") and cells["Gradient"].endswith("undecided")


def test_the_figure_draws_every_stage_of_every_method(run: Run) -> None:
    plot = trust.cascade(View.of(run))
    assert plot is not None
    assert len(plot.data) == 9 and set(plot.data["versus"]) == set(STAGES)
    assert "edges 1.0" in plot.alt and all(stage in plot.svg for stage in STAGES)


def test_levels_by_every_measure_name_what_was_compared(run: Run) -> None:
    table = trust.measures(View.of(run))
    assert table is not None
    assert {row[2] for row in table.rows} == {"stem", "again-1", "another patient"}


def test_a_run_without_has_no_section(make_run: Callable[..., Run], run: Run) -> None:
    assert "May the maps be trusted?" in report(run).read_text()
    other = make_run(fresh=True)
    assert trust.said(View.of(other)) == [] and trust.cascade(View.of(other)) is None
    assert "May the maps be trusted?" not in report(other).read_text()
