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
from sightline.errors import DataError
from sightline.runs.run import Run
from sightline.studies.localization import localization
from viewing import can_be_looked_at

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WORDS = [
    "localization",
    "--data",
    "phantom:40?size=64",
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
    assert sightline(*WORDS, "--out", str(out), stdout=subprocess.DEVNULL).wait() == 0
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
    assert json.loads((finished / "run.json").read_text())["dataset"]["radiographs"] == 40


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
    assert sightline(*WORDS, "--out", str(out), stdout=subprocess.DEVNULL).wait() == 0
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


def test_a_real_data_set_needs_a_model(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "boxes.csv").write_text("image,finding,x,y,width,height\n")
    with pytest.raises(DataError):
        localization(data=f"folder:{tmp_path}", out=tmp_path / "run")


def test_its_run_can_be_looked_at(finished: Path) -> None:
    can_be_looked_at(finished)
