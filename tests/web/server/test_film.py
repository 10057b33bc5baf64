"""The film in a real browser: what it shows, and that its coordinates are the radiograph's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from browser import until
from sightline.web.server.app import new_app
from sightline.web.server.encoding import encode_bundle, encode_image

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title>
<link rel="icon" href="/web/icon.svg"><link rel="stylesheet" href="/web/base.css">
<body><script type="module" src="/test.js"></script></body></html>"""
SCRIPT = """
import { el } from "/web/dom.js";
import { Film } from "/web/film.js";
import { Picture } from "/web/picture.js";
import { getBundle } from "/web/bundle.js";
import { colorize, rangeOf } from "/web/colors.js";
const film = new Film({ label: "<b>film</b>" });
document.body.append(film.element, el("p", { id: "said" }, "<img src=x onerror=alert(1)>"));
film.element.style.height = "400px";
film.show(await Picture.load("/film.png"));
Object.assign(window, { film, getBundle, colorize, rangeOf, el, ready: true });
"""
GRAY = np.linspace(0, 1, 100 * 200, dtype=np.float32).reshape(100, 200)


@pytest.fixture(scope="module")
def url(serve_app: Callable[..., Any]) -> Iterator[str]:
    from starlette.responses import Response

    app = new_app()

    def file(path: str, body: bytes | str, kind: str) -> None:
        app.add_api_route(path, lambda: Response(body, media_type=kind))

    file("/", PAGE, "text/html")
    file("/test.js", SCRIPT, "text/javascript")
    file("/film.png", encode_image(GRAY), "image/png")
    file(
        "/block",
        encode_bundle({"a": "b"}, {"x": np.float32([1.5, np.nan]), "y": np.int32([[7]])}),
        "application/octet-stream",
    )
    with serve_app(app) as where:
        yield where


@pytest.fixture
def page(url: str, open_page: Callable[..., Any]) -> Any:
    opened = open_page(url + "/")
    until(opened, "window.ready")
    return opened


def test_grays_come_through_with_sixteen_bits(page: Any) -> None:
    shown = np.array(page.evaluate("[...film.picture.values]")).reshape(GRAY.shape)
    assert (shown == np.rint(GRAY * 65535)).all()


def test_coordinates_are_the_originals_at_any_zoom(page: Any) -> None:
    box = page.locator("canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    where = "([x, y]) => film.toImage({ clientX: x, clientY: y })"
    assert page.evaluate(where, middle) == pytest.approx([50, 100])
    at = (middle[0] + 60, middle[1] - 30)
    before = page.evaluate(where, at)
    page.mouse.move(*at)
    page.mouse.wheel(0, -400)
    until(page, "film.view !== null")
    assert page.evaluate(where, at) == pytest.approx(before)  # zoom about the pointer
    assert page.evaluate("film.current.scale > film.fitted * 1.5")
    page.mouse.down()
    page.mouse.move(at[0] + 20, at[1] + 10)
    page.mouse.up()
    assert page.evaluate(where, (at[0] + 20, at[1] + 10)) == pytest.approx(before)  # what was grasped stays in hand
    assert page.evaluate("film.toScreen(...film.toImage({ clientX: 30, clientY: 40 }))[0]") == pytest.approx(
        30 - box["x"]
    )


def test_window_and_level_by_drag_and_key(page: Any) -> None:
    page.locator("canvas").click()
    page.keyboard.press("i")
    assert page.evaluate("film.window.invert")
    page.keyboard.press("]")
    assert page.evaluate("film.window.center") == pytest.approx(0.53)
    page.keyboard.press("w")
    page.mouse.down(button="right")
    page.mouse.move(*[c + 40 for c in (page.locator("canvas").bounding_box()[k] for k in ("x", "y"))])
    page.mouse.up(button="right")
    assert page.evaluate("film.window.center !== 0.5 && film.view === null")
    page.evaluate("film.see({ center: 0.25, width: 0.5, invert: false })")
    until(page, "film.picture._shown.key === '0.25 0.5 false'")
    shown = page.evaluate("[...film.picture.shown(film.window).getContext('2d').getImageData(0, 0, 200, 100).data]")
    expected = np.clip(np.rint(GRAY * 2 * 255), 0, 255)
    assert np.abs(np.array(shown).reshape(100, 200, 4)[..., 0] - expected).max() <= 1


def test_a_tool_gets_places_and_space_still_pans(page: Any) -> None:
    page.evaluate("""() => { window.told = [];
      film.tool = { down: (at) => told.push(at), move: (at) => told.push(at), up: (at) => told.push(at) }; }""")
    page.mouse.move(300, 200)
    page.mouse.down()
    page.mouse.move(310, 200)
    page.mouse.up()
    told = page.evaluate("told")
    assert len(told) == 3
    scale = page.evaluate("film.current.scale")
    assert told[2][1] - told[0][1] == pytest.approx(10 / scale)
    page.keyboard.down(" ")
    page.mouse.down()
    page.mouse.move(300, 190)
    page.mouse.up()
    assert page.evaluate("told.length") == 3
    assert page.evaluate("film.view !== null")


def test_a_pinch_zooms_and_cancels_a_stroke(page: Any) -> None:
    page.evaluate("""() => { window.told = [];
      film.tool = { down: () => told.push("down"), cancel: () => told.push("cancel") };
      const send = (kind, id, x, y) => film.canvas.dispatchEvent(new PointerEvent(kind,
        { pointerId: id, pointerType: "touch", clientX: x, clientY: y, bubbles: true, button: 0 }));
      film.canvas.setPointerCapture = () => {};
      send("pointerdown", 11, 300, 200); send("pointerdown", 12, 400, 200);
      send("pointermove", 12, 500, 200); send("pointerup", 12, 500, 200); send("pointermove", 11, 310, 200);
      send("pointerup", 11, 310, 200); }""")
    assert page.evaluate("told") == ["down", "cancel"]
    assert page.evaluate("film.current.scale / film.fitted") == pytest.approx(2)


def test_blocks_colors_and_text(page: Any) -> None:
    told = page.evaluate("""async () => { const b = await getBundle('/block');
      return [b.facts.a, b.arrays.x[0], Number.isNaN(b.arrays.x[1]), b.arrays.y[0], b.shapes.y]; }""")
    assert told == ["b", 1.5, True, 7, [1, 1]]
    assert page.locator("#said").text_content() == "<img src=x onerror=alert(1)>"
    assert page.evaluate("rangeOf([-1, 3])") == {"low": -3, "high": 3, "signed": True}
    assert page.evaluate("rangeOf([1, 3])") == {"low": 1, "high": 3, "signed": False}
    for hostile in (
        "el('a', { href: 'javascript:alert(1)' })",
        "el('p', { innerHTML: '<b>' })",
        "el('p', { onclick: 'x' })",
    ):
        assert page.evaluate(f"() => {{ try {{ {hostile}; return false; }} catch {{ return true; }} }}")


def test_inline_script_does_not_run(page: Any) -> None:
    page.evaluate("""() => { const s = document.createElement('script'); s.textContent = 'window.evil = 1';
      document.body.append(s); }""")
    assert page.evaluate("window.evil") is None
    assert any("Content Security Policy" in p for p in page.problems)
    page.problems.clear()
