"""The page as a whole: what a reader gets who has nothing but the file."""

import html
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from sightline.report import report
from sightline.report.page import ProtocolPage, render
from sightline.report.run_view import RunView

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects text, attributes, ids; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)
        self.close()
        assert not self.stack, self.stack

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.text += data

    def all(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def written(make_run):
    run = make_run()
    return run, report(run).read_text("utf-8")


def test_the_page_nests_and_its_ids_are_unique(written):
    ids = Page(written[1]).all("id")
    assert len(ids) == len(set(ids))


def test_nothing_is_loaded_from_anywhere(written):
    text = written[1]
    page = Page(text)
    assert "<script" not in text and "@import" not in text and "@font-face" not in text
    assert not page.all("src")
    for tag, name, value in page.attributes:
        if name in ("href", "xlink:href") and value.startswith("http"):
            assert tag == "a" and value.startswith("https://doi.org/")
        if tag in ("image", "use"):
            assert name not in ("href", "xlink:href") or value.startswith(("data:", "#"))
    assert all(u.startswith("#") for u in re.findall(r"url\(([^)]*)\)", text))


def test_links_lead_to_files_that_exist(written):
    run, text = written
    ids = Page(text).all("id")
    for target in Page(text).all("href"):
        if target.startswith("#"):
            assert target[1:] in ids
        elif not target.startswith(("http", "data:")):
            assert (run.path / target).is_file(), target


def test_every_picture_has_words(written):
    page = Page(written[1])
    pictures = [v for tag, name, v in page.attributes if name == "role" and v == "img"]
    assert len(pictures) == 22, "6 figures, 5 of them once more under the published protocol, and 11 examples"
    assert len([v for v in page.all("aria-label") if len(v) > 40]) == 22
    assert "No map that misses has an IoU of 0.5 or more." in page.text


def test_figures_and_their_data_lie_beside_the_page(written):
    run, _ = written
    for name in ("localization", "comparison", "differences", "size", "accuracy", "protocols"):
        assert (run.path / "figures" / f"{name}.svg").read_text("utf-8").startswith("<?xml")
        assert len(pd.read_csv(run.path / "figures" / f"{name}.csv"))
    assert len(list((run.path / "figures").glob("example-*.svg"))) == 11


def test_equal_runs_give_equal_bytes(written):
    run, text = written
    figures = {p.name: p.read_bytes() for p in (run.path / "figures").iterdir()}
    assert report(run).read_text("utf-8") == text
    assert {p.name: p.read_bytes() for p in (run.path / "figures").iterdir()} == figures


def test_the_page_is_small(written):
    assert len(written[1].encode()) < 6_000_000


def test_sections_come_in_reading_order(written):
    sections = [v for tag, name, v in Page(written[1]).attributes if tag == "section" and name == "id"]
    assert sections == [
        "localization",
        "comparison",
        "examples",
        "causes",
        "accuracy",
        "failures",
        "protocols",
        "published",
        "methods",
    ]


def test_verdict_and_tiles_show_the_numbers_of_the_tables(written):
    run, text = written
    view, page = RunView.from_run(run), Page(text)
    for source in (view.best, view.reader, view.control):
        number = view.estimate(source, "iou")
        assert number.text() in page.text and f"{number.mean:.2f}" in page.text
        assert view.label(source) in page.text


def test_simulated_readers_are_labeled_everywhere(written):
    text = html.unescape(Page(written[1]).text)
    assert "Readers of this data set are simulated" in text
    for match in re.finditer(r"\b(contours|points)\b", text.split("Published and corrected protocol", 1)[0]):
        assert text[: match.start()].rstrip().endswith(("simulated", "its"))


def test_the_command_that_made_the_run_is_printed(written):
    text = written[1]
    assert "sightline localization --data" in html.unescape(text)
    assert "Selvaraju 2017" in text


def test_hostile_names_are_shown_not_obeyed(make_run):
    evil = "<script>alert('x')</script>&\"quoted\""
    run = make_run(fresh=True, radiographs=6, title=evil, sources=(f"net/{evil}".replace("/s", "s"), "control/center"))
    for name in ("scores", "maps"):
        table = run.table(name)
        table["radiograph"] = table["radiograph"] + "<img src=x onerror=alert(1)>"
        run.write_table(name, table)
    text = report(run).read_text("utf-8")
    page = Page(text)
    assert "<script" not in text and "<img" not in text
    assert "<script>alert('x')</script>" in page.text


def test_a_data_set_that_moved_costs_the_pictures_only(make_run):
    run = make_run(fresh=True, radiographs=12, protocol="corrected")
    run = run.update_info(dataset={**run.info["dataset"], "spec": "world:2"})
    text = Page(report(run).read_text("utf-8")).text
    assert "There are no images, because data or maps could not be read again" in text
    assert "Localization by finding" in text


def test_a_run_with_scores_alone_still_reports(make_run):
    run = make_run(fresh=True, radiographs=6, auroc=None, protocol="corrected")
    for name in ("differences", "status", "maps"):
        (run.path / "tables" / f"{name}.parquet").unlink()
    run = run.update_info(models=[], methods={}, protocols={}, versions={})
    page = Page(report(run).read_text("utf-8"))
    assert "against" in page.text and "accuracy" not in page.all("id")


def test_none_failed_is_said_of_no_run_in_which_any_did(make_run):
    run = make_run(fresh=True, radiographs=4)
    maps = run.table("maps").assign(status="ok", reason="")
    said = []
    for status, marked in (("ok", True), ("refused", False), ("missing", True)):
        now = maps.assign(annotated=True)
        now.loc[now.index[0], ["status", "reason", "annotated"]] = [status, "not as it should be", marked]
        run.write_table("maps", now)
        run.write_table("status", now.groupby(["source", "status", "annotated"]).size().rename("maps").reset_index())
        page = render([ProtocolPage(RunView.from_run(run), plots={})])
        said.append(("No map failed" in page, "None of the maps that failed had to be scored" in page))
    assert said == [(True, False), (False, True), (False, False)]


def test_warnings_stand_before_the_verdict(make_run):
    run = make_run(radiographs=12, auroc=0.52, protocol="corrected")
    text = report(run).read_text("utf-8")
    assert text.index("is not accurate") < text.index('class="verdict"')
    assert "caution grave" in text
