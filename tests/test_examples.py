"""The five recipes of CONTRIBUTING.md run as written, and stay within their length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline as sl
from sightline._cli.app import app, main
from sightline.data.registry import datasets
from sightline.errors import UnknownNameError
from sightline.methods.registry import methods
from sightline.metrics.registry import metrics
from sightline.studies.registry import load_section, studies

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.parametrize(
    ("name", "lines"), [("add_a_metric", 8), ("add_a_model", 12), ("add_a_method", 15), ("add_a_data_set", 30)]
)
def test_a_recipe_is_short(name: str, lines: int) -> None:
    code = (EXAMPLES / f"{name}.py").read_text().split('"""', 2)[2]
    body = [line for line in code.splitlines() if line.strip() and not line.startswith(("import ", "from "))]
    assert len(body) <= lines


def test_add_a_metric(toy_data: sl.Dataset, toy_maps: list[sl.SaliencyMap], plugin) -> None:
    with plugin("add_a_metric", metrics, "center-hit"):
        values = sl.score(toy_maps, toy_data, ["center-hit"])["value"]
    assert set(values) <= {0.0, 1.0}
    assert values.mean() > 0.5


def test_add_a_model_and_a_method(plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    model = sl.open_model("add_a_model:tiny")
    data = sl.open_dataset("phantom:2?size=64")
    x, _ = model.prepare(data.radiographs[0].read())
    with plugin("add_a_method", methods, "my-gradient-x-input"):
        maps = sl.saliency(model, x[None], None, ["my-gradient-x-input", "grad-cam"])
    assert maps["my-gradient-x-input"].shape == (1, 2, 96, 96)
    assert maps["grad-cam"].shape == (1, 2, 12, 12)


def test_add_a_data_set(tmp_path: Path, plugin) -> None:
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "circles.csv").write_text("image,finding,row,col,radius\na,Mass,20,25,6\n")
    with plugin("add_a_data_set", datasets, "circles"):
        data = sl.open_dataset(f"circles:{tmp_path}")
        mark = data.annotation("a", "Mass", "truth")
    assert mark is not None
    assert mark.read().sum() == pytest.approx(np.pi * 36, rel=0.1)
    assert data.annotation("a", "Edema", "truth") is None


def test_add_a_study(tmp_path: Path, plugin, capsys: pytest.CaptureFixture[str]) -> None:
    """One file adds a command, a table, a figure, a sentence and a section, and nothing else is edited."""
    path, out = EXAMPLES / "add_a_study.py", tmp_path / "run"
    assert path.read_text().count("\n") <= 150
    question = "How well do maps that never see the image localize each finding?"
    words = ["--plugin", str(path)]
    try:
        with plugin("add_a_study", studies, "location"):
            spec = ["--data", "phantom:12?size=64", "--findings", "Edema, Cardiomegaly", "--out", str(out)]
            assert main([*words, "location", *spec]) == 0
            assert "Difference" in capsys.readouterr().out, "its table comes first on the terminal"
            assert main([*words, "list", "studies"]) == 0
            assert question.split(" that")[0] in capsys.readouterr().out
            assert main([*words, "--help"]) == 0
            assert "location " in capsys.readouterr().out
            page = (out / "report.html").read_text("utf-8")
        with pytest.raises(UnknownNameError):
            studies["location"]
        assert load_section("location").sentences is load_section("score").sentences
    finally:
        del app["location"]
    assert "The average annotation of other patients, which never sees the image, reaches" in page
    assert "Figure 1.</b> Average precision of two maps that never see the image" in page
    assert page.index('id="location"') < page.index('id="localization"')
    assert (out / "figures" / "location.svg").is_file() and (out / "tables" / "location_gain.csv").is_file()
    assert main(["report", str(out)]) == 0, "without the plug-in the general report is written"
    assert 'id="location"' not in (out / "report.html").read_text("utf-8")
