"""Prefetch batches in a thread while a step runs, so that a device does not wait for augmentation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from sightline._util.parallel import T, U, prefetch

PREFETCH_DEPTH = 2
"""Number of batches computed ahead."""


@dataclass(slots=True)
class DataWait:
    """Time that a training spent waiting for data."""

    waiting_seconds: float = 0.0
    """Seconds of waiting for a batch."""
    total_seconds: float = 0.0
    """Seconds between batches."""

    @property
    def share(self) -> float:
        """Share of the time between batches; 0 before any."""
        return self.waiting_seconds / self.total_seconds if self.total_seconds > 0 else 0.0

    @property
    def summary(self) -> dict[str, float]:
        """Share and seconds, for run.json."""
        return {"share": round(self.share, 4), "seconds": round(self.total_seconds, 2)}


def prefetch_timed(
    items: Iterable[T], make: Callable[[T], U], wait: DataWait, depth: int = PREFETCH_DEPTH
) -> Iterator[U]:
    """Yield `make(item)` for each item in order, computed by one thread up to `depth` items ahead.

    One thread works in order, so random numbers are the same as without it. Exceptions from `make` are raised when
    their item is consumed. The first wait is not counted: nothing could have been computed yet.

    Parameters
    ----------
    items
        Items in order.
    make
        Function of an item.
    wait
        Record to which the waiting time is added.
    depth
        Number of items computed ahead.

    Yields
    ------
    U
        Result for each item.

    Examples
    --------
    >>> list(prefetch_timed([1, 2, 3], lambda n: n * n, DataWait()))
    [1, 4, 9]
    """
    last = 0.0
    with closing(prefetch(items, make, depth, threads=1)) as results:
        while True:
            start = time.perf_counter()
            try:
                result = next(results)
            except StopIteration:
                return
            now = time.perf_counter()
            if last:
                wait.waiting_seconds += now - start
                wait.total_seconds += now - last
            last = now
            yield result
