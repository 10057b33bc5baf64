"""Loader of the RSNA Pneumonia Detection Challenge: boxes by radiologists on NIH radiographs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Array, Dataset, Radiograph
from sightline.data.loaders.annotation_index import ScaledBoxAnnotations, group_boxes
from sightline.data.loaders.csv_tables import CsvTable, read_csv
from sightline.data.loaders.image_index import find_images, handle_missing_images
from sightline.data.reader_names import REFERENCE_READER
from sightline.data.registry import datasets
from sightline.data.splits import apply_split, read_published_split
from sightline.findings import canonical_name
from sightline.imaging.image_files import read_image

RELEASED_SIZE = (1024, 1024)
"""(H, W) of the released images, in whose pixels boxes are given."""
LICENSE = "competition terms of the RSNA Pneumonia Detection Challenge"
CITATION = "doi:10.1148/ryai.2019180041"


@datasets("rsna", title="RSNA Pneumonia Detection Challenge 2018", source=f"Shih 2019, {CITATION}", license=LICENSE)
def load_rsna(path: str, finding: str = "Pneumonia", missing: str = "keep", split: str = "all") -> Dataset:
    """Open the stage 2 training set of RSNA: stage_2_train_labels.csv and stage_2_train_images/ (DICOM, JPEG or PNG).

    Boxes lie in a frame of 1024 × 1024 and are scaled to images of other sizes. stage_2_detailed_class_info.csv is
    optional and gives `metadata["class"]`. patients.csv (patientId, nih_image, nih_patient) is optional and names the
    NIH patient, so that splits can be made by patient; without it each image counts as a patient of its own.

    Parameters
    ----------
    path : str
        Folder of the challenge.
    finding : str
        Name for the finding in the boxes, which the challenge calls both pneumonia and lung opacity.
    missing : {'keep', 'drop'}
        Keep or drop radiographs without an image; reading a kept one fails. `metadata["warnings"]` counts them.
    split : {'all', 'train', 'val', 'test'}
        Split to keep, published in pneumonia_splits.csv (Image_ID, Split) or else drawn by patient (80, 10 and 10 %).

    Raises
    ------
    DataError
        If the folder or a file is not of this layout.
    """
    root, finding = Path(path), canonical_name(finding)
    table = read_csv(root / "stage_2_train_labels.csv", ("patientId", "x", "y", "width", "height", "Target"))
    boxes = _read_boxes(table)
    positive = _read_targets(table, boxes)
    files = {file.stem: file for file in find_images([root / "stage_2_train_images"]).values()}
    keys = [(name, finding) for name in table.text("patientId")]
    annotations = ScaledBoxAnnotations(group_boxes(keys, boxes), files, RELEASED_SIZE)
    names, warnings = handle_missing_images(list(positive), files, missing, root / "stage_2_train_images")
    metadata = _read_metadata(root, warnings)
    radiographs = [
        Radiograph(
            id=name,
            patient=metadata.get(name, {}).get("nih_patient", name),
            read=partial(read_image, files.get(name, root / "stage_2_train_images" / f"{name}.dcm")),
            study=name,
            view="frontal",
            labels={finding: positive[name]},
            metadata=metadata.get(name, {}),
        )
        for name in names
    ]
    return Dataset(
        name="rsna",
        spec=f"rsna:{path}?finding={finding}&missing={missing}&split={split}",
        findings=(finding,),
        radiographs=apply_split(radiographs, read_published_split(root / "pneumonia_splits.csv"), split),
        annotation=annotations,
        readers=(REFERENCE_READER,),
        metadata={"license": LICENSE, "citation": CITATION, "warnings": (*warnings, *annotations.scaling_warnings())},
    )


def _read_boxes(table: CsvTable) -> Array:
    """Read boxes, float64 (N, 4) as (top, left, bottom, right), NaN in rows without one."""
    boxes = table.boxes(("x", "y", "width", "height"), RELEASED_SIZE)
    for row in np.flatnonzero(table.rows.duplicated()):
        if not np.isnan(boxes[row]).any():
            name = table.text("patientId")[row]
            raise table.error(table.row_number(row), f"the same box of {name} is listed before; remove one")
    return boxes


def _read_targets(table: CsvTable, boxes: Array) -> dict[str, float]:
    """Read labels as patientId -> 1 or 0, in order of first appearance."""
    table.require_filled("patientId")
    positive: dict[str, float] = {}
    targets = table.numbers("Target").tolist()
    for i, (name, target) in enumerate(zip(table.text("patientId"), targets, strict=True)):
        row = table.row_number(i)
        if target not in (0, 1):
            raise table.error(row, f"Target is {target:g}; allowed: 0, 1")
        if target != float(not np.isnan(boxes[i]).any()):
            raise table.error(row, f"Target is {target:g}, but the row has {'a' if target == 0 else 'no'} box")
        if positive.setdefault(name, target) != target:
            raise table.error(row, f"Target of {name} is {target:g} here and {positive[name]:g} before")
    return positive


def _read_metadata(root: Path, warnings: list[str]) -> dict[str, dict[str, str]]:
    """Read the optional files as patientId -> metadata."""
    metadata: dict[str, dict[str, str]] = {}
    if (root / "stage_2_detailed_class_info.csv").is_file():
        table = read_csv(root / "stage_2_detailed_class_info.csv", ("patientId", "class"))
        for name, value in zip(table.text("patientId"), table.text("class"), strict=True):
            metadata.setdefault(name, {})["class"] = value
    if (root / "patients.csv").is_file():
        table = read_csv(root / "patients.csv", ("patientId", "nih_image", "nih_patient"))
        table.require_unique("patientId")
        columns = (table.text(name) for name in ("patientId", "nih_image", "nih_patient"))
        for name, image, patient in zip(*columns, strict=True):
            # NIH writes 820, some copies 00000820: one patient
            metadata.setdefault(name, {}).update(nih_image=image, nih_patient=patient.lstrip("0") or patient)
    else:
        warnings.append("no patients.csv: each image counts as a patient of its own, though some NIH patients recur")
    return metadata
