"""The image canvas in a real browser: its pixels, and coordinates that are those of the image."""

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
import { ImageCanvas } from "/web/image-canvas.js";
import { GrayImage } from "/web/gray-image.js";
import { getBundle } from "/web/bundle.js";
import { colorize, valueRange } from "/web/colors.js";
const imageCanvas = new ImageCanvas({ label: "<b>image</b>" });
document.body.append(imageCanvas.element, el("p", { id: "text" }, "<img src=x onerror=alert(1)>"));
imageCanvas.element.style.height = "400px";
imageCanvas.show(await GrayImage.load("/image.png"));
Object.assign(window, { imageCanvas, getBundle, colorize, valueRange, el, ready: true });
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
    file("/image.png", encode_image(GRAY), "image/png")
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
    shown = np.array(page.evaluate("[...imageCanvas.image.values]")).reshape(GRAY.shape)
    assert (shown == np.rint(GRAY * 65535)).all()


def test_coordinates_are_the_originals_at_any_zoom(page: Any) -> None:
    box = page.locator("canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    where = "([x, y]) => imageCanvas.toImage({ clientX: x, clientY: y })"
    assert page.evaluate(where, middle) == pytest.approx([50, 100])
    at = (middle[0] + 60, middle[1] - 30)
    before = page.evaluate(where, at)
    page.mouse.move(*at)
    page.mouse.wheel(0, -400)
    until(page, "imageCanvas.view !== null")
    assert page.evaluate(where, at) == pytest.approx(before)  # zoom about the pointer
    assert page.evaluate("imageCanvas.currentView.scale > imageCanvas.fittedScale * 1.5")
    page.mouse.down()
    page.mouse.move(at[0] + 20, at[1] + 10)
    page.mouse.up()
    assert page.evaluate(where, (at[0] + 20, at[1] + 10)) == pytest.approx(before)  # what was grasped stays in hand
    assert page.evaluate(
        "imageCanvas.toScreen(...imageCanvas.toImage({ clientX: 30, clientY: 40 }))[0]"
    ) == pytest.approx(30 - box["x"])


def test_window_and_level_by_drag_and_key(page: Any) -> None:
    page.locator("canvas").click()
    page.keyboard.press("i")
    assert page.evaluate("imageCanvas.window.invert")
    page.keyboard.press("]")
    assert page.evaluate("imageCanvas.window.center") == pytest.approx(0.53)
    page.keyboard.press("w")
    page.mouse.down(button="right")
    page.mouse.move(*[c + 40 for c in (page.locator("canvas").bounding_box()[k] for k in ("x", "y"))])
    page.mouse.up(button="right")
    assert page.evaluate("imageCanvas.window.center !== 0.5 && imageCanvas.view === null")
    page.evaluate("imageCanvas.setWindow({ center: 0.25, width: 0.5, invert: false })")
    until(page, "imageCanvas.image._rendered.key === '0.25 0.5 false'")
    shown = page.evaluate(
        "[...imageCanvas.image.render(imageCanvas.window).getContext('2d').getImageData(0, 0, 200, 100).data]"
    )
    expected = np.clip(np.rint(GRAY * 2 * 255), 0, 255)
    assert np.abs(np.array(shown).reshape(100, 200, 4)[..., 0] - expected).max() <= 1


def test_a_tool_gets_places_and_space_still_pans(page: Any) -> None:
    page.evaluate("""() => { window.events = [];
      const add = (at) => events.push(at);
      imageCanvas.tool = { down: add, move: add, up: add }; }""")
    page.mouse.move(300, 200)
    page.mouse.down()
    page.mouse.move(310, 200)
    page.mouse.up()
    events = page.evaluate("events")
    assert len(events) == 3
    scale = page.evaluate("imageCanvas.currentView.scale")
    assert events[2][1] - events[0][1] == pytest.approx(10 / scale)
    page.keyboard.down(" ")
    page.mouse.down()
    page.mouse.move(300, 190)
    page.mouse.up()
    assert page.evaluate("events.length") == 3
    assert page.evaluate("imageCanvas.view !== null")


def test_a_pinch_zooms_and_cancels_a_stroke(page: Any) -> None:
    page.evaluate("""() => { window.events = [];
      imageCanvas.tool = { down: () => events.push("down"), cancel: () => events.push("cancel") };
      const send = (kind, id, x, y) => imageCanvas.canvas.dispatchEvent(new PointerEvent(kind,
        { pointerId: id, pointerType: "touch", clientX: x, clientY: y, bubbles: true, button: 0 }));
      imageCanvas.canvas.setPointerCapture = () => {};
      send("pointerdown", 11, 300, 200); send("pointerdown", 12, 400, 200);
      send("pointermove", 12, 500, 200); send("pointerup", 12, 500, 200); send("pointermove", 11, 310, 200);
      send("pointerup", 11, 310, 200); }""")
    assert page.evaluate("events") == ["down", "cancel"]
    assert page.evaluate("imageCanvas.currentView.scale / imageCanvas.fittedScale") == pytest.approx(2)


def test_blocks_colors_and_text(page: Any) -> None:
    read = page.evaluate("""async () => { const b = await getBundle('/block');
      return [b.fields.a, b.arrays.x[0], Number.isNaN(b.arrays.x[1]), b.arrays.y[0], b.shapes.y]; }""")
    assert read == ["b", 1.5, True, 7, [1, 1]]
    assert page.locator("#text").text_content() == "<img src=x onerror=alert(1)>"
    assert page.evaluate("valueRange([-1, 3])") == {"low": -3, "high": 3, "signed": True}
    assert page.evaluate("valueRange([1, 3])") == {"low": 1, "high": 3, "signed": False}
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
