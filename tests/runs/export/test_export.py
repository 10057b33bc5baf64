"""What is exported scores as the run itself, opens elsewhere, and gives nobody's name away."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO

import sightline as sl
from runs.export.conftest import CROP, FINDINGS, SIZE, make_run
from sightline._cli.app import main
from sightline.core import Frame
from sightline.errors import DataError
from sightline.imaging.geometry import project_whole
from sightline.imaging.masks import rasterize_annotation
from sightline.metrics.placed_map import binarize_map
from sightline.protocol import CORRECTED
from sightline.runs.export import export_run, exporters

KEY = ["protocol", "source", "radiograph", "finding", "metric"]


def scores(maps: object, data: sl.Dataset, protocol: str = "corrected") -> pd.DataFrame:
    table = sl.score(
        maps, data, ["iou", "pointing-game", "pixel-auroc", "iou@top:0.1", "relevance-mass"], protocol=protocol
    )
    return table.sort_values(KEY, ignore_index=True)


def index(out: Path) -> list[dict[str, str]]:
    with (out / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("format", ["npz", "nifti", "dicom-pm"])
def test_exported_maps_score_as_the_run_itself(dicom_run: sl.Run, exported, format: str) -> None:
    data = sl.open_dataset(dicom_run.info["dataset"]["spec"])
    folder = sl.open_maps(exported("dicom", format) / "maps", data)
    assert folder.problems == () and len(folder) == 6
    again, before = scores(folder, data), scores(dicom_run, data)
    assert list(folder.sources) == ["net/grad-cam"] and len(again) == 30
    columns = ["value", "status", "area"] + (["probability"] if format != "dicom-pm" else [])
    pd.testing.assert_frame_equal(again[KEY + columns], before[KEY + columns], check_exact=True)


def test_raw_maps_score_alike_under_both_protocols_laid_ones_where_the_model_saw_all(tmp_path: Path) -> None:
    for frame, formats in ((CROP, ["npz"]), (Frame.whole(SIZE), ["npz", "nifti", "dicom-pm"])):
        run = make_run(tmp_path / str(frame.is_whole), frame=frame, both=True)
        data = sl.open_dataset(run.info["dataset"]["spec"])
        for format in formats:
            out = tmp_path / f"{frame.is_whole}-{format}"
            export_run(run.path, format=format, out=out)
            again, before = (scores(m, data, "both") for m in (sl.open_maps(out / "maps", data), run))
            assert set(again["protocol"]) == {"published", "corrected"}
            pd.testing.assert_frame_equal(again[[*KEY, "value"]], before[[*KEY, "value"]], check_exact=True)


def test_the_command_scores_what_the_command_exported(dicom_run: sl.Run, exported, tmp_path: Path) -> None:
    spec = dicom_run.info["dataset"]["spec"]
    words = [
        "score",
        str(exported("dicom", "nifti") / "maps"),
        "--data",
        spec,
        "--out",
        str(tmp_path / "run"),
        "--metrics",
        "iou",
        "pointing-game",
        "--controls",
        "center",
    ]
    assert main(words) == 0
    kept = [[*KEY, "value"], "source == 'net/grad-cam' and metric in ('iou', 'pointing-game')"]
    again, before = (
        run.table("scores").query(kept[1]).sort_values(KEY, ignore_index=True)[kept[0]]
        for run in (sl.Run.open(tmp_path / "run"), dicom_run)
    )
    pd.testing.assert_frame_equal(again, before, check_exact=True)


def test_maps_of_another_tool_are_exported_too(dicom_run: sl.Run, exported, tmp_path: Path) -> None:
    """A run of `score` keeps no maps: they are read again from the folder that was scored."""
    spec, maps = dicom_run.info["dataset"]["spec"], exported("dicom", "npz") / "maps"
    words = ["score", str(maps), "--data", spec, "--metrics", "iou", "--controls", "center"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert main(["export", str(tmp_path / "run"), "--format", "nifti", "--out", str(tmp_path / "out")]) == 0
    again = sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out/maps").rglob("*.gz"))
    assert again == sorted(
        p.relative_to(exported("dicom", "nifti")) for p in (exported("dicom", "nifti") / "maps").rglob("*.gz")
    )


def test_nifti_lies_as_its_affine_says(dicom_run: sl.Run, exported) -> None:
    image = nibabel.load(exported("dicom", "nifti") / "maps/net/grad-cam/film0__Lung Opacity.nii.gz")
    m = dicom_run.map("net/grad-cam", "film0", "Lung Opacity")
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32)[:, :, 0].T, project_whole(m.values, m.frame))
    assert nibabel.aff2axcodes(image.affine) == ("L", "I", "P")  # columns to the patient's left, rows to the feet
    assert np.linalg.det(image.affine) == pytest.approx(1)
    assert image.header.get_zooms() == (1, 1, 1)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools under NumPy 2
def test_coco_opens_and_holds_every_mask(dicom_run: sl.Run, exported) -> None:
    out = exported("dicom", "coco")
    coco = COCO(str(out / "annotations.json"))
    data = sl.open_dataset(dicom_run.info["dataset"]["spec"])
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(FINDINGS)
    images = {i["radiograph"]: i for i in coco.loadImgs(coco.getImgIds())}
    assert list(images) == [r.id for r in data.radiographs]
    assert images["film0"] == {"id": 1, "file_name": "film0.dcm", "height": 40, "width": 48, "radiograph": "film0"}
    seen = set()
    for a in coco.loadAnns(coco.getAnnIds()):
        image, finding = coco.loadImgs(a["image_id"])[0], FINDINGS[a["category_id"] - 1]
        if a["source"] == "reader/truth":
            expected = rasterize_annotation(data.annotation(image["radiograph"], finding, "truth"))
        else:
            expected = binarize_map(dicom_run.map(a["source"], image["radiograph"], finding), CORRECTED)
            assert a["binarizer"] == "corrected, otsu" and a["frame"] == list(CROP.box)
        np.testing.assert_array_equal(coco.annToMask(a).astype(bool), expected)
        assert a["area"] == expected.sum()
        seen.add((a["source"], image["radiograph"], finding))
    assert len(seen) == 6 + 5  # one map is flat
    assert [(r["status"], r["finding"]) for r in index(out) if not r["file"]] == [("flat", "Pleural Effusion")]


def test_another_binarizer_fewer_findings(dicom_run: sl.Run, tmp_path: Path) -> None:
    export_run(dicom_run.path, format="coco", out=tmp_path / "out", findings="Lung Opacity", binarizer="top:0.1")
    told = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [c["name"] for c in told["categories"]] == ["Lung Opacity"]
    areas = [a["area"] for a in told["annotations"] if a["source"] == "net/grad-cam"]
    assert all(abs(a - 0.1 * 40 * 40) < 20 for a in areas) and len(areas) == 3


def test_an_export_that_was_stopped_goes_on(dicom_run: sl.Run, tmp_path: Path, monkeypatch) -> None:
    out, calls = tmp_path / "out", []
    real = exporters["npz"].function

    def counting(plate, job):
        calls.append(plate.radiograph.id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        yield from real(plate, job)

    monkeypatch.setitem(exporters._entries, "npz", type(exporters["npz"])("npz", counting, exporters["npz"].info))
    with pytest.raises(KeyboardInterrupt):
        export_run(dicom_run.path, format="npz", out=out)
    assert not (out / "index.csv").exists()
    export_run(dicom_run.path, format="npz", out=out)
    assert calls == ["film0", "film1", "film1", "film2"] and len(index(out)) == 6
    export_run(dicom_run.path, format="npz", out=out)
    assert len(calls) == 4
    assert sorted(p.name for p in out.iterdir()) == [".export.json", "index.csv", "maps"]
    assert not list(out.rglob("*.partial*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "dicom-sag"], "did you mean 'dicom-seg'"),
        (["--format", "npz", "--sources", "net/lime"], "it has: net/grad-cam"),
        (["--format", "npz", "--findings", "Edima"], "Edima"),
        (["--format", "npz", "--binarizer", "often"], "allowed: 'otsu'"),
    ],
)
def test_what_cannot_be_exported(
    dicom_run: sl.Run, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(dicom_run.path), *words, "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_left_alone(dicom_run: sl.Run, tmp_path: Path, exported) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="not empty"):
        export_run(dicom_run.path, format="npz", out=tmp_path)
    with pytest.raises(DataError, match="other options"):
        export_run(dicom_run.path, format="npz", out=exported("dicom", "npz"), findings="Lung Opacity")


def test_names_cannot_lead_out_of_the_folder(dicom_run: sl.Run, tmp_path: Path) -> None:
    from sightline.runs.export.items import ExportJob, Pseudonyms

    job = ExportJob(dicom_run, None, dicom_run, tmp_path / "out", (), (), CORRECTED, False, Pseudonyms(b""))
    for name in ("../x", "/etc/x", "a/../../x", "", "a\0b"):
        with pytest.raises(DataError, match="cannot be the name"):
            job.file_path("maps", name)
    assert job.file_path("maps", "net/cam", "a/b.npz") == tmp_path / "out/maps/net/cam/a/b.npz"
