"""A run folder survives kills, refuses strangers, and gives maps back bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sightline.core import Frame, SaliencyMap
from sightline.errors import RunError
from sightline.maps.storage import write_maps
from sightline.runs.run import Run


def maps(ids: list[str], source: str = "net/cam", shape: tuple[int, int] = (5, 6)) -> list[SaliencyMap]:
    rng = np.random.default_rng(0)
    frame = Frame((50, 60), (0.0, 5.5, 50.0, 55.25))
    return [
        SaliencyMap(i, f, source, rng.normal(size=shape).astype(np.float32) * 1e-9, frame, 0.25)
        for i in ids
        for f in ("Edema", "Mass")
    ]


def stored(run: Run, ids: list[str], key: str = "000000", kind: str = "maps-net") -> list[SaliencyMap]:
    held = maps(ids)
    held[1] = replace(
        held[1], values=np.zeros((0, 0), np.float32), status="refused", reason="no", probability=float("nan")
    )
    run.write_part(kind, key, lambda path: write_maps(path, ids, ["Edema", "Mass"], {"net/cam": held}))
    return held


def test_maps_come_back_bit_for_bit(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "explain", {})
    held = stored(run, ["a", "b"]) + stored(run, ["c"], "000002")
    assert run.sources == {"net/cam": ("Edema", "Mass")}
    back = [m for i in "abc" for m in Run.open(run.path).maps_for(i)]
    for m, b in zip(held, back, strict=True):
        assert (m.values == b.values).all()
        assert replace(m, values=b.values, probability=0) == replace(b, probability=0)
        assert m.probability == b.probability or np.isnan([m.probability, b.probability]).all()
    assert run.map("net/cam", "b", "Mass") is not None
    assert run.map("net/cam", "z", "Mass") is None


def test_a_small_map_is_stored_small(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "explain", {})
    ids = [f"r{i}" for i in range(32)]
    run.write_part(
        "maps-n", "0", lambda p: write_maps(p, ids, ["Edema", "Mass"], {"n/cam": maps(ids, "n/cam", (10, 10))})
    )
    size = sum(f.stat().st_size for f in run.part("maps-n", "0").rglob("*") if f.is_file())
    assert size / 64 < 800  # bytes per map of 10 × 10 float32


def test_other_options_are_refused_by_name(tmp_path: Path) -> None:
    Run.start(tmp_path / "run", "localization", {"seed": 0, "data": "phantom:9"})
    Run.start(tmp_path / "run", "localization", {"seed": 0, "data": "phantom:9"})
    with pytest.raises(RunError, match=r"seed was 0, now 1"):
        Run.start(tmp_path / "run", "localization", {"seed": 1, "data": "phantom:9"})
    with pytest.raises(RunError, match="'localization' run, not 'trust'"):
        Run.start(tmp_path / "run", "trust", {})


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is not a run"):
        Run.start(tmp_path, "localization", {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_damaged_run_json_is_told(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "localization", {})
    (run.path / "run.json").write_text('{"study": ')
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        Run.open(run.path)
    with pytest.raises(RunError, match="has no run"):
        Run.open(tmp_path)


@pytest.mark.parametrize("text", ['{"study": "localization", "options": {}}', '{"format": 1, "study": "localization"}'])
def test_a_run_of_another_format_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    for begin in (Run.open, lambda path: Run.start(path, "localization", {})):
        with pytest.raises(RunError, match=r"this run states .*reads format 2; start it again in a new folder"):
            begin(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(RunError, match="is damaged: it holds no object"):
        Run.open(tmp_path)


def test_stored_maps_of_another_format_are_refused(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "localization", {})
    run.write_part("maps-net", "000000", lambda path: write_maps(path, [], [], {}))
    file = run.part("maps-net", "000000") / "zarr.json"
    assert next(run.map_attributes())["format"] == 2
    file.write_text(file.read_text().replace('"format": 2', '"format": 1'))
    for read in (lambda: list(run.maps_for("a")), lambda: run.sources, lambda: list(run.map_attributes())):
        with pytest.raises(RunError, match="this part of stored maps states format 1, and this version reads format 2"):
            read()


def _hold(path: Path, ready: multiprocessing.synchronize.Event) -> None:
    with Run.open(path).lock():
        ready.set()
        signal.pause()


def test_two_processes_on_one_folder_refuse_each_other_until_one_is_killed(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "localization", {})
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    other = spawn.Process(target=_hold, args=(run.path, ready))
    other.start()
    assert ready.wait(60)
    with pytest.raises(RunError, match=f"process {other.pid}"), run.lock():
        pass
    os.kill(other.pid or 0, signal.SIGKILL)
    other.join()
    with run.lock():
        pass


def test_a_part_is_whole_or_absent(tmp_path: Path) -> None:
    """kill -9 in the middle of writing a part leaves no part; the next attempt writes it."""
    code = """
        import os, signal, sys
        from pathlib import Path
        from sightline.runs.run import Run

        def write(folder):
            folder.mkdir()
            (folder / "half").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

        Run.start(sys.argv[1], "explain", {}).write_part("maps-x", "0", write)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "run")], check=False)
    assert done.returncode == -signal.SIGKILL
    run = Run.open(tmp_path / "run")
    assert not run.part("maps-x", "0").exists()
    run.write_part("maps-x", "0", lambda p: (p.mkdir(), (p / "whole").write_text("whole"))[0])
    assert [p.name for p in run.part("maps-x", "0").iterdir()] == ["whole"]
    assert not list(run.path.rglob("*.partial"))


def test_a_full_disk_is_told_and_leaves_no_part(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "explain", {})

    def write(folder: Path) -> None:
        folder.mkdir()
        with Path("/dev/full").open("w") as device:  # the kernel's own full disk
            device.write("x" * 100_000)

    with pytest.raises(RunError, match="the disk is full"):
        run.write_part("maps-x", "0", write)
    assert not run.part("maps-x", "0").exists()


def test_tables_hold_no_nan_but_an_empty_cell(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "explain", {})
    run.write_table("scores", pd.DataFrame({"metric": ["iou", "pointing-game"], "value": [0.5, np.nan]}))
    assert (run.path / "tables" / "scores.csv").read_text() == '"metric","value"\n"iou",0.5\n"pointing-game",\n'
    assert run.table("scores", where=("metric", "iou"))["value"].tolist() == [0.5]
    assert run.has_table("scores")
    with pytest.raises(RunError, match="it has: scores"):
        run.table("estimates")


def test_what_another_holder_of_the_run_noted_is_kept(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "explain", {"seed": 0})
    run.update_info(one=1)
    assert run.update_info(two=2).info.items() >= {"one": 1, "two": 2}.items()


def test_run_json_is_strict(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "explain", {"seed": 0}).update_info(models=[{"val_auroc": 0.9}])
    assert json.loads((run.path / "run.json").read_text())["models"] == [{"val_auroc": 0.9}]
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.update_info(bad=float("nan"))
