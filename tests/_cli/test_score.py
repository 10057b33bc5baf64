"""What `score` counts: the same findings for every source, and nothing that was asked for leaves the mean."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline._cli.app import main
from sightline.evaluation.scoring import score
from sightline.runs.run import Run
from unread import without_reports

CONTROL = "control/center"


def marked(folder: Path, *findings: str, count: int = 3) -> Path:
    """Images, and on each a mark of every finding."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for n in range(count):
        Image.fromarray(rng.integers(0, 255, (24, 32), np.uint8)).save(folder / f"images/case{n}.png")
        for place, finding in enumerate(findings):
            mask = np.zeros((24, 32), np.uint8)
            mask[4 + n : 12 + n, 4 + 6 * place : 12 + 6 * place] = 255
            for reader in ("masks", "masks_second"):
                (folder / reader / finding).mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(folder / reader / finding / f"case{n}.png")
    return folder


def mapped(data: Path, folder: Path, *findings: str) -> Path:
    """A map for every mark, as good as the mark."""
    folder.mkdir()
    for file in sorted(path for finding in findings for path in (data / "masks" / finding).iterdir()):
        values = np.asarray(Image.open(file))[::2, ::2].astype(np.float32)
        np.savez(folder / f"{file.stem}_{file.parent.name}.npz", map=values)
    return folder


def run(maps: Path, data: Path, out: Path, *more: str, reported: bool = False) -> int:
    """Score as a user does; a report is written only for a test that reads it."""
    options = ["--metrics", "iou", "--controls", "center", "--no-include-unannotated"]
    with nullcontext() if reported else without_reports():
        return main(["score", str(maps), "--data", f"folder:{data}", "--out", str(out), *options, *more])


def means(out: Path) -> dict[str, float]:
    table = Run.open(out).table("estimates")
    rows = table[table["finding"] == "average"]
    return dict(zip(rows["source"], rows["mean"], strict=True))


def counted(out: Path) -> dict[str, int]:
    table = Run.open(out).table("scores")
    return dict(table[table["metric"] == "iou"].groupby("source").size())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return marked(tmp_path / "data", "Edema", "Mass", "Nodule")


def test_a_finding_that_was_named_counts_without_maps(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = mapped(data, tmp_path / "maps", "Edema", "Mass")
    assert run(both, data, tmp_path / "whole", "--findings", "Edema, Mass", reported=True) == 0
    for file in both.glob("*_Mass.npz"):
        file.unlink()
    assert run(both, data, tmp_path / "less", "--findings", "Edema, Mass", reported=True) == 0
    assert means(tmp_path / "less")["maps"] == pytest.approx(means(tmp_path / "whole")["maps"] / 2)
    assert counted(tmp_path / "less") == counted(tmp_path / "whole")
    status = Run.open(tmp_path / "less").table("status")
    assert status[(status["source"] == "maps") & (status["status"] == "missing")]["maps"].tolist() == [3]
    assert "no map is of Mass" in capsys.readouterr().err
    assert "maps has no map of Mass" in (tmp_path / "less/report.html").read_text()
    assert "has no map of" not in (tmp_path / "whole/report.html").read_text()


def test_the_library_counts_what_was_named_too(toy_data, toy_maps) -> None:
    only = [m for m in toy_maps if m.finding == "Mass"]
    table = score(only, toy_data, ["iou"], findings=("Edema", "Mass"))
    assert set(table[table["finding"] == "Edema"]["status"]) == {"missing"}


def test_one_table_has_one_set_of_findings(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = mapped(data, tmp_path / "maps", "Edema")
    mapped(data, maps / "other", "Mass")
    assert run(maps, data, tmp_path / "run") == 0
    assert set(counted(tmp_path / "run").values()) == {6} and len(counted(tmp_path / "run")) == 4
    assert json.loads((tmp_path / "run/run.json").read_text())["findings"] == ["Edema", "Mass"]
    told = capsys.readouterr().err
    assert "findings scored: Edema, Mass (1 other is not)" in told
    assert "no map of other is of Edema" in told


def stray(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "holds no file"),
        (("case0_Edema.npy", "case1_Edema.jpg"), "none of the 2 files"),
        (("scan7.png",), "the only file"),
        (("Edema/case0.png",), "write RADIOGRAPH/FINDING"),
    ],
)
def test_a_folder_without_a_usable_map_is_an_error_before_any_work(
    names: tuple[str, ...], said: str, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "maps").mkdir()
    assert run(stray(tmp_path / "maps", names), data, tmp_path / "run") == 1
    told = capsys.readouterr().err
    assert said in told and "RADIOGRAPH_FINDING" in told
    assert all(name in told for name in names)
    assert not (tmp_path / "run").exists()


def test_findings_without_maps_or_marks_are_errors_that_name_others(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = mapped(data, tmp_path / "maps", "Edema")
    assert run(maps, data, tmp_path / "run", "--findings", "Nodule") == 1
    assert "is of Nodule; it has maps of Edema" in capsys.readouterr().err
    for reader in ("masks", "masks_second"):
        (data / reader / "Edema").rename(data / reader / "Edma")
    (data / "labels.csv").write_text("image,patient,Edema\ncase0,a,1\ncase1,b,1\ncase2,c,1\n")
    assert run(maps, data, tmp_path / "run", "--findings", "Edema") == 1
    told = capsys.readouterr().err
    assert "no annotation of Edema" in told and "Edma (3)" in told
    assert not (tmp_path / "run").exists()


def test_thresholds_tuned_on_the_data_that_is_scored_say_so(tmp_path: Path, data: Path) -> None:
    maps = mapped(data, tmp_path / "maps", "Edema")
    tuned, sweep = tmp_path / "tuned", ["--include-unannotated", "--metrics", "iou", "iou@above:0.2", "iou@above:0.4"]
    words = ["score", str(maps), "--data", f"folder:{data}", "--out", str(tuned), "--controls", "center", *sweep]
    with without_reports():
        assert main(words) == 0
    assert run(maps, data, tmp_path / "self", "--map-thresholds", str(tuned), reported=True) == 0
    page = (tmp_path / "self/report.html").read_text()
    assert "Thresholds were tuned on the data that is scored" in page and "3 of the 3 patients" in page
    elsewhere = marked(tmp_path / "elsewhere", "Edema", count=4)
    assert run(maps, elsewhere, tmp_path / "other", "--map-thresholds", str(tuned), reported=True) == 0
    page = (tmp_path / "other/report.html").read_text()
    assert f"tuned on folder:{data}" in page and "tuned on the data" not in page
    (tmp_path / "t.csv").write_text("threshold,task\n0.4,Edema\n")
    assert run(maps, data, tmp_path / "csv", "--map-thresholds", str(tmp_path / "t.csv"), reported=True) == 0
    page = (tmp_path / "csv/report.html").read_text()
    assert f"from {tmp_path / 't.csv'}" in page and "tuned on the data" not in page


def test_the_best_is_chosen_where_it_was_scored_before(tmp_path: Path, data: Path) -> None:
    """Method a is better on the radiographs that are scored, b on those that choose."""
    other = marked(tmp_path / "other", "Edema", count=4)
    for name, folder, good in (("test", data, "a"), ("val", other, "b")):
        (tmp_path / name).mkdir()
        for method in "ab":
            for file in mapped(folder, tmp_path / name / method, "Edema").iterdir():
                if method != good:
                    np.savez(file, map=np.load(file)["map"][:, ::-1])
    assert run(tmp_path / "val", other, tmp_path / "chosen", "--findings", "Edema") == 0
    options = ("--findings", "Edema", "--select-on", str(tmp_path / "chosen"))
    assert run(tmp_path / "test", data, tmp_path / "tested", *options, reported=True) == 0
    assert run(tmp_path / "test", data, tmp_path / "same", "--findings", "Edema", reported=True) == 0
    tested, same = Run.open(tmp_path / "tested"), Run.open(tmp_path / "same")
    assert tested.table("best_sources")["source"].tolist() == ["b"] and same.table("best_sources")[
        "source"
    ].tolist() == ["a"]
    assert tested.table("estimates").equals(same.table("estimates")), "what is measured does not depend on the choice"
    page = (tmp_path / "tested" / "report.html").read_text("utf-8")
    assert "chosen from 2 saliency methods" in page and "best on the selection data" in page
    assert "The best of 2 saliency methods" in (tmp_path / "same" / "report.html").read_text("utf-8")


def test_another_selection_is_refused(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = mapped(data, tmp_path / "maps", "Edema", "Mass")
    assert run(maps, data, tmp_path / "both") == 0
    assert run(maps, data, tmp_path / "one", "--findings", "Edema", "--select-on", str(tmp_path / "both")) == 1
    assert "3 of the 3 patients" in capsys.readouterr().err
    other = marked(tmp_path / "other", "Edema", "Mass", count=4)
    assert run(mapped(other, tmp_path / "others", "Edema", "Mass"), other, tmp_path / "wrong") == 0
    assert run(maps, data, tmp_path / "two", "--findings", "Edema", "--select-on", str(tmp_path / "wrong")) == 1
    assert "scored the findings Edema, Mass" in capsys.readouterr().err
    assert run(maps, data, tmp_path / "three", "--select-on", str(tmp_path / "wrong")) == 1
    assert "no score of the source maps, only of others" in capsys.readouterr().err
