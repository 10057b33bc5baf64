"""Small maps in every format, and what must arrive of them."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from sightline.core import Array, Dataset, Frame, Radiograph, SaliencyMap
from sightline.maps.folder import MapFolder, open_maps

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
    ((_, (one,)),) = folder.maps_by_radiograph()
    assert folder.find(one.source, one.radiograph, one.finding) is not None
    return one


def open_one(path: Path, **options: Any) -> SaliencyMap:
    return only(open_maps(path, DATA, **options))


def assert_holds(m: SaliencyMap, values: Array, frame: Frame) -> None:
    assert m.status == "ok" and m.reason == ""
    assert m.values.dtype == np.float32
    np.testing.assert_array_equal(m.values, values)
    assert m.frame == frame


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
