"""Work of many in one commit: whose fails fails alone, and nobody is told of what was not committed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.events import FinishCase, PutShape
from sightline.data.reader_study.group_commit import GroupCommit
from sightline.data.reader_study.schedule import invite_reader
from sightline.errors import DataError
from sightline.web.reader_study.create import create_study


class Held:
    """A database whose first transaction waits until the others have come."""

    def __init__(self, fails: bool = False) -> None:
        self.go, self.commits, self.fails = Event(), 0, fails

    @contextmanager
    def begin_nested(self) -> Iterator[None]:
        yield

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        if self.commits == 0:
            self.go.wait(30)
        yield self
        self.commits += 1
        if self.fails and self.commits > 1:
            raise OSError("disk full")


def gather(held: Held, works: list[Any]) -> list[Future[int]]:
    """All of `works` wait while the first is under way."""
    desk = GroupCommit()
    with ThreadPoolExecutor(len(works)) as pool:
        first = pool.submit(desk.write, works[0], held.transaction)
        while not desk.lock.locked() or desk.queue:
            pass
        rest = [pool.submit(desk.write, work, held.transaction) for work in works[1:]]
        while len(desk.queue) < len(rest):
            pass
        held.go.set()
    return [first, *rest]


def failing(_: object) -> int:
    raise DataError("no")


def test_those_who_wait_are_written_by_one_commit() -> None:
    held = Held()
    told = gather(held, [lambda _, n=n: n for n in range(8)])
    assert [f.result() for f in told] == list(range(8)) and held.commits == 2


def test_who_fails_fails_alone() -> None:
    held = Held()
    told = gather(held, [lambda _: 1, failing, lambda _: 2, failing])
    assert [told[0].result(), told[2].result()] == [1, 2]
    for one in (told[1], told[3]):
        with pytest.raises(DataError):
            one.result()


def test_a_commit_that_fails_is_nobody_s_success() -> None:
    told = gather(Held(fails=True), [lambda _: 1, lambda _: 2, lambda _: 3])
    assert told[0].result() == 1
    for one in told[1:]:
        with pytest.raises(OSError, match="disk full"):
            one.result()


def test_a_refused_request_leaves_nothing_among_others_that_are_kept(place: str) -> None:
    with create_study("phantom:4?size=64", place, tasks=("contour",)) as book:
        for number in range(6):
            invite_reader(book, f"Dr {number}")
        keys = [book.assignments(book.reader(f"Dr {n}").number)[0].key for n in range(6)]
        for key in keys:
            book.append(key, [put("same", 1)])

        def save(number: int, book: StudyDatabase = book) -> int:
            wrong = number % 2  # every other one says something else under an id that is taken
            return book.append(
                keys[number], [put("new", 2), put("same", 9 if wrong else 1), FinishCase(id="f", clock=3)]
            )

        with ThreadPoolExecutor(6) as pool:
            told = [pool.submit(save, number) for number in range(6)]
        assert [t.result() for t in told[::2]] == [2, 2, 2]
        assert all(isinstance(t.exception(), DataError) for t in told[1::2])
        assert [len(book.operations(key)) for key in keys] == [3, 1, 3, 1, 3, 1]


def put(name: str, clock: int) -> PutShape:
    return PutShape(id=name, clock=clock, shape=name, points=((1.0, 2.0),))
