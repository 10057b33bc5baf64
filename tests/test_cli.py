"""The command line: every command on real input, and errors a user can act on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.cli import main
from sightline.metrics import metrics

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_maps_of_another_tool_are_scored_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a quality engineer does: images, masks and maps in folders, one command, a report."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks/Edema", "maps"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for n in range(6):
        mask = np.zeros((60, 80), np.uint8)
        mask[10 + 3 * n : 30 + 3 * n, 20:45] = 255
        Image.fromarray(rng.integers(0, 255, (60, 80), np.uint8)).save(tmp_path / f"data/images/case{n}.png")
        Image.fromarray(mask).save(tmp_path / f"data/masks/Edema/case{n}.png")
        if n < 5:
            np.savez(tmp_path / f"data/maps/case{n}_Edema.npz", map=mask[::4, ::4].astype(np.float32))
    (tmp_path / "data/maps/stranger_Edema.npz").write_bytes((tmp_path / "data/maps/case0_Edema.npz").read_bytes())
    out = tmp_path / "run"
    words = ["score", str(tmp_path / "data/maps"), "--data", f"folder:{tmp_path / 'data'}", "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "1 maps of maps: missing" in printed.out
    assert "stranger" in printed.err + printed.out
    assert "stranger" in (out / "run.json").read_text()
    page = (out / "report.html").read_text()
    assert "missing" in page
    scores = (out / "tables/scores.csv").read_text()
    assert '"missing"' in scores
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == page
    assert main(["show", str(out)]) == 0


def test_list_and_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name in ("phantom", "chexlocalize", "grad-cam", "average-mask", "densenet121", "pixel-auroc"):
        assert name in printed
    assert main(["doctor"]) == 0
    assert "torchvision" in capsys.readouterr().out


def test_data_write_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "written"
    assert main(["data", "write", "phantom:6?size=64", "--format", "chexlocalize", "--out", str(out)]) == 0
    assert main(["data", "check", f"chexlocalize:{out}?split=test"]) == 0
    assert "radiographs of" in capsys.readouterr().out
    assert main(["data", "write", "phantom:6?size=64", "--format", "chexlocalize", "--out", str(out)]) == 1
    assert str(out) in capsys.readouterr().err


def test_a_plugin_is_listed(capsys: pytest.CaptureFixture[str], plugin) -> None:
    with plugin("add_a_metric", metrics, "center-hit"):
        assert main(["--plugin", str(EXAMPLES / "add_a_metric.py"), "list", "--kind", "metrics"]) == 0
    assert "center-hit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "nowhere"], "nowhere is not a run folder"),
        (["--plugin", "nowhere.py", "list"], "nowhere.py is not a file"),
        (["data", "check", "phantum:9"], "did you mean 'phantom'"),
        (["data", "check", "phantom:9?sise=3"], "no option 'sise'"),
        (["score", "nowhere", "--data", "phantom:2?size=64"], "nowhere"),
    ],
)
def test_errors_say_what_to_do(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    assert message in capsys.readouterr().err
