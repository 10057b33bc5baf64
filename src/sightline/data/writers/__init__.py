"""Data sets written to disk in the layouts that others publish and the loaders read."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console
from rich.progress import track

from sightline.core import Annotation, Array, Dataset, Radiograph
from sightline.data.loaders.chexlocalize import METADATA_COLUMNS, VIEW_PATH_PATTERN
from sightline.data.writers.base import JPEG_QUALITY, FormatInfo, WithProgress, formats
from sightline.errors import DataError, SightlineError
from sightline.findings import CHEXLOCALIZE_FINDINGS, CHEXPERT_FINDINGS
from sightline.imaging import geometry

POINTS_SUFFIX = "_salient_pt"
"""How CheXlocalize's files of most representative points are called."""


def write_dataset(dataset: Dataset, format: str, out: str | Path, progress: bool = True) -> Path:
    """Write a data set to the folder `out` in the layout called `format`; returns the folder.

    Everything is written beside `out` first and moved there when complete, so `out` is never half a data set. A
    README.txt says where it came from and what the layout could not hold; ids.csv maps ids where they had to change.
    Errors: `DataError` if `out` exists and is not an empty folder, or an image or mark cannot be read;
    `SightlineError` if the disk refuses.
    """
    entry, out = formats[format], Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is already there and not an empty folder; name a new one or empty it")
    partial = out.parent / f".{out.name}.{os.getpid()}.partial"

    def walk(radiographs: Sequence[Radiograph]) -> Iterable[Radiograph]:
        console = Console(stderr=True)
        return track(radiographs, f"{dataset.name} as {format}", console=console, disable=not progress)

    try:
        partial.mkdir(parents=True)
        notes = entry(dataset, partial, walk)
        _write_readme(partial / "README.txt", dataset, entry.info, out, notes)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise SightlineError(f"{dataset.spec} cannot be written to {out}: {error}; nothing was left there") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _write_readme(file: Path, dataset: Dataset, info: FormatInfo, out: Path, notes: Iterable[str]) -> None:
    lines = [
        f"Written by sightline from {dataset.spec}",
        f"Layout: {info.layout}",
        f"Open with: {info.loader.replace('DIR', str(out))}",
        f"License of the data: {dataset.metadata.get('license', 'unknown')}",
        *notes,
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


@formats("chexpert", layout="{train,valid,test}.csv, {train,valid,test}/patientN/studyN/*.jpg", loader="chexpert:DIR")
def write_chexpert(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """Radiographs and labels; marks have no place. Radiographs without a split go to train."""
    named = _with_published_ids(dataset, out)
    tables: dict[str, list[dict[str, object]]] = {}
    for radiograph in with_progress(named):
        folder = {"val": "valid", "": "train"}.get(radiograph.split, radiograph.split)
        where = f"{folder}/{_image_path(radiograph)}"
        save_image(radiograph, out / where)
        tables.setdefault(folder, []).append(label_row(f"CheXpert-v1.0/{where}", radiograph, with_metadata=True))
    for folder, rows in tables.items():
        pd.DataFrame(rows).to_csv(out / f"{folder}.csv", index=False)
    notes = [f"Marks by {', '.join(dataset.readers)} are not written: CheXpert has none."] if dataset.readers else []
    return notes + _left_out_notes(named, CHEXPERT_FINDINGS, "labels")


@formats(
    "chexlocalize",
    layout="CheXpert/{val,test}/, CheXpert/{val,test}_labels.csv, CheXlocalize/*.json",
    loader="chexlocalize:DIR",
)
def write_chexlocalize(dataset: Dataset, out: Path, with_progress: WithProgress[Radiograph]) -> list[str]:
    """Radiographs, labels, and marks as masks, contours and points.

    Radiographs of split 'val' go to val, those of 'test' or of none to test, all with their readers' marks. Those of
    'train', which the download does not hold, go to CheXpert/train/ with labels alone (open as chexpert:DIR/CheXpert).
    """
    named = _with_published_ids(dataset, out)
    readers = _file_prefixes(dataset)
    tables: dict[str, list[dict[str, object]]] = {}
    files: dict[str, dict[str, dict[str, object]]] = {}
    for original, radiograph in zip(with_progress(dataset.radiographs), named, strict=True):
        split = radiograph.split or "test"
        save_image(radiograph, out / "CheXpert" / split / _image_path(radiograph))
        prefix = {"val": "CheXpert-v1.0/valid", "test": "test", "train": "CheXpert-v1.0/train"}[split]
        row = label_row(f"{prefix}/{_image_path(radiograph)}", radiograph, with_metadata=split != "test")
        tables.setdefault(split, []).append(row)
        if split != "train":
            for name, entry in _annotation_entries(dataset, original.id, readers):
                files.setdefault(f"{name}_{split}.json", {})[radiograph.id] = entry
    for split, rows in tables.items():
        name = "train.csv" if split == "train" else f"{split}_labels.csv"
        pd.DataFrame(rows).to_csv(out / "CheXpert" / name, index=False)
    (out / "CheXlocalize").mkdir()
    for file, entries in files.items():
        (out / "CheXlocalize" / file).write_text(json.dumps(entries), encoding="utf-8")
    return _chexlocalize_notes(dataset, named, readers)


def _chexlocalize_notes(dataset: Dataset, named: Sequence[Radiograph], readers: dict[str, str]) -> list[str]:
    regions = "{0}_segmentations and {0}_annotations"
    notes = [
        f"{role if role.endswith(POINTS_SUFFIX) else regions.format(role)}: marks by {reader!r}"
        for role, reader in readers.items()
    ]
    if other := [finding for finding in dataset.findings if finding not in CHEXLOCALIZE_FINDINGS]:
        notes.append(f"Marks of {', '.join(other)} are not written: they are none of the ten findings.")
    return notes + _left_out_notes(named, CHEXPERT_FINDINGS, "labels")


def _file_prefixes(dataset: Dataset) -> dict[str, str]:
    """How the files of each reader with a mark begin -> reader: 'gt' the reference; 'hb' the first of the others who
    drew and 'hb_salient_pt' the first who pointed, the benchmark; 'hbNAME' and 'hbNAME_salient_pt' all further ones."""
    roles = {"gt": dataset.reference_reader} if dataset.readers else {}
    for reader in dataset.readers[1:]:
        kind = _first_annotation_kind(dataset, reader)
        if kind is None:
            continue
        suffix = POINTS_SUFFIX if kind == "points" else ""
        name = re.sub(r"\W+", "_", reader.removesuffix(" points").removeprefix("radiologist "))
        role = f"hb{suffix}" if f"hb{suffix}" not in roles else f"hb{name}{suffix}"
        if role in roles:
            raise DataError(f"readers {roles[role]!r} and {reader!r} would share the files {role}_...; rename one")
        roles[role] = reader
    return roles


def _first_annotation_kind(dataset: Dataset, reader: str) -> str | None:
    """Kind of the first mark by a reader."""
    marks = (dataset.annotation(r.id, finding, reader) for r in dataset.radiographs for finding in dataset.findings)
    return next((mark.kind for mark in marks if mark is not None), None)


def _annotation_entries(
    dataset: Dataset, radiograph: str, readers: dict[str, str]
) -> Iterator[tuple[str, dict[str, object]]]:
    """(file without its split, what it says of one radiograph); none where a reader left no mark."""
    for role, reader in readers.items():
        marks = {
            name: dataset.annotation(radiograph, name, reader)
            for name in CHEXLOCALIZE_FINDINGS
            if name in dataset.findings
        }
        made = {_published_name(name): mark for name, mark in marks.items() if mark is not None}
        if not made:
            continue
        size = next(iter(made.values())).size
        if role.endswith(POINTS_SUFFIX):
            yield role, {"img_size": list(size)} | {task: _xy(mark.read()) for task, mark in made.items()}
            continue
        masks = {task: geometry.rasterize_annotation(mark) for task, mark in made.items()}
        empty = np.zeros(size, bool)
        tasks = [_published_name(name) for name in CHEXLOCALIZE_FINDINGS]
        yield f"{role}_segmentations", {task: geometry.mask_to_rle(masks.get(task, empty)) for task in tasks}
        outlines = {task: _outlines(made[task], mask) for task, mask in masks.items()}
        yield (
            f"{role}_annotations",
            {"img_size": list(size)} | {task: lines for task, lines in outlines.items() if lines},
        )


def _outlines(annotation: Annotation, mask: Array) -> list[list[list[float]]]:
    """Contours as [[x, y], ...]: the reader's own, else those around the mask."""
    contours = annotation.read() if annotation.kind == "contours" else geometry.mask_to_contours(mask)
    return [_xy(np.repeat(line, 2, axis=0) if len(line) == 1 else line) for line in contours]


def _xy(points: Array) -> list[list[float]]:
    return cast(list[list[float]], np.asarray(points, float).reshape(-1, 2)[:, ::-1].tolist())


def _published_name(finding: str) -> str:
    """The files' own spelling."""
    return "Airspace Opacity" if finding == "Lung Opacity" else finding


def _with_published_ids(dataset: Dataset, out: Path) -> Sequence[Radiograph]:
    """The radiographs under ids of the form patientN_studyN_viewN_frontal; a map in ids.csv if that changes any."""
    radiographs = dataset.radiographs
    again = [name for name, count in Counter(radiograph.id for radiograph in radiographs).items() if count > 1]
    if again:
        raise DataError(f"{dataset.spec} has several radiographs with id {again[0]!r}; they would overwrite each other")
    if all(VIEW_PATH_PATTERN.search(_id_to_path(radiograph.id)) for radiograph in radiographs):
        return radiographs
    names = _number_ids(radiographs)
    rows = [(radiograph.id, name) for radiograph, name in zip(radiographs, names, strict=True)]
    pd.DataFrame(rows, columns=["id", "written"]).to_csv(out / "ids.csv", index=False)
    return [replace(radiograph, id=name) for radiograph, name in zip(radiographs, names, strict=True)]


def _number_ids(radiographs: Sequence[Radiograph]) -> list[str]:
    """patientN_studyN_viewN_frontal, counted in order of appearance within patient and study."""
    patients: dict[str, int] = {}
    studies: dict[str, dict[str, int]] = {}
    views: dict[tuple[str, str], int] = {}
    names = []
    for radiograph in radiographs:
        patient = patients.setdefault(radiograph.patient, len(patients) + 1)
        known = studies.setdefault(radiograph.patient, {})
        key = radiograph.study or radiograph.id
        study = known.setdefault(key, len(known) + 1)
        view = views[radiograph.patient, key] = views.get((radiograph.patient, key), 0) + 1
        names.append(f"patient{patient:05d}_study{study}_view{view}_{radiograph.view or 'frontal'}")
    return names


def _id_to_path(name: str) -> str:
    """patientN_studyN_view1_frontal -> patientN/studyN/view1_frontal.jpg"""
    return name.replace("_", "/", 2) + ".jpg"


def _image_path(radiograph: Radiograph) -> str:
    return _id_to_path(radiograph.id)


def save_image(radiograph: Radiograph, file: Path) -> None:
    pixels = np.rint(np.clip(radiograph.read(), 0, 1) * 255).astype(np.uint8)  # (H, W)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, quality=JPEG_QUALITY)


def label_row(path: str, radiograph: Radiograph, with_metadata: bool) -> dict[str, object]:
    """One row of a label file; the published test labels are not `described`."""
    facts = radiograph.metadata
    columns = {column: facts.get(ours, "") for column, ours in METADATA_COLUMNS.items()}
    about = {
        "Sex": columns["Sex"],
        "Age": columns["Age"],
        "Frontal/Lateral": (radiograph.view or "frontal").capitalize(),
        "AP/PA": columns["AP/PA"],
    }
    labels = {finding: radiograph.labels.get(finding, np.nan) for finding in CHEXPERT_FINDINGS}
    return {"Path": path, **(about if with_metadata else {}), **labels}


def _left_out_notes(radiographs: Sequence[Radiograph], known: Sequence[str], noun: str) -> list[str]:
    first = radiographs[0].labels if len(radiographs) else {}
    other = [finding for finding in first if finding not in known]
    return [f"Left out, because the layout has no place for these {noun}: {', '.join(other)}."] if other else []


# Last, because it registers its formats in the table above.
from sightline.data.writers import challenges, gaze, mimic  # noqa: E402, F401
from sightline.data.writers import folder as write_folder  # noqa: E402, F401
