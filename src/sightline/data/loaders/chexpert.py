"""CheXpert: 224 316 radiographs of 65 240 patients with fourteen labels, uncertain ones among them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Dataset, Radiograph
from sightline.data.loaders.chexlocalize import LICENSE, METADATA_COLUMNS, VIEW_PATH_PATTERN
from sightline.data.loaders.csv_tables import CsvTable, LazySequence, concatenate, no_annotations, read_csv
from sightline.data.registry import datasets
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS
from sightline.imaging import image_files

CITATION = "doi:10.1609/aaai.v33i01.3301590"
SPLITS = {"train": "train", "valid": "val", "test": "test"}
"""Name of the CSV file and of the folder -> split."""


@datasets("chexpert", title="CheXpert", source=f"Irvin 2019, {CITATION}", license=LICENSE)
def load_chexpert(path: str, split: str = "", views: str = "all") -> Dataset:
    """CheXpert as it is published: DIR holds train.csv and valid.csv beside train/ and valid/.

    split: 'train', 'valid' or (where somebody wrote it in the same form) 'test'; by default train and valid together,
    whichever is there. views: 'frontal', 'lateral' or 'all'. Uncertain labels stay -1, blanks are NaN. No image is
    opened or looked for before it is read.
    Errors: `DataError` for a folder or file that is not of this layout.
    """
    root = Path(path)
    splits = _resolve_splits(root, split)
    if views not in ("frontal", "lateral", "all"):
        raise DataError(f"chexpert has no views {views!r}; allowed: frontal, lateral, all")
    tables = [read_csv(root / f"{name}.csv", ("Path",)) for name in splits]
    columns = tuple(name for name in CHEXPERT_FINDINGS if all(name in table.rows.columns for table in tables))
    if not columns:
        names = " and ".join(table.path.name for table in tables)
        raise DataError(f"{names} in {root} share none of the label columns {', '.join(CHEXPERT_FINDINGS)}")
    each = [_make_radiographs(root, name, views, table, columns) for name, table in zip(splits, tables, strict=True)]
    radiographs = concatenate(each)
    if not len(radiographs):
        raise DataError(f"{tables[0].path} lists no radiographs with views={views}")
    return Dataset(
        name="chexpert",
        spec=f"chexpert:{path}?split={split}&views={views}",
        findings=columns,
        radiographs=radiographs,
        annotation=no_annotations,
        metadata={"split": "+".join(splits), "views": views, "license": LICENSE, "citation": CITATION, "warnings": ()},
    )


def _resolve_splits(root: Path, split: str) -> list[str]:
    """The split asked for, or train and valid as far as they are there, or test."""
    if split and split not in SPLITS:
        raise DataError(f"chexpert has no split {split!r}; allowed: {', '.join(SPLITS)}")
    wanted = [split] if split else list(SPLITS)
    there = [name for name in wanted if (root / f"{name}.csv").is_file()]
    if there:
        return there if there == ["test"] else [name for name in there if split or name != "test"]
    inside = next((file.parent for name in wanted for file in sorted(root.glob(f"*/{name}.csv"))), None)
    hint = f"; is {inside} meant?" if inside else "; give the folder that holds the CSV files and images"
    raise DataError(f"{root} holds no {' or '.join(f'{name}.csv' for name in wanted)}{hint}")


def _make_radiographs(
    root: Path, split: str, views: str, table: CsvTable, columns: tuple[str, ...]
) -> LazySequence[Radiograph]:
    parts = table.rows["Path"].str.extract(VIEW_PATH_PATTERN)  # patient, study, file, stem, view
    for at in np.flatnonzero(parts["patient"].isna()):
        text = table.rows["Path"].iloc[at]
        raise table.error(table.row_number(at), f"Path is {text!r}; .../patientN/studyN/viewN_frontal.jpg was expected")
    for at in np.flatnonzero(parts[["patient", "study", "stem"]].duplicated()):
        raise table.error(table.row_number(at), f"Path {table.rows['Path'].iloc[at]!r} is listed twice; remove one")
    labels = np.stack([table.labels(name) for name in columns], axis=1).astype(np.float32)  # (N, labels)
    known = {ours: table.text(name) for name, ours in METADATA_COLUMNS.items() if name in table.rows.columns}
    patients, studies, files, stems, sides = (parts[name].tolist() for name in parts.columns)
    picked = [at for at, side in enumerate(sides) if views in ("all", side)]

    def make(index: int) -> Radiograph:
        at = picked[index]
        image = root / split / patients[at] / studies[at] / files[at]
        return Radiograph(
            id=f"{patients[at]}_{studies[at]}_{stems[at]}",
            patient=patients[at],
            read=partial(image_files.read_image, image),
            study=f"{patients[at]}_{studies[at]}",
            view=sides[at],
            split=SPLITS[split],
            labels=dict(zip(columns, labels[at].tolist(), strict=True)),
            metadata={"path": str(image), **{name: values[at] for name, values in known.items()}},
        )

    return LazySequence(len(picked), make)
