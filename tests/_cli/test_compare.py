"""`compare`: runs on the same data, and why others are refused."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sightline._cli.app import main
from sightline.runs.run import Run
from sightline.stats.comparison import compare
from unread import without_reports


def write_data(folder: Path, *findings: str, count: int) -> Path:
    """Images, and on each a mask of every finding by two readers."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for n in range(count):
        Image.fromarray(rng.integers(0, 255, (24, 32), np.uint8)).save(folder / f"images/case{n}.png")
        for place, finding in enumerate(findings):
            for reader, grow in (("masks", 0), ("masks_second", 2)):
                mask = np.zeros((24, 32), np.uint8)
                mask[4 + n : 12 + n + grow, 4 + 6 * place : 12 + 6 * place] = 255
                (folder / reader / finding).mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(folder / reader / finding / f"case{n}.png")
    return folder


def write_maps(data: Path, folder: Path, noise: float, seed: int) -> Path:
    """A map of every annotation, blurred by noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for file in sorted(data.glob("masks/*/*.png")):
        values = np.asarray(Image.open(file)).astype(np.float32) / 255
        values = values + noise * rng.random(values.shape, np.float32)
        np.savez(folder / f"{file.stem}_{file.parent.name}.npz", map=values)
    return folder


def score(maps: Path, data: Path, out: Path, *more: str) -> Path:
    options = ["--controls", "center", "--no-include-unannotated", "--out", str(out), *more]
    metrics = [] if "--metrics" in more else ["--metrics", "iou", "pointing-game"]
    with without_reports():
        assert main(["score", str(maps), "--data", f"folder:{data}", *metrics, *options]) == 0
    return out


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with data, and three runs: good and poor maps, and the good maps of another version."""
    root = tmp_path_factory.mktemp("compared")
    data = write_data(root / "data", "Edema", "Mass", count=6)
    score(write_maps(data, root / "v1/net", 0.5, 0), data, root / "good")
    score(write_maps(data, root / "v1/other", 5.0, 1), data, root / "poor")
    score(write_maps(data, root / "v2/net", 3.0, 2), data, root / "again")
    return root


def run_compare(*words: object, reported: bool = False) -> int:
    """Compare as a user does; a report is written only for a test that reads it."""
    with nullcontext() if reported else without_reports():
        return main(["compare", *map(str, words)])


def test_all_maps_of_the_runs_are_compared_in_pairs(scored: Path, tmp_path: Path) -> None:
    assert run_compare(scored / "good", scored / "poor", "--out", tmp_path / "out", reported=True) == 0
    run = Run.open(tmp_path / "out")
    assert run.info["sources"] == ["net", "control/center", "reader/second", "other"]  # what is equal is there once
    table = run.table("comparisons")
    assert set(zip(table["source"], table["versus"], strict=True)) == {("net", "other")}
    assert set(table["metric"]) == {"iou", "pointing-game"}
    scores = pd.concat([Run.open(scored / name).table("scores") for name in ("good", "poor")])
    wanted = compare(scores.drop_duplicates(["source", "radiograph", "finding", "metric"]))
    pd.testing.assert_frame_equal(table, wanted, check_dtype=False)
    ranks = run.table("ranks").query("finding == 'average' and metric == 'iou'").set_index("source")["rank"]
    assert ranks.to_dict() == {"net": 1, "other": 2}
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Comparison of good and poor" in page
    assert "All pairs" in page


def test_sources_of_the_same_name_get_the_name_of_their_run(scored: Path, tmp_path: Path) -> None:
    assert run_compare(f"old={scored / 'good'}", scored / "again", "--out", tmp_path / "out", "--metrics", "iou") == 0
    run = Run.open(tmp_path / "out")
    assert run.info["sources"] == ["old/net", "control/center", "reader/second", "again/net"]
    table = run.table("comparisons")
    assert table["source"].unique().tolist() == ["old/net"]
    assert table["metric"].unique().tolist() == ["iou"]


def test_the_report_of_a_comparison_is_written_again_with_its_images(scored: Path, tmp_path: Path) -> None:
    assert run_compare(scored / "good", scored / "poor", "--out", tmp_path / "out", reported=True) == 0
    before = (tmp_path / "out" / "report.html").read_bytes()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").read_bytes() == before
    assert list((tmp_path / "out" / "figures").glob("example-*.svg"))


def changed(folder: Path, scored: Path, change: str) -> Path:
    """A run on data in which one thing is different."""
    data = folder / "data"
    shutil.copytree(scored / "data", data)
    if change == "annotation":
        shutil.copy(data / "masks/Mass/case0.png", data / "masks/Edema/case3.png")  # of the same size
    if change == "size":
        shutil.copy(data / "masks_second/Edema/case3.png", data / "masks/Edema/case3.png")
    if change == "radiograph":
        for file in data.rglob("case5.png"):
            file.unlink()
    return score(write_maps(data, folder / "maps/net", 0.5, 0), data, folder / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("annotation", "the file masks/Edema/case3.png has other contents"),
        ("size", "the annotation of Edema on case3 covers"),
        ("radiograph", "Edema on case5 is scored in good, and not in run"),
    ],
)
def test_other_data_are_refused_with_the_first_difference(
    scored: Path, tmp_path: Path, change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = changed(tmp_path, scored, change)
    assert run_compare(scored / "good", other, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "good and run are not of the same data" in error
    assert message in error
    assert not (tmp_path / "out").exists()


def test_protocols_that_differ_are_refused(scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = score(scored / "v1/other", scored / "data", tmp_path / "run", "--binarizer", "above:0.5")
    assert run_compare(scored / "good", other, "--out", tmp_path / "out") == 1
    assert "binarizer of 'corrected' is 'otsu' and 'above:0.5'" in capsys.readouterr().err


def test_what_not_all_runs_have_is_named(scored: Path, tmp_path: Path) -> None:
    other = score(scored / "v1/other", scored / "data", tmp_path / "run", "--metrics", "iou", "dice")
    assert run_compare(scored / "good", other, "--out", tmp_path / "out") == 0
    notes = Run.open(tmp_path / "out").info["notes"]
    assert notes == [
        "Not compared, because not all runs have it: metric pointing-game of good.",
        "Not compared, because not all runs have it: metric dice of run.",
    ]


def test_runs_without_scores_twice_the_same_and_one_source_are_refused(
    scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        ((scored / "good", scored / "good"), "is named twice"),
        ((scored / "good",), "maps of one source"),
        ((scored / "good", f"control={scored / 'poor'}"), "cannot be called 'control'"),
        ((scored / "data",), "is not a run folder"),
    ):
        assert run_compare(*words, "--out", tmp_path / "out") == 1
        assert message in capsys.readouterr().err
    empty = Run.start(tmp_path / "empty", "score", {})
    assert run_compare(scored / "good", empty.path, "--out", tmp_path / "out2") == 1
    assert "has no scores; let it finish" in capsys.readouterr().err


def test_a_comparison_is_not_continued_with_other_scores(
    scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [shutil.copytree(scored / name, tmp_path / name) for name in ("good", "poor")]
    assert run_compare(*runs, "--out", tmp_path / "out") == 0
    table = Run.open(runs[1]).table("scores")
    Run.open(runs[1]).write_table("scores", table.assign(value=table["value"] / 2))
    assert run_compare(*runs, "--out", tmp_path / "out") == 1
    assert "compared other scores of poor" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/run.json").read_text())["study"] == "compare"
