"""Loader of CheXpert: 224 316 radiographs of 65 240 patients with fourteen labels, some of them uncertain."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from sightline.core import Dataset, Radiograph
from sightline.data.loaders.annotation_index import no_annotations
from sightline.data.loaders.chexlocalize import LICENSE, METADATA_COLUMNS, VIEW_PATH_PATTERN
from sightline.data.loaders.csv_tables import CsvTable, read_csv
from sightline.data.loaders.lazy_sequence import LazySequence, concatenate
from sightline.data.registry import datasets
from sightline.errors import DataError
from sightline.findings import CHEXPERT_FINDINGS
from sightline.imaging import image_files

CITATION = "doi:10.1609/aaai.v33i01.3301590"
SPLITS = {"train": "train", "valid": "val", "test": "test"}
"""Name of the CSV file and of the folder -> split."""


@datasets("chexpert", title="CheXpert", source=f"Irvin 2019, {CITATION}", license=LICENSE)
def load_chexpert(path: str, split: str = "", views: str = "all") -> Dataset:
    """Open CheXpert as it is published: train.csv and valid.csv, with the images in train/ and valid/.

    Uncertain labels stay -1, blank ones are NaN. Images are searched only when they are read.

    Parameters
    ----------
    path : str
        Folder of the CSV files and images.
    split : {'', 'train', 'valid', 'test'}
        Split to open; by default train and valid, as far as they exist. 'test' is not published, but may have been
        written in the same form.
    views : {'all', 'frontal', 'lateral'}
        Views to keep.

    Raises
    ------
    DataError
        If the folder or a file is not of this layout.
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
    radiographs = concatenate(
        [_make_radiographs(root, name, views, table, columns) for name, table in zip(splits, tables, strict=True)]
    )
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
    """Return the split of the option, or train and valid as far as they exist, or test."""
    if split and split not in SPLITS:
        raise DataError(f"chexpert has no split {split!r}; allowed: {', '.join(SPLITS)}")
    names = [split] if split else list(SPLITS)
    present = [name for name in names if (root / f"{name}.csv").is_file()]
    if present:
        return present if present == ["test"] else [name for name in present if split or name != "test"]
    folder = next((file.parent for name in names for file in sorted(root.glob(f"*/{name}.csv"))), None)
    hint = f"did you mean {folder}?" if folder else "give the folder that holds the CSV files and images"
    raise DataError(f"{root} holds no {' or '.join(f'{name}.csv' for name in names)}; {hint}")


def _make_radiographs(
    root: Path, split: str, views: str, table: CsvTable, columns: tuple[str, ...]
) -> LazySequence[Radiograph]:
    parts = table.rows["Path"].str.extract(VIEW_PATH_PATTERN)  # patient, study, file, stem, view
    for i in np.flatnonzero(parts["patient"].isna()):
        text = table.rows["Path"].iloc[i]
        raise table.error(table.row_number(i), f"Path is {text!r}; .../patientN/studyN/viewN_frontal.jpg was expected")
    for i in np.flatnonzero(parts[["patient", "study", "stem"]].duplicated()):
        raise table.error(table.row_number(i), f"Path {table.rows['Path'].iloc[i]!r} is listed twice; remove one")
    labels = np.stack([table.labels(name) for name in columns], axis=1).astype(np.float32)  # (N, labels)
    metadata = {name: table.text(column) for column, name in METADATA_COLUMNS.items() if column in table.rows.columns}
    patients, studies, files, stems, view_names = (parts[name].tolist() for name in parts.columns)
    rows = [row for row, view in enumerate(view_names) if views in ("all", view)]

    def make(index: int) -> Radiograph:
        row = rows[index]
        image = root / split / patients[row] / studies[row] / files[row]
        return Radiograph(
            id=f"{patients[row]}_{studies[row]}_{stems[row]}",
            patient=patients[row],
            read=partial(image_files.read_image, image),
            study=f"{patients[row]}_{studies[row]}",
            view=view_names[row],
            split=SPLITS[split],
            labels=dict(zip(columns, labels[row].tolist(), strict=True)),
            metadata={"path": str(image), **{name: values[row] for name, values in metadata.items()}},
        )

    return LazySequence(len(rows), make)
