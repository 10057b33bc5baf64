"""Numbers of a run are of the files it was begun with: others are found out, and the same ones never refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sightline._cli.report import write_report
from sightline._cli.score import score_maps
from sightline.core import Dataset, Radiograph
from sightline.data import open_dataset
from sightline.errors import DataError, RunError
from sightline.imaging.image_files import read_image
from sightline.methods.explain import explain
from sightline.models import Model, wrap
from sightline.runs import fingerprints
from sightline.runs.provenance import open_inputs, record_inputs
from sightline.runs.run import Run
from sightline.web.viewer.run_index import RunIndex

SIZE = (40, 48)


def picture(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Six images with masks of Edema, boxes of Mass and labels; maps of Edema, uncompressed, of all but one."""
    root = tmp_path / "hospital"
    for n in range(6):
        mask = np.zeros(SIZE, np.uint8)
        mask[4 + n : 16 + n, 10:25] = 255
        picture(root / f"images/c{n}.png", np.random.default_rng(n).integers(0, 255, SIZE))
        picture(root / f"masks/Edema/c{n}.png", mask)
        if n < 5:
            (root / "maps").mkdir(exist_ok=True)
            np.savez(root / f"maps/c{n}_Edema.npz", map=mask[::4, ::4].astype(np.float32))
    rows = "".join(f"c{n},Mass,3,4,10,{12 + n}\n" for n in range(6))
    (root / "boxes.csv").write_text(f"image,finding,x,y,width,height\n{rows}")
    (root / "labels.csv").write_text("image,patient,Edema\n" + "".join(f"c{n},p{n},1\n" for n in range(6)))
    return root


def score(root: Path) -> Run:
    return score_maps(
        root / "maps",
        data=f"folder:{root}",
        out=root.parent / "run",
        metrics=("iou", "pointing-game"),
        controls=("center",),
    )


def flip_maps(root: Path) -> None:
    for file in (root / "maps").glob("*.npz"):
        np.savez(file, map=np.load(file)["map"][::-1])


def flip_masks(root: Path) -> None:
    for file in (root / "masks/Edema").glob("*.png"):
        picture(file, np.asarray(Image.open(file))[::-1])


def add_map(root: Path) -> None:
    np.savez(root / "maps/c5_Edema.npz", map=np.eye(10, 12, dtype=np.float32))


def other_boxes(root: Path) -> None:
    file = root / "boxes.csv"
    file.write_text(file.read_text().replace(",3,4,", ",4,3,"))  # as many bytes


def place_maps(root: Path) -> None:
    (root / "maps/maps.json").write_text('{"resize": "center-crop", "side": 32}')


def other_image(root: Path) -> None:
    picture(root / "images/c0.png", np.random.default_rng(99).integers(0, 255, SIZE))


def no_mask(root: Path) -> None:
    (root / "masks/Edema/c3.png").unlink()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (flip_maps, r"of maps: 5 changed \(.*maps/c0_Edema.npz\)\); give --out a new folder"),
        (add_map, r"of maps: 1 added \(.*maps/c5_Edema.npz\)"),
        (place_maps, r"of maps: 1 added \(.*maps/maps.json\)"),
        (flip_masks, r"of data: 6 changed \(.*masks/Edema/c0.png\)"),
        (other_boxes, r"of data: 1 changed \(.*boxes.csv\)"),
        (other_image, r"of data: 1 changed \(.*images/c0.png\)"),
        (no_mask, r"of data: 1 gone \(.*masks/Edema/c3.png\)"),
    ],
)
def test_other_files_under_the_same_command_are_refused(
    hospital: Path, change: Callable[[Path], None], told: str
) -> None:
    run = score(hospital)
    before = run.table("scores")
    change(hospital)
    with pytest.raises(RunError, match=told):
        score(hospital)
    assert run.table("scores").equals(before)


def test_a_report_of_other_files_says_so_and_draws_none_of_them(hospital: Path) -> None:
    run = score(hospital)
    write_report(run.path)
    page = (run.path / "report.html").read_text()
    assert "The files changed after scoring" not in page
    drawn = page.count("<figure")
    flip_maps(hospital)
    write_report(run.path)
    page = (run.path / "report.html").read_text()
    assert "The files changed after scoring" in page
    assert "of maps: 5 changed" in page
    assert page.count("<figure") < drawn
    atlas = RunIndex.from_run(run)
    assert atlas.data is None
    assert not atlas.other_maps
    assert "they changed after the run (of maps: 5 changed" in atlas.notes[0]


def test_the_same_contents_go_on(hospital: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Touched, written again, or beside files that are no part of them; and what is settled is not read again."""
    run = score(hospital)
    for file in [p for p in hospital.rglob("*") if p.is_file()]:
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
        os.utime(file, (1, 1))
    (hospital / "notes.csv").write_text("mine")
    (hospital / "masks/.DS_Store").write_text("")
    monkeypatch.setattr(fingerprints, "CLOCK_RESOLUTION_NS", 0)
    score(hospital)
    known = fingerprints.load_fingerprints(run)
    assert known is not None
    assert all(seen.ctime_ns and len(seen.digest) == 64 for seen in known.values())
    monkeypatch.setattr(fingerprints.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    score(hospital)


def test_a_stopped_run_goes_on_and_an_old_one_gains_the_record(hospital: Path) -> None:
    run = score(hospital)
    before = run.table("scores")
    (run.path / "parts/inputs/files.parquet").unlink()
    (run.path / "tables/scores.parquet").unlink()
    part = run.part("scores", "000000").stat()
    assert score(hospital).table("scores").equals(before)
    assert run.part("scores", "000000").stat().st_mtime_ns == part.st_mtime_ns  # and was not made again
    flip_maps(hospital)
    with pytest.raises(RunError, match="of maps: 5 changed"):
        score(hospital)


def test_of_a_release_only_tables_and_the_images_of_the_data_set_are_read(tmp_path: Path) -> None:
    for name in ("mine.png", "another.png"):
        picture(tmp_path / "images" / name, np.eye(8))
    (tmp_path / "labels.csv").write_text("image\n")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    mine = Radiograph("mine", "p", partial(read_image, tmp_path / "images/mine.png"))
    data = Dataset("nih", f"nih:{tmp_path}", ("Edema",), (mine,), lambda *_: None)
    assert [*fingerprints.list_input_files(data)] == [tmp_path / "labels.csv", tmp_path / "images/mine.png"]


def test_of_a_large_image_the_ends_and_the_middle_are_read(tmp_path: Path) -> None:
    file = tmp_path / "images/a.dcm"
    file.parent.mkdir()
    content = np.random.default_rng(0).bytes(fingerprints.MAX_WHOLE_BYTES + 1)
    seen = []
    for change in (content, content, content[::-1], content[:-1] + b"?"):
        file.write_bytes(change)
        seen.append(next(iter(fingerprints.fingerprint_files({"data": [file]}, None).values())).digest)
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
    assert (
        fingerprints.fingerprint_files({"data": [tmp_path / "gone"]}, None)["data", str(tmp_path / "gone")].size == -1
    )


def net(seed: int) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    return wrap(layers, ["Edema"], side=32, channels=1, name="net")


def test_other_weights_are_refused(hospital: Path, tmp_path: Path) -> None:
    data = open_dataset(f"folder:{hospital}")
    made = explain(data, net(0), ["grad-cam"], out=tmp_path / "maps")
    assert len(list(explain(data, net(0), ["grad-cam"], out=made.path).maps_for("c0"))) == 1
    with pytest.raises(RunError, match=r"other weights of 'net' \(sha256 .*give --out a new folder"):
        explain(data, net(1), ["grad-cam"], out=made.path)


def test_data_changed_after_opening_is_not_opened_again_by_its_spec(tmp_path: Path) -> None:
    data = open_dataset("phantom:2?size=64")
    run = Run.start(tmp_path / "run", "score", {})
    assert open_inputs(record_inputs(run, data, ()))[0].derived == ()
    run = Run.start(tmp_path / "derived", "score", {})
    run = record_inputs(run, replace(data, derived=("labels shuffled, seed 3",)), ())
    with pytest.raises(
        DataError, match=r"phantom:2\?size=64 was changed after it was opened \(labels shuffled, seed 3\)"
    ):
        open_inputs(Run.open(run.path))
