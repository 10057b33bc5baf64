"""Readings with a map in view and without it: who sees what, and what the comparison says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sightline as sl
from sightline.core import Frame, SaliencyMap
from sightline.data.reader_study.annotations import completed_readings
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.events import AddTime, AnswerQuestion, FinishCase, Operation, PutShape
from sightline.data.reader_study.schedule import invite_reader
from sightline.data.reader_study.schema import Assignment
from sightline.errors import DataError, UnknownNameError
from sightline.imaging.masks import mask_to_contours, rasterize_annotation
from sightline.maps.storage import write_maps
from sightline.runs.run import Run
from sightline.web.reader_study.aid import compare_arms
from sightline.web.reader_study.create import StudyInputs, create_study
from sightline.web.reader_study.export import cases_table
from sightline.web.reader_study.report import write_report
from sightline.web.reader_study.server import reader_app
from sightline.web.server.encoding import decode_bundle
from visitor import Visitor

DATA = "phantom:8?size=64"
AID = "net/grad-cam"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Random maps of all findings but one."""
    data, rng = sl.open_dataset(DATA), np.random.default_rng(0)
    run = Run.start(tmp_path_factory.mktemp("runs") / "maps", "localization", {}).update_info(dataset={"spec": DATA})
    maps = [
        SaliencyMap(r.id, f, AID, rng.random((6, 6), np.float32), Frame.whole(r.read().shape), 0.5)
        for r in data.radiographs
        for f in data.findings[1:]
    ]
    ids = [r.id for r in data.radiographs]
    write = partial(write_maps, radiographs=ids, findings=data.findings[1:], maps={AID: maps})
    run.write_part("maps-net", "000000", write)
    return run


@pytest.fixture(scope="module")
def book(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyDatabase]:
    """Two readers, who see everything exactly with the map, and miss every second case without it."""
    place = tmp_path_factory.mktemp("study") / "study"
    with create_study(str(run.path), place, tasks=("contour", "point"), aid=AID) as made:
        for name in ("Dr A", "Dr B"):
            invite_reader(made, name)
            for turn in made.assignments(made.reader(name).number):
                made.append(turn.key, answer(turn, misses=not turn.sources and turn.case.number % 2 == 0))
        yield made


def answer(turn: Assignment, misses: bool) -> list[Operation]:
    """The truth, in 20 seconds with the map and 12 without it; or, for a miss, that nothing is visible."""
    case, data = turn.case, sl.open_dataset(DATA)
    mark = data.annotation(case.radiograph, case.finding, data.reference_reader)
    said: list[Operation] = []
    if mark is None or misses:
        said.append(AnswerQuestion(id="a", clock=1, question="absent", value="yes"))
    elif case.task == "point":
        inside = np.argwhere(rasterize_annotation(mark))
        at = tuple(inside[len(inside) // 2] + 0.5)
        said.append(PutShape(id="p", clock=1, shape="point", points=(at,), closed=True))
    else:
        lines = [line for line in mask_to_contours(rasterize_annotation(mark)) if len(line) >= 3]
        said += [
            PutShape(id=f"c{i}", clock=1, shape=f"c{i}", points=tuple(map(tuple, np.clip(line, 0, None))), closed=True)
            for i, line in enumerate(lines)
        ]
    time = AddTime(id="t", clock=2, seconds=20.0 if turn.sources else 12.0)
    return [*said, time, FinishCase(id="f", clock=3)]


def test_only_cases_with_a_map_are_read_and_each_in_both_arms(run: Run, book: StudyDatabase) -> None:
    data = sl.open_dataset(DATA)
    assert data.findings[0] not in {case.finding for case in book.cases()}
    for name in ("Dr A", "Dr B"):
        turns = [(turn.case.number, tuple(turn.sources)) for turn in book.assignments(book.reader(name).number)]
        assert set(turns) == {(case.number, shown) for case in book.cases() for shown in ((), (AID,))}
        assert len(turns) == len(set(turns))


def test_the_arms_are_compared_pair_by_pair(book: StudyDatabase) -> None:
    data = sl.open_dataset(DATA)
    table = compare_arms(list(completed_readings(book, include_aided=True)), data)
    rows = table.set_index(["task", "measure", "reader"])
    points = [case for case in book.cases() if case.task == "point"]
    present = [case for case in points if data.annotation(case.radiograph, case.finding, data.reference_reader)]
    missed = [case for case in present if case.number % 2 == 0]
    everyone = rows.loc[("point", "presence", "all")]
    assert everyone["aided"] == 1 and everyone["unaided"] == pytest.approx(1 - len(missed) / len(points))
    assert (
        everyone["mean"] == pytest.approx(len(missed) / len(points))
        and everyone["low"] < everyone["mean"] < everyone["high"]
    )
    assert everyone["n"] == 2 * len(points) and everyone["patients"] == len({case.patient for case in points})
    hits = rows.loc[("point", "pointing-game", "Dr B")]
    assert (hits["aided"], hits["n"]) == (1, len(present)) and hits["mean"] == pytest.approx(len(missed) / len(present))
    assert rows.loc[("contour", "iou", "Dr A"), "aided"] > 0.8
    assert rows.loc[("contour", "seconds", "all"), ["unaided", "aided", "mean"]].tolist() == [12, 20, 8]


def test_a_case_with_one_arm_has_no_pair(book: StudyDatabase) -> None:
    readings, data = list(completed_readings(book, include_aided=True)), sl.open_dataset(DATA)
    first = next(r for r in readings if r.is_aided)
    before, after = compare_arms(readings, data), compare_arms([r for r in readings if r is not first], data)
    gone = before["n"] - after["n"]
    of_case = (before["task"] == first.case.task) & before["reader"].isin([first.reader, "all"])
    assert (gone[of_case & before["measure"].isin(["presence", "seconds"])] == 1).all()
    assert (gone[~of_case] == 0).all()
    assert compare_arms([], data).empty


def test_aided_readings_are_no_benchmark_but_are_exported(book: StudyDatabase, tmp_path: Path) -> None:
    plain, everything = list(completed_readings(book)), list(completed_readings(book, include_aided=True))
    assert not any(r.is_aided for r in plain) and len(everything) == 2 * len(plain)
    assert cases_table(everything)["aided"].tolist().count(1) == len(plain)
    written = write_report(book.location, tmp_path / "report")
    page = written.page.read_text("utf-8")
    assert "With the map and without it" in page and f"map of {AID}" in page and "right about presence" in page
    table = pd.read_csv(tmp_path / "report" / "aid.csv")
    assert {"unaided", "aided", "mean", "low", "high", "n", "patients"} <= set(table.columns)
    times = pd.read_csv(tmp_path / "report" / "times.csv")
    assert times["seconds"].eq(12).all(), "other sections describe unaided readings"


def test_the_map_is_sent_in_one_arm_and_its_source_in_none(
    run: Run, book: StudyDatabase, serve_app: Callable[..., Any]
) -> None:
    with serve_app(reader_app(book, StudyInputs.open(str(run.path)))) as url:
        visitor = Visitor(url, invite_reader(book, "Dr C"))
        for turn in book.assignments(book.reader("Dr C").number)[:8]:
            status, body = visitor.get(f"/api/turns/{turn.key}")
            assert status == 200 and "grad-cam" not in json.dumps(body)
            assert ("map of a model" in body["after"]) == bool(turn.sources)
            status, body = visitor.get(f"/api/turns/{turn.key}/maps/A")
            assert status == (200 if turn.sources else 404)
            if turn.sources:
                assert decode_bundle(body)[1]["values"].shape == (6, 6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"aid": "net/cam"}, UnknownNameError, "no maps of 'net/cam'; it has: net/grad-cam"),
        ({"aid": AID, "tasks": ("search",)}, DataError, "aids the tasks contour and point, not search"),
        ({"aid": AID, "data_or_run": DATA}, DataError, "is no run folder"),
    ],
)
def test_an_aid_that_cannot_be_shown_is_refused(
    run: Run, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        create_study(**{"data_or_run": str(run.path), "out": tmp_path / "study", **options})
