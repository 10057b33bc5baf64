"""The localization study end to end on the phantom, through the command line as a user calls it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightline._cli.app import main
from sightline.errors import DataError, SightlineError
from sightline.runs.run import Run
from sightline.studies.localization import localization
from viewing import can_be_looked_at

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WORDS = [
    "localization",
    "--data",
    "phantom:24?size=64",
    "--model",
    "add_a_model:tiny",
    "--methods",
    "grad-cam",
    "integrated-gradients?nodes=2",
    "--metrics",
    "iou",
    "pointing-game",
    "--protocol",
    "both",
]


def sightline(*words: str, **options: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", "import sys; from sightline._cli.app import main; sys.exit(main())"]
    return subprocess.Popen([*command, *words], env=environment, stderr=subprocess.DEVNULL, **options)


def digest(run: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((run / "tables").iterdir())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "run"
    sys.path.insert(0, str(EXAMPLES))
    assert main([*WORDS, "--out", str(out)]) == 0
    return out


def test_the_run_holds_what_a_report_needs(finished: Path) -> None:
    run = Run.open(finished)
    sources = set(run.table("scores")["source"])
    assert {"tiny/grad-cam", "control/untrained/grad-cam", "control/center", "reader/simulated radiologist"} <= sources
    estimates = run.table("estimates")
    assert {"published", "corrected"} == set(estimates["protocol"])
    assert (estimates["n"] > 0).all()
    assert run.info["models"][0]["training"] is None
    assert (finished / "report.html").stat().st_size > 20_000
    assert json.loads((finished / "run.json").read_text())["dataset"]["radiographs"] == 24


def test_the_simulated_reader_beats_an_untrained_network(finished: Path) -> None:
    average = Run.open(finished).table("estimates").query("finding == 'average' and protocol == 'corrected'")
    iou = average[average["metric"] == "iou"].set_index("source")["mean"]
    assert iou.idxmax() == "reader/simulated radiologist"
    assert iou.max() > 0.5


def test_killed_anywhere_and_started_again_gives_identical_tables(finished: Path, tmp_path: Path) -> None:
    """kill -9 while explaining, then while scoring; what is done is not done again."""
    out = tmp_path / "cut"
    for kind in ("maps-tiny", "scores"):
        child = sightline(*WORDS, "--out", str(out), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while child.poll() is None and not list((out / "parts" / kind).glob("0*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert child.poll() is None, "the study ended before it could be killed"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    part = out / "parts" / "maps-tiny" / "000000" / "zarr.json"
    before = part.stat().st_mtime_ns
    assert main([*WORDS, "--out", str(out)]) == 0
    assert part.stat().st_mtime_ns == before
    assert digest(out) == digest(finished)


def test_other_options_on_the_same_folder_are_refused(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [w if w != "both" else "corrected" for w in WORDS]
    sys.path.insert(0, str(EXAMPLES))
    assert main([*words, "--out", str(finished)]) == 1
    assert "protocol was 'both', now 'corrected'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "folder:nowhere", "model": ("small",)}, "nowhere"),
        ({"methods": ("grad-can",)}, "did you mean 'grad-cam'"),
        ({"methods": ("integrated-gradients?node=3",)}, "node"),
        ({"metrics": ("iuo",)}, "did you mean 'iou'"),
        ({"metrics": ()}, "at least one"),
        ({"protocol": "fixed"}, "published, corrected, both"),
        ({"model": ("small",), "train_data": "phantom:9"}, "not both"),
        ({"model": ("no_such_module:make",)}, "no_such_module"),
        ({"model": ("small",), "findings": "Hernia"}, "Hernia"),
        ({"model": ("small",), "device": "tpu"}, "tpu"),
    ],
)
def test_wrong_options_are_told_before_any_work(options: dict[str, object], message: str, tmp_path: Path) -> None:
    from sightline.errors import SightlineError

    with pytest.raises(SightlineError, match=message):
        localization(**{"data": "phantom:2?size=64", **options}, out=tmp_path / "run")
    assert not list(tmp_path.glob("run/parts/scores/*"))


def test_weights_that_cannot_be_drawn_anew_are_refused_before_any_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quantized.py").write_text(
        "import torch, warnings\nfrom torch import nn\nimport sightline as sl\n\n\n"
        "def make():\n"
        "    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
        "    with warnings.catch_warnings():\n"
        "        warnings.simplefilter('ignore')\n"
        "        net = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})\n"
        "    return sl.wrap(net, ['Edema', 'Cardiomegaly'], 32, 'pad', channels=1, mean=0.5, std=0.25)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SightlineError, match=r"weights of .* cannot be drawn anew: 3 would stay as trained"):
        localization(data="phantom:4?size=48", model=["quantized:make"], methods=("occlusion",), out=tmp_path / "run")
    assert not list((tmp_path / "run").glob("parts/maps/*"))


def test_a_real_data_set_needs_a_model(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "boxes.csv").write_text("image,finding,x,y,width,height\n")
    with pytest.raises(DataError):
        localization(data=f"folder:{tmp_path}", out=tmp_path / "run")


def test_its_run_can_be_looked_at(finished: Path) -> None:
    can_be_looked_at(finished)


SMALL = {
    "model": ("add_a_model:tiny",),
    "methods": ("grad-cam", "gradient"),
    "metrics": ("iou",),
    "controls": ("center",),
}


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(EXAMPLES))
    out = tmp_path_factory.mktemp("selected") / "run"
    localization(data="phantom:30?size=48&split=test", select_on="phantom:60?size=48&split=val", out=out, **SMALL)
    return out


def test_the_best_is_chosen_on_the_selection_data_and_tested_once(selected: Path) -> None:
    run, nested = Run.open(selected), Run.open(selected / "selection")
    chosen = run.table("selection").set_index("source")["mean"]
    scored = nested.table("estimates").query("finding == 'average'").set_index("source")["mean"]
    assert chosen.to_dict() == scored.to_dict() and set(chosen.index) == {
        "tiny/grad-cam",
        "tiny/gradient",
        "control/center",
    }
    models = chosen[[source for source in chosen.index if source.startswith("tiny")]]
    assert run.table("best_sources")["source"].tolist() == [models.idxmax()]
    assert run.info["selection"]["data"] == nested.info["dataset"]["spec"] == "phantom:60?size=48&split=val"
    patients = set(nested.table("scores", ["patient"])["patient"])
    assert patients.isdisjoint(run.table("scores", ["patient"])["patient"])
    assert "selection" not in nested.info, "it is a run like any other, which chose nothing"


def test_a_run_may_choose_but_not_among_its_own_patients(selected: Path, tmp_path: Path) -> None:
    val = selected / "selection"
    again = localization(data="phantom:30?size=48&split=test", select_on=str(val), out=tmp_path / "a", **SMALL)
    best = "best_sources"
    assert again.table(best).equals(Run.open(selected).table(best))
    for name, select_on, message in (
        ("b", str(selected), "scored .* of the .* patients of .*, such as .* chosen on other patients"),
        ("c", "phantom:30?size=48", "the choice of the best source .* of the .* patients"),
    ):
        with pytest.raises(DataError, match=message):
            localization(data="phantom:30?size=48&split=test", select_on=select_on, out=tmp_path / name, **SMALL)
        assert not (tmp_path / name / "selection").exists(), "refused before the work"
    more = {**SMALL, "methods": ("grad-cam", "occlusion")}
    with pytest.raises(DataError, match="no score of the source tiny/occlusion"):
        localization(data="phantom:30?size=48&split=test", select_on=str(val), out=tmp_path / "d", **more)


def test_an_average_of_training_annotations_is_a_control_named_for_its_data(tmp_path: Path) -> None:
    sys.path.insert(0, str(EXAMPLES))
    options = {**SMALL, "methods": ("gradient",), "data": "phantom:12?size=48&split=test"}
    run = localization(prior="phantom:12?size=48&split=train", out=tmp_path / "a", **options)
    source = "control/average-mask?prior=phantom:12?size=48&split=train"
    assert source in set(run.table("estimates")["source"]) and source in run.info["sources"]
    with pytest.raises(DataError, match=r"the average mask learned from phantom:12\?size=48, and .* patients"):
        localization(prior="phantom:12?size=48", out=tmp_path / "b", **options)
