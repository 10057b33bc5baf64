"""What the next step needs is made while this one runs, so that a device does not wait for augmentation."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")
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
    waiting: deque[Future[U]] = deque()
    with ThreadPoolExecutor(1, "feed") as thread:
        try:
            last = 0.0
            source = iter(items)
            while True:
                waiting.extend(thread.submit(make, item) for item in islice(source, depth + 1 - len(waiting)))
                if not waiting:
                    return
                asked = time.perf_counter()
                made = waiting.popleft().result()
                now = time.perf_counter()
                if last:
                    wait.waited, wait.total = wait.waited + now - asked, wait.total + now - last
                last = now
                yield made
        finally:
            for future in waiting:
                future.cancel()
