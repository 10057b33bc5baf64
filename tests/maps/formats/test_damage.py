"""Damage and hostility end in a row with a status."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import zarr
from PIL import Image

from mapmaking import DATA, FINDINGS, GRID, open_one, write_dicom, write_npz, write_pickle
from sightline.maps.folder import open_maps


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
            folder = open_maps(file, DATA)
            for m in folder.maps_for("p1"):
                assert m.status == "ok" or (
                    str(file) in m.reason and m.status in ("unreadable", "refused", "non-finite", "flat")
                )
            assert len(folder) + len(folder.problems) == 1
        file.write_bytes(whole)
        assert open_one(file).status == "ok"


def test_a_folder_goes_on_after_a_bad_file(tmp_path: Path) -> None:
    write_pickle(tmp_path / "p1_Edema_map.pkl")
    bad = write_pickle(tmp_path / "p1_Lung Opacity_map.pkl", "Lung Opacity")
    bad.write_bytes(bad.read_bytes()[:100])
    vanishes = write_npz(tmp_path / "p1_Pleural Effusion.npz", map=GRID)
    folder = open_maps(tmp_path, DATA)
    vanishes.unlink()
    maps = list(folder.maps_for("p1"))
    assert [m.status for m in maps] == ["unreadable", "ok", "unreadable"]
    assert [m.values.shape for m in maps] == [(0, 0), (3, 4), (0, 0)]
    assert "does not exist any more" in maps[2].reason


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
    assert m.status == "unreadable" and "p1_Edema.npz" in m.reason
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
    maps = [m for _, found in open_maps(tmp_path, DATA).maps_by_radiograph() for m in found]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [m.finding for m in maps] == list(FINDINGS)
    assert all("values, more than the" in m.reason for m in maps)
    assert peak < 20 * 2**20
