"""A reader in a real browser: draws, points, is cut off, comes back, and finishes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from sqlalchemy import update

from browser import TIMEOUT, until
from sightline.data.reader_study.annotations import completed_readings
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.events import OPERATION_ADAPTER, Operation, replay
from sightline.data.reader_study.schedule import invite_reader
from sightline.data.reader_study.schema import StudyCase
from sightline.web.reader_study.create import StudyInputs, create_study
from sightline.web.reader_study.server import reader_app

DATA = "phantom:4?size=128"
WATCH = """
    window.said = [];
    new MutationObserver(() => {
        const text = document.querySelector(".saved")?.textContent;
        if (text && text !== window.said.at(-1)) window.said.push(text);
    }).observe(document, { childList: true, subtree: true, characterData: true });
"""
FINDING = "Lung Opacity"
expect.set_options(timeout=TIMEOUT)


@pytest.fixture
def study(tmp_path: Path, serve_app: Callable[..., Any]) -> Callable[..., Any]:
    """`with study(tasks) as (book, address):`"""

    @contextmanager
    def made(*tasks: str, **options: Any) -> Iterator[tuple[StudyDatabase, str]]:
        asked = {
            "findings": FINDING,
            "absent_ratio": 0,
            "repeat_share": 0,
            "title": "<script>alert(1)</script>",
            **options,
        }
        with (
            create_study(DATA, tmp_path / "study", tasks=tasks, **asked) as book,
            serve_app(reader_app(book, StudyInputs.open(DATA))) as url,
        ):
            yield book, url

    return made


def begin(open_page: Callable[..., Any], url: str, book: StudyDatabase, name: str = "Dr A", **options: Any) -> Any:
    """Follow the link of a newly invited reader; the help is read."""
    page = open_page(f"{url}/#token={invite_reader(book, name)}", **options)
    page.locator("dialog button.primary").click()
    expect(page.locator("canvas")).to_be_visible()
    return page


def middle(page: Any) -> tuple[float, float]:
    box = page.locator("canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def circle(page: Any, dx: float = 0, dy: float = 0, radius: float = 60) -> None:
    """A freehand stroke."""
    x, y = middle(page)
    page.mouse.move(x + dx + radius, y + dy)
    page.mouse.down()
    for i in range(1, 24):
        a = 2 * math.pi * i / 24
        page.mouse.move(x + dx + radius * math.cos(a), y + dy + radius * math.sin(a))
    page.mouse.up()


def saved(page: Any) -> None:
    expect(page.locator(".saved")).to_have_text("Saved")


def log(book: StudyDatabase, name: str = "Dr A", turn: int = 0) -> list[Operation]:
    return book.operations(book.assignments(book.reader(name).number)[turn].key)


def test_a_contour_survives_a_reload_and_an_undo(study: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    with study("contour") as (book, url):
        page = begin(open_page, url, book)
        assert "token" not in page.url and page.title() == "<script>alert(1)</script>"
        expect(page.locator(".done")).to_be_disabled()
        circle(page)
        circle(page, dx=150, radius=30)
        saved(page)
        page.reload()
        expect(page.locator(".done")).to_be_enabled()
        state = replay(log(book))
        assert len(state.shapes) == 2 and all(s.closed for s in state.shapes.values())
        page.keyboard.press("e")  # the last outline is chosen
        page.keyboard.press("Delete")
        page.keyboard.press("z")
        page.keyboard.press("y")
        saved(page)
        assert len(replay(log(book)).shapes) == 1
        expect(page.locator(".place")).to_have_text("Case 1 of 4") if len(book.assignments(1)) == 4 else None
        page.keyboard.press("Enter")
        expect(page.locator(".place")).to_contain_text("Case 2")
        saved(page)
        assert replay(log(book)).finished and replay(log(book)).seconds > 0


def test_polygons_are_kept_corner_by_corner_and_edited(
    study: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    with study("contour") as (book, url):
        page = begin(open_page, url, book)
        x, y = middle(page)
        page.keyboard.press("p")
        corners = ((0, 0), (80, 0), (80, 80), (0, 80))
        for dx, dy in corners[:3]:
            page.mouse.click(x + dx, y + dy)
        saved(page)
        (shape,) = replay(log(book)).shapes.values()
        assert len(shape.points) == 3 and not shape.closed, "each corner is on the server before the outline is closed"
        page.reload()
        expect(page.locator(".done")).to_be_enabled()
        page.mouse.click(x, y + 80)
        page.mouse.click(x + 1, y + 1)  # on the first corner: closed
        saved(page)
        (shape,) = replay(log(book)).shapes.values()
        assert shape.closed and len(shape.points) == 4
        side = shape.points[1][1] - shape.points[0][1]
        page.keyboard.press("e")
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 40, y - 40, steps=3)
        page.mouse.up()  # a corner
        page.mouse.move(x + 40, y + 40)
        page.mouse.down()
        page.mouse.move(x + 60, y + 40, steps=3)
        page.mouse.up()  # all of it
        page.mouse.move(x + 100, y + 40)
        page.mouse.down()
        page.mouse.move(x + 130, y + 40, steps=3)
        page.mouse.up()  # its line: a new corner
        saved(page)
        (edited,) = replay(log(book)).shapes.values()
        moved = [(r - shape.points[0][0], c - shape.points[0][1]) for r, c in edited.points]
        expected = [(-40, -20), (0, 100), (40, 130), (80, 100), (80, 20)]
        assert np.array(moved) * 80 / side == pytest.approx(np.array(expected), abs=1.5)


def test_a_point_by_finger_and_what_is_not_there(study: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    with study("point") as (book, url):
        page = begin(open_page, url, book, viewport={"width": 820, "height": 1180}, has_touch=True)
        x, y = middle(page)
        page.touchscreen.tap(x, y)
        page.touchscreen.tap(x + 50, y)
        saved(page)
        (shape,) = replay(log(book)).shapes.values()
        case = book.assignments(1)[0].case
        assert shape.points[0][0] == pytest.approx(case.height / 2, abs=1)
        assert shape.points[0][1] > case.width / 2 + 1, "the second touch moved it"
        page.get_by_role("button", name="Done").tap()
        page.get_by_role("button", name="Not visible").tap()
        expect(page.locator(".absence")).to_be_visible()
        page.touchscreen.tap(x, y)
        saved(page)
        state = replay(log(book, turn=1))
        assert state.is_absent and not state.shapes, "what is not there cannot be pointed at"


def test_clicks_keep_their_order(study: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    with study("search") as (book, url):
        page = begin(open_page, url, book)
        x, y = middle(page)
        for dx in (0, 60, -60):
            page.mouse.click(x + dx, y)
        page.keyboard.press("Enter")
        expect(page.locator(".place")).to_contain_text("Case 2")
        saved(page)
        (reading,) = completed_readings(book)
        columns = reading.points[:, 1]
        assert len(columns) == 3 and columns[2] < columns[0] < columns[1]


def test_a_dropped_connection_and_a_closed_window_lose_nothing(
    study: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    with study("contour") as (book, url):
        page = begin(open_page, url, book)
        circle(page)
        saved(page)
        page.context.set_offline(True)
        circle(page, dx=150, radius=30)
        circle(page, dx=-150, radius=30)
        expect(page.locator(".saved")).to_contain_text("No connection: 2 changes kept on this device")
        assert len(replay(log(book)).shapes) == 1
        page.keyboard.press("Enter")  # the next film was fetched ahead
        expect(page.locator(".place")).to_contain_text("Case 2")
        circle(page)
        context = page.context
        page.close()
        context.set_offline(False)
        again = context.new_page()
        again.goto(url)
        saved(again)
        assert [len(replay(log(book, turn=t)).shapes) for t in (0, 1)] == [3, 1]
        assert replay(log(book)).finished
        ids = [o.id for t in (0, 1) for o in log(book, turn=t)]
        assert len(ids) == len(set(ids))
        page.problems.clear()  # the browser told of the requests that failed


def test_what_waits_is_not_called_saved_while_it_is_sent(
    study: Callable[..., Any], open_page: Callable[..., Any]
) -> None:
    with study("contour") as (book, url):
        page = begin(open_page, url, book)
        page.context.set_offline(True)
        circle(page)
        expect(page.locator(".saved")).to_contain_text("No connection")
        context = page.context
        page.close()
        context.set_offline(False)
        held: list[Any] = []
        context.route("**/operations", lambda route, _: held.append(route))  # the server is slow
        context.add_init_script(WATCH)
        again = context.new_page()
        again.goto(url)
        until(again, "document.querySelector('canvas')")
        assert again.evaluate("() => window.said") == ["Saving …"]
        assert not replay(log(book)).shapes
        held.pop(0).continue_()
        saved(again)
        assert len(replay(log(book)).shapes) == 1
        page.problems.clear()


def test_a_reload_after_a_lost_answer_doubles_nothing(study: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    with study("contour") as (book, url):
        page = begin(open_page, url, book)
        page.route("**/operations", lambda route: (route.fetch(), route.abort()))  # it arrives, its answer does not
        circle(page)
        expect(page.locator(".saved")).to_contain_text("No connection")
        page.unroute("**/operations")
        page.reload()
        saved(page)
        assert len(replay(log(book)).shapes) == 1 and len(log(book)) == len({o.id for o in log(book)})
        assert page.evaluate("Object.keys(localStorage).filter((n) => n.split('|').length === 4)").__len__() <= 1
        page.problems.clear()


def test_two_readers_at_once(study: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    with study("contour") as (book, url):
        pages = [begin(open_page, url, book, name) for name in ("Dr A", "<img src=x onerror=alert(1)>")]
        for i, page in enumerate(pages):
            circle(page, radius=40 + 20 * i)
        for i, page in enumerate(pages):
            circle(page, dx=120 * (1 - 2 * i), radius=25)
            page.keyboard.press("Enter")
            saved(page)
        said = list(completed_readings(book))
        assert [r.reader for r in said] == ["Dr A", "<img src=x onerror=alert(1)>"]
        assert [len(r.contours) for r in said] == [2, 2]


def test_two_windows_of_one_reader_agree(study: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    with study("contour") as (book, url):
        page = begin(open_page, url, book)
        other = page.context.new_page()
        other.goto(page.url)
        expect(other.locator(".lacks")).to_contain_text("Outline")
        circle(other, dx=150, radius=30)
        page.bring_to_front()
        circle(page)
        for window in (page, other):
            saved(window)
        assert len(replay(log(book)).shapes) == 2


def test_a_script_in_a_finding_stays_text(study: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    with study("contour") as (book, url):
        evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
        with book.write_session() as session:
            session.execute(update(StudyCase).values(finding=evil))
        page = begin(open_page, url, book)
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        expect(page.locator(".sentence")).to_have_text(f"Outline {evil}, everywhere you see it.")
        assert page.locator(".sentence img").count() == 0
        circle(page)
        saved(page)


def test_a_revoked_reader_keeps_what_was_drawn(study: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    with study("contour") as (book, url):
        page = begin(open_page, url, book)
        book.revoke("Dr A")
        circle(page)
        expect(page.locator(".saved")).to_contain_text("ask for a new one; 1 change kept on this device")
        page.goto(f"{url}/#token={book.rotate_token('Dr A')}")  # pasted into the same window
        saved(page)
        assert len(replay(log(book)).shapes) == 1
        page.goto(f"{url}/#token=1-wrong")
        expect(page.locator("h1")).to_have_text("This page opens with a personal link")
        page.problems.clear()


def test_the_browser_replays_as_the_server_does(study: Callable[..., Any], open_page: Callable[..., Any]) -> None:
    rng = random.Random(0)
    with study("contour") as (_, url):
        page = open_page(url)
        for _ in range(40):
            said = [_anything(rng, i) for i in range(rng.randrange(14))]
            told = page.evaluate(
                """async (said) => { const { replay } = await import("/readers/case-log.js"); const s = replay(said);
                return { ...s, shapes: [...s.shapes], answers: [...s.answers] }; }""",
                said,
            )
            state = replay(OPERATION_ADAPTER.validate_python(o) for o in said)
            shapes = [[n, [list(p) for p in s.points], s.closed, s.started_at] for n, s in state.shapes.items()]
            assert [[n, s["points"], s["closed"], s["at"]] for n, s in told["shapes"]] == shapes
            assert dict(map(tuple, told["answers"])) == {"|".join(k): v for k, v in state.answers.items()}
            assert (told["finished"], told["clock"]) == (state.finished, state.clock)
            assert told["seconds"] == pytest.approx(state.seconds)
        page.problems.clear()  # nobody is invited: 401


def _anything(rng: random.Random, number: int) -> dict[str, Any]:
    head = {"id": f"o{rng.choice('aBc_')}{number}", "clock": rng.randrange(1, 8)}
    kinds = (
        {"kind": "put", "shape": rng.choice("abc"), "points": [[rng.randrange(50), 1.5]], "closed": True, "at": 2},
        {"kind": "remove", "shape": rng.choice("abc")},
        {"kind": "answer", "question": "extent", "source": rng.choice(["", "A"]), "value": rng.choice(["", "3"])},
        {"kind": "time", "seconds": rng.randrange(9) / 10},
        {"kind": "finish"},
    )
    return head | rng.choice(kinds)
