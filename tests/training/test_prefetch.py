"""Batches made while a step runs: in order, no sooner than asked for, and what it says of the waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from sightline.training.prefetch import DataWait, prefetch_timed


def test_items_come_in_order_and_no_more_than_a_few_are_made_ahead() -> None:
    made, drawn = list[int](), list[int]()

    def source() -> Iterator[int]:
        for i in range(20):
            drawn.append(i)
            yield i

    def make(i: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        made.append(i)
        return -i

    feed = prefetch_timed(source(), make, DataWait(), depth=2)
    assert [next(feed) for _ in range(5)] == [0, -1, -2, -3, -4]
    assert drawn == list(range(7)) and made == drawn[: len(made)]
    feed.close()
    assert len(made) <= 7


def test_what_making_raises_is_raised_where_it_is_asked_for() -> None:
    def make(i: int) -> int:
        if i == 2:
            raise ValueError("damaged")
        return i

    feed = prefetch_timed(range(5), make, DataWait())
    assert [next(feed), next(feed)] == [0, 1]
    with pytest.raises(ValueError, match="damaged"):
        next(feed)


@pytest.mark.parametrize(("making", "working", "low", "high"), [(0.002, 0.02, 0.0, 0.1), (0.02, 0.0, 0.8, 1.0)])
def test_the_share_of_waiting(making: float, working: float, low: float, high: float) -> None:
    wait = DataWait()
    for _ in prefetch_timed(range(15), lambda i: time.sleep(making), wait):
        time.sleep(working)
    assert low <= wait.share <= high and wait.total_seconds > 0
    assert DataWait().share == 0
