"""Group commit: writes that arrive while a commit is under way are committed together by the next one.

A commit waits for the disk. Twenty readers who draw at the same time would otherwise wait for twenty commits in turn.
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
    """Write that waits for its transaction, and its result."""

    work: Work
    result: int | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class GroupCommit:
    """Queue of pending writes, and the lock of the thread that commits them."""

    queue: deque[_PendingWrite] = field(default_factory=deque)
    lock: Lock = field(default_factory=Lock)

    def write(self, work: Work, transaction: Callable[[], AbstractContextManager[Session]]) -> int:
        """Do a piece of work in a transaction, possibly together with others, and return once it is committed.

        Parameters
        ----------
        work : callable
            Takes a session, returns an int.
        transaction : callable
            Returns a context manager that gives a session and commits at its end.

        Returns
        -------
        int
            Result of the work.

        Raises
        ------
        Exception
            Error of this work, which is rolled back alone while the others are committed; or the error of the commit,
            which every write of that commit raises.
        """
        pending = _PendingWrite(work)
        self.queue.append(pending)
        with self.lock:
            if pending.result is None and pending.error is None:
                _commit_batch([self.queue.popleft() for _ in range(len(self.queue))], transaction)
        if pending.error is not None:
            raise pending.error
        return pending.result or 0


def _commit_batch(batch: list[_PendingWrite], transaction: Callable[[], AbstractContextManager[Session]]) -> None:
    results: dict[int, int] = {}
    try:
        with transaction() as session:
            for number, pending in enumerate(batch):
                try:
                    with session.begin_nested():
                        results[number] = pending.work(session)
                except Exception as error:
                    pending.error = error
    except BaseException as error:  # nothing was committed: every write reports it and may be sent again
        for pending in batch:
            pending.error = pending.error or error
        raise
    for number, result in results.items():
        batch[number].result = result
