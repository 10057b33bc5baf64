"""Maps made elsewhere: what a file holds arrives exactly, and in its place; what fails is told, never skipped."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sightline as sl
from sightline.core import Array, DataError, Dataset, Frame, Mark, Radiograph, SaliencyMap
from sightline.findings import CHEXPERT
from sightline.geometry import input_frame
from sightline.mapfiles import MapFolder, maps_in
from sightline.mapfiles.names import Names, Shown
from sightline.store import Run, write_maps

REAL = Path(__file__).resolve().parents[1] / "../shared/data/chexlocalize"
SIZE = (30, 40)
FINDINGS = ("Lung Opacity", "Edema", "Pleural Effusion")
GRID = np.linspace(-1.5, 2.5, 12, dtype=np.float32).reshape(3, 4)


def a_dataset(ids: Iterable[str] = ("p1", "p1_b", "p 2"), findings: tuple[str, ...] = FINDINGS) -> Dataset:
    def never() -> Array:
        raise AssertionError("maps are opened without decoding radiographs of known size")

    radiographs = [Radiograph(name, name, never, size=SIZE) for name in ids]
    return Dataset("tiny", "tiny:", findings, radiographs, lambda *_: None)


DATA = a_dataset()


def write_npz(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def write_pickle(path: Path, task: str = "Edema", **other: Any) -> Path:
    path.write_bytes(pickle.dumps({"map": GRID[None, None], "prob": 0.25, "task": task, "cxr_dims": (40, 30), **other}))
    return path


def only(folder: MapFolder) -> SaliencyMap:
    """The one map of a folder without problems."""
    assert folder.problems == ()
    ((_, (one,)),) = folder.by_radiograph()
    assert folder.find(one.source, one.radiograph, one.finding) is not None
    return one


def open_one(path: Path, **options: Any) -> SaliencyMap:
    return only(maps_in(path, DATA, **options))


def assert_holds(m: SaliencyMap, values: Array, frame: Frame) -> None:
    assert m.status == "ok" and m.why == ""
    assert m.values.dtype == np.float32
    np.testing.assert_array_equal(m.values, values)
    assert m.frame == frame


# -- formats ----------------------------------------------------------------------------------------------------------


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
    assert m.probability == every[CHEXPERT.index("Lung Opacity")]


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
    assert str(file) in m.why and re.search(why, m.why)


def test_a_malicious_pickle_is_a_map_that_failed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch '{tmp_path / 'executed'}'",)

    (tmp_path / "p1_Edema_map.pkl").write_bytes(pickle.dumps({"map": Evil()}))
    m = open_one(tmp_path)
    assert m.status == "unreadable" and "nothing was run" in m.why
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
        folder = maps_in(path, DATA, **options)
        assert len(folder) == 6 and folder.problems == ()
        assert folder.sources == {source: FINDINGS}
        held = {(m.radiograph, m.finding): m for _, maps in folder.by_radiograph() for m in maps}
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
        folder = maps_in(path, DATA)
        assert folder.sources == {source: ("Edema", "Pleural Effusion")}
        maps = [m for _, found in folder.by_radiograph() for m in found]
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
        SaliencyMap("gone", "Other", "net/ig", bad, frame, status="refused", why="because"),
    ]
    run.write_part("maps-0", "00", lambda path: write_maps(path, ["p1", "gone"], ["Edema", "Other"], {"net/ig": kept}))
    folder = maps_in(run.path, DATA)
    assert folder.sources == {"net/ig": ("Edema",)}
    (m,) = folder.of("p1")
    assert_holds(m, GRID, frame)
    assert sorted(p.partition(" has ")[2] for p in folder.problems) == [
        "maps of finding 'Other', which is not in tiny",
        "maps of radiograph 'gone', which is not in tiny",
    ]
    (renamed,) = maps_in(run.path, DATA, source="copy", frame="stretch").of("p1")
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
    assert m.status == "refused" and "picture in color" in m.why


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
    assert m.status == "unreadable" and "more than one slice" in m.why


def write_dicom(path: Path, **facts: Any) -> None:
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.30"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 3, 4, 1, "MONOCHROME2"
    for name, value in facts.items():
        setattr(ds, name, value)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)


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


# -- frames, sources, kinds -------------------------------------------------------------------------------------------


def test_where_a_map_lies_is_told_by_the_caller_then_its_box_then_the_sidecar(tmp_path: Path) -> None:
    write_npz(tmp_path / "p1_Edema.npz", map=GRID)
    write_npz(tmp_path / "p1_Lung Opacity.npz", map=GRID, box=(0, 0, 5, 5))
    write_pickle(tmp_path / "p1_Pleural Effusion_map.pkl", "Pleural Effusion")

    def boxes(**options: Any) -> list[Frame]:
        opacity, edema, effusion = maps_in(tmp_path, DATA, **options).of("p1")
        return [opacity.frame, edema.frame, effusion.frame]

    own, whole = Frame(SIZE, (0, 0, 5, 5)), Frame.whole(SIZE)
    cropped, padded = (input_frame(SIZE, 24, how)[1] for how in ("center-crop", "pad"))
    assert boxes() == [own, whole, input_frame(SIZE, 320, "center-crop")[1]]
    (tmp_path / "maps.json").write_text(json.dumps({"resize": "center-crop", "side": 24}))
    assert boxes() == [own, cropped, cropped]
    assert boxes(frame="pad:24") == [padded] * 3
    (tmp_path / "maps.json").write_text(json.dumps({"resize": "stretch"}))
    assert boxes() == [own, whole, whole]


def test_folders_name_sources(tmp_path: Path) -> None:
    root = tmp_path / "theirs"
    for name in ("densenet/grad-cam/p1_Edema", "densenet/ig/p1_Edema", "vit/p1/Edema", "p1_Edema"):
        write_npz(root / f"{name}.npz", map=GRID)
    assert [*maps_in(root, DATA).sources] == ["densenet/grad-cam", "densenet/ig", "theirs", "vit"]
    assert [*maps_in(root, DATA, "x").sources] == ["x", "x/densenet/grad-cam", "x/densenet/ig", "x/vit"]
    (root / "vit/maps.json").write_text(json.dumps({"source": "vit-b/rollout"}))
    (root / "maps.json").write_text(json.dumps({"source": "ours"}))
    assert [*maps_in(root, DATA).sources] == ["ours", "ours/densenet/grad-cam", "ours/densenet/ig", "vit-b/rollout"]
    assert [m.source for m in maps_in(root, DATA, "x").of("p1")] == [*maps_in(root, DATA, "x").sources]


def test_one_file_and_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_npz(tmp_path / "maps" / "p1_Edema.npz", map=GRID)
    monkeypatch.chdir(tmp_path / "maps")
    for path in (file, tmp_path / "maps", Path(), Path("../maps"), Path("p1_Edema.npz")):
        assert open_one(path).source == "maps"
    assert open_one(file, source="reader/second").source == "reader/second"


def test_masks(tmp_path: Path) -> None:
    Image.fromarray(np.uint8([[0, 255], [3, 0]])).save(tmp_path / "p1_Edema.png")
    (tmp_path / "maps.json").write_text('{"kind": "mask"}')
    m = open_one(tmp_path)
    assert m.kind == "mask"
    assert_holds(m, np.array([[0, 1], [1, 0]]), Frame.whole(SIZE))


@pytest.mark.parametrize(
    "said",
    [
        '{"resize": "center-crop"}',
        '{"resize": "squash", "side": 3}',
        '{"resize": "pad", "side": -3}',
        '{"resize": "pad", "side": true}',
        '{"side": 3}',
        '{"kind": "heat"}',
        '{"kind": []}',
        '{"source": ""}',
        '{"sauce": "x"}',
        "[1]",
        "{",
        "[" * 100_000,
    ],
)
def test_a_sidecar_that_says_nothing_usable(tmp_path: Path, said: str) -> None:
    (tmp_path / "maps.json").write_text(said)
    with pytest.raises(DataError, match=r"maps\.json"):
        maps_in(tmp_path, DATA)


@pytest.mark.parametrize(
    "frame", ["", "crop", "center-crop", "pad:", "pad:0", "pad:-1", "pad:1e3", "pad:²", "pad:9999999"]
)
def test_a_frame_that_is_none(tmp_path: Path, frame: str) -> None:
    with pytest.raises(DataError, match="'center-crop:SIDE'"):
        maps_in(tmp_path, DATA, frame=frame)


@pytest.mark.parametrize(
    "box", [(5, 0, 5, 9), (0, 0, -1, 5), (0, 0, np.nan, 5), (0, 0, 9), (30, 0, 40, 9), (0, -9, 9, 0)]
)
def test_a_box_that_is_none(tmp_path: Path, box: Any) -> None:
    write_npz(tmp_path / "p1_Edema.npz", map=GRID, box=np.array(box, float))
    m = open_one(tmp_path)
    assert m.status in ("unreadable", "refused") and "p1_Edema.npz" in m.why


def test_size_is_taken_from_marks_then_the_header_then_the_file_then_the_pixels(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    write_pickle(maps / "p1_Edema_map.pkl", cxr_dims=(40, 30))
    write_npz(maps / "p1_Lung Opacity.npz", map=GRID)
    image = tmp_path / "image.png"

    def missing() -> Array:
        raise DataError("no such image")

    def frames(read: Callable[[], Array], marked: bool = False, **facts: Any) -> list[tuple[str, tuple[int, int]]]:
        mark = Mark("p1", "Edema", "truth", "region", (60, 80), missing)
        radiograph = Radiograph("p1", "p1", read, facts=facts)
        data = Dataset("d", "d", FINDINGS, [radiograph], lambda *_: mark if marked else None, ("truth",))
        return [(m.status, m.frame.size) for m in maps_in(maps, data).of("p1")]

    assert frames(missing) == [("refused", (0, 0)), ("ok", (30, 40))]
    assert frames(lambda: np.zeros((30, 40))) == [("ok", (30, 40))] * 2
    assert frames(missing, path=str(image)) == [("refused", (0, 0)), ("ok", (30, 40))]
    Image.new("L", (40, 30)).save(image)
    assert frames(missing, path=str(image)) == [("ok", (30, 40))] * 2
    assert frames(missing, marked=True) == [("ok", (60, 80)), ("refused", (60, 80))]


# -- what does not fit ------------------------------------------------------------------------------------------------


def test_files_that_fit_nothing_are_listed(tmp_path: Path) -> None:
    names = {
        "p3_Edema.npz": "is of 'p3', which is no radiograph of tiny",
        "p1_Fracture.npz": "shows 'Fracture', which is no finding of tiny (Lung Opacity, Edema, Pleural Effusion)",
        "p1_Pneumothorax_map.pkl": "shows 'Pneumothorax', which is no finding of tiny",
        "overview.png": "has a name that is not RADIOGRAPH_FINDING",
        "notes.txt": "is no map",
        "p1_Edema.jpg": "is no map",
        "broken.npz": "cannot be read",
    }
    write_npz(tmp_path / "p1_Edema.npz", map=GRID)
    for name in names:
        (tmp_path / name).write_bytes(b"")
    for name in ("p3_Edema.npz", "p1_Fracture.npz"):
        write_npz(tmp_path / name, map=GRID)
    (tmp_path / ".hidden").write_bytes(b"")
    folder = maps_in(tmp_path, DATA)
    assert len(folder) == 1
    assert len(folder.problems) == len(names)
    for name, why in names.items():
        (problem,) = [p for p in folder.problems if f"{tmp_path / name} " in p]
        assert why in problem
    with pytest.raises(DataError, match="does not exist"):
        maps_in(tmp_path / "elsewhere", DATA)


def test_two_maps_of_the_same(tmp_path: Path) -> None:
    write_pickle(tmp_path / "p1_Lung Opacity_map.pkl", "Lung Opacity")
    maps_in(tmp_path, DATA)
    write_pickle(tmp_path / "p1_Airspace Opacity_map.pkl", "Airspace Opacity")
    with pytest.raises(DataError, match=r"p1_Airspace Opacity_map\.pkl and .*p1_Lung Opacity_map\.pkl are both maps"):
        maps_in(tmp_path, DATA)
    archive = write_npz(tmp_path / "many" / "x.npz", **{"p1/Edema": GRID, "p1__Edema": GRID})
    with pytest.raises(DataError, match=r"x\.npz\[p1/Edema\] and .*x\.npz\[p1__Edema\] are both maps of 'x'"):
        maps_in(archive, DATA)


def test_a_folder_that_contains_itself(tmp_path: Path) -> None:
    write_npz(tmp_path / "a" / "p1_Edema.npz", map=GRID)
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert open_one(tmp_path).source == "a"


IDS = st.lists(st.text(st.sampled_from("ab_ /é."), min_size=1, max_size=6), min_size=1, max_size=4, unique=True)


@given(IDS, st.lists(st.sampled_from([*FINDINGS, "My own_thing"]), min_size=1, unique=True), st.data())
def test_names_with_underscores_spaces_and_slashes(ids: list[str], findings: list[str], draw: st.DataObject) -> None:
    names = Names(a_dataset(ids, tuple(findings)))
    radiograph, finding = draw.draw(st.sampled_from(ids)), draw.draw(st.sampled_from(findings))
    spelled = draw.draw(st.sampled_from([finding, finding.lower(), finding.replace(" ", "_")]))
    expected = Shown(("net",), radiograph, finding)
    *folders, last = ("net/" + radiograph).split("/")
    for parts in ([*folders, f"{last}__{spelled}"], [*folders, f"{last}_{spelled}"], [*folders, last, spelled]):
        found = names.resolve(parts)
        if isinstance(found, str):
            assert " means " in f" {found}" and len(ids) > 1  # two ids claim the name, and it says so
        elif found != expected:
            assert found.radiograph in ids and found.radiograph != radiograph


def test_a_name_that_means_two_things_is_told_and_can_be_told_apart() -> None:
    names = Names(a_dataset(["a", "a_b"], ("Edema", "b_Edema")))
    assert "means" in names.resolve(["a_b_Edema"])
    assert names.resolve(["a__b_Edema"]) == Shown((), "a", "b_Edema")
    assert names.resolve(["a_b__Edema"]) == Shown((), "a_b", "Edema")
    assert names.resolve(["a", "b_Edema"]) == Shown((), "a", "b_Edema")


# -- damage and hostility ---------------------------------------------------------------------------------------------


def _every_format(folder: Path) -> list[Path]:
    write_pickle(folder / "p1_Edema_map.pkl")
    write_npz(folder / "p1_Edema.npz", map=GRID, box=(0, 0, 9, 9))
    Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4)).save(folder / "p1_Edema.png")
    nibabel.save(nibabel.Nifti1Image(GRID.T, np.eye(4)), folder / "p1_Edema.nii.gz")
    nibabel.save(nibabel.Nifti1Image(GRID.T, np.eye(4)), folder / "p1_Edema.nii")
    write_dicom(folder / "p1_Edema.dcm", BitsAllocated=32, FloatPixelData=GRID.tobytes())
    return sorted(folder.iterdir())


@pytest.mark.filterwarnings("ignore")  # libraries warn about the damage they are given
def test_files_cut_or_flipped_anywhere_are_rows_with_a_status(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for file in _every_format(tmp_path):
        whole = file.read_bytes()
        for trial in range(60):
            damaged = bytearray(whole)
            if trial % 2:
                damaged = damaged[: rng.integers(len(whole))]
            else:
                damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
            file.write_bytes(damaged)
            folder = maps_in(file, DATA)
            for m in folder.of("p1"):
                assert m.status == "ok" or (
                    str(file) in m.why and m.status in ("unreadable", "refused", "non-finite", "flat")
                )
            assert len(folder) + len(folder.problems) == 1
        file.write_bytes(whole)
        assert open_one(file).status == "ok"


def test_a_folder_goes_on_after_a_bad_file(tmp_path: Path) -> None:
    write_pickle(tmp_path / "p1_Edema_map.pkl")
    bad = write_pickle(tmp_path / "p1_Lung Opacity_map.pkl", "Lung Opacity")
    bad.write_bytes(bad.read_bytes()[:100])
    vanishes = write_npz(tmp_path / "p1_Pleural Effusion.npz", map=GRID)
    folder = maps_in(tmp_path, DATA)
    vanishes.unlink()
    maps = list(folder.of("p1"))
    assert [m.status for m in maps] == ["unreadable", "ok", "unreadable"]
    assert [m.values.shape for m in maps] == [(0, 0), (3, 4), (0, 0)]
    assert "does not exist any more" in maps[2].why


def _npy_header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "member",
    [
        _npy_header((2**20, 2**20)),
        _npy_header((2**40,)),
        _npy_header((4, 4)) + bytes(50 * 2**20),
        _npy_header((4, 4), "|O") + b"cos\nsystem\n(S'true'\ntR.",
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(50 * 2**20),
        bytes(50 * 2**20),
    ],
)
def test_npz_bombs(tmp_path: Path, member: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "p1_Edema.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("map.npy", member)
    tracemalloc.start()
    m = open_one(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert m.status == "unreadable" and "p1_Edema.npz" in m.why
    assert peak < 2 * 2**20


def test_declared_sizes_are_checked_before_decoding(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((2, 2), np.uint8), np.eye(4))
    nibabel.save(image, tmp_path / "p1_Edema.nii")
    raw = bytearray((tmp_path / "p1_Edema.nii").read_bytes())
    raw[42:46] = np.array([32767, 32767], "<i2").tobytes()
    (tmp_path / "p1_Edema.nii").write_bytes(raw)
    write_dicom(tmp_path / "p1_Lung Opacity.dcm", Rows=65535, Columns=65535, BitsAllocated=32, FloatPixelData=b"1234")
    array = zarr.open_group(tmp_path / "p1", mode="w").create_array(
        "Pleural Effusion", shape=(4, 4), chunks=(2**20, 2**20), dtype="f8"
    )
    assert array.chunks == (2**20, 2**20)
    tracemalloc.start()
    maps = [m for _, found in maps_in(tmp_path, DATA).by_radiograph() for m in found]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [m.finding for m in maps] == list(FINDINGS)
    assert all("values, more than the" in m.why for m in maps)
    assert peak < 20 * 2**20


# -- as a source of maps ----------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_number_of_maps(tmp_path: Path) -> None:
    data = a_dataset([f"p{i:03}" for i in range(200)])

    def peak(count: int) -> int:
        folder = maps_in(tmp_path / str(count), data)
        tracemalloc.start()
        try:
            assert sum(m.status == "ok" for _, maps in folder.by_radiograph() for m in maps) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    grid = np.random.default_rng(0).random((200, 200), np.float32)
    for count in (5, 200):
        for radiograph in data.radiographs[:count]:
            (tmp_path / str(count)).mkdir(exist_ok=True)
            np.savez(tmp_path / str(count) / f"{radiograph.id}_Edema.npz", map=grid)
    peak(5)
    assert peak(200) < 1.1 * peak(5) + 200_000


def test_order_access_and_passing_to_another_process(tmp_path: Path) -> None:
    for source in ("b", "a"):
        for radiograph in ("p 2", "p1"):
            for finding in ("Pleural Effusion", "Edema"):
                write_npz(tmp_path / source / f"{radiograph}_{finding}.npz", map=GRID)
    data = Dataset("tiny", "tiny:", FINDINGS, [Radiograph(r, r, list, size=SIZE) for r in ("p1", "p 2")], list)
    folder = maps_in(tmp_path, data)
    order = [(s, f) for s in ("a", "b") for f in ("Edema", "Pleural Effusion")]
    for opened in (folder, pickle.loads(pickle.dumps(folder))):
        assert len(opened) == 8
        assert opened.sources == {"a": ("Edema", "Pleural Effusion"), "b": ("Edema", "Pleural Effusion")}
        for _ in range(2):
            assert [(r, [(m.source, m.finding) for m in maps]) for r, maps in opened.by_radiograph()] == [
                ("p1", order),
                ("p 2", order),
            ]
    assert folder.find("a", "p1", "Lung Opacity") is None and folder.find("a", "p9", "Edema") is None
    assert list(folder.of("p9")) == []
    assert not isinstance(folder, Iterable)  # or it would be gathered in memory


@pytest.mark.skipif(not REAL.is_dir(), reason="no CheXlocalize sample in shared/data")
def test_published_maps_score_as_published(tmp_path: Path) -> None:
    data = sl.dataset(f"chexlocalize:{REAL}")
    folder = maps_in(REAL / "CheXlocalize/gradcam_maps_val", data)
    assert len(folder) == 10 and folder.problems == ()
    table = sl.score(folder, data, ["iou", "hit"], protocol="both").set_index(["protocol", "metric", "finding"]).value
    findings = ["Cardiomegaly", "Enlarged Cardiomediastinum", "Lung Opacity"]
    expected = {("published", "iou"): [0.3662, 0.4623, 0], ("corrected", "iou"): [0.4569, 0.5205, 0.0022]}
    for key, values in (expected | {("published", "hit"): [1, 1, 0]}).items():
        np.testing.assert_allclose([table[(*key, f)] for f in findings], values, atol=0.001)


def test_reading_maps_needs_no_torch(tmp_path: Path) -> None:
    write_pickle(tmp_path / "p1_Edema_map.pkl")
    code = (
        "import sys, sightline.mapfiles, sightline.pickles as p\n"
        f"p.load({str(tmp_path / 'p1_Edema_map.pkl')!r})\n"
        "sys.exit(bool({'torch', 'zarr', 'nibabel', 'pydicom'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
