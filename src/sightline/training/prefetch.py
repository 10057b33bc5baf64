"""What the next step needs is made while this one runs, so that a device does not wait for augmentation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from sightline._util.parallel import T, U, early

DEPTH = 2
"""Batches that are made ahead."""


@dataclass(slots=True)
class Wait:
    """Seconds that were spent waiting for data, of all."""

    waited: float = 0.0
    total: float = 0.0

    @property
    def share(self) -> float:
        """Of the time between batches; 0 before any."""
        return self.waited / self.total if self.total > 0 else 0.0

    @property
    def facts(self) -> dict[str, float]:
        """For run.json."""
        return {"share": round(self.share, 4), "seconds": round(self.total, 2)}


def ahead(items: Iterable[T], make: Callable[[T], U], wait: Wait, depth: int = DEPTH) -> Iterator[U]:
    """`make(item)` of each item, in order, made by one thread up to `depth` items before it is asked for.

    One thread makes them in order, so random numbers come out as they would without it. What `make` raises is raised
    where its result is asked for. The first wait counts for nothing: nothing could have been made yet.

    >>> list(ahead([1, 2, 3], lambda n: n * n, Wait()))
    [1, 4, 9]
    """
    last = 0.0
    with closing(early(items, make, depth, threads=1)) as made:
        while True:
            asked = time.perf_counter()
            try:
                one = next(made)
            except StopIteration:
                return
            now = time.perf_counter()
            if last:
                wait.waited, wait.total = wait.waited + now - asked, wait.total + now - last
            last = now
            yield one
