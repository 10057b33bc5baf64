"""Data sets written as a folder of one's own: images, masks, and tables of labels, boxes and points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from sightline.core import Dataset, Mark, Radiograph
from sightline.data.loaders.folder import BOX
from sightline.data.writers.base import Progress, formats
from sightline.errors import DataError
from sightline.imaging import geometry

Row = dict[str, object]
DESCRIBED = {"boxes.csv": ("image", "finding", *BOX, "reader"), "points.csv": ("image", "finding", "x", "y", "reader")}


@formats(
    "folder",
    layout="images/NAME.png, labels.csv, masks/FINDING/NAME.png, masks_READER/FINDING/NAME.png, boxes.csv, points.csv",
    loader="folder:DIR",
)
def folder(dataset: Dataset, out: Path, walk: Progress[Radiograph]) -> list[str]:
    """Everything but gaze and reports; the reference reader is called truth."""
    labels: list[Row] = []
    rows: dict[str, list[Row]] = {name: [] for name in DESCRIBED}
    (out / "images").mkdir()
    for radiograph in walk(dataset.radiographs):
        if "/" in radiograph.id:
            raise DataError(f"radiograph {radiograph.id!r} cannot be the name of a file: it holds a slash")
        grays = np.rint(np.clip(radiograph.read(), 0, 1) * 255).astype(np.uint8)  # (H, W)
        Image.fromarray(grays).save(out / "images" / f"{radiograph.id}.png")
        labels.append(_described(radiograph))
        for finding in dataset.findings:
            for reader in dataset.readers:
                mark = dataset.marks(radiograph.id, finding, reader)
                if mark is not None:
                    _write_mark(mark, "truth" if reader == dataset.truth else reader, out, rows)
    pd.DataFrame(labels).to_csv(out / "labels.csv", index=False)
    for name, columns in DESCRIBED.items():
        if rows[name]:
            pd.DataFrame(rows[name], columns=list(columns)).to_csv(out / name, index=False)
    return []


def _described(radiograph: Radiograph) -> Row:
    about = {"patient": radiograph.patient, "study": radiograph.study, "view": radiograph.view}
    return {"image": radiograph.id, **about, "split": radiograph.split, **radiograph.labels}


def _write_mark(mark: Mark, reader: str, out: Path, rows: dict[str, list[Row]]) -> None:
    at: Row = {"image": mark.radiograph, "finding": mark.finding}
    if mark.kind == "points":
        rows["points.csv"] += [{**at, "x": col, "y": row, "reader": reader} for row, col in mark.read()]
    elif mark.kind == "boxes":
        for top, left, bottom, right in mark.read():
            corner = dict(zip(BOX, (left, top, right - left, bottom - top), strict=True))
            rows["boxes.csv"].append({**at, **corner, "reader": reader})
    else:
        file = out / ("masks" if reader == "truth" else f"masks_{reader}") / mark.finding / f"{mark.radiograph}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(geometry.region(mark).astype(np.uint8) * 255).save(file)
