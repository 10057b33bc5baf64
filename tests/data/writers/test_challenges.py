"""The phantom written as RSNA and SIIM-ACR publish theirs comes back through their loaders."""

from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.data.writers import write_dataset
from sightline.errors import DataError
from sightline.imaging import masks

PHANTOM = "phantom:16?size=96"


def framed(mask: np.ndarray) -> np.ndarray:
    """What becomes of a phantom's mask: squared below or at the right, then 1024 × 1024."""
    side = max(mask.shape)
    square = np.pad(mask.astype(np.uint8), ((0, side - mask.shape[0]), (0, side - mask.shape[1])))
    return cv2.resize(square, (1024, 1024), interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)


def truths(data: Dataset, finding: str) -> dict[str, np.ndarray]:
    marks = {r.id: data.annotation(r.id, finding, "truth") for r in data.radiographs}
    return {
        name: mask
        for name, mark in marks.items()
        if mark is not None and (mask := masks.rasterize_annotation(mark)).any()
    }


def test_siim_comes_back_pixel_by_pixel(tmp_path: Path) -> None:
    source = open_dataset(PHANTOM)
    back = open_dataset(f"siim:{write_dataset(source, 'siim', tmp_path / 'siim', progress=False)}?identify=true")
    expected, result = truths(source, "Pneumothorax"), truths(back, "Pneumothorax")
    assert expected.keys() == result.keys()
    assert expected
    for name, mask in expected.items():
        np.testing.assert_array_equal(result[name], framed(mask))
    for before, after in zip(source.radiographs, back.radiographs, strict=True):
        assert (before.id, before.patient, before.split) == (after.id, after.patient, after.split)
        assert after.labels["Pneumothorax"] == float(before.id in expected)


def test_rsna_comes_back_as_boxes_around_the_parts(tmp_path: Path) -> None:
    source = open_dataset(PHANTOM)
    back = open_dataset(f"rsna:{write_dataset(source, 'rsna', tmp_path / 'rsna', progress=False)}?finding=lung opacity")
    expected, result = truths(source, "Lung Opacity"), truths(back, "Lung Opacity")
    assert expected.keys() == result.keys()
    for name, mask in expected.items():
        inside = framed(mask)
        assert result[name][inside].all()
        count, labels = cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)
        boxes = np.zeros_like(inside)
        for number in range(1, count):
            rows, cols = np.nonzero(labels == number)
            boxes[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1] = True
        np.testing.assert_array_equal(result[name], boxes)
    assert [r.patient for r in back.radiographs] == [r.patient for r in source.radiographs]
    assert {r.metadata["class"] for r in back.radiographs} <= {
        "Lung Opacity",
        "Normal",
        "No Lung Opacity / Not Normal",
    }


def test_pixels_survive_and_the_files_are_dicom(tmp_path: Path) -> None:
    source = open_dataset(PHANTOM)
    folder = write_dataset(source, "siim", tmp_path / "siim", progress=False)
    first = source.radiographs[0]
    image = np.pad(first.read(), [(0, max(first.size or (0, 0)) - n) for n in first.read().shape])
    exact = cv2.resize(image, (1024, 1024), interpolation=cv2.INTER_AREA)
    assert np.abs(open_dataset(f"siim:{folder}").radiographs[0].read() - exact).max() < 0.51 / 255
    (file,) = folder.rglob(f"{first.id}.dcm")
    ds = pydicom.dcmread(file)
    assert (ds.PhotometricInterpretation, ds.Rows, ds.PatientID) == ("MONOCHROME2", 1024, first.patient)
    again = write_dataset(source, "siim", tmp_path / "again", progress=False)
    assert (again / file.relative_to(folder)).read_bytes() == file.read_bytes()


def test_a_data_set_without_the_finding_is_refused(tmp_path: Path) -> None:
    write_dataset(open_dataset("phantom:4?size=64"), "rsna", tmp_path / "rsna", progress=False)
    with pytest.raises(DataError, match="has no Pneumothorax, which is all that this layout has a place for"):
        write_dataset(
            open_dataset(f"rsna:{tmp_path / 'rsna'}?finding=lung opacity"), "siim", tmp_path / "siim", progress=False
        )
