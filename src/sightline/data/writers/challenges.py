"""Writers of the layouts of the RSNA and SIIM-ACR challenges: square DICOM files and one table of findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy import ndimage

from sightline.core import Array, Dataset, Radiograph
from sightline.data.loaders.rsna import RELEASED_SIZE
from sightline.data.loaders.siim import FINDING, mask_to_runs
from sightline.data.writers.registry import WithProgress, formats, to_8_bit
from sightline.errors import DataError
from sightline.imaging import masks

_PADDING_NOTE = (
    "Images and annotations are padded with black to a square, below or at the right, and brought to "
    f"{RELEASED_SIZE[0]} × {RELEASED_SIZE[1]} pixels, as in the challenge."
)


@formats(
    "rsna",
    layout="stage_2_train_images/*.dcm, stage_2_train_labels.csv, stage_2_detailed_class_info.csv, patients.csv, "
    "pneumonia_splits.csv",
    loader="rsna:DIR",
)
def write_rsna(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """Write boxes around the connected parts of Pneumonia (or else Lung Opacity), as the RSNA challenge does."""
    finding = _select_finding(dataset, ("Pneumonia", "Lung Opacity"))
    labels: list[dict[str, object]] = []
    classes: list[dict[str, object]] = []
    for radiograph in with_progress(dataset.radiographs):
        mask = _reference_mask(dataset, radiograph, finding)
        _write_dicom(radiograph, out / "stage_2_train_images" / f"{radiograph.id}.dcm")
        boxes = [_bounding_box(part) for part in _connected_parts(mask)]
        kind = "Lung Opacity" if boxes else _class_without_box(radiograph)
        rows = [
            {"x": left, "y": top, "width": right - left, "height": bottom - top} for top, left, bottom, right in boxes
        ]
        for row in rows or [{}]:
            labels.append({"patientId": radiograph.id, **row, "Target": int(bool(boxes))})
            classes.append({"patientId": radiograph.id, "class": kind})
    columns = ["patientId", "x", "y", "width", "height", "Target"]
    pd.DataFrame(labels, columns=columns).to_csv(out / "stage_2_train_labels.csv", index=False)
    pd.DataFrame(classes).to_csv(out / "stage_2_detailed_class_info.csv", index=False)
    patients = [(r.id, r.id, r.patient) for r in dataset.radiographs]
    pd.DataFrame(patients, columns=["patientId", "nih_image", "nih_patient"]).to_csv(out / "patients.csv", index=False)
    _write_splits(dataset, out / "pneumonia_splits.csv")
    spec = "rsna:DIR" if finding == "Pneumonia" else f"rsna:DIR?finding={finding.lower()}"
    return [_PADDING_NOTE, f"Boxes are drawn around each connected part of {finding}; open with {spec}."]


@formats(
    "siim", layout="dicom-images-train/STUDY/SERIES/*.dcm, train-rle.csv, pneumothorax_splits.csv", loader="siim:DIR"
)
def write_siim(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """Write Pneumothorax as relative run lengths, a row per connected part, as the SIIM-ACR challenge does."""
    finding, rows = _select_finding(dataset, (FINDING,)), []
    for radiograph in with_progress(dataset.radiographs):
        mask = _reference_mask(dataset, radiograph, finding)
        _write_dicom(radiograph, out / "dicom-images-train" / radiograph.id / "series" / f"{radiograph.id}.dcm")
        runs = [" ".join(map(str, mask_to_runs(part).ravel())) for part in _connected_parts(mask)]
        rows += [(radiograph.id, text) for text in runs or ["-1"]]
    pd.DataFrame(rows, columns=["ImageId", " EncodedPixels"]).to_csv(out / "train-rle.csv", index=False)
    _write_splits(dataset, out / "pneumothorax_splits.csv")
    return [_PADDING_NOTE]


def _select_finding(dataset: Dataset, names: Sequence[str]) -> str:
    for name in names:
        if name in dataset.findings:
            return name
    raise DataError(f"{dataset.spec} has no {' or '.join(names)}, which is all that this layout has a place for")


def _class_without_box(radiograph: Radiograph) -> str:
    return "Normal" if not any(value == 1 for value in radiograph.labels.values()) else "No Lung Opacity / Not Normal"


def _reference_mask(dataset: Dataset, radiograph: Radiograph, finding: str) -> Array:
    """Return the reference annotation as a mask of `RELEASED_SIZE`, bool (1024, 1024)."""
    annotation = dataset.annotation(radiograph.id, finding, dataset.reference_reader) if dataset.readers else None
    if annotation is None:
        return np.zeros(RELEASED_SIZE, bool)
    square = _pad_to_square(masks.rasterize_annotation(annotation).astype(np.uint8))
    mask: Array = cv2.resize(square, RELEASED_SIZE[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)
    return mask


def _connected_parts(mask: Array) -> list[Array]:
    """Split a mask bool (H, W) into its connected parts, bool (H, W) each."""
    numbers, count = ndimage.label(mask, np.ones((3, 3)))
    return [numbers == number for number in range(1, count + 1)]


def _bounding_box(part: Array) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right)."""
    rows, cols = (np.flatnonzero(part.any(axis)) for axis in (1, 0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1


def _pad_to_square(image: Array) -> Array:
    """Add zeros below or at the right until the image is square."""
    height, width = image.shape
    side = max(height, width)
    return np.pad(image, ((0, side - height), (0, side - width)))


def _write_dicom(radiograph: Radiograph, file: Path) -> None:
    from sightline.imaging import dicom  # pydicom is imported by those that write DICOM only

    square = _pad_to_square(radiograph.read())
    pixels = to_8_bit(cv2.resize(square, RELEASED_SIZE[::-1], interpolation=cv2.INTER_AREA))  # (1024, 1024)
    sex, projection = (str(radiograph.metadata.get(name, "")) for name in ("sex", "projection"))
    file.parent.mkdir(parents=True, exist_ok=True)
    dicom.write_dicom(pixels, file, radiograph.id, radiograph.study, radiograph.patient, sex[:1], projection)


def _write_splits(dataset: Dataset, file: Path) -> None:
    if any(r.split for r in dataset.radiographs):
        rows = [(f"{r.id}.png", r.split or "train") for r in dataset.radiographs]
        pd.DataFrame(rows, columns=["Image_ID", "Split"]).to_csv(file)
