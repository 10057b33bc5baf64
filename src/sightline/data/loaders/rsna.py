"""RSNA Pneumonia Detection Challenge: radiologists' boxes on NIH radiographs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Array, Dataset, Radiograph
from sightline.data.loaders.csv_tables import CsvTable, ScaledBoxAnnotations, find_images, group_boxes, read_csv
from sightline.data.registry import datasets
from sightline.data.splits import apply_split, read_published_split
from sightline.errors import DataError
from sightline.findings import canonical_name
from sightline.imaging import image_files as images

RELEASED_SIZE = (1024, 1024)
"""Rows and columns of the released images, in which boxes are given."""
LICENSE = "competition terms of the RSNA Pneumonia Detection Challenge"
CITATION = "doi:10.1148/ryai.2019180041"


@datasets("rsna", title="RSNA Pneumonia Detection Challenge 2018", source=f"Shih 2019, {CITATION}", license=LICENSE)
def load_rsna(path: str, finding: str = "Pneumonia", missing: str = "keep", split: str = "all") -> Dataset:
    """RSNA's stage 2 training set: DIR holds stage_2_train_labels.csv and stage_2_train_images/ (DICOM, JPEG or PNG).

    finding: the name given to what is boxed (the challenge says both pneumonia and lung opacity). missing: 'keep'
    rows whose image is not there (reading them fails) or 'drop' them; both are counted in `facts["warnings"]`.
    Boxes lie in a frame of 1024 × 1024 and are scaled to images of other sizes. stage_2_detailed_class_info.csv, if
    there, becomes `facts["class"]`. patients.csv (patientId, nih_image, nih_patient), if there, names the NIH patient,
    so that data sets can be split by patient; without it each image counts as a patient of its own.
    split: 'train', 'val', 'test' or 'all'; as pneumonia_splits.csv (Image_ID, Split) says where it is there, else drawn
    by patient (80, 10 and 10 %).
    Errors: `DataError` for a folder or file that is not of this layout.
    """
    root, finding = Path(path), canonical_name(finding)
    table = read_csv(root / "stage_2_train_labels.csv", ("patientId", "x", "y", "width", "height", "Target"))
    boxes = _read_boxes(table)
    positive = _read_targets(table, boxes)
    files = {file.stem: file for file in find_images([root / "stage_2_train_images"]).values()}
    keys = [(name, finding) for name in table.text("patientId")]
    marks = ScaledBoxAnnotations(group_boxes(keys, boxes), files, RELEASED_SIZE)
    names, warnings = handle_missing_images(list(positive), files, missing, root / "stage_2_train_images")
    facts = _read_metadata(root, warnings)
    radiographs = [
        Radiograph(
            id=name,
            patient=facts.get(name, {}).get("nih_patient", name),
            read=partial(images.read_image, files.get(name, root / "stage_2_train_images" / f"{name}.dcm")),
            study=name,
            view="frontal",
            labels={finding: positive[name]},
            metadata=facts.get(name, {}),
        )
        for name in names
    ]
    return Dataset(
        name="rsna",
        spec=f"rsna:{path}?finding={finding}&missing={missing}&split={split}",
        findings=(finding,),
        radiographs=apply_split(radiographs, read_published_split(root / "pneumonia_splits.csv"), split),
        annotation=marks,
        readers=("truth",),
        metadata={"license": LICENSE, "citation": CITATION, "warnings": (*warnings, *marks.scaling_warnings())},
    )


def _read_boxes(table: CsvTable) -> Array:
    """(N, 4) as (top, left, bottom, right) in `RELEASED_SIZE`, NaN where a row has none."""
    boxes = table.boxes(("x", "y", "width", "height"), RELEASED_SIZE)
    for at in np.flatnonzero(table.rows.duplicated()):
        if not np.isnan(boxes[at]).any():
            raise table.error(
                table.row_number(at), f"the same box of {table.text('patientId')[at]} is listed before; remove one"
            )
    return boxes


def _read_targets(table: CsvTable, boxes: Array) -> dict[str, float]:
    """patientId -> 1 or 0, in order of first appearance."""
    table.require_filled("patientId")
    positive: dict[str, float] = {}
    targets = table.numbers("Target").tolist()
    for at, (name, target) in enumerate(zip(table.text("patientId"), targets, strict=True)):
        if target not in (0, 1):
            raise table.error(table.row_number(at), f"Target is {target:g}; allowed: 0, 1")
        if target != float(not np.isnan(boxes[at]).any()):
            raise table.error(
                table.row_number(at), f"Target is {target:g}, but the row has {'a' if target == 0 else 'no'} box"
            )
        if positive.setdefault(name, target) != target:
            raise table.error(
                table.row_number(at), f"Target of {name} is {target:g} here and {positive[name]:g} before"
            )
    return positive


def _read_metadata(root: Path, warnings: list[str]) -> dict[str, dict[str, str]]:
    """patientId -> what the optional files say."""
    facts: dict[str, dict[str, str]] = {}
    if (root / "stage_2_detailed_class_info.csv").is_file():
        table = read_csv(root / "stage_2_detailed_class_info.csv", ("patientId", "class"))
        for name, value in zip(table.text("patientId"), table.text("class"), strict=True):
            facts.setdefault(name, {})["class"] = value
    if (root / "patients.csv").is_file():
        table = read_csv(root / "patients.csv", ("patientId", "nih_image", "nih_patient"))
        table.require_unique("patientId")
        columns = (table.text(name) for name in ("patientId", "nih_image", "nih_patient"))
        for name, image, patient in zip(*columns, strict=True):
            # NIH writes 820, some copies 00000820: one patient
            facts.setdefault(name, {}).update(nih_image=image, nih_patient=patient.lstrip("0") or patient)
    else:
        warnings.append("no patients.csv: each image counts as a patient of its own, though some NIH patients recur")
    return facts


def handle_missing_images(
    names: list[str], files: dict[str, Path], missing: str, folder: Path
) -> tuple[list[str], list[str]]:
    """The names to list under the option `missing`, and what to warn of.

    Errors: `DataError` if none of the images is there.
    """
    if missing not in ("keep", "drop"):
        raise DataError(f"option missing takes keep or drop, not {missing!r}")
    there = [name for name in names if name in files]
    if not there:
        raise DataError(f"{folder} holds none of the {len(names)} images that the table names, such as {names[0]}")
    if len(there) == len(names):
        return names, []
    absent = next(name for name in names if name not in files)
    what = "left out" if missing == "drop" else "kept, reading them will fail (missing=drop leaves them out)"
    warning = f"{len(names) - len(there)} of {len(names)} images are not in {folder}, such as {absent}: {what}"
    return (there if missing == "drop" else names), [warning]
