"""Work made early: in order, no more of it than asked for, whatever the number of threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from sightline._util.parallel import prefetch, run_resumable


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_results_come_in_the_order_of_items_whoever_is_done_first(threads: int) -> None:
    def make(i: int) -> int:
        time.sleep(0.002 * (i % 3 == 0))
        return i * i

    assert list(prefetch(range(40), make, 8, threads)) == [i * i for i in range(40)]
    assert list(prefetch([], make, 8, threads)) == []


@pytest.mark.parametrize("threads", [1, 4])
def test_no_more_than_the_depth_is_drawn_and_closing_makes_no_more(threads: int) -> None:
    drawn, made = list[int](), list[int]()

    def source() -> Iterator[int]:
        for i in range(100):
            drawn.append(i)
            yield i

    def make(i: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        made.append(i)
        return i

    results = prefetch(source(), make, 3, threads)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    results.close()
    assert len(drawn) == 5 + 3 and len(made) <= len(drawn)


def test_an_error_is_raised_in_its_turn() -> None:
    def make(i: int) -> int:
        if i == 3:
            raise ValueError("damaged")
        return i

    results = prefetch(range(6), make, 5)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="damaged"):
        next(results)


@pytest.mark.parametrize("workers", [1, 3])
def test_finished_units_are_skipped_and_the_bar_can_be_hidden(workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    finished = {"a"}
    run_resumable("work", ["a", "b", "c"], lambda unit: unit in finished, finished.add, workers=workers, progress=False)
    assert finished == {"a", "b", "c"} and capsys.readouterr().err == ""
    run_resumable("work", ["a", "b", "c"], lambda unit: unit in finished, finished.add, workers=workers)
    assert "work" in capsys.readouterr().err
