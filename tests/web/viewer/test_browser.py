"""The viewer in a real browser, served and exported: open, filter, overlay, threshold, link, keys."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from browser import until
from sightline.core import SaliencyMap
from sightline.evaluation.scoring import score_map
from sightline.protocol import CORRECTED
from sightline.runs.run import Run
from sightline.web.viewer.server import make_app, write_site
from sightline.web.viewer.site import Site

from .conftest import FINDINGS, HOSTILE, ODD, SOURCES, disk, has, id_of

OpenPage = Callable[..., Any]


@pytest.fixture(scope="module")
def site(run: Run) -> Site:
    return Site.from_run(run)


@pytest.fixture(scope="module")
def live(site: Site, serve_app: Callable[..., Any]) -> Iterator[str]:
    with serve_app(make_app(site)) as url:
        yield url


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def exported(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The static site under a path of a plain web server that knows nothing of us."""
    folder = tmp_path_factory.mktemp("www")
    write_site(site, folder / "runs" / "a")
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/runs/a"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["live", "exported"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


def cases(page: Any) -> int:
    return int(page.evaluate("document.querySelector('.gallery').dataset.cases"))


def opened(page: Any, name: str) -> None:
    until(page, f"document.body.dataset.ready === {json.dumps(name)}")


def case_link(number: int, finding: str, query: str = "") -> str:
    return f"/#/case/{quote(id_of(number), safe='')}/{quote(finding, safe='')}{'?' + query if query else ''}"


def at_case(page: Any, number: int, finding: str) -> None:
    until(
        page, f"document.querySelector('.case')?.dataset.case === '{number * len(FINDINGS) + FINDINGS.index(finding)}'"
    )


def test_open_filter_sort_and_go_back(url: str, open_page: OpenPage, run: Run) -> None:
    page = open_page(url + "/")
    opened(page, "cases")
    marked = sum(has(n, f) for n in range(10) for f in FINDINGS)
    assert cases(page) == marked
    scores = run.table("scores", where=("metric", "iou"))
    best = page.evaluate("document.querySelector('#source').value")
    rows = scores[(scores["source"] == best) & (scores["protocol"] == "corrected")]
    shown = page.locator(".card .score").all_text_contents()
    assert [float(s) for s in shown] == pytest.approx(sorted(rows["value"])[: len(shown)], abs=0.006)
    page.locator(".chip[data-value=Mass]").click()
    until(page, f"document.querySelector('.gallery').dataset.cases === '{sum(has(n, 'Mass') for n in range(10))}'")
    page.locator("#search").fill("r003")
    until(page, f"document.querySelector('.gallery').dataset.cases === '{int(has(3, 'Mass'))}'")
    page.go_back()
    until(page, f"document.querySelector('.gallery').dataset.cases === '{marked}'")


def test_failures_are_found_in_two_clicks(live: str, open_page: OpenPage) -> None:
    page = open_page(live + "/")
    opened(page, "cases")
    page.get_by_text("Failed maps (4)").click()
    opened(page, "failures")
    assert page.get_by_text("no <b>features</b>").count() == 3
    page.locator("td a", has_text="Edema · r002").click()
    at_case(page, 2, "Edema")
    assert page.locator(".caption .badge").text_content() == "flat"
    page.goto(live + "/#/failures")
    opened(page, "failures")
    page.locator("tbody tr", has_text="refused").locator("td a").first.click()
    opened(page, "cases")
    until(page, "document.querySelector('.gallery').dataset.cases === '3'")


def test_names_stay_text(live: str, open_page: OpenPage) -> None:
    page = open_page(live + case_link(7, HOSTILE))
    at_case(page, 7, HOSTILE)
    assert page.locator(".head h1").text_content() == ODD
    assert page.evaluate("document.querySelector('#finding').value") == HOSTILE
    page.keyboard.press("g")
    opened(page, "cases")
    page.goto(live + "/#/charts")
    opened(page, "charts")
    assert page.evaluate("window.evil") is None
    assert page.locator("img, body script").count() == 0


def test_the_live_iou_is_pythons(live: str, open_page: OpenPage, run: Run) -> None:
    """Of every map at once, under Otsu's threshold and wherever the slider goes."""
    query = "&".join(f"maps={quote(source, safe='')}" for source in SOURCES)
    page = open_page(live + case_link(4, "Edema", f"{query}&mask=1"))
    at_case(page, 4, "Edema")
    thresholds = [0.0, 0.05, 0.3, 0.455, 0.7, 0.95]
    names = ["iou", *(f"iou@above:{t:g}" for t in thresholds)]
    maps = [run.map(source, id_of(4), "Edema") for source in SOURCES]
    expected = [score_map(m, disk(4, "Edema"), names, CORRECTED) for m in maps if m is not None]

    def agrees(name: str) -> None:
        told = page.evaluate("[...document.querySelectorAll('.live')].map((e) => Number(e.dataset.iou))")
        assert told == pytest.approx([e[name][0] for e in expected], abs=1e-9), name

    agrees("iou")
    for t in thresholds:
        page.locator("#cut").evaluate(
            "(slider, t) => { slider.value = t; slider.dispatchEvent(new Event('input', { bubbles: true })); }", t
        )
        agrees(f"iou@above:{t:g}")
    page.locator("#otsu").click()
    agrees("iou")


def test_placing_and_cutting_agree_with_python_on_odd_shapes(live: str, open_page: OpenPage) -> None:
    """Random maps, frames and marks, straight through the module that the page uses."""
    from sightline.core import Frame

    page = open_page(live + "/")
    rng = np.random.default_rng(0)
    for _ in range(12):
        size = tuple(int(s) for s in rng.integers(9, 160, 2))
        shape = tuple(int(s) for s in rng.integers(1, 60, 2))
        ends = np.sort(rng.uniform(-0.2, 1.2, (2, 2)), 0) + np.array([[-0.1], [0.1]])
        box = (ends * size).T.ravel()[[0, 2, 1, 3]].tolist()
        frame = Frame.whole(size) if rng.random() < 0.4 else Frame(size, tuple(box))
        values = rng.normal(size=shape).astype(np.float32)
        truth = rng.random(size) < 0.2
        if values.size < 2:
            continue
        m = SaliencyMap("r", "f", "s", values, frame)
        names = ["iou", "iou@above:0.4", "iou@top:0.1"]
        expected = [score_map(m, truth, names, CORRECTED)[n][0] for n in names]
        told = {"values": values.ravel().tolist(), "shape": shape, "size": size, "box": frame.box, "kind": "map"}
        got = page.evaluate(
            """async ([m, truth]) => { const { PlacedMap } = await import("/app/placed-map.js");
            const p = new PlacedMap({ ...m, values: Float32Array.from(m.values) }, Uint8Array.from(truth));
            return ["otsu", "above:0.4", "top:0.1"].map((b) => p.scores(p.thresholdBin(b)).iou); }""",
            [told, truth.astype(int).ravel().tolist()],
        )
        assert got == pytest.approx(expected, abs=2e-3), (size, shape, frame)


def test_overlay_side_by_side_and_marks(live: str, open_page: OpenPage) -> None:
    page = open_page(live + case_link(4, "Edema"))
    at_case(page, 4, "Edema")
    assert page.locator(".figure").count() == 1
    for name in ("1", "2", "3"):
        if not page.locator(f"#source-{int(name) - 1}").is_checked():
            page.keyboard.press(name)
    assert page.locator(".figure").count() == 3
    box = page.locator(".film-canvas").first.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 60)
    page.mouse.wheel(0, -300)
    until(page, "location.hash.includes('view=')")
    page.keyboard.press("o")
    assert page.locator(".figure").count() == 1
    assert page.locator(".caption .line").count() == 3
    page.keyboard.press("t")
    assert page.locator(".live").count() == 3
    assert page.locator("#reader-0").is_checked()
    page.keyboard.press("h")
    assert not page.locator("#reader-0").is_checked()
    page.keyboard.press("a")
    assert page.locator(".scores tbody tr").count() == len(SOURCES) + 3 + 2


def test_a_link_brings_back_what_was_seen(url: str, open_page: OpenPage) -> None:
    maps = "maps=net%2Fcam&maps=net%2Fcrop&mode=over&mask=1&cut=0.3&opacity=0.2"
    rest = "gaze=eyes&density=1&time=2.1&regions=1&view=9_40_50&window=0.3_0.5_1"
    page = open_page(url + case_link(6, "Edema", f"{maps}&{rest}"))
    at_case(page, 6, "Edema")
    assert page.locator("#over").get_attribute("aria-pressed") == "true"
    assert page.locator("#opacity").input_value() == "0.2"
    assert page.locator("#cut").input_value() == "0.3"
    assert page.locator("#gaze").input_value() == "eyes"
    assert page.locator("#time-value").text_content() == "2.1 of 5.9 s"
    before = page.locator(".film-canvas").screenshot()
    page.reload()
    at_case(page, 6, "Edema")
    page.wait_for_timeout(150)
    assert page.locator(".film-canvas").screenshot() == before
    page.keyboard.press("m")
    page.wait_for_timeout(150)
    assert page.locator(".film-canvas").screenshot() != before


def test_the_time_slider_shows_less_of_the_gaze(live: str, open_page: OpenPage) -> None:
    page = open_page(live + case_link(6, "Edema", "gaze=eyes"))
    at_case(page, 6, "Edema")
    counts = """async () => { const { Gaze } = await import("/app/gaze.js");
      const fixations = new Float32Array([10, 20, 0, 1, 8, 8, 60, 90, 1, 2, 8, 8]);
      const g = new Gaze({ reader: "x", size: [96, 120], phrases: [] }, fixations);
      const d = g.density(3);
      const top = d.values.indexOf(Math.max(...d.values));
      const at = [Math.floor(top / d.shape[1]), top % d.shape[1]];
      return [g.until(0.5).length, g.until(1.5)[1].duration, g.end, ...at, d.shape]; }"""
    first, part, end, row, col, shape = page.evaluate(counts)
    assert (first, part, end) == (1, 0.5, 3)
    assert ((row + 0.5) / shape[0] * 96, (col + 0.5) / shape[1] * 120) == pytest.approx(
        (60, 90), abs=1.3
    )  # the longer look
    page.locator("#time").evaluate("(s) => { s.value = 1; s.dispatchEvent(new Event('input', { bubbles: true })); }")
    assert page.locator("#time-value").text_content().startswith("1.0 of")


def test_points_of_the_scatter_lead_to_cases(live: str, open_page: OpenPage) -> None:
    page = open_page(live + "/#/charts?x=area")
    opened(page, "charts")
    until(page, "document.querySelector('.scatter')?.width > 300")
    canvas = page.locator(".scatter")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for x in range(60, int(box["width"]) - 10, 12):
        for y in range(20, int(box["height"]) - 50, 24):
            page.mouse.move(box["x"] + x, box["y"] + y)
            if page.evaluate("document.querySelector('[role=status]').textContent.includes('·')"):
                page.mouse.click(box["x"] + x, box["y"] + y)
                until(page, "document.querySelector('.case')?.dataset.case")
                return
    raise AssertionError("no point was found")


def test_keys_move_through_the_cases(live: str, open_page: OpenPage) -> None:
    page = open_page(live + "/")
    opened(page, "cases")
    page.keyboard.press("j")
    page.keyboard.press("ArrowRight")
    first = page.evaluate("document.activeElement.dataset.case")
    page.keyboard.press("Enter")
    until(page, f"document.querySelector('.case')?.dataset.case === '{first}'")
    page.keyboard.press("j")
    until(page, f"document.querySelector('.case')?.dataset.case !== '{first}'")
    page.keyboard.press("k")
    until(page, f"document.querySelector('.case')?.dataset.case === '{first}'")
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    opened(page, "cases")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"


def test_another_source_brings_its_own_prediction(live: str, open_page: OpenPage, run: Run) -> None:
    page = open_page(live + "/")
    for source in ("net/cam", "other/cam?a=1,b=2", "net/cam"):
        page.goto(live + case_link(4, "Edema", f"source={quote(source, safe='')}"))
        shown = run.map(source, id_of(4), "Edema")
        assert shown is not None
        until(page, f"document.querySelector('.case .head')?.textContent.includes('p {shown.probability:.2f}, cutoff')")


def test_a_run_whose_data_is_gone(
    build_run: Callable[..., Run], serve_app: Callable[..., Any], open_page: OpenPage
) -> None:
    run = build_run(count=3)
    gone = Site.from_run(run.update_info(dataset={**run.info["dataset"], "spec": "folder:/nowhere"}))
    with serve_app(make_app(gone)) as where:
        page = open_page(where + "/#/case/r000/Edema?maps=net%2Fcam")
        at_case(page, 0, "Edema")
        assert page.get_by_text("cannot be shown").count() == 1
        assert page.locator(".figure").count() == 1
        page.close()


def test_a_mangled_address_does_no_harm(live: str, open_page: OpenPage) -> None:
    for hash_ in (
        "/#/case/none/none",
        "/#/%E0%A4%A/x",
        "/#/cases?source=none&metric=none&low=abc&sort=none",
        "/#/nothing",
    ):
        page = open_page(live + hash_)
        until(page, "document.body.dataset.ready")
        assert page.locator("h1").first.is_visible()


def test_a_tablet(live: str, open_page: OpenPage) -> None:
    page = open_page(live + "/", viewport={"width": 1024, "height": 768}, has_touch=True, color_scheme="dark")
    opened(page, "cases")
    small = page.evaluate("""[...document.querySelectorAll('button, select, .tab, label.check')]
      .filter((e) => e.offsetParent).map((e) => e.getBoundingClientRect()).filter((r) => r.height < 40).length""")
    assert small <= 1
    page.locator(".card").first.tap()
    until(page, "document.querySelector('.case')?.dataset.case")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_sorting_is_that_of_numpy(live: str, open_page: OpenPage) -> None:
    """Either way, with equal, negative and undefined scores; equals stay in the order of the data."""
    page = open_page(live + "/")
    opened(page, "cases")
    key = np.random.default_rng(3).choice(np.float32([-2.5, -1e-30, -0.0, 0.0, 1e-30, 0.1, 0.3, 7e8, np.nan]), 30)
    told = [None if np.isnan(v) else float(v) for v in key]
    for descending in (False, True):
        got = page.evaluate(
            """async ([key, descending]) => { const { Store } = await import("/app/store.js");
            const s = Object.create(Store.prototype); s.count = key.length;
            const values = Float32Array.from(key, (v) => (v === null ? NaN : v));
            return [...s._sorted(Uint32Array.from(values.keys()), values, descending)]; }""",
            [told, descending],
        )
        order = np.argsort(-key if descending else key, kind="stable")
        assert got == order.tolist()
