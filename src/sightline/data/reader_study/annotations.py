"""Finished readings of a reader study, and a data set whose further readers are those of a study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sightline.core import Annotation, Array, Dataset, Radiograph
from sightline.data.gaze import ALL_GAZE, Gaze
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.events import CaseState, DrawnShape
from sightline.data.reader_study.schema import StudyCase
from sightline.errors import DataError

ANNOTATION_TASKS = ("contour", "point", "search")
"""Tasks that yield annotations."""
_CLICKS_SUFFIX = " clicks"
_IMAGE_WIDTH_DEGREES = 20.0
"""Visual angle that the longer side of an image is assumed to fill, in degrees; it is not measured."""
AnnotationKey = tuple[str, str]
"""(radiograph, finding); a search has (radiograph, 'gaze')."""


@dataclass(frozen=True, slots=True)
class CompletedReading:
    """A case that a reader has finished, with the answers."""

    reader: str
    case: StudyCase
    occasion: int
    """0 for the first reading of the case, 1 for the repeated one."""
    sources: tuple[str, ...]
    """Sources of the maps of a rating case, in the order of their letters, or the map that aided the reading."""
    state: CaseState

    @property
    def is_aided(self) -> bool:
        """True if the reader saw a map while annotating."""
        return bool(self.sources) and self.case.task in ANNOTATION_TASKS

    @property
    def contours(self) -> list[Array]:
        """Outlines with an area, clipped to the image: float64 (K, 2) each, (row, col) in pixels."""
        return [p for shape in self.state.shapes.values() if len(p := self._clip_to_image(shape)) >= 3]

    @property
    def points(self) -> Array:
        """First point of every shape, in the order in which they were set: float64 (K, 2), (row, col) in pixels."""
        placed = sorted(self.state.shapes.values(), key=lambda shape: shape.started_at)
        return np.array([self._clip_to_image(shape)[0] for shape in placed]).reshape(-1, 2)

    @property
    def has_annotation(self) -> bool:
        """True if the reader annotated the finding, False if the reader answered that it is not visible."""
        return bool(self.contours if self.case.task == "contour" else len(self.points))

    def _clip_to_image(self, shape: DrawnShape) -> Array:
        points: Array = np.clip(np.array(shape.points, float), 0, [self.case.height, self.case.width])
        return points

    def to_annotation(self) -> Annotation | None:
        """Return the annotation that the reader drew.

        Returns
        -------
        Annotation or None
            None where nothing was drawn, and for tasks in which nothing is drawn.
        """
        if self.case.task not in ANNOTATION_TASKS or not self.has_annotation:
            return None
        size, reader = (self.case.height, self.case.width), dataset_reader_name(self.reader, self.case.task)
        radiograph, finding = _annotation_key(self.case)
        if self.case.task == "contour":
            contours = self.contours
            return Annotation(radiograph, finding, reader, "contours", size, lambda: contours, len(contours))
        if self.case.task == "point":
            return Annotation(radiograph, finding, reader, "points", size, self.points.copy)
        return Annotation(radiograph, finding, reader, "fixations", size, partial(self._clicks_as_gaze, reader))

    def _clicks_as_gaze(self, reader: str) -> Gaze:
        """Convert clicks to fixations: each lasts until the next one, the last as long as the one before it."""
        begin = np.sort([shape.started_at for shape in self.state.shapes.values()])
        intervals = np.diff(begin) if len(begin) > 1 else np.ones(1)
        size = (self.case.height, self.case.width)
        duration = np.append(intervals, intervals[-1:])[: len(begin)]
        return Gaze.from_fixations(
            self.case.radiograph, reader, size, self.points, begin, duration, max(size) / _IMAGE_WIDTH_DEGREES
        )


def dataset_reader_name(reader: str, task: str) -> str:
    """Return the name of a reader in a data set.

    Points and clicks count as readings of their own, as in CheXlocalize.

    Parameters
    ----------
    reader : str
        Name of the reader in the study.
    task : str
        Task of the study.

    Returns
    -------
    str
        The name, followed by ' points' for points and by ' clicks' for a search.
    """
    return reader + {"point": " points", "search": _CLICKS_SUFFIX}.get(task, "")


def completed_readings(
    database: StudyDatabase, occasion: int | None = None, *, include_aided: bool = False
) -> Iterator[CompletedReading]:
    """Yield every finished case, reader by reader, in the order of reading.

    Parameters
    ----------
    database : StudyDatabase
        Open study.
    occasion : int, optional
        0 yields first readings only, 1 repeated ones only; None yields both.
    include_aided : bool, default False
        Yield annotations that were made with a map in view, too. They are no benchmark for maps.

    Yields
    ------
    CompletedReading
    """
    for reader in database.readers():
        states = database.case_states(reader.number)
        for assignment in database.assignments(reader.number):
            state = states.get(assignment.key)
            if state is None or not state.finished or occasion not in (None, assignment.occasion):
                continue
            sources = tuple(assignment.sources)
            reading = CompletedReading(reader.name, assignment.case, assignment.occasion, sources, state)
            if include_aided or not reading.is_aided:
                yield reading


def add_study_readers(data: Dataset, location: str) -> Dataset:
    """Return a data set whose readers, except for the reference reader, are those of a study.

    The data set is reduced to the radiographs and findings that all readers have finished: a case that is not part of
    the study, or that a reader has not finished yet, would otherwise count as a miss of that reader.
    `metadata["warnings"]` states how many radiographs are left out. A reader without a finished case is left out, too.

    Parameters
    ----------
    data : Dataset
        Data set that the study was created from. Without readers of its own, the first reader of the study becomes
        the reference reader.
    location : str
        Folder or database URL of the study.

    Returns
    -------
    Dataset
        Readers have their names in the study, their points the name 'NAME points', their clicks 'NAME clicks'.

    Raises
    ------
    DataError
        If no radiograph remains, or the data set already has a reader of one of the names.
    """
    with StudyDatabase.open(location) as database:
        readings = [r for r in completed_readings(database, occasion=0) if r.case.task in ANNOTATION_TASKS]
        invited = [reader.name for reader in database.readers()]
        requested = {_annotation_key(case) for case in database.cases() if case.task in ANNOTATION_TASKS}
    names = dict.fromkeys(dataset_reader_name(r.reader, r.case.task) for r in readings)
    _check_reader_names(data, database.location, invited, list(names))
    completed = _completed_by_all(readings)
    findings, radiographs = _completed_radiographs(data, requested, completed)
    if not radiographs:
        raise DataError(f"no radiograph of {data.spec} was finished by every reader of {location}")
    annotations = {(m.radiograph, m.finding, m.reader): m for r in readings if (m := r.to_annotation()) is not None}
    clicks = tuple(name for name in names if name.endswith(_CLICKS_SUFFIX))
    n_total = len(data.radiographs)
    warning = (
        f"the readers are those of {database.location}; {n_total - len(radiographs)} of {n_total} radiographs are left "
        "out, because they are not part of the study or not yet finished by all readers"
    )
    return replace(
        data,
        findings=findings,
        radiographs=radiographs,
        annotation=_OverlayAnnotations(data, annotations),
        readers=(*data.readers[:1], *(name for name in names if name not in clicks)),
        gaze_readers=(*data.gaze_readers, *clicks),
        combined_readers=(),
        readers_of=None,
        metadata={**data.metadata, "simulated": False, "warnings": (*data.metadata.get("warnings", ()), warning)},
    )


@dataclass(frozen=True, slots=True)
class _OverlayAnnotations:
    """Lookup of `Dataset.annotation` that prefers annotations of the study to those of the data set."""

    data: Dataset
    annotations: dict[tuple[str, str, str], Annotation]

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        return self.annotations.get((radiograph, finding, reader)) or self.data.annotation(radiograph, finding, reader)


def _completed_by_all(readings: list[CompletedReading]) -> set[AnnotationKey]:
    """Return the cases that every reader has finished in every task that the reader has begun."""
    completed: dict[tuple[str, str], set[AnnotationKey]] = {}
    for r in readings:
        completed.setdefault((r.reader, r.case.task), set()).add(_annotation_key(r.case))
    by_finding = [keys for (_, task), keys in completed.items() if task != "search"]
    return set.intersection(*(by_finding or list(completed.values()))) if completed else set()


def _completed_radiographs(
    data: Dataset, requested: set[AnnotationKey], completed: set[AnnotationKey]
) -> tuple[tuple[str, ...], tuple[Radiograph, ...]]:
    """Return the findings that were read, and the radiographs of which every requested finding was finished."""
    read_findings = {finding for _, finding in completed} - {ALL_GAZE}
    findings = tuple(f for f in data.findings if f in read_findings) if read_findings else data.findings
    relevant = (*findings, *(() if read_findings else (ALL_GAZE,)))
    requested = {key for key in requested if key[1] in relevant}
    finished = {radiograph for radiograph, _ in requested} - {radiograph for radiograph, _ in requested - completed}
    return findings, tuple(
        r
        for r in data.radiographs
        if r.id in finished and (not read_findings or _is_covered(data, r.id, findings, completed))
    )


def _is_covered(data: Dataset, radiograph: str, findings: tuple[str, ...], completed: set[AnnotationKey]) -> bool:
    """Return True if every finding that the reference reader annotated on a radiograph was finished."""
    return all(
        (radiograph, f) in completed
        for f in findings
        if data.annotation(radiograph, f, data.reference_reader) is not None
    )


def _annotation_key(case: StudyCase) -> AnnotationKey:
    return case.radiograph, ALL_GAZE if case.task == "search" else case.finding


def _check_reader_names(data: Dataset, location: str, invited: list[str], names: list[str]) -> None:
    if not names:
        listed = ", ".join(invited) or "nobody"
        raise DataError(f"nobody has finished a case with annotations in {location}; invited: {listed}")
    taken = [name for name in names if name in (*data.readers[:1], *data.gaze_readers)]
    if taken:
        raise DataError(f"{data.spec} already has a reader {taken[0]!r}; no reader of {location} may have that name")
