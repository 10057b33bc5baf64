"""Loader of NIH ChestX-ray14: 112 120 radiographs with fourteen text-mined labels, and boxes for under a thousand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Dataset, Radiograph
from sightline.data.loaders.annotation_index import ScaledBoxAnnotations, group_boxes
from sightline.data.loaders.csv_tables import CsvTable, read_csv
from sightline.data.loaders.image_index import find_images, handle_missing_images
from sightline.data.loaders.lazy_sequence import LazySequence
from sightline.data.loaders.rsna import RELEASED_SIZE
from sightline.data.reader_names import REFERENCE_READER
from sightline.data.registry import datasets
from sightline.errors import DataError
from sightline.findings import NIH_FINDINGS, canonical_name
from sightline.imaging.image_files import read_image

ENTRY_FILES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
LABELS = ("No Finding", *NIH_FINDINGS)
METADATA_COLUMNS = {
    "Patient Age": "age",
    "Patient Gender": "sex",
    "View Position": "projection",
    "Follow-up #": "follow-up",
}
"""Column -> name in `Radiograph.metadata`."""
BOX_COLUMNS = ("x", "y", "width", "height")
LICENSE = "NIH Clinical Center: free use with attribution"
CITATION = "doi:10.1109/CVPR.2017.369"


@datasets("nih", title="NIH ChestX-ray14", source=f"Wang 2017, {CITATION}", license=LICENSE)
def load_nih(path: str, missing: str = "keep") -> Dataset:
    """Open NIH ChestX-ray14: Data_Entry_2017.csv (or _v2020) and the images in images/ or images_*/images/.

    BBox_List_2017.csv is optional and gives boxes in the frame of 1024 × 1024 of the release, which are scaled to
    images of other sizes. test_list.txt and train_val_list.txt are optional and give the splits 'test' and 'train'.
    'No Finding' is a label, not a finding. Patient ids are plain numbers ('820'), as in patients.csv of `rsna`.

    Parameters
    ----------
    path : str
        Folder of the release.
    missing : {'keep', 'drop'}
        Keep or drop radiographs without an image; reading a kept one fails. `metadata["warnings"]` counts them.

    Raises
    ------
    DataError
        If the folder or a file is not of this layout.
    """
    root = Path(path)
    entry = next((root / name for name in ENTRY_FILES if (root / name).is_file()), None)
    if entry is None:
        raise DataError(f"{root} holds neither {' nor '.join(ENTRY_FILES)}; give the folder of the NIH release")
    columns = ("Image Index", "Finding Labels", "Patient ID")
    table = read_csv(entry, columns, {"Patient Sex": "Patient Gender", "Follow-up": "Follow-up #"})
    table.require_filled("Patient ID")
    table.require_unique("Image Index")
    files = find_images([root / "images", *sorted(root.glob("images_*/images"))])
    names, warnings = handle_missing_images(table.text("Image Index"), files, missing, root / "images")
    annotations = _read_boxes(root / "BBox_List_2017.csv", set(names), files, warnings)
    return Dataset(
        name="nih",
        spec=f"nih:{path}?missing={missing}",
        findings=NIH_FINDINGS,
        radiographs=_make_radiographs(root, table, set(names), files),
        annotation=annotations,
        readers=(REFERENCE_READER,) if annotations.boxes else (),
        metadata={"license": LICENSE, "citation": CITATION, "warnings": (*warnings, *annotations.scaling_warnings())},
    )


def _parse_labels(table: CsvTable) -> np.ndarray[tuple[int, int], np.dtype[np.int8]]:
    """Parse the labels, int8 (N, 15) of 0 and 1 with the columns `LABELS`."""
    labels = np.zeros((len(table.rows), len(LABELS)), np.int8)
    column = {name: i for i, name in enumerate(LABELS)}
    for row, text in enumerate(table.text("Finding Labels")):
        for part in text.split("|"):
            name = canonical_name(part)
            if name not in column:
                allowed = ", ".join(LABELS)
                raise table.error(table.row_number(row), f"Finding Labels names {part!r}; allowed: {allowed}")
            labels[row, column[name]] = 1
    return labels


def _make_radiographs(root: Path, table: CsvTable, names: set[str], files: dict[str, Path]) -> LazySequence[Radiograph]:
    labels = _parse_labels(table)
    ids, patients = table.text("Image Index"), table.text("Patient ID")
    metadata = {name: table.text(column) for column, name in METADATA_COLUMNS.items() if column in table.rows.columns}
    splits = _read_splits(root)
    rows = [row for row, name in enumerate(ids) if name in names]

    def make(index: int) -> Radiograph:
        row = rows[index]
        image = files.get(ids[row], root / "images" / ids[row])
        patient = patients[row].lstrip("0") or patients[row]
        return Radiograph(
            id=ids[row],
            patient=patient,
            read=partial(read_image, image),
            study=f"{patient}_{metadata['follow-up'][row]}" if "follow-up" in metadata else "",
            view="frontal",
            split=splits.get(ids[row], ""),
            labels=dict(zip(LABELS, map(float, labels[row]), strict=True)),
            metadata={"path": str(image), **{name: values[row] for name, values in metadata.items()}},
        )

    return LazySequence(len(rows), make)


def _read_splits(root: Path) -> dict[str, str]:
    lists = {"train_val_list.txt": "train", "test_list.txt": "test"}
    return {
        name: split
        for file, split in lists.items()
        if (root / file).is_file()
        for name in (root / file).read_text(encoding="utf-8").split()
    }


def _read_boxes(file: Path, names: set[str], files: dict[str, Path], warnings: list[str]) -> ScaledBoxAnnotations:
    if not file.is_file():
        return ScaledBoxAnnotations({}, files, RELEASED_SIZE)
    # The header's own commas split 'Bbox [x,y,w,h]' into four columns.
    table = read_csv(
        file, ("Image Index", "Finding Label", *BOX_COLUMNS), {"Bbox [x": "x", "w": "width", "h]": "height"}
    )
    boxes = table.boxes(BOX_COLUMNS, RELEASED_SIZE)
    findings = [canonical_name(name) for name in table.text("Finding Label")]
    for row, name in enumerate(findings):
        if name not in NIH_FINDINGS:
            raise table.error(table.row_number(row), f"Finding Label is {name!r}; allowed: {', '.join(NIH_FINDINGS)}")
    grouped = group_boxes(zip(table.text("Image Index"), findings, strict=True), boxes)
    listed = {key: value for key, value in grouped.items() if key[0] in names}
    if len(listed) < len(grouped):
        warnings.append(
            f"{len(grouped) - len(listed)} boxed findings in {file.name} are on images not listed: left out"
        )
    return ScaledBoxAnnotations(listed, files, RELEASED_SIZE)
