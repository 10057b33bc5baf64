"""What the next step needs is made while this one runs, so that a device does not wait for augmentation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from sightline._util.parallel import T, U, prefetch

PREFETCH_DEPTH = 2
"""Batches that are made ahead."""


@dataclass(slots=True)
class DataWait:
    """Seconds that were spent waiting for data, of all."""

    waiting_seconds: float = 0.0
    total_seconds: float = 0.0

    @property
    def share(self) -> float:
        """Of the time between batches; 0 before any."""
        return self.waiting_seconds / self.total_seconds if self.total_seconds > 0 else 0.0

    @property
    def summary(self) -> dict[str, float]:
        """For run.json."""
        return {"share": round(self.share, 4), "seconds": round(self.total_seconds, 2)}


def prefetch_timed(
    items: Iterable[T], make: Callable[[T], U], wait: DataWait, depth: int = PREFETCH_DEPTH
) -> Iterator[U]:
    """`make(item)` of each item, in order, made by one thread up to `depth` items before it is asked for.

    One thread makes them in order, so random numbers come out as they would without it. What `make` raises is raised
    where its result is asked for. The first wait counts for nothing: nothing could have been made yet.

    >>> list(prefetch_timed([1, 2, 3], lambda n: n * n, DataWait()))
    [1, 4, 9]
    """
    last = 0.0
    with closing(prefetch(items, make, depth, threads=1)) as made:
        while True:
            asked = time.perf_counter()
            try:
                one = next(made)
            except StopIteration:
                return
            now = time.perf_counter()
            if last:
                wait.waiting_seconds, wait.total_seconds = (
                    wait.waiting_seconds + now - asked,
                    wait.total_seconds + now - last,
                )
            last = now
            yield one
