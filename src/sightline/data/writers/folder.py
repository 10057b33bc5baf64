"""Data sets written as a folder of one's own: images, masks, and tables of labels, boxes and points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from sightline.core import Annotation, Dataset, Radiograph
from sightline.data.loaders.folder import BOX_COLUMNS
from sightline.data.writers.base import WithProgress, formats
from sightline.errors import DataError
from sightline.imaging import geometry

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
    """Everything but gaze and reports; the reference reader is called truth."""
    labels: list[Row] = []
    rows: dict[str, list[Row]] = {name: [] for name in TABLE_COLUMNS}
    (out / "images").mkdir()
    for radiograph in with_progress(dataset.radiographs):
        if "/" in radiograph.id:
            raise DataError(f"radiograph {radiograph.id!r} cannot be the name of a file: it holds a slash")
        grays = np.rint(np.clip(radiograph.read(), 0, 1) * 255).astype(np.uint8)  # (H, W)
        Image.fromarray(grays).save(out / "images" / f"{radiograph.id}.png")
        labels.append(_label_row(radiograph))
        for finding in dataset.findings:
            for reader in dataset.readers:
                mark = dataset.annotation(radiograph.id, finding, reader)
                if mark is not None:
                    _write_annotation(mark, "truth" if reader == dataset.reference_reader else reader, out, rows)
    pd.DataFrame(labels).to_csv(out / "labels.csv", index=False)
    for name, columns in TABLE_COLUMNS.items():
        if rows[name]:
            pd.DataFrame(rows[name], columns=list(columns)).to_csv(out / name, index=False)
    return []


def _label_row(radiograph: Radiograph) -> Row:
    about = {"patient": radiograph.patient, "study": radiograph.study, "view": radiograph.view}
    return {"image": radiograph.id, **about, "split": radiograph.split, **radiograph.labels}


def _write_annotation(annotation: Annotation, reader: str, out: Path, rows: dict[str, list[Row]]) -> None:
    at: Row = {"image": annotation.radiograph, "finding": annotation.finding}
    if annotation.kind == "points":
        rows["points.csv"] += [{**at, "x": col, "y": row, "reader": reader} for row, col in annotation.read()]
    elif annotation.kind == "boxes":
        for top, left, bottom, right in annotation.read():
            corner = dict(zip(BOX_COLUMNS, (left, top, right - left, bottom - top), strict=True))
            rows["boxes.csv"].append({**at, **corner, "reader": reader})
    else:
        file = (
            out
            / ("masks" if reader == "truth" else f"masks_{reader}")
            / annotation.finding
            / f"{annotation.radiograph}.png"
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(geometry.rasterize_annotation(annotation).astype(np.uint8) * 255).save(file)
