"""Scoring a run in parts: killed at any moment and started again, it ends in the same bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sightline.core import Dataset, SaliencyMap
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.maps.collections import CombinedMaps, InMemoryMaps
from sightline.maps.references import ReaderMaps
from sightline.protocol import PROTOCOLS
from sightline.runs.run import Run


def digest(run: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((run / "tables").iterdir())}


def run_it(path: Path, data: Dataset, maps: list[SaliencyMap], workers: int = 1) -> dict[str, str]:
    run = Run.start(path, "score", {})
    all_maps = CombinedMaps((InMemoryMaps.from_maps(maps), ReaderMaps(data)))
    options = ScoringOptions(PROTOCOLS["both"], data.findings, ("iou", "pointing-game"))
    score_run(run, all_maps, data, options, workers=workers)
    return digest(path)


def test_tables_are_the_same_however_many_workers(tmp_path: Path, toy_data: Dataset, toy_maps: list) -> None:
    one, four = (run_it(tmp_path / str(w), toy_data, toy_maps, w) for w in (1, 4))
    assert one == four
    assert {"scores.csv", "scores.parquet", "maps.parquet", "estimates.csv", "differences.csv", "status.csv"} <= set(
        one
    )


def test_again_on_a_finished_run_changes_nothing(tmp_path: Path, toy_data: Dataset, toy_maps: list) -> None:
    first = run_it(tmp_path / "run", toy_data, toy_maps)
    before = (tmp_path / "run/parts/scores/000000/scores.parquet").stat().st_mtime_ns
    assert run_it(tmp_path / "run", toy_data, toy_maps) == first
    assert (tmp_path / "run/parts/scores/000000/scores.parquet").stat().st_mtime_ns == before


def test_killed_anywhere_and_started_again_gives_identical_tables(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    code = f"""
        import importlib.util, sys, time
        from pathlib import Path
        sys.path.insert(0, {str(tests)!r})
        from conftest import FINDINGS, good_map, toy
        from sightline.maps.collections import InMemoryMaps
        from sightline.evaluation.score_rows import ScoringOptions
        from sightline.evaluation.score_run import score_run
        from sightline.protocol import PROTOCOLS
        from sightline.runs.run import Run
        data = toy(64)
        maps = InMemoryMaps.from_maps(good_map(r.id, f) for r in data.radiographs for f in FINDINGS)
        run = Run.start(sys.argv[1], "score", {{}})
        with run.lock():
            print("begun", flush=True)
            options = ScoringOptions(PROTOCOLS["both"], FINDINGS, ("iou", "pointing-game", "pixel-auroc"))
            score_run(run, maps, data, options, workers=2)
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    subprocess.run([*words, str(tmp_path / "whole")], check=True, capture_output=True)
    killed = 0
    for delay in (0.05, 0.15, 0.3):
        child = subprocess.Popen([*words, str(tmp_path / "cut")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)
        os.kill(child.pid, signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert killed
    subprocess.run([*words, str(tmp_path / "cut")], check=True, capture_output=True)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    parts = [p.name for p in sorted((tmp_path / "cut/parts/scores").iterdir())]
    assert parts == [f"{i:06d}" for i in range(0, 64, 8)]


def test_the_status_table_counts_every_map(tmp_path: Path, toy_data: Dataset, toy_maps: list) -> None:
    run_it(tmp_path / "run", toy_data, toy_maps[:-1])
    status = Run.open(tmp_path / "run").table("status")
    counted = status[status["source"] == "net/cam"]["maps"].sum()
    assert counted == len(toy_maps) - 1 or counted == len(toy_maps)
    assert pytest.approx(1.0) == status.groupby("source")["maps"].sum().loc["reader/second"] / 10
