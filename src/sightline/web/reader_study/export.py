"""What readers said, as files: CheXlocalize's layout, COCO, or tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sightline._util.files import write_text_atomic
from sightline.data import dataset
from sightline.data.reader_study.annotations import DRAWN, Reading, readings, with_readers
from sightline.data.reader_study.database import Book
from sightline.data.reader_study.rating_sheets import CHOICE, COLUMNS
from sightline.data.reader_study.schedule import JUDGED
from sightline.data.writers import write
from sightline.errors import DataError

FORMATS = {
    "chexlocalize": "radiographs, labels, and annotations and points as CheXlocalize publishes them",
    "coco": "annotations.json: outlines as polygons, points as key points",
    "csv": "marks.csv, cases.csv and ratings.csv",
}


def export(place: str, format: str, out: Path) -> list[Path]:
    """Write the finished cases of a study in one of `FORMATS` to a new folder; returns what was written.

    CheXlocalize's layout and COCO hold what was said at first sight; the tables hold the repeats, too.
    Errors: `DataError` for another format, a folder that is not empty, or a study of which nothing is finished.
    """
    if format not in FORMATS:
        raise DataError(f"format {format!r}; there are {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is already there and not an empty folder; name a new one")
    with Book.open(place) as book:
        spec, said = book.study().data, list(readings(book))
    if not said:
        raise DataError(f"nobody has finished a case of {place}")
    if format == "chexlocalize":
        return [write(with_readers(dataset(spec), place), "chexlocalize", out, progress=False)]
    out.mkdir(parents=True, exist_ok=True)
    if format == "coco":
        first = [r for r in said if r.occasion == 0 and r.case.task in ("contour", "point")]
        write_text_atomic(out / "annotations.json", json.dumps(coco(first)))
        return [out / "annotations.json"]
    tables = {"cases": cases(said), "marks": marks(said), "ratings": ratings(said)}
    for name, table in tables.items():
        write_text_atomic(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    return [out / f"{name}.csv" for name in tables]


def coco(said: Sequence[Reading]) -> dict[str, Any]:
    """One image per radiograph, one category per finding, one annotation per outline or point, with its reader."""
    radiographs = {r.case.radiograph: r.case for r in said}
    findings = sorted({r.case.finding for r in said})
    images = {name: i + 1 for i, name in enumerate(radiographs)}
    annotations = [
        {"id": number + 1, "image_id": images[r.case.radiograph], "category_id": findings.index(r.case.finding) + 1,
         "reader": r.reader, "iscrowd": 0, **shape}
        for number, (r, shape) in enumerate((r, shape) for r in said for shape in _shapes(r))
    ]  # fmt: skip
    return {
        "info": {"description": "Marks of a reader study", "contributor": "Sightline"},
        "images": [{"id": images[name], "file_name": name, "height": case.height, "width": case.width}
                   for name, case in radiographs.items()],
        "categories": [{"id": i + 1, "name": f, "supercategory": "finding", "keypoints": ["most representative"],
                        "skeleton": []} for i, f in enumerate(findings)],
        "annotations": annotations,
    }  # fmt: skip


def _shapes(r: Reading) -> Iterator[dict[str, Any]]:
    """x to the right, y down, in pixels from the outer corner of the first."""
    if r.case.task == "point":
        for y, x in r.points.tolist():
            yield {
                "keypoints": [x, y, 2],
                "num_keypoints": 1,
                "bbox": [x, y, 0.0, 0.0],
                "area": 0.0,
                "segmentation": [],
            }
        return
    for line in r.contours:
        (top, left), (bottom, right) = line.min(0), line.max(0)
        rows, cols = line.T
        area = abs(float(rows @ np.roll(cols, -1) - cols @ np.roll(rows, -1))) / 2
        yield {"segmentation": [line[:, ::-1].ravel().tolist()], "area": area,
               "bbox": [left, top, right - left, bottom - top]}  # fmt: skip


def cases(said: Sequence[Reading]) -> pd.DataFrame:
    """A row per finished case: what came of it, and how long it took."""
    rows = [
        {**_head(r), "marked": int(r.marked) if r.case.task in DRAWN else None, "shapes": len(r.state.shapes),
         "seconds": round(r.state.seconds, 1)}
        for r in said
    ]  # fmt: skip
    return pd.DataFrame(rows)


def marks(said: Sequence[Reading]) -> pd.DataFrame:
    """A row per corner of an outline, per point and per click, in order; row and col in pixels, `at` in seconds."""
    rows = []
    for r in said:
        for number, shape in enumerate(r.state.shapes.values()):
            for corner, (row, col) in enumerate(shape.points):
                rows.append({**_head(r), "shape": number, "corner": corner, "row": row, "col": col, "at": shape.at})
    return pd.DataFrame(rows, columns=[*_HEAD, "shape", "corner", "row", "col", "at"])


_HEAD = ("reader", "task", "occasion", "radiograph", "patient", "finding")


def _head(r: Reading) -> dict[str, Any]:
    case = r.case
    return dict(zip(_HEAD, (r.reader, case.task, r.occasion, case.radiograph, case.patient, case.finding), strict=True))


def ratings(said: Sequence[Reading]) -> pd.DataFrame:
    """What was said of maps, with the columns of `sightline.data.reader_study.rating_sheets.COLUMNS`: letters become
    sources again."""
    rows = []
    for r in said:
        if r.case.task not in JUDGED:
            continue
        head = {k: v for k, v in _head(r).items() if k != "task"}
        sources = {chr(ord("A") + i): source for i, source in enumerate(r.shown)}
        for (question, letter), value in r.state.answers.items():
            if question == CHOICE.name:
                rows += [{**head, "source": s, "question": question, "value": int(name == value)}
                         for name, s in sources.items()]  # fmt: skip
            else:
                rows.append({**head, "source": sources[letter], "question": question, "value": int(value)})
    return pd.DataFrame(rows, columns=list(COLUMNS))
