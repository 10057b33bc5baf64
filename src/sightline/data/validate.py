"""Validation of a data set: every image and annotation is read and checked, nothing is changed."""

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
from sightline.imaging.masks import contours_to_mask

Severity = Literal["error", "warning", "note"]
"""error: results would be wrong or missing; warning: probably a mistake; note: worth knowing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem of a data set: where it is, what was read, and what to do about it."""

    severity: Severity
    kind: str
    """Fixed phrase to count by, such as 'unreadable image'."""
    radiograph: str
    """Id of the radiograph, or '' for a problem of the whole data set."""
    finding: str
    """Finding, with its reader for an annotation, or ''."""
    message: str
    """One sentence with the values that were read."""
    remedy: str
    """Action that removes the problem."""


def find_problems(dataset: Dataset, read_images: bool = True, progress: bool = False) -> list[Problem]:
    """List every problem of a data set, in order of its radiographs.

    Memory does not grow with the number of images but for 16 bytes of hash each.

    Parameters
    ----------
    dataset : Dataset
        Data set to check.
    read_images : bool
        Decode every image, for damage, size, values and identical content; if False, annotations alone are decoded.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    list of Problem
        Problems; empty if there are none.
    """
    earlier = _EarlierRadiographs()
    problems = [
        Problem("warning", "warning of the loader", "", "", text, "see what it names")
        for text in _loading_warnings(dataset)
    ]
    if not len(dataset.radiographs):
        problems.append(Problem("error", "no radiographs", "", "", f"{dataset.spec} lists none", "give another folder"))
    problems += _check_findings(dataset)
    console = Console(stderr=True)
    for radiograph in track(dataset.radiographs, "checking", console=console, disable=not progress):
        problems += _check_identity(radiograph, earlier)
        problems += _check_labels(radiograph)
        size = radiograph.size
        if read_images:
            pixels, reading_problems = _read_pixels(radiograph)
            problems += reading_problems
            if pixels is not None:
                problems += _check_pixels(radiograph, pixels, earlier)
                size = (pixels.shape[0], pixels.shape[1])
        problems += _check_annotations(dataset, radiograph, size, earlier)
    if not earlier.has_annotations:
        message = "no reader annotated any finding: maps can be made, but not scored"
        remedy = "add masks, boxes or points where you need scores"
        problems.append(Problem("note", "no annotations", "", "", message, remedy))
    return problems


def problems_table(problems: Iterable[Problem]) -> pd.DataFrame:
    """Make a table of problems.

    Parameters
    ----------
    problems : iterable of Problem
        Problems of a data set.

    Returns
    -------
    DataFrame
        A row for each; the columns are the fields of `Problem`.
    """
    names = list(Problem.__dataclass_fields__)
    return pd.DataFrame([[getattr(problem, name) for name in names] for problem in problems], columns=names)


def count_problems(problems: Iterable[Problem]) -> dict[tuple[Severity, str], int]:
    """Count problems by severity and kind.

    Parameters
    ----------
    problems : iterable of Problem
        Problems of a data set.

    Returns
    -------
    dict of tuple to int
        (severity, kind) -> number, errors first.

    Examples
    --------
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
    """Radiographs that were checked before, to find repetitions."""

    ids: set[str] = field(default_factory=set)
    splits: dict[str, str] = field(default_factory=dict)
    """patient -> split"""
    pixel_hashes: dict[bytes, tuple[str, str, str]] = field(default_factory=dict)
    """hash of the pixels -> (id, patient, split)"""
    has_annotations: bool = False
    """True if any reader annotated any finding."""


def _loading_warnings(dataset: Dataset) -> Iterable[str]:
    warnings: Iterable[str] = dataset.metadata.get("warnings", ())
    return warnings


def _check_findings(dataset: Dataset) -> Iterator[Problem]:
    """Report findings that nearly are one of the vocabulary: a misspelled column or folder makes a new finding."""
    for finding in dataset.findings:
        if hint := suggest_finding(finding):
            message = f"{finding!r} counts as a finding that is not in the vocabulary{hint}"
            remedy = "rename the column, folder or rows if it is misspelled"
            yield Problem("note", "finding misspelled?", "", finding, message, remedy)


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
        message = f"patient {patient!r} is in split {radiograph.split!r} and in {split!r}"
        yield Problem(
            "error", "patient in two splits", name, "", message, "move all images of the patient to one split"
        )


def _check_labels(radiograph: Radiograph) -> Iterator[Problem]:
    for finding, label in radiograph.labels.items():
        if not (label in (0, 1, -1) or np.isnan(label)):
            remedy = "use 1, 0, -1 (uncertain) or blank"
            yield Problem("error", "label out of range", radiograph.id, finding, f"the label is {label!r}", remedy)


def _read_pixels(radiograph: Radiograph) -> tuple[Array | None, list[Problem]]:
    """Read the image, or report why it cannot be read."""
    try:
        return radiograph.read(), []
    except DataError as error:
        is_missing = isinstance(error.__cause__, FileNotFoundError)
        kind = "missing image" if is_missing else "unreadable image"
        remedy = "add the image or remove its row" if is_missing else "get the image again or remove its row"
        return None, [Problem("error", kind, radiograph.id, "", str(error), remedy)]


def _check_pixels(radiograph: Radiograph, pixels: Array, earlier: _EarlierRadiographs) -> Iterator[Problem]:
    name, size = radiograph.id, radiograph.size
    if pixels.ndim != 2 or pixels.dtype != np.float32 or not np.isfinite(pixels).all():
        message = f"the image is {pixels.dtype} {pixels.shape}, or not finite"
        remedy = "let the loader return finite float32 (H, W)"
        yield Problem("error", "image of another form", name, "", message, remedy)
        return
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        message = f"values reach from {low:g} to {high:g}"
        yield Problem("error", "image of another form", name, "", message, "let the loader return values in [0, 1]")
    if low == high:
        yield Problem("warning", "blank image", name, "", f"every pixel is {low:g}", "remove it or get it again")
    if size is not None and size != pixels.shape:
        message = f"the data set states {size} (rows, columns), the image is {pixels.shape}"
        yield Problem("error", "image of another size", name, "", message, "correct the size; annotations depend on it")
    yield from _check_repetition(radiograph, pixels, earlier)


def _check_repetition(radiograph: Radiograph, pixels: Array, earlier: _EarlierRadiographs) -> Iterator[Problem]:
    shape = repr(pixels.shape).encode()
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16, key=shape).digest()
    key = (radiograph.id, radiograph.patient, radiograph.split)
    other, patient, split = earlier.pixel_hashes.setdefault(digest, key)
    if other != radiograph.id:
        is_leak = split != radiograph.split or patient != radiograph.patient
        message = f"the pixels equal those of {other} (patient {patient!r}, split {split!r})"
        severity: Severity = "error" if is_leak else "warning"
        yield Problem(severity, "duplicate image", radiograph.id, "", message, "keep one of them")


def _check_annotations(
    dataset: Dataset, radiograph: Radiograph, size: Size | None, earlier: _EarlierRadiographs
) -> Iterator[Problem]:
    names = [(finding, reader) for reader in dataset.readers for finding in dataset.findings]
    names += [(region, dataset.reference_reader) for region in dataset.regions]
    for finding, reader in names:
        try:
            annotation = dataset.annotation(radiograph.id, finding, reader)
            earlier.has_annotations |= annotation is not None and finding in dataset.findings
            value = None if annotation is None else annotation.read()
            if annotation is not None:
                yield from _check_position(annotation, value, size)
        except DataError as error:
            label = f"{finding} by {reader}"
            remedy = "repair or remove the annotation"
            yield Problem("error", "unreadable annotation", radiograph.id, label, str(error), remedy)
            continue
        if reader == dataset.reference_reader and finding in dataset.findings:
            is_empty = None if annotation is None else _is_empty(annotation, value)
            yield from _check_against_label(radiograph, finding, is_empty)


def _check_against_label(radiograph: Radiograph, finding: str, is_empty: bool | None) -> Iterator[Problem]:
    """Compare the reference annotation with the label; `is_empty` is None where there is no annotation."""
    label = radiograph.labels.get(finding, np.nan)
    if is_empty:
        severity: Severity = "error" if label == 1 else "warning"
        kind, message = "empty annotation", f"the annotation covers no pixel; the label is {label:g}"
        remedy = "draw the annotation or remove it"
    elif is_empty is None and label == 1:
        severity, kind = "note", "positive label without annotation"
        message = "the label is 1, but there is no annotation: localization cannot be scored here"
        remedy = "annotate it if you can"
    elif is_empty is False and label == 0:
        severity, kind = "warning", "annotation of a negative label"
        message, remedy = "the label is 0, but there is an annotation", "correct the label or the annotation"
    else:
        return
    yield Problem(severity, kind, radiograph.id, finding, message, remedy)


def _is_empty(annotation: Annotation, value: Any) -> bool:
    return not np.any(value) if annotation.kind in ("region", "density") else not len(value)


def _check_position(annotation: Annotation, value: Any, size: Size | None) -> Iterator[Problem]:
    """Check where an annotation lies on an image of `size`, which is None where unknown."""
    radiograph, label = annotation.radiograph, f"{annotation.finding} by {annotation.reader}"
    if size is not None and annotation.size != size:
        message = f"the annotation was drawn on {annotation.size} (rows, columns), the image is {size}"
        remedy = "annotate the image itself, or scale the annotation"
        yield Problem("error", "annotation of another size", radiograph, label, message, remedy)
    if annotation.kind in ("region", "density"):
        if np.shape(value) != annotation.size:
            message = f"the mask is {np.shape(value)} (rows, columns), the image {annotation.size}"
            remedy = "save the mask at the size of the image"
            yield Problem("error", "annotation of another size", radiograph, label, message, remedy)
        return
    if annotation.kind == "contours":
        contours_to_mask(value, annotation.size)  # raises an error for contours that cannot be drawn
        points = np.concatenate([*value, np.zeros((0, 2))])
    else:
        points = np.asarray(value, float).reshape(-1, 2)  # a box is two corners
    is_outside = ((points < 0) | (points > annotation.size)).any(axis=1)
    if is_outside.any():
        row, col = points[is_outside][0]
        message = f"(row {row:g}, column {col:g}) lies outside the image, {annotation.size} (rows, columns)"
        yield Problem("error", "annotation outside image", radiograph, label, message, "correct the coordinates")


def count_contents(dataset: Dataset) -> Mapping[str, int]:
    """Count radiographs, patients, and annotations of each reader.

    Parameters
    ----------
    dataset : Dataset
        Data set.

    Returns
    -------
    Mapping of str to int
        'radiographs', 'patients' and 'annotations by READER' -> number.
    """
    counts = {
        f"annotations by {reader}": sum(
            dataset.annotation(radiograph.id, finding, reader) is not None
            for radiograph in dataset.radiographs
            for finding in dataset.findings
        )
        for reader in dataset.readers
    }
    patients = {radiograph.patient for radiograph in dataset.radiographs}
    return {"radiographs": len(dataset.radiographs), "patients": len(patients)} | counts
