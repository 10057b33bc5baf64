"""What readers said, as files: CheXlocalize's layout, COCO, or tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sightline._util.files import write_text_atomic
from sightline.data import open_dataset
from sightline.data.reader_study.annotations import (
    ANNOTATION_TASKS,
    CompletedReading,
    add_study_readers,
    completed_readings,
)
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.rating_sheets import CHOICE_QUESTION, RATING_COLUMNS
from sightline.data.reader_study.schedule import RATING_TASKS
from sightline.data.writers import write_dataset
from sightline.errors import DataError

FORMATS = {
    "chexlocalize": "radiographs, labels, and annotations and points as CheXlocalize publishes them",
    "coco": "annotations.json: outlines as polygons, points as key points",
    "csv": "annotations.csv, cases.csv and ratings.csv",
}


def export_study(location: str, format: str, out: Path) -> list[Path]:
    """Write the finished cases of a study in one of `FORMATS` to a new folder; returns what was written.

    CheXlocalize's layout and COCO hold what was said at first sight; the tables hold the repeats, too.
    Errors: `DataError` for another format, a folder that is not empty, or a study of which nothing is finished.
    """
    if format not in FORMATS:
        raise DataError(f"format {format!r}; there are {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is already there and not an empty folder; name a new one")
    with StudyDatabase.open(location) as book:
        spec, said = book.study().dataset_spec, list(completed_readings(book))
    if not said:
        raise DataError(f"nobody has finished a case of {location}")
    if format == "chexlocalize":
        return [write_dataset(add_study_readers(open_dataset(spec), location), "chexlocalize", out, progress=False)]
    out.mkdir(parents=True, exist_ok=True)
    if format == "coco":
        first = [r for r in said if r.occasion == 0 and r.case.task in ("contour", "point")]
        write_text_atomic(out / "annotations.json", json.dumps(to_coco(first)))
        return [out / "annotations.json"]
    tables = {"cases": cases_table(said), "annotations": annotations_table(said), "ratings": ratings_table(said)}
    for name, table in tables.items():
        write_text_atomic(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    return [out / f"{name}.csv" for name in tables]


def to_coco(readings: Sequence[CompletedReading]) -> dict[str, Any]:
    """One image per radiograph, one category per finding, one annotation per outline or point, with its reader."""
    radiographs = {r.case.radiograph: r.case for r in readings}
    findings = sorted({r.case.finding for r in readings})
    images = {name: i + 1 for i, name in enumerate(radiographs)}
    annotations = [
        {
            "id": number + 1,
            "image_id": images[r.case.radiograph],
            "category_id": findings.index(r.case.finding) + 1,
            "reader": r.reader,
            "iscrowd": 0,
            **shape,
        }
        for number, (r, shape) in enumerate((r, shape) for r in readings for shape in _coco_shapes(r))
    ]
    return {
        "info": {"description": "Marks of a reader study", "contributor": "Sightline"},
        "images": [
            {"id": images[name], "file_name": name, "height": case.height, "width": case.width}
            for name, case in radiographs.items()
        ],
        "categories": [
            {"id": i + 1, "name": f, "supercategory": "finding", "keypoints": ["most representative"], "skeleton": []}
            for i, f in enumerate(findings)
        ],
        "annotations": annotations,
    }


def _coco_shapes(r: CompletedReading) -> Iterator[dict[str, Any]]:
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
        yield {
            "segmentation": [line[:, ::-1].ravel().tolist()],
            "area": area,
            "bbox": [left, top, right - left, bottom - top],
        }


def cases_table(readings: Sequence[CompletedReading]) -> pd.DataFrame:
    """A row per finished case: what came of it, and how long it took."""
    rows = [
        {
            **_case_fields(r),
            "annotated": int(r.has_annotation) if r.case.task in ANNOTATION_TASKS else None,
            "shapes": len(r.state.shapes),
            "seconds": round(r.state.seconds, 1),
        }
        for r in readings
    ]
    return pd.DataFrame(rows)


def annotations_table(readings: Sequence[CompletedReading]) -> pd.DataFrame:
    """A row per corner of an outline, per point and per click, in order; row and col in pixels, `at` in seconds."""
    rows = []
    for r in readings:
        for number, shape in enumerate(r.state.shapes.values()):
            for corner, (row, col) in enumerate(shape.points):
                rows.append(
                    {
                        **_case_fields(r),
                        "shape": number,
                        "corner": corner,
                        "row": row,
                        "col": col,
                        "at": shape.started_at,
                    }
                )
    return pd.DataFrame(rows, columns=[*_CASE_COLUMNS, "shape", "corner", "row", "col", "at"])


_CASE_COLUMNS = ("reader", "task", "occasion", "radiograph", "patient", "finding")


def _case_fields(r: CompletedReading) -> dict[str, Any]:
    case = r.case
    return dict(
        zip(_CASE_COLUMNS, (r.reader, case.task, r.occasion, case.radiograph, case.patient, case.finding), strict=True)
    )


def ratings_table(readings: Sequence[CompletedReading]) -> pd.DataFrame:
    """What was said of maps, with the columns of `sightline.data.reader_study.rating_sheets.RATING_COLUMNS`: letters
    become
    sources again."""
    rows = []
    for r in readings:
        if r.case.task not in RATING_TASKS:
            continue
        head = {k: v for k, v in _case_fields(r).items() if k != "task"}
        sources = {chr(ord("A") + i): source for i, source in enumerate(r.sources)}
        for (question, letter), value in r.state.answers.items():
            if question == CHOICE_QUESTION.name:
                rows += [
                    {**head, "source": s, "question": question, "value": int(name == value)}
                    for name, s in sources.items()
                ]
            else:
                rows.append({**head, "source": sources[letter], "question": question, "value": int(value)})
    return pd.DataFrame(rows, columns=list(RATING_COLUMNS))
