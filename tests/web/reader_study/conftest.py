"""A study that two readers have finished, the one exact, the other a little off and blind on the left."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import sightline as sl
from sightline.core import Dataset
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.events import AddTime, AnswerQuestion, FinishCase, Operation, PutShape
from sightline.data.reader_study.schedule import invite_reader
from sightline.data.reader_study.schema import Assignment
from sightline.imaging.masks import mask_to_contours, rasterize_annotation
from sightline.web.reader_study.create import create_study

DATA = "phantom:10?size=96"


def answer(turn: Assignment, data: Dataset, off: float) -> list[Operation]:
    """What a reader whose hand is `off` pixels low says: the outlines of the truth, or a point within."""
    case, said = turn.case, list[Operation]()
    mark = None if case.task == "search" else data.annotation(case.radiograph, case.finding, data.reference_reader)
    if case.task == "search":
        for i in range(3):
            said.append(
                PutShape(id=f"l{i}", clock=i + 1, shape=f"l{i}", points=((10.0 * i, 5.0),), closed=True, at=2.0 * i)
            )
    elif mark is None or (off and rasterize_annotation(mark)[:, : case.width // 2].sum() < 9):
        said.append(AnswerQuestion(id="a", clock=1, question="absent", value="yes"))
    elif case.task == "point":
        inside = np.argwhere(rasterize_annotation(mark))
        place = inside[len(inside) // 2] + 0.5 + np.array([off, 0])
        said.append(
            PutShape(id="p", clock=1, shape="point", points=(tuple(np.clip(place, 0, case.height)),), closed=True)
        )
    else:
        lines = [line for line in mask_to_contours(rasterize_annotation(mark)) if len(line) >= 3]
        for i, line in enumerate(lines):
            points = np.clip(line + np.array([off, 0]), 0, [case.height, case.width])
            said.append(PutShape(id=f"c{i}", clock=i + 1, shape=f"c{i}", points=tuple(map(tuple, points)), closed=True))
    last = len(said) + 1
    return [*said, AddTime(id="t", clock=last, seconds=10.0 + off), FinishCase(id="f", clock=last + 1)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyDatabase]:
    """Dr A is exact; Dr B draws two pixels low, and sees nothing of what lies in the right half of the film alone."""
    data = sl.open_dataset(DATA)
    place = tmp_path_factory.mktemp("finished") / "study"
    with create_study(DATA, place, tasks=("contour", "point", "search"), repeat_share=0.25) as book:
        for name, off in (("Dr A", 0.0), ("Dr B", 2.0)):
            invite_reader(book, name)
            for turn in book.assignments(book.reader(name).number):
                book.append(turn.key, answer(turn, data, off))
        invite_reader(book, "Dr Late")
        yield book
