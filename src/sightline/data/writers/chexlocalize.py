"""Writer of CheXlocalize's layout: images and labels as CheXpert has them, annotations as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from sightline.core import Annotation, Array, Dataset, Radiograph
from sightline.data.reader_names import RADIOLOGIST
from sightline.data.writers.chexpert import image_path, label_row, omitted_label_notes, save_image, with_published_ids
from sightline.data.writers.registry import WithProgress, formats
from sightline.errors import DataError
from sightline.findings import CHEXLOCALIZE_FINDINGS
from sightline.imaging import masks

POINTS_SUFFIX = "_salient_pt"
"""Suffix of the files of most representative points."""
_PATH_PREFIXES = {"val": "CheXpert-v1.0/valid", "test": "test", "train": "CheXpert-v1.0/train"}


@formats(
    "chexlocalize",
    layout="CheXpert/{val,test}/, CheXpert/{val,test}_labels.csv, CheXlocalize/*.json",
    loader="chexlocalize:DIR",
)
def write_chexlocalize(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """Write images, labels, and annotations as masks, contours and points, as CheXlocalize does.

    Radiographs of split 'val' go to val, those of 'test' or of no split to test, with the annotations of all readers.
    Those of 'train', which the download lacks, go to CheXpert/train/ with labels alone (open as chexpert:DIR/CheXpert).
    """
    renamed = with_published_ids(dataset, out)
    readers = _readers_by_prefix(dataset)
    tables: dict[str, list[dict[str, object]]] = {}
    files: dict[str, dict[str, dict[str, object]]] = {}
    for original, radiograph in zip(with_progress(dataset.radiographs), renamed, strict=True):
        split = radiograph.split or "test"
        save_image(radiograph, out / "CheXpert" / split / image_path(radiograph))
        path = f"{_PATH_PREFIXES[split]}/{image_path(radiograph)}"
        tables.setdefault(split, []).append(label_row(path, radiograph, with_metadata=split != "test"))
        if split != "train":
            for name, entry in _annotation_entries(dataset, original.id, readers):
                files.setdefault(f"{name}_{split}.json", {})[radiograph.id] = entry
    for split, rows in tables.items():
        name = "train.csv" if split == "train" else f"{split}_labels.csv"
        pd.DataFrame(rows).to_csv(out / "CheXpert" / name, index=False)
    (out / "CheXlocalize").mkdir()
    for file, entries in files.items():
        (out / "CheXlocalize" / file).write_text(json.dumps(entries), encoding="utf-8")
    return _make_notes(dataset, renamed, readers)


def _make_notes(dataset: Dataset, renamed: Sequence[Radiograph], readers: dict[str, str]) -> list[str]:
    regions = "{0}_segmentations and {0}_annotations"
    notes = [
        f"{prefix if prefix.endswith(POINTS_SUFFIX) else regions.format(prefix)}: annotations by {reader!r}"
        for prefix, reader in readers.items()
    ]
    if omitted := [finding for finding in dataset.findings if finding not in CHEXLOCALIZE_FINDINGS]:
        notes.append(f"Annotations of {', '.join(omitted)} are not written: they are none of the ten findings.")
    return notes + omitted_label_notes(renamed)


def _readers_by_prefix(dataset: Dataset) -> dict[str, str]:
    """Map prefixes of files to readers with an annotation.

    'gt' is the reference; 'hb' the first other reader who drew, 'hb_salient_pt' the first who placed points (the human
    benchmark); 'hbNAME' and 'hbNAME_salient_pt' the others.
    """
    readers = {"gt": dataset.reference_reader} if dataset.readers else {}
    for reader in dataset.readers[1:]:
        kind = _first_annotation_kind(dataset, reader)
        if kind is None:
            continue
        suffix = POINTS_SUFFIX if kind == "points" else ""
        name = re.sub(r"\W+", "_", reader.removesuffix(" points").removeprefix(f"{RADIOLOGIST} "))
        prefix = f"hb{suffix}" if f"hb{suffix}" not in readers else f"hb{name}{suffix}"
        if prefix in readers:
            raise DataError(
                f"readers {readers[prefix]!r} and {reader!r} would share the files {prefix}_...; rename one"
            )
        readers[prefix] = reader
    return readers


def _first_annotation_kind(dataset: Dataset, reader: str) -> str | None:
    """Return the kind of the first annotation by a reader."""
    annotations = (
        dataset.annotation(radiograph.id, finding, reader)
        for radiograph in dataset.radiographs
        for finding in dataset.findings
    )
    return next((annotation.kind for annotation in annotations if annotation is not None), None)


def _annotation_entries(
    dataset: Dataset, radiograph: str, readers: dict[str, str]
) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield (file without its split, entry of the radiograph); nothing for a reader without an annotation."""
    for prefix, reader in readers.items():
        annotations = {
            _published_name(finding): annotation
            for finding in CHEXLOCALIZE_FINDINGS
            if finding in dataset.findings
            and (annotation := dataset.annotation(radiograph, finding, reader)) is not None
        }
        if not annotations:
            continue
        size = next(iter(annotations.values())).size
        if prefix.endswith(POINTS_SUFFIX):
            points = {task: _to_xy(annotation.read()) for task, annotation in annotations.items()}
            yield prefix, {"img_size": list(size), **points}
            continue
        mask_by_task = {task: masks.rasterize_annotation(annotation) for task, annotation in annotations.items()}
        empty = np.zeros(size, bool)
        tasks = [_published_name(finding) for finding in CHEXLOCALIZE_FINDINGS]
        yield f"{prefix}_segmentations", {task: masks.mask_to_rle(mask_by_task.get(task, empty)) for task in tasks}
        outlines = {task: _outlines(annotations[task], mask) for task, mask in mask_by_task.items()}
        present = {task: contours for task, contours in outlines.items() if contours}
        yield f"{prefix}_annotations", {"img_size": list(size), **present}


def _outlines(annotation: Annotation, mask: Array) -> list[list[list[float]]]:
    """Return contours as [[x, y], ...]: those that the reader drew, else those around the mask."""
    contours = annotation.read() if annotation.kind == "contours" else masks.mask_to_contours(mask)
    return [_to_xy(np.repeat(contour, 2, axis=0) if len(contour) == 1 else contour) for contour in contours]


def _to_xy(points: Array) -> list[list[float]]:
    return cast(list[list[float]], np.asarray(points, float).reshape(-1, 2)[:, ::-1].tolist())


def _published_name(finding: str) -> str:
    """Return the spelling of the published files."""
    return "Airspace Opacity" if finding == "Lung Opacity" else finding
