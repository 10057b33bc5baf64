"""All pairs in the report: the matrix, ranks, trainings, and what stands where there is no number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sightline.evaluation.comparison import find_trainings, write_comparisons
from sightline.evaluation.score_rows import Score
from sightline.evaluation.score_run import summarize
from sightline.evaluation.score_table import ScoreTable
from sightline.protocol import CORRECTED, PUBLISHED
from sightline.report.pairs import pair_table, plot_pairs, plot_ranks, rank_table, training_tables
from sightline.report.run_view import RunView
from sightline.runs.run import Run

LEVELS = {"net-0/grad-cam": 0.5, "net-1/grad-cam": 0.52, "net-0/lrp": 0.2, "net-1/lrp": 0.25}
METRICS = ("iou", "pointing-game", "iou@above:0.5")
RECIPE = {"data": "folder:/data", "derived": [], "fraction": 1.0}
MODELS = [{"name": f"net-{i}", "arch": "small?side=64", "training": {**RECIPE, "seed": i}} for i in (0, 1)]


def viewed(folder: Path, levels: Mapping[str, float] = LEVELS, patients: int = 12) -> RunView:
    rng = np.random.default_rng(0)
    run = Run.start(folder, "compare", {})
    shared = rng.normal(0, 0.05, patients)
    rows = [
        Score(
            protocol.name,
            source,
            "model",
            f"r{p}",
            f"p{p}",
            finding,
            "truth",
            metric,
            float(level + shared[p] + 0.05 * rng.normal()),
            "ok",
            "",
            0.5,
            0.1,
        )
        for protocol in (PUBLISHED, CORRECTED)
        for metric in METRICS
        for source, level in levels.items()
        for p in range(patients)
        for finding in ("Edema", "Mass")
    ]
    scores = pd.DataFrame(rows, columns=Score._fields)
    run.write_table("scores", scores)
    outcomes = scores[["source", "radiograph", "finding", "status", "reason", "probability"]]
    run.write_table("maps", outcomes.drop_duplicates().assign(annotated=True))
    protocols = (PUBLISHED, CORRECTED)
    run.update_info(
        dataset={"findings": ["Edema", "Mass"]}, protocols={p.name: asdict(p) for p in protocols}, models=MODELS
    )
    table = ScoreTable(run)
    summarize(table, METRICS, protocols, 0)
    write_comparisons(table, protocols, METRICS, 0, MODELS)
    return RunView.from_run(run)


def test_the_matrix_shows_each_difference_from_both_sides(tmp_path: Path) -> None:
    plot = plot_pairs(viewed(tmp_path))
    assert plot is not None
    row = plot.data.set_index(["source", "versus"]).loc[("net-0/grad-cam", "net-0/lrp")]
    for text in (f"{row['mean']:.2f}", f"−{row['mean']:.2f}"):
        assert f">{text}</text>" in plot.svg
    assert "Grad-CAM · net-0 minus LRP · net-0" in plot.alt_text


def test_ranks_are_counted_over_metrics_thresholds_and_protocols(tmp_path: Path) -> None:
    view = viewed(tmp_path)
    plot, table = plot_ranks(view), rank_table(view)
    assert plot is not None and table is not None
    assert set(plot.data["group"]) == {"confidence set", "metrics", "thresholds", "protocols"}
    counted = plot.data[plot.data["group"] == "thresholds"]
    assert counted.groupby("metric").size().to_dict() == {"iou": 4, "iou@above:0.5": 4}
    last = table.rows[-1]
    assert last[0].startswith("LRP")
    assert last[2:] == tuple(r for r in last[2:] if r in ("3", "4"))
    assert "published" in table.header[-1]


def test_networks_with_several_trainings_have_tables_that_say_what_their_intervals_cover(tmp_path: Path) -> None:
    means, differences = training_tables(viewed(tmp_path))
    assert means.rows[0][0] == "Grad-CAM · small (2 trainings)"
    assert {row[-1] for row in (*means.rows, *differences.rows)} == {"patients and trainings"}


def test_one_patient_has_its_reason_in_the_place_of_numbers(tmp_path: Path) -> None:
    view = viewed(tmp_path, patients=1)
    plot, table = plot_pairs(view), pair_table(view)
    assert plot is not None and table is not None
    assert "no interval" in plot.svg
    assert all("patient" in row[4] for row in table.rows)


def test_one_source_has_no_pairs(tmp_path: Path) -> None:
    view = viewed(tmp_path, {"net-0/grad-cam": 0.5})
    assert (plot_pairs(view), plot_ranks(view), pair_table(view), rank_table(view)) == (None,) * 4
    assert training_tables(view) == []


@pytest.mark.parametrize("change", [{"data": "other"}, {"seed": 0}, {"fraction": 0.1}, {"seed": None}])
def test_other_recipes_and_equal_seeds_are_no_trainings_of_one_network(change: dict[str, object]) -> None:
    second = {**MODELS[1], "training": {**RECIPE, "seed": 1, **change}}
    assert find_trainings([MODELS[0], second], list(LEVELS)) == {}
    assert find_trainings(MODELS, list(LEVELS)) == {"small (2 trainings)": ["net-0", "net-1"]}
    assert find_trainings(MODELS, ["net-0/grad-cam"]) == {}
