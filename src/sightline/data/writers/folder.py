"""Writer of the layout `folder`: images, masks, and tables of labels, boxes and points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from sightline.core import Annotation, Dataset, Radiograph
from sightline.data.loaders.folder import BOX_COLUMNS, METADATA_COLUMNS
from sightline.data.reader_names import REFERENCE_READER
from sightline.data.writers.registry import WithProgress, formats, read_8_bit
from sightline.errors import DataError
from sightline.imaging import masks

Row = dict[str, object]
TABLE_COLUMNS = {
    "boxes.csv": ("image", "finding", *BOX_COLUMNS, "reader"),
    "points.csv": ("image", "finding", "x", "y", "reader"),
}


@formats(
    "folder",
    layout="images/NAME.png, labels.csv, masks/FINDING/NAME.png, masks_READER/FINDING/NAME.png, boxes.csv, points.csv",
    loader="folder:DIR",
)
def write_folder(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """Write everything but gaze and reports; the reference reader is renamed to 'truth'."""
    labels: list[Row] = []
    rows: dict[str, list[Row]] = {name: [] for name in TABLE_COLUMNS}
    (out / "images").mkdir()
    for radiograph in with_progress(dataset.radiographs):
        if "/" in radiograph.id:
            raise DataError(f"radiograph {radiograph.id!r} cannot be the name of a file: it contains a slash")
        Image.fromarray(read_8_bit(radiograph)).save(out / "images" / f"{radiograph.id}.png")
        labels.append(_label_row(radiograph))
        for finding in dataset.findings:
            for reader in dataset.readers:
                annotation = dataset.annotation(radiograph.id, finding, reader)
                if annotation is not None:
                    name = REFERENCE_READER if reader == dataset.reference_reader else reader
                    _write_annotation(annotation, name, out, rows)
    pd.DataFrame(labels).to_csv(out / "labels.csv", index=False)
    for name, columns in TABLE_COLUMNS.items():
        if rows[name]:
            pd.DataFrame(rows[name], columns=list(columns)).to_csv(out / name, index=False)
    return []


def _label_row(radiograph: Radiograph) -> Row:
    metadata = {
        "image": radiograph.id,
        "patient": radiograph.patient,
        "study": radiograph.study,
        "view": radiograph.view,
        "split": radiograph.split,
    }
    stated = {name: radiograph.metadata[name] for name in METADATA_COLUMNS if name in radiograph.metadata}
    return {**metadata, **stated, **radiograph.labels}


def _write_annotation(annotation: Annotation, reader: str, out: Path, rows: dict[str, list[Row]]) -> None:
    key: Row = {"image": annotation.radiograph, "finding": annotation.finding}
    if annotation.kind == "points":
        rows["points.csv"] += [{**key, "x": col, "y": row, "reader": reader} for row, col in annotation.read()]
    elif annotation.kind == "boxes":
        for top, left, bottom, right in annotation.read():
            box = dict(zip(BOX_COLUMNS, (left, top, right - left, bottom - top), strict=True))
            rows["boxes.csv"].append({**key, **box, "reader": reader})
    else:
        folder = out / ("masks" if reader == REFERENCE_READER else f"masks_{reader}") / annotation.finding
        folder.mkdir(parents=True, exist_ok=True)
        mask = masks.rasterize_annotation(annotation).astype(np.uint8) * 255
        Image.fromarray(mask).save(folder / f"{annotation.radiograph}.png")
