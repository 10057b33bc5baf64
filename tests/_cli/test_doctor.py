"""The doctor names what is there and what is missing, in lines that fit, and fails only for what is needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline._cli import doctor as doctor_module
from sightline._cli.app import main
from sightline._cli.doctor import _format_check, check_extras, check_packages


def test_everything_is_told_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "mine/images").mkdir(parents=True)
    (tmp_path / "mine/masks/Edema").mkdir(parents=True)
    for folder in ("images", "masks/Edema"):
        Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "mine" / folder / "a.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/train-rle.csv").write_text("ImageId\n")
    monkeypatch.setenv("SIGHTLINE_DATA", str(tmp_path))
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    for word in (
        "sightline",
        "numpy 2",
        "processor",
        "cores",
        "disk",
        "bfloat16",
        "Grad-CAM",
        "channels-last",
        "dciodvfy",
    ):
        assert word in printed
    at = lines.index(f"  ok       folder:{tmp_path}/mine")
    assert lines[at + 1].strip().startswith("1 radiograph, 1 patient, 1 finding, read by truth")
    assert f"  absent   siim:{tmp_path}/broken" in lines  # found by chance: no reason to fail


def test_data_that_was_named_and_cannot_be_read_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--data", "phantom:3?size=64", "rsna:/nowhere"]) == 1
    printed = capsys.readouterr().out
    assert "3 radiographs" in printed and "MISSING  rsna:/nowhere" in printed


def test_what_is_missing_comes_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    gone = ("zarr", "highdicom")
    monkeypatch.setattr(doctor_module.importlib.util, "find_spec", lambda name: None if name in gone else real(name))
    assert [(s.status, s.name, s.message) for s in check_packages()][-1] == ("MISSING", "zarr", "pip install zarr")
    told = {s.name: s for s in check_extras()}["highdicom"]
    assert told.status == "absent" and "pip install 'sightline[dicom]'" in told.message
    assert "MISSING" in _format_check(next(s for s in check_packages() if s.name == "zarr"), 80)
