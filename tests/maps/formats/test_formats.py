"""What a file of any format holds arrives exactly, and in its place."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import zarr
from PIL import Image

from mapmaking import DATA, FINDINGS, GRID, SIZE, assert_holds, open_one, write_dicom, write_npz, write_pickle
from sightline.core import Array, Frame, SaliencyMap
from sightline.findings import CHEXPERT_FINDINGS
from sightline.imaging.geometry import input_frame
from sightline.maps.folder import open_maps
from sightline.maps.storage import write_maps
from sightline.runs.run import Run


def test_chexlocalize_pickle(tmp_path: Path) -> None:
    write_pickle(tmp_path / "p1_b_Edema_map.pkl")
    m = open_one(tmp_path)
    assert (m.radiograph, m.finding, m.probability) == ("p1_b", "Edema", 0.25)
    assert_holds(m, GRID, input_frame(SIZE, 320, "center-crop")[1])
    assert not m.frame.is_whole


def test_a_pickle_with_probabilities_of_all_labels(tmp_path: Path) -> None:
    every = np.arange(14) / 20
    write_pickle(tmp_path / "p1_Airspace Opacity_map.pkl", "Airspace Opacity", prob=every)
    m = open_one(tmp_path)
    assert m.finding == "Lung Opacity"
    assert m.probability == every[CHEXPERT_FINDINGS.index("Lung Opacity")]


@pytest.mark.parametrize(
    ("changes", "status", "why"),
    [
        ({"task": "Cardiomegaly"}, "refused", "shows 'Cardiomegaly'"),
        ({"cxr_dims": (30, 40)}, "refused", r"image of \(40, 30\), its radiograph is \(30, 40\)"),
        ({"cxr_dims": "large"}, "unreadable", "cxr_dims"),
        ({"cxr_dims": (40, float("inf"))}, "unreadable", "cxr_dims"),
        ({"prob": 1.5}, "unreadable", r"1\.5; it must lie in \[0, 1\]"),
        ({"prob": [[0.5], [0.25, 0.1]]}, "unreadable", "prob"),
        ({"prob": [0.5, 0.5]}, "unreadable", "2 numbers"),
        ({"map": "nothing"}, "unreadable", "holds str"),
        ({"map": np.zeros((3, 4, 4))}, "unreadable", r"\(3, 4, 4\)"),
        ({"map": np.zeros((1, 1, 0, 4))}, "unreadable", r"\(1, 1, 0, 4\)"),
        ({"map": np.full((1, 1, 2, 2), np.nan)}, "non-finite", "4 of 4"),
        ({"map": np.full((1, 1, 2, 2), 3.5)}, "flat", r"every value is 3\.5"),
    ],
)
def test_pickles_that_are_not_what_they_should_be(
    tmp_path: Path, changes: dict[str, Any], status: str, why: str
) -> None:
    file = write_pickle(tmp_path / "p1_Edema_map.pkl", **changes)
    m = open_one(tmp_path)
    assert m.status == status
    assert str(file) in m.reason and re.search(why, m.reason)


def test_a_malicious_pickle_is_a_map_that_failed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch '{tmp_path / 'executed'}'",)

    (tmp_path / "p1_Edema_map.pkl").write_bytes(pickle.dumps({"map": Evil()}))
    m = open_one(tmp_path)
    assert m.status == "unreadable" and "nothing was run" in m.reason
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("key", ["map", "values", "arr_0"])
@pytest.mark.parametrize("name", ["p1_Edema.npz", "p1__Edema.npz", "p1/Edema.npz", "p1_Edema_map.npz", "p1_edema.npz"])
def test_npz_of_one_map(tmp_path: Path, key: str, name: str) -> None:
    write_npz(tmp_path / "maps" / name, **{key: GRID, "box": np.array([1.5, 2, 20, 30]), "probability": 0.75})
    m = open_one(tmp_path / "maps")
    assert (m.radiograph, m.finding, m.source, m.probability) == ("p1", "Edema", "maps", 0.75)
    assert_holds(m, GRID, Frame(SIZE, (1.5, 2, 20, 30)))


def test_npz_of_many_maps(tmp_path: Path) -> None:
    arrays = {f"{r}/{f}": GRID + i for i, r in enumerate(("p1", "p 2")) for f in FINDINGS}
    write_npz(tmp_path / "ig.npz", **arrays, **{"p1/Edema/box": (0, 0, 10, 10), "p1/Edema/probability": 0.5})
    for path, options, source in (
        (tmp_path, {}, "ig"),
        (tmp_path / "ig.npz", {}, "ig"),
        (tmp_path / "ig.npz", {"source": "net/ig"}, "net/ig"),
        (tmp_path, {"source": "net"}, "net/ig"),
    ):
        folder = open_maps(path, DATA, **options)
        assert len(folder) == 6 and folder.problems == ()
        assert folder.sources == {source: FINDINGS}
        held = {(m.radiograph, m.finding): m for _, maps in folder.maps_by_radiograph() for m in maps}
        assert_holds(held["p 2", "Edema"], GRID + 1, Frame.whole(SIZE))
        assert_holds(held["p1", "Edema"], GRID, Frame(SIZE, (0, 0, 10, 10)))
        assert held["p1", "Edema"].probability == 0.5


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_group(tmp_path: Path, version: Any) -> None:
    group = zarr.open_group(tmp_path / "ig.zarr", mode="w", zarr_format=version)
    for name in ("p1/Edema", "p 2/Pleural Effusion"):
        array = group.create_array(name, data=GRID)
        array.attrs.update({"box": [0, 0, 15.5, 20], "probability": 0.125})
    group.create_array("p9/Edema", data=GRID)
    for path, source in ((tmp_path, "ig"), (tmp_path / "ig.zarr", "ig")):
        folder = open_maps(path, DATA)
        assert folder.sources == {source: ("Edema", "Pleural Effusion")}
        maps = [m for _, found in folder.maps_by_radiograph() for m in found]
        assert [(m.radiograph, m.finding, m.probability) for m in maps] == [
            ("p1", "Edema", 0.125),
            ("p 2", "Pleural Effusion", 0.125),
        ]
        for m in maps:
            assert_holds(m, GRID, Frame(SIZE, (0, 0, 15.5, 20)))
        assert len(folder.problems) == 1 and "'p9', which is no radiograph of tiny" in folder.problems[0]


def test_maps_that_a_run_stored(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "explain", {})
    frame = Frame(SIZE, (1, 2, 3, 4))
    bad = np.zeros((0, 0), np.float32)
    kept = [
        SaliencyMap("p1", "Edema", "net/ig", GRID, frame, 0.5),
        SaliencyMap("p1", "Other", "net/ig", GRID, frame, 0.5),
        SaliencyMap("gone", "Edema", "net/ig", GRID, frame),
        SaliencyMap("gone", "Other", "net/ig", bad, frame, status="refused", reason="because"),
    ]
    run.write_part("maps-0", "00", lambda path: write_maps(path, ["p1", "gone"], ["Edema", "Other"], {"net/ig": kept}))
    folder = open_maps(run.path, DATA)
    assert folder.sources == {"net/ig": ("Edema",)}
    (m,) = folder.maps_for("p1")
    assert_holds(m, GRID, frame)
    assert sorted(p.partition(" has ")[2] for p in folder.problems) == [
        "maps of finding 'Other', which is not in tiny",
        "maps of radiograph 'gone', which is not in tiny",
    ]
    (renamed,) = open_maps(run.path, DATA, source="copy", resize="stretch").maps_for("p1")
    assert renamed.source == "copy/net/ig" and renamed.frame == Frame.whole(SIZE)


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        (np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, None),
        (np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000, None),
        (np.eye(4, dtype=bool), None),
        (np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, "RGB"),
        (np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, "RGBA"),
        (np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, "LA"),
    ],
)
def test_png(tmp_path: Path, values: Array, mode: str | None) -> None:
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(tmp_path / "p1_Edema.png")
    assert_holds(open_one(tmp_path), values.astype(np.float32), Frame.whole(SIZE))


def test_a_picture_in_color_is_no_map(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8)).save(tmp_path / "p1_Edema.png")
    m = open_one(tmp_path)
    assert m.status == "refused" and "picture in color" in m.reason


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
@pytest.mark.parametrize("axes", [2, 3, 4])
def test_nifti_holds_columns_first(tmp_path: Path, suffix: str, dtype: Any, axes: int) -> None:
    values = (np.arange(12) * 3).reshape(3, 4)
    stored = values.T.reshape((4, 3) + (1,) * (axes - 2)).astype(dtype)
    nibabel.save(nibabel.Nifti1Image(stored, np.diag([-1, -1, 1, 1])), tmp_path / f"p1_Edema{suffix}")
    m = open_one(tmp_path)
    assert_holds(m, values, Frame.whole(SIZE))
    assert m.values[0, 3] == 9  # the upper right corner, in column 3 of row 0


def test_nifti_scale_and_slices(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(6, dtype=np.int16).reshape(3, 2), np.eye(4))
    image.header.set_slope_inter(0.5, -1)
    nibabel.save(image, tmp_path / "p1_Edema.nii")
    stored = nibabel.load(tmp_path / "p1_Edema.nii")
    np.testing.assert_array_equal(open_one(tmp_path).values, stored.get_fdata().T.astype(np.float32))
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 2, 5)), np.eye(4)), tmp_path / "p1_Edema.nii")
    m = open_one(tmp_path)
    assert m.status == "unreadable" and "more than one slice" in m.reason


def test_dicom_parametric_map(tmp_path: Path) -> None:
    write_dicom(tmp_path / "p1_Edema.dcm", BitsAllocated=32, FloatPixelData=GRID.tobytes())
    assert_holds(open_one(tmp_path), GRID, Frame.whole(SIZE))


def test_dicom_gray_values_are_not_made_for_display(tmp_path: Path) -> None:
    stored = np.arange(12, dtype=np.uint16).reshape(3, 4)
    bits = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0}
    write_dicom(
        tmp_path / "p1_Edema.dcm",
        **bits,
        PixelData=stored.tobytes(),
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope=0.5,
        RescaleIntercept=-2,
        WindowCenter=3,
        WindowWidth=2,
    )
    assert_holds(open_one(tmp_path), stored * np.float32(0.5) - 2, Frame.whole(SIZE))
