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


def test_each_case_is_read_with_and_without_the_map_in_crossed_and_balanced_order() -> None:
    findings = ("Edema", "Fracture")
    cases = [
        StudyCase(number=i, task=task, radiograph=f"r{i // 2}", patient=f"p{i // 2}", finding=findings[i % 2])
        for task in ("contour", "point")
        for i in range(24)
    ]
    study = Study(tasks=["contour", "point"], seed=1, repeat_share=0.25, sources=[], aid="net/cam")
    first_arms = []
    for number, reader in enumerate(("Dr A", "Dr B")):
        for task in study.tasks:
            turns = [turn for turn in schedule_cases(study, cases, reader, number) if turn.case.task == task]
            places: dict[tuple[str, str], list[tuple[int, bool]]] = {}
            for at, turn in enumerate(turns):
                assert turn.occasion == 0 and turn.sources in ((), ("net/cam",))
                places.setdefault((turn.case.radiograph, turn.case.finding), []).append((at, bool(turn.sources)))
            assert len(turns) == 48 and {len(both) for both in places.values()} == {2}, "no case is repeated otherwise"
            assert all(a[1] != b[1] and b[0] - a[0] >= 12 for a, b in places.values()), "both arms, far apart"
            aided_first = {case for case, (first, _) in places.items() if first[1]}
            for finding in findings:
                assert sum(case[1] == finding for case in aided_first) == 6, "balanced for every finding"
            first_arms.append(aided_first)
    assert first_arms[0].isdisjoint(first_arms[2]) and first_arms[1].isdisjoint(first_arms[3]), "crossed"
    assert first_arms[0] != first_arms[1], "another half for another task"
