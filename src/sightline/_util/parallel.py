"""Threads: prefetch results, and run units of work that are either done or not begun, with a progress bar."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from sightline._util.progress import progress_bar

T = TypeVar("T")
U = TypeVar("U")
N_PROCESSORS = os.cpu_count() or 1


def prefetch(
    items: Iterable[T], make: Callable[[T], U], depth: int, threads: int = N_PROCESSORS
) -> Generator[U, None, None]:
    """Yield `make(item)` for each item, in order, computing up to `depth` items ahead in threads.

    An exception of `make` is raised when its item is consumed. Closing the generator cancels pending work.

    >>> list(prefetch("abc", str.upper, depth=1))
    ['A', 'B', 'C']
    """
    waiting: deque[Future[U]] = deque()
    with ThreadPoolExecutor(threads, "prefetch") as pool:
        try:
            source = iter(items)
            while True:
                waiting.extend(pool.submit(make, item) for item in islice(source, depth + 1 - len(waiting)))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def run_resumable(
    title: str,
    units: Sequence[str],
    done: Callable[[str], bool],
    work: Callable[[str], None],
    *,
    unit: str = "parts",
    workers: int = 1,
    progress: bool = True,
) -> None:
    """Do every unit that is not done yet, in order or, with several workers, in threads.

    The first error stops the run after the units that are being worked on; finished units stay finished.
    """
    waiting = [u for u in units if not done(u)]
    with progress_bar(visible=progress) as bar:
        task = bar.add_task(title, total=len(units), completed=len(units) - len(waiting), unit=unit)
        if workers == 1:
            for name in waiting:
                work(name)
                bar.advance(task)
            return
        with ThreadPoolExecutor(workers) as pool:
            futures: list[Future[None]] = [pool.submit(work, name) for name in waiting]
            for future in futures:
                future.add_done_callback(lambda _: bar.advance(task))
            finished, unfinished = wait(futures, return_when=FIRST_EXCEPTION)
            for future in unfinished:
                future.cancel()
        for future in finished:
            future.result()
