"""What readers of a study said, as further readers of a data set: the human benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sightline.core import Annotation, Array, Dataset
from sightline.data.gaze import ALL_GAZE, Gaze
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.events import CaseState, DrawnShape
from sightline.data.reader_study.schema import StudyCase
from sightline.errors import DataError

ANNOTATION_TASKS = ("contour", "point", "search")
"""Tasks that end in marks."""
_IMAGE_WIDTH_DEGREES = 20.0
"""Degrees of visual angle that a film is taken to fill, its longer side; nobody measured."""


@dataclass(frozen=True, slots=True)
class CompletedReading:
    """One reader's finished turn at one case."""

    reader: str
    case: StudyCase
    occasion: int
    sources: tuple[str, ...]
    """Sources of the maps on a sheet, in the order of their letters."""
    state: CaseState

    @property
    def contours(self) -> list[Array]:
        """float (K, 2) each, (row, col): outlines with an area, cut to the image."""
        return [p for shape in self.state.shapes.values() if len(p := self._clip_to_image(shape)) >= 3]

    @property
    def points(self) -> Array:
        """float (K, 2), (row, col), in the order in which they were set."""
        placed = sorted(self.state.shapes.values(), key=lambda shape: shape.started_at)
        return np.array([self._clip_to_image(shape)[0] for shape in placed]).reshape(-1, 2)

    @property
    def has_annotation(self) -> bool:
        """Whether the reader marked the finding, rather than saying that it is not there."""
        return bool(self.contours if self.case.task == "contour" else len(self.points))

    def _clip_to_image(self, shape: DrawnShape) -> Array:
        points: Array = np.clip(np.array(shape.points, float), 0, [self.case.height, self.case.width])
        return points

    def to_annotation(self) -> Annotation | None:
        """None where nothing was marked, and of tasks that mark nothing."""
        if self.case.task not in ANNOTATION_TASKS or not self.has_annotation:
            return None
        size, name = (self.case.height, self.case.width), dataset_reader_name(self.reader, self.case.task)
        head = (self.case.radiograph, ALL_GAZE if self.case.task == "search" else self.case.finding, name)
        if self.case.task == "contour":
            lines = self.contours
            return Annotation(*head, "contours", size, lambda: lines, len(lines))
        if self.case.task == "point":
            return Annotation(*head, "points", size, self.points.copy)
        return Annotation(*head, "fixations", size, partial(self._clicks_as_gaze, name))

    def _clicks_as_gaze(self, name: str) -> Gaze:
        """Clicks as fixations: each lasts until the next, the last as long as the one before it."""
        begin = np.sort([shape.started_at for shape in self.state.shapes.values()])
        lasted = np.diff(begin) if len(begin) > 1 else np.ones(1)
        size = (self.case.height, self.case.width)
        duration = np.append(lasted, lasted[-1:])[: len(begin)]
        return Gaze.from_fixations(
            self.case.radiograph, name, size, self.points, begin, duration, max(size) / _IMAGE_WIDTH_DEGREES
        )


def dataset_reader_name(reader: str, task: str) -> str:
    """What a reader is called in a data set: points and clicks are readings of their own, as in CheXlocalize."""
    return {"contour": reader, "point": f"{reader} points", "search": f"{reader} clicks"}.get(task, reader)


def completed_readings(database: StudyDatabase, occasion: int | None = None) -> Iterator[CompletedReading]:
    """Every finished case, reader by reader in the order of reading. occasion: only the first (0) or the repeat (1)."""
    for reader in database.readers():
        states = database.case_states(reader.number)
        for turn in database.assignments(reader.number):
            state = states.get(turn.key)
            if state is not None and state.finished and occasion in (None, turn.occasion):
                yield CompletedReading(reader.name, turn.case, turn.occasion, tuple(turn.sources), state)


def add_study_readers(data: Dataset, location: str) -> Dataset:
    """A data set whose readers, but for the reference, are those of a study, on what all of them have finished.

    Findings and radiographs that the study did not ask for, or that one of its readers has not finished yet, are left
    out, so that nobody loses by a question that was not asked; `facts["warnings"]` counts them. A reader without a
    finished case is left out. Readers are called by their names, their points 'NAME points', their clicks
    'NAME clicks'; in a data set without marks the first of them is the reference.
    Errors: `DataError` if nothing is left, or a name is taken.
    """
    with StudyDatabase.open(location) as book:
        said, invited = list(completed_readings(book, occasion=0)), [r.name for r in book.readers()]
        asked = {_case_key(case) for case in book.cases() if case.task in ANNOTATION_TASKS}
    drawn = [r for r in said if r.case.task in ANNOTATION_TASKS]
    names = dict.fromkeys(dataset_reader_name(r.reader, r.case.task) for r in drawn)
    _check_reader_names(data, book.location, invited, list(names))
    done = _completed_by_all(drawn)
    marks = {(m.radiograph, m.finding, m.reader): m for r in drawn if (m := r.to_annotation()) is not None}
    by_name = {finding for _, finding in done} - {ALL_GAZE}
    findings = tuple(f for f in data.findings if f in by_name) if by_name else data.findings
    asked = {key for key in asked if key[1] in (*findings, *(() if by_name else (ALL_GAZE,)))}
    unfinished = {radiograph for radiograph, _ in asked - done}
    begun = {radiograph for radiograph, _ in asked} - unfinished
    kept = tuple(
        r for r in data.radiographs if r.id in begun and (not by_name or _is_covered(data, r.id, findings, done))
    )
    if not kept:
        raise DataError(f"no radiograph of {data.spec} was read to its end by every reader of {location}")
    lookers = tuple(name for name in names if name.endswith(" clicks"))
    left = len(data.radiographs) - len(kept)
    note = (
        f"readers are those of {book.location}; {left} of {len(data.radiographs)} radiographs are left out: not asked "
    )
    note += "for, or not yet finished by all"
    return replace(
        data,
        findings=findings,
        radiographs=kept,
        annotation=_OverlayAnnotations(data, marks),
        readers=(*data.readers[:1], *(name for name in names if name not in lookers)),
        gaze_readers=(*data.gaze_readers, *lookers),
        metadata={**data.metadata, "simulated": False, "warnings": (*data.metadata.get("warnings", ()), note)},
    )


@dataclass(frozen=True, slots=True)
class _OverlayAnnotations:
    """`Dataset.annotation`: those of the study, else those of the data set."""

    data: Dataset
    annotations: dict[tuple[str, str, str], Annotation]

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        return self.annotations.get((radiograph, finding, reader)) or self.data.annotation(radiograph, finding, reader)


def _completed_by_all(readings: list[CompletedReading]) -> set[tuple[str, str]]:
    """(radiograph, finding) that every reader has finished in every task begun; of clicks, (radiograph, gaze)."""
    done: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for r in readings:
        done.setdefault((r.reader, r.case.task), set()).add(_case_key(r.case))
    of_findings = [pairs for (_, task), pairs in done.items() if task != "search"]
    return set.intersection(*(of_findings or list(done.values()))) if done else set()


def _is_covered(data: Dataset, radiograph: str, findings: tuple[str, ...], completed: set[tuple[str, str]]) -> bool:
    """Whether all that the reference marked on a radiograph was asked for."""
    return all(
        (radiograph, f) in completed
        for f in findings
        if data.annotation(radiograph, f, data.reference_reader) is not None
    )


def _case_key(case: StudyCase) -> tuple[str, str]:
    """What a case is about; of clicks, (radiograph, gaze)."""
    return case.radiograph, ALL_GAZE if case.task == "search" else case.finding


def _check_reader_names(data: Dataset, location: str, invited: list[str], names: list[str]) -> None:
    if not names:
        said = ", ".join(invited) or "nobody"
        raise DataError(f"nobody has finished a case with marks in {location}; invited: {said}")
    taken = [name for name in names if name in (*data.readers[:1], *data.gaze_readers)]
    if taken:
        raise DataError(f"{data.spec} already has a reader {taken[0]!r}; no reader of {location} may be called so")
