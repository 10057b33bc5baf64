"""Who reads what in which order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sightline.data.reader_study.schedule import reading_order, schedule_cases
from sightline.data.reader_study.schema import Study, StudyCase
from sightline.web.reader_study.create import TASKS


@given(st.integers(0, 40), st.integers(0, 50), st.integers(0, 5))
def test_every_case_comes_once_and_some_again_far_apart(count: int, repeats: int, seed: int) -> None:
    turns = reading_order(count, repeats, seed)
    first = {case: at for at, (case, occasion) in enumerate(turns) if occasion == 0}
    again = {case: at for at, (case, occasion) in enumerate(turns) if occasion == 1}
    assert sorted(first) == list(range(count))
    assert len(turns) == count + len(again) and len(again) == min(repeats, count)
    assert all(at - first[case] >= (count + 1) // 2 for case, at in again.items())


def test_an_order_follows_from_its_key() -> None:
    assert reading_order(30, 5, 1, "Dr A") == reading_order(30, 5, 1, "Dr A") != reading_order(30, 5, 1, "Dr B")
    places = [
        reading_order(30, 5, seed)[:30].index((0, 0)) if (0, 0) in reading_order(30, 5, seed)[:30] else 30
        for seed in range(60)
    ]
    assert len(set(places)) > 15, "and cases come early or late by chance"


def test_plans_are_those_of_ever() -> None:
    tasks = list(TASKS)[:3]  # by place: another name of a task changes no plan
    cases = [
        StudyCase(number=i, task=tasks[i // 4], radiograph=f"r{i}", patient="p", finding="Edema") for i in range(12)
    ]
    turns = schedule_cases(Study(tasks=tasks, seed=1, repeat_share=0.25, sources=[]), cases, "Dr A")
    numbers = [turn.case.number for turn in turns]
    assert numbers == [2, 1, 2, 0, 3, 7, 4, 7, 6, 5, 9, 8, 11, 10, 9]
