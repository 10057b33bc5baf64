"""Order of reading: drawn for each reader from the study's seed, with some cases repeated far apart."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import func, select

from sightline._util.rng import AID_ORDER, TASK_WORDS, key_digest, key_word, keyed_rng
from sightline.data.reader_study.database import StudyDatabase, utc_now
from sightline.data.reader_study.rating_sheets import sample_rating_cases
from sightline.data.reader_study.schema import Assignment, Reader, Study, StudyCase
from sightline.data.reader_study.tokens import new_token
from sightline.errors import DataError

RATING_TASKS = ("rate", "choice")
"""Tasks in which maps are judged."""
AIDED_TASKS = ("contour", "point")
"""Tasks that can be read with a map and without it."""
MAX_NAME_LENGTH = 80
"""Greatest length of a reader's name, in characters."""


def reading_order(count: int, repeats: int, *key: object) -> list[tuple[int, int]]:
    """Draw an order of reading in which every case comes once and some cases come again.

    The first `repeats` cases of a random order are repeated, in that order, at random positions at least count / 2
    cases later.

    Parameters
    ----------
    count : int
        Number of cases.
    repeats : int
        Number of cases to repeat.
    *key : object
        Key of the random numbers; the same key gives the same order.

    Returns
    -------
    list of (int, int)
        Case, and occasion: 0 for the first reading, 1 for the repeated one.

    Examples
    --------
    >>> reading_order(4, 1, "seed", 1)
    [(1, 0), (2, 0), (0, 0), (1, 1), (3, 0)]
    """
    rng = keyed_rng(*key)
    firsts: list[int] = rng.permutation(count).tolist()
    soonest = np.minimum(np.arange(min(repeats, count)) + (count + 1) // 2, count)
    positions = np.maximum.accumulate(rng.integers(soonest, count + 1))  # numbers of first readings before a repeat
    order = [(case, 0) for case in firsts]
    for number, position in enumerate(positions.tolist()):
        order.insert(position + number, (firsts[number], 1))
    return order


class ScheduledCase(NamedTuple):
    """Case at one position of a reader's list."""

    case: StudyCase
    occasion: int
    sources: tuple[str, ...] = ()
    """Sources of the maps, in the order of their letters; the map that aids the reading of a contour or point case."""


def schedule_cases(study: Study, cases: Sequence[StudyCase], reader: str, number: int = 0) -> list[ScheduledCase]:
    """Draw the list of cases of one reader, task by task.

    Parameters
    ----------
    study : Study
        Study, which gives the tasks, the sources, the share of repeated cases and the seed.
    cases : sequence of StudyCase
        All cases of the study.
    reader : str
        Name of the reader.
    number : int, default 0
        Number of the reader. Readers of even and of odd number read the same case in opposite order of its arms.

    Returns
    -------
    list of ScheduledCase
        In the order of reading.
    """
    schedule = list[ScheduledCase]()
    for task in study.tasks:
        of_task = [case for case in cases if case.task == task]
        if task in RATING_TASKS:
            by_key = {(case.radiograph, case.finding): case for case in of_task}
            rating_cases = sample_rating_cases(
                [(case.radiograph, case.patient, case.finding) for case in of_task],
                study.sources,
                [reader],
                max_cases=len(of_task),
                repeat_share=study.repeat_share,
                seed=study.seed,
            )
            schedule += [ScheduledCase(by_key[c.radiograph, c.finding], c.occasion, c.sources) for c in rating_cases]
        elif study.aid and task in AIDED_TASKS:
            schedule += _schedule_arms(study, of_task, reader, number)
        else:
            repeats, word = round(study.repeat_share * len(of_task)), key_word(task, TASK_WORDS)
            order = reading_order(len(of_task), repeats, study.seed, word, reader)
            schedule += [ScheduledCase(of_task[i], occasion) for i, occasion in order]
    return schedule


def _schedule_arms(study: Study, cases: Sequence[StudyCase], reader: str, number: int) -> list[ScheduledCase]:
    """Draw an order in which each case is read twice, at least half of the list apart: with the map and without it.

    Half of the cases of each finding are read with the map first, and for the next reader the other half. So every
    case, reader and finding has both arms, and learning between the readings favors neither.
    """
    task = cases[0].task
    keys = [(c.finding, key_digest(study.seed, AID_ORDER, c.finding, c.radiograph, task)) for c in cases]
    ordered = sorted(range(len(cases)), key=lambda i: keys[i])
    first_aided = {case for rank, case in enumerate(ordered) if (rank + number) % 2 == 0}
    order = reading_order(len(cases), len(cases), study.seed, key_word(task, TASK_WORDS), reader)
    aided = [(cases[case], (case in first_aided) == (session == 0)) for case, session in order]
    return [ScheduledCase(case, 0, (study.aid,) if is_aided else ()) for case, is_aided in aided]


def invite_reader(database: StudyDatabase, name: str) -> str:
    """Add a reader to a study, and draw the reader's list of cases.

    Parameters
    ----------
    database : StudyDatabase
        Open study.
    name : str
        Name of the reader, 1 to 80 printable characters.

    Returns
    -------
    str
        Token of the reader's link. The database stores only a keyed digest of it.

    Raises
    ------
    DataError
        If the name is taken, empty, too long or not printable.
    """
    if not name.strip() or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise DataError(
            f"{name!r} cannot be the name of a reader; allowed: 1 to {MAX_NAME_LENGTH} printable characters"
        )
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
                case_number=scheduled.case.number,
                occasion=scheduled.occasion,
                position=position,
                sources=list(scheduled.sources),
            )
            for position, scheduled in enumerate(schedule_cases(study, cases, name, number))
        )
    return token
