"""MIMIC-CXR: radiographs and their reports, with CheXpert's labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sightline.core import NAN, Array, Dataset, Radiograph
from sightline.data.loaders.csv_tables import CsvTable, LazySequence, no_annotations, read_csv
from sightline.data.registry import datasets
from sightline.data.reports import Report
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS, canonical_name
from sightline.imaging import image_files

FILE_PREFIX = "mimic-cxr-2.0.0"
VIEWS = {"PA": "frontal", "AP": "frontal", "LATERAL": "lateral", "LL": "lateral"}
SPLITS = {"train": "train", "validate": "val", "test": "test"}
LICENSE = "PhysioNet Credentialed Health Data License 1.5.0"
CITATION = "Johnson et al. 2019, 10.1038/s41597-019-0322-0; https://doi.org/10.13026/8360-t248"


@datasets("mimic", title="MIMIC-CXR", source=CITATION, license=LICENSE)
def load_mimic(path: str, reports: str = "", split: str = "all", views: str = "frontal") -> Dataset:
    """MIMIC-CXR-JPG 2: DIR holds mimic-cxr-2.0.0-metadata.csv, -chexpert.csv and -split.csv (or .csv.gz) and files/.

    reports: folder of the report files, files/pNN/pNNNNNNNN/sNNNNNNNN.txt of MIMIC-CXR, by default DIR. split: 'train',
    'val', 'test' or 'all'. views: 'frontal' (AP and PA), 'lateral' or 'all'. Labels are those of the study; -1 stays,
    blank is NaN. Nothing is opened or looked for before it is read. Errors: `DataError` for files not of this layout.
    """
    root = Path(path)
    if split not in ("all", "train", "val", "test") or views not in ("all", "frontal", "lateral"):
        raise DataError(
            f"mimic:{path}: split={split!r}, views={views!r}; allowed: all, train, val, test; all, frontal, lateral"
        )
    meta = read_csv(_table_path(root, "metadata"), ("dicom_id", "subject_id", "study_id"))
    meta.require_unique("dicom_id")
    findings, by_study = _parse_labels(read_csv(_table_path(root, "chexpert"), ("study_id",)))
    parts = _read_splits(root)
    names, view = meta.text("dicom_id"), _parse_views(meta)
    wanted = [
        at
        for at, name in enumerate(names)
        if (split == "all" or parts.get(name, "") == split) and (views == "all" or view[at] == views)
    ]
    if not wanted:
        raise DataError(f"{meta.path} lists no radiograph with split={split} and views={views}")
    study, patient = meta.text("study_id"), meta.text("subject_id")

    def one(index: int) -> Radiograph:
        at = wanted[index]
        folder = f"files/p{patient[at][:2]}/p{patient[at]}/s{study[at]}"
        labels = dict(zip(findings, by_study.get(study[at], [NAN] * len(findings)), strict=True))
        return Radiograph(
            id=names[at],
            patient=patient[at],
            read=LazyImage(root / folder, names[at]),
            study=study[at],
            view=view[at],
            split=parts.get(names[at], ""),
            labels=labels,
        )

    places = {names[at]: (patient[at], study[at]) for at in wanted}
    return Dataset(
        name="mimic",
        spec=f"mimic:{path}?reports={reports}&split={split}&views={views}",
        findings=findings,
        radiographs=LazySequence(len(wanted), one),
        annotation=no_annotations,
        reports=MimicReports(Path(reports) if reports else root, places),
        metadata={"license": LICENSE, "citation": CITATION, "warnings": ()},
    )


@dataclass(frozen=True, slots=True)
class MimicReports:
    """`Dataset.reports`: files, read when asked."""

    root: Path
    patient_and_study: Mapping[str, tuple[str, str]] = field(repr=False)
    """Radiograph -> patient, study."""

    def __call__(self, radiograph: str) -> Report | None:
        """None where there is no file. Errors: `DataError` for one that is no text."""
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
    packed = plain.with_suffix(".csv.gz")
    return packed if packed.is_file() and not plain.is_file() else plain


def _parse_labels(table: CsvTable) -> tuple[tuple[str, ...], dict[str, list[float]]]:
    columns = {canonical_name(str(c)): str(c) for c in table.rows.columns}
    findings = tuple(f for f in CHEXPERT_FINDINGS if f in columns)
    if not findings:
        raise DataError(f"{table.path} has none of the label columns {', '.join(CHEXPERT_FINDINGS)}")
    values: Array = np.stack([table.labels(columns[f]) for f in findings], 1)
    return findings, dict(zip(table.text("study_id"), values.tolist(), strict=True))


def _read_splits(root: Path) -> dict[str, str]:
    """Radiograph -> split. Errors: `DataError` for a missing table or a split of another name."""
    table = read_csv(_table_path(root, "split"), ("dicom_id", "split"))
    cells = table.text("split")
    for at, cell in enumerate(cells):
        if cell not in SPLITS:
            raise table.error(table.row_number(at), f"split is {cell!r}; allowed: {', '.join(SPLITS)}")
    return dict(zip(table.text("dicom_id"), (SPLITS[cell] for cell in cells), strict=True))


def _parse_views(meta: CsvTable) -> list[str]:
    if "ViewPosition" not in meta.rows:
        return [""] * len(meta.rows)
    return [VIEWS.get(cell.upper(), "") for cell in meta.text("ViewPosition")]


@dataclass(frozen=True, slots=True)
class LazyImage:
    """`Radiograph.read` of an image that is looked for when it is asked for: JPEG, PNG or DICOM."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        there = (self.folder / f"{self.name}{suffix}" for suffix in (".jpg", ".png", ".dcm"))
        return next((file for file in there if file.is_file()), self.folder / f"{self.name}.jpg")

    def __call__(self) -> Array:
        return image_files.read_image(self.path)
