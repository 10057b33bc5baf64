"""A run on the terminal: what was asked for is there, whole, and what failed says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sightline.report.terminal import show
from sightline.runs.run import Run


def a_run(path: Path, metrics: tuple[str, ...]) -> Run:
    """Two sources with an estimate of every metric, each its own number; no map yet."""
    run = Run.start(path, "score", {})
    rows = [
        ("corrected", metric, source, "average", 0.1 + number / 100, 0.05, 0.9, 7, 5)
        for source in ("maps", "control/center")
        for number, metric in enumerate(metrics)
    ]
    columns = ["protocol", "metric", "source", "finding", "mean", "low", "high", "n", "patients"]
    run.write_table("estimates", pd.DataFrame(rows, columns=columns))
    return fates(run, [])


def fates(run: Run, failed: list[tuple[str, str, str, str, str]]) -> Run:
    """The run with maps that failed, beside one that did not."""
    columns = ["source", "radiograph", "finding", "status", "reason"]
    maps = pd.DataFrame([("maps", "r0", "Edema", "ok", ""), *failed], columns=columns).assign(annotated=True)
    run.write_table("maps", maps)
    run.write_table(
        "status", maps.groupby(["source", "status", "annotated"], sort=False).size().rename("maps").reset_index()
    )
    return run


def printed(run: Run, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    show(run.path)
    return capsys.readouterr().out


def test_the_metrics_that_were_asked_for_are_shown_in_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = printed(a_run(tmp_path, ("relevance-mass", "dice", "iou@above:0.4")), capsys)
    (head,) = (line for line in said.splitlines() if "source" in line)
    assert head.index("Relevance mass") < head.index("Dice") < head.index("IoU (above:0.4)")
    (row,) = (line for line in said.splitlines() if "control/center" in line)
    assert [f"{mean} [0.050, 0.900] 7" in row for mean in ("0.100", "0.110", "0.120")] == [True] * 3
    assert "more metrics" not in said


def test_of_many_metrics_the_headlines_are_shown_and_the_others_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = printed(
        a_run(tmp_path, ("relevance-mass", "relevance-rank", "precision", "pointing-game", "recall", "iou")), capsys
    )
    (head,) = (line for line in said.splitlines() if "source" in line)
    assert [name in head for name in ("Pointing game", "IoU", "Relevance mass", "Relevance rank")] == [True] * 4
    assert "Precision" not in head and "2 more metrics" in said


def test_a_metric_that_is_not_registered_here_is_shown_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "of-a-plugin" in printed(a_run(tmp_path, ("of-a-plugin",)), capsys)


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_no_number_is_broken_however_narrow_the_terminal(
    columns: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.report.terminal._PIPE_WIDTH", columns)
    said = printed(a_run(tmp_path, ("iou", "pointing-game", "dice", "relevance-mass")), capsys)
    assert said.count("[0.050, 0.900] 7") == 8
    assert all(len(line) <= columns for line in said.splitlines() if line.startswith(("│", "┃")))


def test_failures_are_counted_by_reason_with_the_first_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reasons that differ by names and numbers alone are one; the most frequent first; no line a map."""
    damaged = [("maps", f"r{i}", "Edema", "unreadable", f"map m/r{i}_Edema.npz is damaged") for i in range(1, 4)]
    sizes = [("maps", f"r{i}", "Mass", "refused", f"the map is of an image of ({i}, 9)") for i in range(1, 6)]
    missing = [("reader/one", "r9", "Edema", "missing", "one gave no annotation")]
    said = printed(fates(a_run(tmp_path, ("iou",)), [*damaged, *missing, *sizes]), capsys).splitlines()
    told = [line for line in said if line.startswith(("maps:", "reader/"))]
    assert told == [
        "maps: 5 of 9 maps refused, first r1/Mass: the map is of an image of (1, 9)",
        "maps: 3 of 9 maps unreadable, first r1/Edema: map m/r1_Edema.npz is damaged",
        "reader/one: 1 of 1 maps missing, first r9/Edema: one gave no annotation",
    ]


def test_many_reasons_are_bounded_and_none_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = np.array(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"])
    failed = [("maps", f"r{i}", "Edema", "unreadable", f"because of {words[i % 7]}") for i in range(8)]
    said = printed(fates(a_run(tmp_path, ("iou",)), failed), capsys)
    assert said.count(" unreadable, first ") == 5
    assert "maps: 2 more, for 2 other reasons: " in said
    assert "maps:" not in printed(fates(Run.open(tmp_path), []), capsys)


def test_what_failed_where_nothing_is_scored_is_counted_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Maps of findings that were not asked for must not bury those that were."""
    run = fates(a_run(tmp_path, ("iou",)), [("maps", "r1", "Mass", "flat", "finding 'Mass' is not scored here")])
    for name in ("maps", "status"):
        table = run.table(name)
        run.write_table(name, table.assign(annotated=table["status"] == "ok"))
    said = printed(run, capsys)
    assert f"maps: 1 map failed where nothing is scored: {tmp_path / 'tables/maps.csv'}" in said
    assert "flat" not in said
