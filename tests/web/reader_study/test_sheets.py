"""Maps judged on blinded sheets: letters on the way out, sources on the way home."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

import sightline as sl
from browser import TIMEOUT
from sightline.core import Frame, SaliencyMap
from sightline.data.reader_study.annotations import completed_readings
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.rating_sheets import CHOICE_QUESTION, QUESTIONS, RATING_COLUMNS
from sightline.data.reader_study.schedule import invite_reader
from sightline.errors import DataError
from sightline.maps.storage import write_maps
from sightline.runs.run import Run
from sightline.stats.ratings import mean_ratings, rater_agreement, validate_ratings
from sightline.web.reader_study.create import StudyInputs, create_study
from sightline.web.reader_study.export import ratings_table
from sightline.web.reader_study.server import reader_app
from sightline.web.server.encoding import decode_bundle
from visitor import Visitor

DATA = "phantom:8?size=96"
SOURCES = ("net/grad-cam", "net/gradient")
expect.set_options(timeout=TIMEOUT)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two sources of random maps of everything."""
    data, rng = sl.open_dataset(DATA), np.random.default_rng(0)
    ids = [r.id for r in data.radiographs]
    run = Run.start(tmp_path_factory.mktemp("runs") / "judged", "localization", {}).update_info(dataset={"spec": DATA})
    for source in SOURCES:
        maps = [
            SaliencyMap(r.id, f, source, rng.random((6, 6), np.float32), Frame.whole(r.read().shape), 0.5)
            for r in data.radiographs
            for f in data.findings
        ]
        write = partial(write_maps, radiographs=ids, findings=data.findings, maps={source: maps})
        run.write_part(f"maps-{source.replace('/', '-')}", "000000", write)
    return run


@pytest.fixture(scope="module")
def book(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyDatabase]:
    place = tmp_path_factory.mktemp("study") / "study"
    with create_study(str(run.path), place, tasks=("rate", "choice"), repeat_share=0.5, max_radiographs=4) as made:
        yield made


@pytest.fixture(scope="module")
def url(run: Run, book: StudyDatabase, serve_app: Callable[..., Any]) -> Iterator[str]:
    with serve_app(reader_app(book, StudyInputs.open(str(run.path), SOURCES, True))) as where:
        yield where


def say(clock: int, question: str, source: str, value: str) -> dict[str, Any]:
    return {"id": f"a{clock}", "clock": clock, "kind": "answer", "question": question, "source": source, "value": value}


def test_sheets_are_blinded_and_come_home_with_their_sources(url: str, book: StudyDatabase) -> None:
    visitor = Visitor(url, invite_reader(book, "Dr A"))
    turns = {t.key: t for t in book.assignments(book.reader("Dr A").number)}
    told = ""
    for key in (t["key"] for t in visitor.turns):
        sheet = visitor.get(f"/api/turns/{key}")[1]
        told += json.dumps(sheet)
        fields, arrays = decode_bundle(visitor.get(f"/api/turns/{key}/maps/A")[1])
        told += json.dumps(fields)
        assert set(fields) == {"box", "size"} and arrays["values"].shape == (6, 6)
        assert visitor.get(f"/api/turns/{key}/maps/C")[0] == 404
        shown = turns[key].sources
        if sheet["task"] == "rate":  # grad-cam is always 4, the other 2
            letters = {"AB"[i]: "4" if source == SOURCES[0] else "2" for i, source in enumerate(shown)}
            said = [(q.name, letter, value) for q in QUESTIONS for letter, value in letters.items()]
        else:
            said = [(CHOICE_QUESTION.name, "", "AB"[shown.index(SOURCES[0])])]
        operations = [say(i + 1, *one) for i, one in enumerate(said)]
        assert visitor.save(key, *operations, {"id": "f", "clock": 99, "kind": "finish"})[0] == 200
    assert not any(word in told for word in ("grad", "net/", "phantom", "person"))
    orders = {t.sources[0] for t in turns.values()}
    assert orders == set(SOURCES), "the letters change places"
    table = validate_ratings(ratings_table([r for r in completed_readings(book) if r.reader == "Dr A"]))
    assert tuple(table.columns) == RATING_COLUMNS and set(table["occasion"]) == {0, 1}
    assert set(table.groupby(["source", "question"])["value"].mean()) == {4.0, 2.0, 1.0, 0.0}
    assert set(mean_ratings(table)["source"]) == set(SOURCES) and not rater_agreement(table).empty


def test_a_sheet_in_the_browser(url: str, book: StudyDatabase, open_page: Callable[..., Any]) -> None:
    page = open_page(f"{url}/#token={invite_reader(book, 'Dr B')}")
    page.locator("dialog button.primary").click()
    expect(page.locator("canvas")).to_have_count(2)
    expect(page.locator(".done")).to_be_disabled()
    for question in QUESTIONS:
        row = page.get_by_role("group", name=question.text)
        for letter, value in (("A", 3), ("B", 5)):
            row.get_by_role("button", name=f"{letter}: {value}, {question.anchors[value - 1]}").click()
    page.keyboard.press("z")  # no undo here: nothing happens
    page.locator(".done").click()
    expect(page.locator(".place")).to_contain_text("Case 2")
    (reading,) = [r for r in completed_readings(book) if r.reader == "Dr B"]
    values = {letter: {v for (_, at), v in reading.state.answers.items() if at == letter} for letter in "AB"}
    assert values == {"A": {"3"}, "B": {"5"}}


def test_maps_come_from_a_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run folder"):
        create_study(DATA, tmp_path / "study", tasks=("choice",))
