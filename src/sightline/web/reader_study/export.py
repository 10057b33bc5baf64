"""Export of annotations and answers of readers: the layout of CheXlocalize, COCO, or tables."""

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

_CASE_COLUMNS = ("reader", "task", "occasion", "radiograph", "patient", "finding")
FORMATS = {
    "chexlocalize": "radiographs, labels, and annotations and points as CheXlocalize publishes them",
    "coco": "annotations.json: outlines as polygons, points as key points",
    "csv": "annotations.csv, cases.csv and ratings.csv",
}
"""Formats of an export, with a description each."""


def export_study(location: str, format: str, out: Path) -> list[Path]:
    """Write the finished cases of a study to a new folder.

    The layout of CheXlocalize and COCO hold first readings only; the tables hold repeated readings, too.

    Parameters
    ----------
    location : str
        Folder or database URL of the study.
    format : str
        Format, of `FORMATS`.
    out : Path
        New or empty folder.

    Returns
    -------
    list of Path
        Files or folders that were written.

    Raises
    ------
    DataError
        If the format is unknown, the folder is not empty, or no case is finished.
    """
    if format not in FORMATS:
        raise DataError(f"there is no format {format!r}; allowed: {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not an empty folder; name a new one")
    with StudyDatabase.open(location) as database:
        spec, readings = database.study().dataset_spec, list(completed_readings(database, include_aided=True))
    if not readings:
        raise DataError(f"nobody has finished a case of {location}")
    if format == "chexlocalize":
        return [write_dataset(add_study_readers(open_dataset(spec), location), "chexlocalize", out, progress=False)]
    out.mkdir(parents=True, exist_ok=True)
    if format == "coco":
        first = [r for r in readings if r.occasion == 0 and not r.is_aided and r.case.task in ("contour", "point")]
        write_text_atomic(out / "annotations.json", json.dumps(to_coco(first)))
        return [out / "annotations.json"]
    tables = {
        "cases": cases_table(readings),
        "annotations": annotations_table(readings),
        "ratings": ratings_table(readings),
    }
    for name, table in tables.items():
        write_text_atomic(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    return [out / f"{name}.csv" for name in tables]


def to_coco(readings: Sequence[CompletedReading]) -> dict[str, Any]:
    """Convert outlines and points to the COCO format.

    Parameters
    ----------
    readings : sequence of CompletedReading
        Readings of the tasks contour and point.

    Returns
    -------
    dict
        An image per radiograph, a category per finding, and an annotation per outline or point, with its reader.
    """
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
        "info": {"description": "Annotations of a reader study", "contributor": "Sightline"},
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
    """Yield shapes in COCO fields: x to the right and y down, in pixels from the outer corner of the first pixel."""
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
    for contour in r.contours:
        (top, left), (bottom, right) = contour.min(0), contour.max(0)
        rows, cols = contour.T
        area = abs(float(rows @ np.roll(cols, -1) - cols @ np.roll(rows, -1))) / 2
        yield {
            "segmentation": [contour[:, ::-1].ravel().tolist()],
            "area": area,
            "bbox": [left, top, right - left, bottom - top],
        }


def cases_table(readings: Sequence[CompletedReading]) -> pd.DataFrame:
    """Tabulate finished cases.

    Parameters
    ----------
    readings : sequence of CompletedReading
        Readings of any task.

    Returns
    -------
    pandas.DataFrame
        A row per reading. aided: 1 if a map was shown, else 0; annotated: 1 if something was drawn, else 0, missing for
        ratings; shapes: number of shapes; seconds: active time.
    """
    rows = [
        {
            **_case_fields(r),
            "aided": int(r.is_aided),
            "annotated": int(r.has_annotation) if r.case.task in ANNOTATION_TASKS else None,
            "shapes": len(r.state.shapes),
            "seconds": round(r.state.seconds, 1),
        }
        for r in readings
    ]
    return pd.DataFrame(rows)


def annotations_table(readings: Sequence[CompletedReading]) -> pd.DataFrame:
    """Tabulate the points of all shapes.

    Parameters
    ----------
    readings : sequence of CompletedReading
        Readings of any task.

    Returns
    -------
    pandas.DataFrame
        A row per vertex of an outline, per point and per click, in order: row and col in pixels, `at` in seconds.
    """
    rows = []
    for r in readings:
        for number, shape in enumerate(r.state.shapes.values()):
            for corner, (row, col) in enumerate(shape.points):
                rows.append(
                    {
                        **_case_fields(r),
                        "aided": int(r.is_aided),
                        "shape": number,
                        "corner": corner,
                        "row": row,
                        "col": col,
                        "at": shape.started_at,
                    }
                )
    return pd.DataFrame(rows, columns=[*_CASE_COLUMNS, "aided", "shape", "corner", "row", "col", "at"])


def _case_fields(r: CompletedReading) -> dict[str, Any]:
    case = r.case
    return dict(
        zip(_CASE_COLUMNS, (r.reader, case.task, r.occasion, case.radiograph, case.patient, case.finding), strict=True)
    )


def ratings_table(readings: Sequence[CompletedReading]) -> pd.DataFrame:
    """Tabulate the answers about maps, with sources in place of letters.

    Parameters
    ----------
    readings : sequence of CompletedReading
        Readings of any task; those without maps are skipped.

    Returns
    -------
    pandas.DataFrame
        Columns as in `sightline.data.reader_study.rating_sheets.RATING_COLUMNS`.
    """
    rows = []
    for r in readings:
        if r.case.task not in RATING_TASKS:
            continue
        fields = {k: v for k, v in _case_fields(r).items() if k != "task"}
        sources = {chr(ord("A") + i): source for i, source in enumerate(r.sources)}
        for (question, letter), value in r.state.answers.items():
            if question == CHOICE_QUESTION.name:
                rows += [
                    {**fields, "source": source, "question": question, "value": int(name == value)}
                    for name, source in sources.items()
                ]
            else:
                rows.append({**fields, "source": sources[letter], "question": question, "value": int(value)})
    return pd.DataFrame(rows, columns=list(RATING_COLUMNS))
