"""The choice of the protocol on the page: what each shows, that nothing equal stands twice, and a real browser."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from sightline.report import report
from sightline.report.layout import Section
from sightline.report.protocol_switch import Part, distinct_plots, protocol_views, switch_html, switch_sections
from sightline.report.run_view import RunView
from sightline.report.svg import Plot


@pytest.fixture(scope="module")
def both(make_run):
    return make_run(radiographs=8)


@pytest.fixture(scope="module")
def page(both):
    return report(both)


def test_the_main_protocol_comes_first(both):
    assert [v.protocol for v in protocol_views(RunView.from_run(both))] == ["corrected", "published"]


def test_equal_parts_stand_once_and_others_under_their_protocol():
    assert switch_html(["<p>a</p>", "<p>a</p>"]) == [Part("<p>a</p>")]
    assert switch_html(["<p>a</p>", "<p>b</p>"]) == [Part("<p>a</p>", 0), Part("<p>b</p>", 1)]
    assert switch_html(["", "<p>b</p>"]) == [Part("<p>b</p>", 1)]


def test_sections_are_joined_block_by_block_in_reading_order():
    first, second, third = (Section(name, name.upper()) for name in ("a", "b", "c"))
    joined = switch_sections(
        [[first, third], [first, second, third]],
        [{"a": ["same", "one"], "c": ["x"]}, {"a": ["same", "two"], "b": ["y"], "c": ["x", "z"]}],
    )
    assert [s.id for s in joined] == ["a", "b", "c"]
    assert joined[0].parts == [Part("same"), Part("one", 0), Part("two", 1)]
    assert joined[1].protocols == [1] and joined[0].protocols == ()
    assert joined[2].parts == [Part("x", 0), Part("xz", 1)]


def test_a_figure_that_differs_has_a_name_and_ids_of_its_own():
    a = Plot("f", '<svg><g id="f-p"/></svg>', pd.DataFrame(), "", "A.")
    b = Plot("f", '<svg><g id="f-p"/><g/></svg>', pd.DataFrame(), "", "A.")
    assert distinct_plots({"f": a}, {"f": a}, "published")["f"] is a
    other = distinct_plots({"f": a}, {"f": b}, "published")["f"]
    assert other.name == "f-published" and 'id="f-published-p"' in other.svg


def test_a_run_under_one_protocol_has_no_choice(make_run):
    text = report(make_run(radiographs=8, protocol="corrected")).read_text("utf-8")
    assert "<fieldset" not in text and 'class="under' not in text


def test_both_protocols_show_the_numbers_of_their_tables(both, page):
    text = page.read_text("utf-8")
    main, other = protocol_views(RunView.from_run(both))
    chunks = re.split(r'(?=<div class="under protocol-)', text)
    parts = {i: " ".join(c for c in chunks if c.startswith(f'<div class="under protocol-{i}"')) for i in (0, 1)}
    for i, view in enumerate((main, other)):
        assert view.estimate(view.best, "iou").text(3) in parts[i]
        assert f"{view.protocol} protocol" in parts[i]
    assert text.count("data:image/jpeg") <= 2 * len(list((both.path / "figures").glob("example-*.svg")))
    assert (both.path / "figures" / "localization-published.csv").is_file()


def test_a_reader_chooses_by_keyboard_and_prints_what_is_chosen(both, page, open_page):
    main, other = (v.estimate(v.best, "iou").text() for v in protocol_views(RunView.from_run(both)))
    opened = open_page(page.as_uri())
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.id") == "protocol-0"

    def verdict():
        return opened.evaluate(
            "[...document.querySelectorAll('.verdict')].filter(e => e.offsetParent).map(e => e.innerText)"
        )

    (shown,) = verdict()
    assert main in shown and main != other
    opened.keyboard.press("ArrowRight")
    assert opened.evaluate("document.activeElement.id") == "protocol-1"
    (shown,) = verdict()
    assert other in shown
    opened.emulate_media(media="print")
    assert not opened.locator(".switch").is_visible()
    (shown,) = verdict()
    assert other in shown and opened.locator("text=published protocol").first.is_visible()
    opened.emulate_media(media="screen")
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
