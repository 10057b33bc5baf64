"""One pen for many: whoever finds it free writes for all who wait, and all of it is on disk by one commit.

A commit waits for the disk. Twenty readers who draw at once would queue for twenty of them; so those who come while one
is under way are written together by the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import Lock

from sqlalchemy.orm import Session

Work = Callable[[Session], int]


@dataclass(slots=True, eq=False)
class _PendingWrite:
    work: Work
    result: int | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class GroupCommit:
    """Where work waits for the pen."""

    queue: deque[_PendingWrite] = field(default_factory=deque)
    lock: Lock = field(default_factory=Lock)

    def write(self, work: Work, transaction: Callable[[], AbstractContextManager[Session]]) -> int:
        """Do a piece of work in a transaction, perhaps with that of others; returns once it is committed.

        Work that fails is undone alone, and its error is raised here; the rest is committed. If the commit itself
        fails, all who were part of it are told.
        """
        own = _PendingWrite(work)
        self.queue.append(own)
        with self.lock:
            if own.result is None and own.error is None:
                _commit_batch([self.queue.popleft() for _ in range(len(self.queue))], transaction)
        if own.error is not None:
            raise own.error
        return own.result or 0


def _commit_batch(batch: list[_PendingWrite], transaction: Callable[[], AbstractContextManager[Session]]) -> None:
    done: dict[int, int] = {}
    try:
        with transaction() as session:
            for number, one in enumerate(batch):
                try:
                    with session.begin_nested():
                        done[number] = one.work(session)
                except Exception as error:
                    one.error = error
    except BaseException as error:  # nothing was committed: everybody must know, and may send again
        for one in batch:
            one.error = one.error or error
        raise
    for number, count in done.items():
        batch[number].result = count
