"""Loader of MIMIC-CXR: radiographs and their reports, with the labels of CheXpert's labeler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sightline.core import NAN, Array, Dataset, Radiograph
from sightline.data.loaders.annotation_index import no_annotations
from sightline.data.loaders.csv_tables import CsvTable, read_csv
from sightline.data.loaders.image_index import first_file
from sightline.data.loaders.lazy_sequence import LazySequence
from sightline.data.registry import datasets
from sightline.data.reports import Report
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS, canonical_name
from sightline.imaging import image_files

FILE_PREFIX = "mimic-cxr-2.0.0"
VIEWS = {"PA": "frontal", "AP": "frontal", "LATERAL": "lateral", "LL": "lateral"}
"""ViewPosition -> view."""
SPLITS = {"train": "train", "validate": "val", "test": "test"}
"""Split of the table -> split."""
LICENSE = "PhysioNet Credentialed Health Data License 1.5.0"
CITATION = "Johnson et al. 2019, 10.1038/s41597-019-0322-0; https://doi.org/10.13026/8360-t248"


@datasets("mimic", title="MIMIC-CXR", source=CITATION, license=LICENSE)
def load_mimic(path: str, reports: str = "", split: str = "all", views: str = "frontal") -> Dataset:
    """Open MIMIC-CXR-JPG 2: mimic-cxr-2.0.0-metadata.csv, -chexpert.csv and -split.csv (or .csv.gz), and files/.

    Labels are those of the study; -1 stays, blank is NaN. Images and reports are searched only when they are read.

    Parameters
    ----------
    path : str
        Folder of the tables and of files/.
    reports : str
        Folder of the reports, files/pNN/pNNNNNNNN/sNNNNNNNN.txt of MIMIC-CXR; by default `path`.
    split : {'all', 'train', 'val', 'test'}
        Split to keep.
    views : {'frontal', 'lateral', 'all'}
        Views to keep; frontal views are AP and PA.

    Raises
    ------
    DataError
        If the folder or a file is not of this layout, or no radiograph is left.
    """
    root = Path(path)
    if split not in ("all", "train", "val", "test") or views not in ("all", "frontal", "lateral"):
        raise DataError(
            f"mimic:{path}: split={split!r}, views={views!r}; allowed: all, train, val, test; all, frontal, lateral"
        )
    table = read_csv(_table_path(root, "metadata"), ("dicom_id", "subject_id", "study_id"))
    table.require_unique("dicom_id")
    splits = _read_splits(root)
    names, view_names = table.text("dicom_id"), _parse_views(table)
    positions = table.text("ViewPosition") if "ViewPosition" in table.rows else [""] * len(names)
    rows = [
        row
        for row, name in enumerate(names)
        if split in ("all", splits.get(name, "")) and views in ("all", view_names[row])
    ]
    if not rows:
        raise DataError(f"{table.path} lists no radiograph with split={split} and views={views}")
    findings, labels_by_study = _parse_labels(read_csv(_table_path(root, "chexpert"), ("study_id",)))
    studies, patients = table.text("study_id"), table.text("subject_id")

    def make_radiograph(index: int) -> Radiograph:
        row = rows[index]
        study, patient = studies[row], patients[row]
        labels = labels_by_study.get(study, [NAN] * len(findings))
        return Radiograph(
            id=names[row],
            patient=patient,
            read=LazyImage(root / f"files/p{patient[:2]}/p{patient}/s{study}", names[row]),
            study=study,
            view=view_names[row],
            split=splits.get(names[row], ""),
            labels=dict(zip(findings, labels, strict=True)),
            metadata={"projection": positions[row]},
        )

    patient_and_study = {names[row]: (patients[row], studies[row]) for row in rows}
    return Dataset(
        name="mimic",
        spec=f"mimic:{path}?reports={reports}&split={split}&views={views}",
        findings=findings,
        radiographs=LazySequence(len(rows), make_radiograph),
        annotation=no_annotations,
        reports=MimicReports(Path(reports) if reports else root, patient_and_study),
        metadata={"license": LICENSE, "citation": CITATION, "warnings": ()},
    )


@dataclass(frozen=True, slots=True)
class MimicReports:
    """`Dataset.reports` from text files, read when asked for.

    Called with the id of a radiograph, it returns None where there is no report, and raises `DataError` for a file that
    is not text.
    """

    root: Path
    """Folder of files/."""
    patient_and_study: Mapping[str, tuple[str, str]] = field(repr=False)
    """Radiograph -> patient, study."""

    def __call__(self, radiograph: str) -> Report | None:
        """Read the report of the study of a radiograph; None if there is none."""
        if radiograph not in self.patient_and_study:
            return None
        patient, study = self.patient_and_study[radiograph]
        file = self.root / f"files/p{patient[:2]}/p{patient}/s{study}.txt"
        try:
            return Report.from_text(study, file.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file} cannot be read as a report: {error}") from error


def _table_path(root: Path, name: str) -> Path:
    plain = root / f"{FILE_PREFIX}-{name}.csv"
    compressed = plain.with_suffix(".csv.gz")
    return compressed if compressed.is_file() and not plain.is_file() else plain


def _parse_labels(table: CsvTable) -> tuple[tuple[str, ...], dict[str, list[float]]]:
    """Return the findings of the table, and study -> their labels."""
    columns = {canonical_name(str(column)): str(column) for column in table.rows.columns}
    findings = tuple(finding for finding in CHEXPERT_FINDINGS if finding in columns)
    if not findings:
        raise DataError(f"{table.path} has none of the label columns {', '.join(CHEXPERT_FINDINGS)}")
    values: Array = np.stack([table.labels(columns[finding]) for finding in findings], 1)
    return findings, dict(zip(table.text("study_id"), values.tolist(), strict=True))


def _read_splits(root: Path) -> dict[str, str]:
    """Read radiograph -> split."""
    table = read_csv(_table_path(root, "split"), ("dicom_id", "split"))
    cells = table.text("split")
    for row, cell in enumerate(cells):
        if cell not in SPLITS:
            raise table.error(table.row_number(row), f"split is {cell!r}; allowed: {', '.join(SPLITS)}")
    return dict(zip(table.text("dicom_id"), (SPLITS[cell] for cell in cells), strict=True))


def _parse_views(table: CsvTable) -> list[str]:
    if "ViewPosition" not in table.rows:
        return [""] * len(table.rows)
    return [VIEWS.get(cell.upper(), "") for cell in table.text("ViewPosition")]


@dataclass(frozen=True, slots=True)
class LazyImage:
    """`Radiograph.read` of an image (JPEG, PNG or DICOM) that is searched only when it is read."""

    folder: Path
    """Folder of the study."""
    name: str
    """File name without the suffix."""

    @property
    def path(self) -> Path:
        """Image that exists, or else the path of a JPEG."""
        jpeg, *others = (self.folder / f"{self.name}{suffix}" for suffix in (".jpg", ".png", ".dcm"))
        return first_file((jpeg, *others)) or jpeg

    def __call__(self) -> Array:
        """Read the image, float32 (H, W) in [0, 1]."""
        return image_files.read_image(self.path)
