"""MIMIC-CXR: radiographs and their reports, with CheXpert's labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sightline.core import NAN, Array, Dataset, Radiograph
from sightline.data.loaders.csv_tables import Lazy, Table, no_marks, read_csv
from sightline.data.registry import datasets
from sightline.data.reports import Report
from sightline.errors import DataError
from sightline.findings import CHEXPERT, canonical
from sightline.imaging import image_files

PREFIX = "mimic-cxr-2.0.0"
VIEWS = {"PA": "frontal", "AP": "frontal", "LATERAL": "lateral", "LL": "lateral"}
SPLITS = {"train": "train", "validate": "val", "test": "test"}
LICENSE = "PhysioNet Credentialed Health Data License 1.5.0"
CITATION = "Johnson et al. 2019, 10.1038/s41597-019-0322-0; https://doi.org/10.13026/8360-t248"


@datasets("mimic", title="MIMIC-CXR", source=CITATION, license=LICENSE)
def mimic(path: str, reports: str = "", split: str = "all", views: str = "frontal") -> Dataset:
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
    meta = read_csv(_table(root, "metadata"), ("dicom_id", "subject_id", "study_id"))
    meta.require_unique("dicom_id")
    findings, by_study = _labels(read_csv(_table(root, "chexpert"), ("study_id",)))
    parts = _splits(root)
    names, view = meta.text("dicom_id"), _views(meta)
    wanted = [
        at for at, name in enumerate(names)
        if (split == "all" or parts.get(name, "") == split) and (views == "all" or view[at] == views)
    ]  # fmt: skip
    if not wanted:
        raise DataError(f"{meta.path} lists no radiograph with split={split} and views={views}")
    study, patient = meta.text("study_id"), meta.text("subject_id")

    def one(index: int) -> Radiograph:
        at = wanted[index]
        folder = f"files/p{patient[at][:2]}/p{patient[at]}/s{study[at]}"
        labels = dict(zip(findings, by_study.get(study[at], [NAN] * len(findings)), strict=True))
        return Radiograph(
            id=names[at], patient=patient[at], read=Film(root / folder, names[at]), study=study[at],
            view=view[at], split=parts.get(names[at], ""), labels=labels,
        )  # fmt: skip

    places = {names[at]: (patient[at], study[at]) for at in wanted}
    return Dataset(
        name="mimic",
        spec=f"mimic:{path}?reports={reports}&split={split}&views={views}",
        findings=findings,
        radiographs=Lazy(len(wanted), one),
        marks=no_marks,
        reports=Reports(Path(reports) if reports else root, places),
        facts={"license": LICENSE, "citation": CITATION, "warnings": ()},
    )


@dataclass(frozen=True, slots=True)
class Reports:
    """`Dataset.reports`: files, read when asked."""

    root: Path
    places: Mapping[str, tuple[str, str]] = field(repr=False)
    """Radiograph -> patient, study."""

    def __call__(self, radiograph: str) -> Report | None:
        """None where there is no file. Errors: `DataError` for one that is no text."""
        if radiograph not in self.places:
            return None
        patient, study = self.places[radiograph]
        file = self.root / f"files/p{patient[:2]}/p{patient}/s{study}.txt"
        try:
            return Report.of(study, file.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file} cannot be read as a report: {error}") from error


def _table(root: Path, name: str) -> Path:
    plain = root / f"{PREFIX}-{name}.csv"
    packed = plain.with_suffix(".csv.gz")
    return packed if packed.is_file() and not plain.is_file() else plain


def _labels(table: Table) -> tuple[tuple[str, ...], dict[str, list[float]]]:
    columns = {canonical(str(c)): str(c) for c in table.rows.columns}
    findings = tuple(f for f in CHEXPERT if f in columns)
    if not findings:
        raise DataError(f"{table.path} has none of the label columns {', '.join(CHEXPERT)}")
    values: Array = np.stack([table.labels(columns[f]) for f in findings], 1)
    return findings, dict(zip(table.text("study_id"), values.tolist(), strict=True))


def _splits(root: Path) -> dict[str, str]:
    """Radiograph -> split. Errors: `DataError` for a missing table or a split of another name."""
    table = read_csv(_table(root, "split"), ("dicom_id", "split"))
    cells = table.text("split")
    for at, cell in enumerate(cells):
        if cell not in SPLITS:
            raise table.error(table.row(at), f"split is {cell!r}; allowed: {', '.join(SPLITS)}")
    return dict(zip(table.text("dicom_id"), (SPLITS[cell] for cell in cells), strict=True))


def _views(meta: Table) -> list[str]:
    if "ViewPosition" not in meta.rows:
        return [""] * len(meta.rows)
    return [VIEWS.get(cell.upper(), "") for cell in meta.text("ViewPosition")]


@dataclass(frozen=True, slots=True)
class Film:
    """`Radiograph.read` of an image that is looked for when it is asked for: JPEG, PNG or DICOM."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        there = (self.folder / f"{self.name}{suffix}" for suffix in (".jpg", ".png", ".dcm"))
        return next((file for file in there if file.is_file()), self.folder / f"{self.name}.jpg")

    def __call__(self) -> Array:
        return image_files.read(self.path)
