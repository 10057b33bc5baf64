"""What is wrong with a data set: every image and mark looked at, nothing changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from sightline.core import Annotation, Array, Dataset, Radiograph, Size
from sightline.errors import DataError
from sightline.findings import suggest_finding
from sightline.imaging.geometry import contours_to_mask

Severity = Literal["error", "warning", "note"]
"""error: figures would be wrong or missing; warning: probably a mistake; note: worth knowing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to do about it."""

    severity: Severity
    kind: str
    """A fixed phrase to count by: 'unreadable image'."""
    radiograph: str
    """Id, or '' where it concerns the data set."""
    finding: str
    """Finding and reader, or ''."""
    what: str
    """One sentence with the values that were found."""
    remedy: str
    """What to do."""


def find_problems(dataset: Dataset, read_images: bool = True, progress: bool = False) -> list[Problem]:
    """Every problem of a data set, in order of its radiographs; empty if there is none.

    read_images: decode every image (for damage, size, values and identical content); otherwise only marks are decoded.
    Memory does not grow with the number of images but for 16 bytes of hash each.
    """
    seen = _EarlierRadiographs()
    problems = [
        Problem("warning", "said while loading", "", "", text, "see what it names")
        for text in _loading_warnings(dataset)
    ]
    if not len(dataset.radiographs):
        problems.append(Problem("error", "no radiographs", "", "", f"{dataset.spec} lists none", "give another folder"))
    problems += _check_findings(dataset)
    console = Console(stderr=True)
    for radiograph in track(dataset.radiographs, "checking", console=console, disable=not progress):
        problems += _check_identity(radiograph, seen)
        problems += _check_labels(radiograph)
        size = radiograph.size
        if read_images:
            pixels, found = _read_pixels(radiograph)
            problems += found
            if pixels is not None:
                problems += _check_pixels(radiograph, pixels, seen)
                size = (pixels.shape[0], pixels.shape[1])
        problems += _check_annotations(dataset, radiograph, size, seen)
    if not seen.has_annotations:
        what = "no reader marked any finding: maps can be made, but not scored"
        problems.append(
            Problem("note", "nothing marked", "", "", what, "add masks, boxes or points where you need scores")
        )
    return problems


def problems_table(problems: Iterable[Problem]) -> pd.DataFrame:
    """Problems as rows; columns are the fields of `Problem`."""
    names = list(Problem.__dataclass_fields__)
    return pd.DataFrame([[getattr(problem, name) for name in names] for problem in problems], columns=names)


def count_problems(problems: Iterable[Problem]) -> dict[tuple[Severity, str], int]:
    """(severity, kind) -> how often, errors first.

    >>> count_problems([Problem("note", "a", "", "", "", ""), Problem("error", "b", "", "", "", "")])
    {('error', 'b'): 1, ('note', 'a'): 1}
    """
    counts: dict[tuple[Severity, str], int] = {}
    for problem in problems:
        counts[problem.severity, problem.kind] = counts.get((problem.severity, problem.kind), 0) + 1
    order = ("error", "warning", "note")
    return dict(sorted(counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


@dataclass(slots=True)
class _EarlierRadiographs:
    """What earlier radiographs were."""

    ids: set[str] = field(default_factory=set)
    splits: dict[str, str] = field(default_factory=dict)
    """patient -> split"""
    pixel_hashes: dict[bytes, tuple[str, str, str]] = field(default_factory=dict)
    """hash of the pixels -> (id, patient, split)"""
    has_annotations: bool = False
    """Whether any reader marked any finding."""


def _loading_warnings(dataset: Dataset) -> Iterable[str]:
    found: Iterable[str] = dataset.metadata.get("warnings", ())
    return found


def _check_findings(dataset: Dataset) -> Iterator[Problem]:
    """Findings that are nearly one of the vocabulary: a slip in a column, a folder or a row makes a new finding."""
    for finding in dataset.findings:
        if hint := suggest_finding(finding):
            what = f"{finding!r} is a finding of its own here{hint}"
            yield Problem(
                "note", "finding misspelled?", "", finding, what, "rename the column, folder or rows if you did"
            )


def _check_identity(radiograph: Radiograph, earlier: _EarlierRadiographs) -> Iterator[Problem]:
    name, patient = radiograph.id, radiograph.patient
    if name in earlier.ids:
        yield Problem("error", "duplicate id", name, "", f"id {name!r} occurs more than once", "rename or remove one")
    earlier.ids.add(name)
    if not patient:
        yield Problem("error", "no patient", name, "", "no patient is named", "name one; splits and intervals need it")
        return
    split = earlier.splits.setdefault(patient, radiograph.split)
    if split != radiograph.split:
        what = f"patient {patient!r} is in split {radiograph.split!r} and in {split!r}"
        yield Problem("error", "patient in two splits", name, "", what, "move all images of the patient to one split")


def _check_labels(radiograph: Radiograph) -> Iterator[Problem]:
    for finding, value in radiograph.labels.items():
        if not (value in (0, 1, -1) or np.isnan(value)):
            what = f"the label is {value!r}"
            yield Problem(
                "error", "label out of range", radiograph.id, finding, what, "use 1, 0, -1 (uncertain) or blank"
            )


def _read_pixels(radiograph: Radiograph) -> tuple[Array | None, list[Problem]]:
    """The image, or why there is none."""
    try:
        return radiograph.read(), []
    except DataError as error:
        gone = isinstance(error.__cause__, FileNotFoundError)
        kind = "missing image" if gone else "unreadable image"
        remedy = "put the image there or remove its row" if gone else "get the image again or remove its row"
        return None, [Problem("error", kind, radiograph.id, "", str(error), remedy)]


def _check_pixels(radiograph: Radiograph, pixels: Array, earlier: _EarlierRadiographs) -> Iterator[Problem]:
    name, size = radiograph.id, radiograph.size
    if pixels.ndim != 2 or pixels.dtype != np.float32 or not np.isfinite(pixels).all():
        what = f"the image is {pixels.dtype} {pixels.shape}, or not finite"
        yield Problem("error", "image of another form", name, "", what, "let the loader return finite float32 (H, W)")
        return
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        what = f"values reach from {low:g} to {high:g}"
        yield Problem("error", "image of another form", name, "", what, "let the loader return values in [0, 1]")
    if low == high:
        yield Problem("warning", "blank image", name, "", f"every pixel is {low:g}", "remove it or get it again")
    if size is not None and size != pixels.shape:
        what = f"the data set says {size} (rows, columns), the image is {pixels.shape}"
        yield Problem("error", "image of another size", name, "", what, "correct the size; marks depend on it")
    digest = hashlib.blake2b(
        np.ascontiguousarray(pixels).data, digest_size=16, key=repr(pixels.shape).encode()
    ).digest()
    other, patient, split = earlier.pixel_hashes.setdefault(digest, (name, radiograph.patient, radiograph.split))
    if other != name:
        leak = split != radiograph.split or patient != radiograph.patient
        what = f"the pixels equal those of {other} (patient {patient!r}, split {split!r})"
        yield Problem("error" if leak else "warning", "duplicate image", name, "", what, "keep one of them")


def _check_annotations(
    dataset: Dataset, radiograph: Radiograph, size: Size | None, earlier: _EarlierRadiographs
) -> Iterator[Problem]:
    names = [(finding, reader) for reader in dataset.readers for finding in dataset.findings]
    names += [(region, dataset.reference_reader) for region in dataset.regions]
    for finding, reader in names:
        try:
            mark = dataset.annotation(radiograph.id, finding, reader)
            earlier.has_annotations |= mark is not None and finding in dataset.findings
            value = None if mark is None else mark.read()
            if mark is not None:
                yield from _check_position(mark, value, size)
        except DataError as error:
            what = f"{finding} by {reader}"
            yield Problem("error", "unreadable mark", radiograph.id, what, str(error), "mend or remove the mark")
            continue
        if reader == dataset.reference_reader and finding in dataset.findings:
            yield from _check_against_label(radiograph, finding, None if mark is None else _is_empty(mark, value))


def _check_against_label(radiograph: Radiograph, finding: str, empty: bool | None) -> Iterator[Problem]:
    """`empty`: whether the reference mark is; None where there is none."""
    label = radiograph.labels.get(finding, np.nan)
    if empty:
        severity: Severity = "error" if label == 1 else "warning"
        what = f"the mark covers no pixel; the label is {label:g}"
        yield Problem(severity, "empty mark", radiograph.id, finding, what, "draw the mark or remove it")
    elif empty is None and label == 1:
        what = "the label is 1, but nothing is marked: localization cannot be scored here"
        yield Problem("note", "positive label without mark", radiograph.id, finding, what, "mark it if you can")
    elif empty is False and label == 0:
        what = "the label is 0, but there is a mark"
        yield Problem(
            "warning", "mark on negative label", radiograph.id, finding, what, "correct the label or the mark"
        )


def _is_empty(annotation: Annotation, value: Any) -> bool:
    return not np.any(value) if annotation.kind in ("region", "density") else not len(value)


def _check_position(annotation: Annotation, value: Any, size: Size | None) -> Iterator[Problem]:
    """What is wrong with where a mark lies on an image of `size` (None where unknown)."""
    what = f"{annotation.finding} by {annotation.reader}"
    if size is not None and annotation.size != size:
        text = f"the mark was made on {annotation.size} (rows, columns), the image is {size}"
        yield Problem(
            "error", "mark of another size", annotation.radiograph, what, text, "mark the image itself, or scale"
        )
    if annotation.kind in ("region", "density"):
        if np.shape(value) != annotation.size:
            text = f"the mask is {np.shape(value)} (rows, columns), the image {annotation.size}"
            yield Problem(
                "error", "mark of another size", annotation.radiograph, what, text, "save the mask at the image's size"
            )
        return
    if annotation.kind == "contours":
        contours_to_mask(value, annotation.size)  # raises what cannot be drawn
        corners = np.concatenate([*value, np.zeros((0, 2))])
    else:
        corners = np.asarray(value, float).reshape(-1, 2)  # a box is two corners
    outside = ((corners < 0) | (corners > annotation.size)).any(axis=1)
    if outside.any():
        row, col = corners[outside][0]
        text = f"(row {row:g}, column {col:g}) lies beyond the {annotation.size} (rows, columns) of the image"
        yield Problem("error", "mark outside image", annotation.radiograph, what, text, "correct the coordinates")


def count_contents(dataset: Dataset) -> Mapping[str, int]:
    """Radiographs, patients and marks per reader, to be read beside the problems."""
    marks = {
        reader: sum(
            dataset.annotation(r.id, f, reader) is not None for r in dataset.radiographs for f in dataset.findings
        )
        for reader in dataset.readers
    }
    patients = {radiograph.patient for radiograph in dataset.radiographs}
    return {"radiographs": len(dataset.radiographs), "patients": len(patients)} | {
        f"marks by {reader}": count for reader, count in marks.items()
    }
