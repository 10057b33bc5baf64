"""Case sheets: blinded, shuffled by reader, the same cases for all, some of them twice; and readers that are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from sightline.data.reader_study.rating_sheets import (
    CHOICE,
    QUESTIONS,
    Sheet,
    draw_sheets,
    read_sheets,
    simulate,
    write_sheets,
)
from sightline.errors import DataError

CASES = [(f"film{i}", f"person{i // 2}", ("Edema", "Nodule", "Fracture")[i % 3]) for i in range(60)]
SOURCES = ("net/own", "net/grad-cam", "localizer/unet/own")
READERS = ("simulated 1", "simulated 2")


def of(reader: str, sheets: list[Sheet], occasion: int = 0) -> list[Sheet]:
    return [s for s in sheets if s.reader == reader and s.occasion == occasion]


def test_all_readers_get_the_same_cases_in_orders_of_their_own() -> None:
    sheets = draw_sheets(CASES, SOURCES, READERS, most=12)
    one, two = (of(reader, sheets) for reader in READERS)
    cases = [[(s.radiograph, s.finding) for s in some] for some in (one, two)]
    assert len(one) == 12 and sorted(cases[0]) == sorted(cases[1]) and cases[0] != cases[1]
    assert [s.shown for s in one] != [s.shown for s in two]
    assert len({s.patient for s in one}) == 12, "one case of a patient"
    assert Counter(s.finding for s in one) == {"Edema": 4, "Nodule": 4, "Fracture": 4}
    assert all(sorted(s.shown) == sorted(SOURCES) for s in sheets)


def test_every_source_stands_everywhere_about_as_often() -> None:
    many = [(f"film{i}", f"person{i}", "Edema") for i in range(600)]
    first = Counter(s.shown[0] for s in draw_sheets(many, SOURCES, ["a"], most=600, repeated=0))
    assert all(150 < n < 250 for n in first.values())


def test_what_comes_again_comes_last_and_in_a_new_order() -> None:
    sheets = draw_sheets(CASES, SOURCES, READERS, most=20, repeated=0.5)
    mine = [s for s in sheets if s.reader == READERS[0]]
    assert [s.occasion for s in mine] == [0] * 20 + [1] * 10
    assert [s.radiograph for s in mine[20:]] == [s.radiograph for s in mine[:10]]
    assert any(a.shown != b.shown for a, b in zip(mine[:10], mine[20:], strict=True))


def test_neither_order_nor_other_readers_change_what_is_drawn() -> None:
    whole = draw_sheets(CASES, SOURCES, READERS, most=12, seed=3)
    assert draw_sheets(CASES[::-1], SOURCES, READERS, most=12, seed=3) == whole
    alone = draw_sheets(CASES, SOURCES, READERS[1:], most=12, seed=3)
    assert alone == [s for s in whole if s.reader == READERS[1]]
    assert draw_sheets(CASES, SOURCES, READERS, most=12, seed=4) != whole


def test_fewer_patients_than_wanted_is_no_error() -> None:
    assert len(draw_sheets(CASES[:4], SOURCES, ["a"], most=40, repeated=0)) == 2


@pytest.mark.parametrize("wrong", [
    {"cases": []}, {"sources": ("one",)}, {"sources": ("one", "one")}, {"readers": ()}, {"readers": ("a", "a")},
    {"most": 0}, {"repeated": 1.5},
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, object]) -> None:
    given: dict[str, object] = {"cases": CASES, "sources": SOURCES, "readers": READERS, **wrong}
    with pytest.raises(DataError):
        draw_sheets(**given)  # type: ignore[arg-type]


def test_sheets_come_back_from_their_file(tmp_path: Path) -> None:
    sheets = draw_sheets(CASES, SOURCES, READERS, most=5)
    write_sheets(tmp_path / "reader_sheets.json", sheets)
    assert read_sheets(tmp_path / "reader_sheets.json") == sheets
    (tmp_path / "other.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match=r"other\.json holds no case sheets"):
        read_sheets(tmp_path / "other.json")


@pytest.mark.parametrize("stated", ['"version": 1', '"format": 1'])
def test_sheets_of_another_format_are_refused(tmp_path: Path, stated: str) -> None:
    (tmp_path / "old.json").write_text(f'{{{stated}, "sheets": []}}')
    with pytest.raises(DataError, match=r"old\.json: this file of case sheets states .*reads format 2; make the file"):
        read_sheets(tmp_path / "old.json")


def test_questions_have_five_worded_points() -> None:
    assert [q.name for q in QUESTIONS] == ["location", "extent", "usefulness"] and not CHOICE.anchors
    assert all(len(set(q.anchors)) == 5 for q in QUESTIONS)


def good(source: str, sheet: Sheet) -> Mapping[str, float]:
    value = {"net/own": 0.7, "net/grad-cam": 0.3, "localizer/unet/own": float("nan")}[source]
    return dict.fromkeys(("location", "extent", "usefulness"), value)


def test_simulated_readers_prefer_what_is_better_and_differ() -> None:
    sheets = draw_sheets(CASES, SOURCES, READERS, most=20)
    ratings = simulate(sheets, good)
    assert set(ratings["reader"]) == set(READERS)
    scale = ratings[ratings["question"] != "choice"]
    assert scale["value"].between(1, 5).all()
    means = scale.groupby("source")["value"].mean()
    assert means["net/own"] > means["net/grad-cam"] > means["localizer/unet/own"]
    key = ["reader", "radiograph", "finding", "occasion"]
    assert (ratings[ratings["question"] == "choice"].groupby(key)["value"].sum() == 1).all()
    assert simulate(sheets, good).equals(ratings) and not simulate(sheets, good, seed=1).equals(ratings)


def test_nobody_is_simulated_under_a_real_name() -> None:
    with pytest.raises(DataError, match="would be simulated"):
        simulate(draw_sheets(CASES, SOURCES, ["Dr. Roe"], most=2), good)


@pytest.mark.parametrize("shown", [2, 3])
def test_no_sheet_comes_again_as_it_was(shown: int) -> None:
    many = [(f"film{i}", f"person{i}", "Edema") for i in range(60)]
    sheets = draw_sheets(many, SOURCES[:shown], READERS, most=60, repeated=1)
    before = {(s.reader, s.radiograph): s.shown for s in sheets if s.occasion == 0}
    again = [s for s in sheets if s.occasion == 1]
    assert len(again) == 120 and not any(s.shown == before[s.reader, s.radiograph] for s in again)
    assert 40 < sum(s.shown[0] == SOURCES[0] for s in again) * shown / 2 < 80, "each as often in front"


def test_simulated_ratings_are_those_of_ever() -> None:
    sources = ("element/own", "plain/grad-cam", "localizer/unet/own")
    sheets = draw_sheets(CASES, sources, READERS, most=12)
    ratings = simulate(sheets, lambda source, sheet: {"location": 0.5, "extent": 0.5, "usefulness": 0.5})
    assert ratings["value"].tolist()[:12] == [3, 2, 3, 3, 3, 2, 2, 2, 3, 0, 0, 1]
