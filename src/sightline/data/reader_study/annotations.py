"""What readers of a study said, as further readers of a data set: the human benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sightline.core import Array, Dataset, Mark
from sightline.data.gaze import WHOLE, Gaze
from sightline.data.reader_study.database import Book
from sightline.data.reader_study.events import Shape, State
from sightline.data.reader_study.schema import Case
from sightline.errors import DataError

DRAWN = ("contour", "point", "look")
"""Tasks that end in marks."""
_WIDE = 20.0
"""Degrees of visual angle that a film is taken to fill, its longer side; nobody measured."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reader's finished turn at one case."""

    reader: str
    case: Case
    occasion: int
    shown: tuple[str, ...]
    """Sources of the maps on a sheet, in the order of their letters."""
    state: State

    @property
    def contours(self) -> list[Array]:
        """float (K, 2) each, (row, col): outlines with an area, cut to the image."""
        return [p for shape in self.state.shapes.values() if len(p := self._inside(shape)) >= 3]

    @property
    def points(self) -> Array:
        """float (K, 2), (row, col), in the order in which they were set."""
        placed = sorted(self.state.shapes.values(), key=lambda shape: shape.at)
        return np.array([self._inside(shape)[0] for shape in placed]).reshape(-1, 2)

    @property
    def marked(self) -> bool:
        """Whether the reader marked the finding, rather than saying that it is not there."""
        return bool(self.contours if self.case.task == "contour" else len(self.points))

    def _inside(self, shape: Shape) -> Array:
        points: Array = np.clip(np.array(shape.points, float), 0, [self.case.height, self.case.width])
        return points

    def mark(self) -> Mark | None:
        """None where nothing was marked, and of tasks that mark nothing."""
        if self.case.task not in DRAWN or not self.marked:
            return None
        size, name = (self.case.height, self.case.width), named(self.reader, self.case.task)
        head = (self.case.radiograph, WHOLE if self.case.task == "look" else self.case.finding, name)
        if self.case.task == "contour":
            lines = self.contours
            return Mark(*head, "contours", size, lambda: lines, len(lines))
        if self.case.task == "point":
            return Mark(*head, "points", size, self.points.copy)
        return Mark(*head, "fixations", size, partial(self._gaze, name))

    def _gaze(self, name: str) -> Gaze:
        """Clicks as fixations: each lasts until the next, the last as long as the one before it."""
        begin = np.sort([shape.at for shape in self.state.shapes.values()])
        lasted = np.diff(begin) if len(begin) > 1 else np.ones(1)
        size = (self.case.height, self.case.width)
        duration = np.append(lasted, lasted[-1:])[: len(begin)]
        return Gaze.of(self.case.radiograph, name, size, self.points, begin, duration, max(size) / _WIDE)


def named(reader: str, task: str) -> str:
    """What a reader is called in a data set: points and clicks are readings of their own, as in CheXlocalize."""
    return {"contour": reader, "point": f"{reader} points", "look": f"{reader} looking"}.get(task, reader)


def readings(book: Book, occasion: int | None = None) -> Iterator[Reading]:
    """Every finished case, reader by reader in the order of reading. occasion: only the first (0) or the repeat (1)."""
    for reader in book.readers():
        states = book.states(reader.number)
        for turn in book.assignments(reader.number):
            state = states.get(turn.key)
            if state is not None and state.finished and occasion in (None, turn.occasion):
                yield Reading(reader.name, turn.case, turn.occasion, tuple(turn.shown), state)


def with_readers(data: Dataset, place: str) -> Dataset:
    """A data set whose readers, but for the reference, are those of a study, on what all of them have finished.

    Findings and radiographs that the study did not ask for, or that one of its readers has not finished yet, are left
    out, so that nobody loses by a question that was not asked; `facts["warnings"]` counts them. A reader without a
    finished case is left out. Readers are called by their names, their points 'NAME points', their clicks 'NAME
    looking'; in a data set without marks the first of them is the reference.
    Errors: `DataError` if nothing is left, or a name is taken.
    """
    with Book.open(place) as book:
        said, invited = list(readings(book, occasion=0)), [r.name for r in book.readers()]
        asked = {_key(case) for case in book.cases() if case.task in DRAWN}
    drawn = [r for r in said if r.case.task in DRAWN]
    names = dict.fromkeys(named(r.reader, r.case.task) for r in drawn)
    _check(data, book.place, invited, list(names))
    done = _done_by_all(drawn)
    marks = {(m.radiograph, m.finding, m.reader): m for r in drawn if (m := r.mark()) is not None}
    by_name = {finding for _, finding in done} - {WHOLE}
    findings = tuple(f for f in data.findings if f in by_name) if by_name else data.findings
    asked = {key for key in asked if key[1] in (*findings, *(() if by_name else (WHOLE,)))}
    unfinished = {radiograph for radiograph, _ in asked - done}
    begun = {radiograph for radiograph, _ in asked} - unfinished
    kept = tuple(r for r in data.radiographs if r.id in begun and (not by_name or _covered(data, r.id, findings, done)))
    if not kept:
        raise DataError(f"no radiograph of {data.spec} was read to its end by every reader of {place}")
    lookers = tuple(name for name in names if name.endswith(" looking"))
    left = len(data.radiographs) - len(kept)
    note = f"readers are those of {book.place}; {left} of {len(data.radiographs)} radiographs are left out: not asked "
    note += "for, or not yet finished by all"
    return replace(
        data,
        findings=findings,
        radiographs=kept,
        marks=_Beside(data, marks),
        readers=(*data.readers[:1], *(name for name in names if name not in lookers)),
        gaze_readers=(*data.gaze_readers, *lookers),
        facts={**data.facts, "simulated": False, "warnings": (*data.facts.get("warnings", ()), note)},
    )


@dataclass(frozen=True, slots=True)
class _Beside:
    """`Dataset.marks`: those of the study, else those of the data set."""

    data: Dataset
    marks: dict[tuple[str, str, str], Mark]

    def __call__(self, radiograph: str, finding: str, reader: str) -> Mark | None:
        return self.marks.get((radiograph, finding, reader)) or self.data.marks(radiograph, finding, reader)


def _done_by_all(said: list[Reading]) -> set[tuple[str, str]]:
    """(radiograph, finding) that every reader has finished in every task begun; of clicks, (radiograph, gaze)."""
    done: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for r in said:
        done.setdefault((r.reader, r.case.task), set()).add(_key(r.case))
    of_findings = [pairs for (_, task), pairs in done.items() if task != "look"]
    return set.intersection(*(of_findings or list(done.values()))) if done else set()


def _covered(data: Dataset, radiograph: str, findings: tuple[str, ...], done: set[tuple[str, str]]) -> bool:
    """Whether all that the reference marked on a radiograph was asked for."""
    return all((radiograph, f) in done for f in findings if data.marks(radiograph, f, data.truth) is not None)


def _key(case: Case) -> tuple[str, str]:
    """What a case is about; of clicks, (radiograph, gaze)."""
    return case.radiograph, WHOLE if case.task == "look" else case.finding


def _check(data: Dataset, place: str, invited: list[str], names: list[str]) -> None:
    if not names:
        said = ", ".join(invited) or "nobody"
        raise DataError(f"nobody has finished a case with marks in {place}; invited: {said}")
    taken = [name for name in names if name in (*data.readers[:1], *data.gaze_readers)]
    if taken:
        raise DataError(f"{data.spec} already has a reader {taken[0]!r}; no reader of {place} may be called so")
