"""Who reads what in which order: drawn for each reader from the study's seed, some cases a second time, far apart."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import func, select

from sightline._util.rng import TASK_WORDS, key_word, keyed_rng
from sightline.data.reader_study.database import StudyDatabase, new_token, utc_now
from sightline.data.reader_study.rating_sheets import sample_rating_cases
from sightline.data.reader_study.schema import Assignment, Reader, Study, StudyCase
from sightline.errors import DataError

RATING_TASKS = ("rate", "choice")
"""Tasks on a sheet of maps."""
MAX_NAME_LENGTH = 80
"""Characters of a reader's name."""


def reading_order(count: int, repeats: int, *key: object) -> list[tuple[int, int]]:
    """(case, occasion) in the order of reading: every case once, `repeats` of them again, at least count / 2 later.

    The first `repeats` cases of a random order come again, in that order, at random places at least count / 2 later.
    The same key gives the same order.

    >>> reading_order(4, 1, "seed", 1)
    [(1, 0), (2, 0), (0, 0), (1, 1), (3, 0)]
    """
    rng = keyed_rng(*key)
    firsts: list[int] = rng.permutation(count).tolist()
    soonest = np.minimum(np.arange(min(repeats, count)) + (count + 1) // 2, count)
    places = np.maximum.accumulate(rng.integers(soonest, count + 1))  # how many other cases come before
    turns = [(case, 0) for case in firsts]
    for number, place in enumerate(places.tolist()):
        turns.insert(place + number, (firsts[number], 1))
    return turns


class ScheduledCase(NamedTuple):
    """One place in a reader's list."""

    case: StudyCase
    occasion: int
    sources: tuple[str, ...] = ()
    """Sources of the maps, in the order of their letters."""


def schedule_cases(study: Study, cases: Sequence[StudyCase], reader: str) -> list[ScheduledCase]:
    """The turns of one reader: task by task, so that only one thing is to be learned at a time."""
    turns = list[ScheduledCase]()
    for task in study.tasks:
        of = [case for case in cases if case.task == task]
        if task in RATING_TASKS:
            by = {(case.radiograph, case.finding): case for case in of}
            asked = [(case.radiograph, case.patient, case.finding) for case in of]
            sheets = sample_rating_cases(
                asked, study.sources, [reader], max_cases=len(of), repeat_share=study.repeat_share, seed=study.seed
            )
            turns += [ScheduledCase(by[s.radiograph, s.finding], s.occasion, s.sources) for s in sheets]
        else:
            again, word = round(study.repeat_share * len(of)), key_word(task, TASK_WORDS)
            turns += [
                ScheduledCase(of[i], occasion)
                for i, occasion in reading_order(len(of), again, study.seed, word, reader)
            ]
    return turns


def invite_reader(database: StudyDatabase, name: str) -> str:
    """Add a reader, and the order of the cases; returns the token, which is kept nowhere.

    Errors: `DataError` for a name that is taken, empty, too long, or holds line breaks or the like.
    """
    if not name.strip() or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise DataError(f"{name!r} is no name; allowed: 1 to {MAX_NAME_LENGTH} printable characters")
    with database.write_session() as session:
        study = session.scalars(select(Study)).one()
        if session.scalar(select(Reader.number).where(Reader.name == name)) is not None:
            raise DataError(f"{name!r} is already invited; `--renew` gives a new link to the same reader")
        number = (session.scalar(select(func.max(Reader.number))) or 0) + 1
        token, salt, digest = new_token(number)
        session.add(Reader(number=number, name=name, salt=salt, digest=digest, invited=utc_now()))
        session.flush()
        cases = session.scalars(select(StudyCase).order_by(StudyCase.number)).all()
        session.add_all(
            Assignment(
                key=secrets.token_urlsafe(12),
                reader_number=number,
                case_number=turn.case.number,
                occasion=turn.occasion,
                position=position,
                sources=list(turn.sources),
            )
            for position, turn in enumerate(schedule_cases(study, cases, name))
        )
    return token
