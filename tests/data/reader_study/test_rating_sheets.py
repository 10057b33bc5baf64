"""Case sheets: blinded, shuffled by reader, the same cases for all, some of them twice; and readers that are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from sightline.data.reader_study.rating_sheets import (
    CHOICE_QUESTION,
    QUESTIONS,
    RatingCase,
    read_rating_cases,
    sample_rating_cases,
    simulate_ratings,
    write_rating_cases,
)
from sightline.errors import DataError

CASES = [(f"film{i}", f"person{i // 2}", ("Edema", "Nodule", "Fracture")[i % 3]) for i in range(60)]
SOURCES = ("net/intrinsic", "net/grad-cam", "localizer/unet/intrinsic")
READERS = ("simulated 1", "simulated 2")


def of(reader: str, sheets: list[RatingCase], occasion: int = 0) -> list[RatingCase]:
    return [s for s in sheets if s.reader == reader and s.occasion == occasion]


def test_all_readers_get_the_same_cases_in_orders_of_their_own() -> None:
    sheets = sample_rating_cases(CASES, SOURCES, READERS, max_cases=12)
    one, two = (of(reader, sheets) for reader in READERS)
    cases = [[(s.radiograph, s.finding) for s in some] for some in (one, two)]
    assert len(one) == 12 and sorted(cases[0]) == sorted(cases[1]) and cases[0] != cases[1]
    assert [s.sources for s in one] != [s.sources for s in two]
    assert len({s.patient for s in one}) == 12, "one case of a patient"
    assert Counter(s.finding for s in one) == {"Edema": 4, "Nodule": 4, "Fracture": 4}
    assert all(sorted(s.sources) == sorted(SOURCES) for s in sheets)


def test_every_source_stands_everywhere_about_as_often() -> None:
    many = [(f"film{i}", f"person{i}", "Edema") for i in range(600)]
    first = Counter(s.sources[0] for s in sample_rating_cases(many, SOURCES, ["a"], max_cases=600, repeat_share=0))
    assert all(150 < n < 250 for n in first.values())


def test_what_comes_again_comes_last_and_in_a_new_order() -> None:
    sheets = sample_rating_cases(CASES, SOURCES, READERS, max_cases=20, repeat_share=0.5)
    mine = [s for s in sheets if s.reader == READERS[0]]
    assert [s.occasion for s in mine] == [0] * 20 + [1] * 10
    assert [s.radiograph for s in mine[20:]] == [s.radiograph for s in mine[:10]]
    assert any(a.sources != b.sources for a, b in zip(mine[:10], mine[20:], strict=True))


def test_neither_order_nor_other_readers_change_what_is_drawn() -> None:
    whole = sample_rating_cases(CASES, SOURCES, READERS, max_cases=12, seed=3)
    assert sample_rating_cases(CASES[::-1], SOURCES, READERS, max_cases=12, seed=3) == whole
    alone = sample_rating_cases(CASES, SOURCES, READERS[1:], max_cases=12, seed=3)
    assert alone == [s for s in whole if s.reader == READERS[1]]
    assert sample_rating_cases(CASES, SOURCES, READERS, max_cases=12, seed=4) != whole


def test_fewer_patients_than_wanted_is_no_error() -> None:
    assert len(sample_rating_cases(CASES[:4], SOURCES, ["a"], max_cases=40, repeat_share=0)) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"cases": []},
        {"sources": ("one",)},
        {"sources": ("one", "one")},
        {"readers": ()},
        {"readers": ("a", "a")},
        {"max_cases": 0},
        {"repeat_share": 1.5},
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, object]) -> None:
    given: dict[str, object] = {"cases": CASES, "sources": SOURCES, "readers": READERS, **wrong}
    with pytest.raises(DataError):
        sample_rating_cases(**given)  # type: ignore[arg-type]


def test_sheets_come_back_from_their_file(tmp_path: Path) -> None:
    sheets = sample_rating_cases(CASES, SOURCES, READERS, max_cases=5)
    write_rating_cases(tmp_path / "reader_sheets.json", sheets)
    assert read_rating_cases(tmp_path / "reader_sheets.json") == sheets
    (tmp_path / "other.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match=r"other\.json holds no rating cases"):
        read_rating_cases(tmp_path / "other.json")


@pytest.mark.parametrize("stated", ['"version": 1', '"format": 1'])
def test_sheets_of_another_format_are_refused(tmp_path: Path, stated: str) -> None:
    (tmp_path / "old.json").write_text(f'{{{stated}, "sheets": []}}')
    with pytest.raises(DataError, match=r"old\.json: this file of rating cases states .*reads format 2; make the file"):
        read_rating_cases(tmp_path / "old.json")


def test_questions_have_five_worded_points() -> None:
    assert [q.name for q in QUESTIONS] == ["location", "extent", "usefulness"] and not CHOICE_QUESTION.anchors
    assert all(len(set(q.anchors)) == 5 for q in QUESTIONS)


def good(source: str, sheet: RatingCase) -> Mapping[str, float]:
    value = {"net/intrinsic": 0.7, "net/grad-cam": 0.3, "localizer/unet/intrinsic": float("nan")}[source]
    return dict.fromkeys(("location", "extent", "usefulness"), value)


def test_simulated_readers_prefer_what_is_better_and_differ() -> None:
    sheets = sample_rating_cases(CASES, SOURCES, READERS, max_cases=20)
    ratings = simulate_ratings(sheets, good)
    assert set(ratings["reader"]) == set(READERS)
    scale = ratings[ratings["question"] != "choice"]
    assert scale["value"].between(1, 5).all()
    means = scale.groupby("source")["value"].mean()
    assert means["net/intrinsic"] > means["net/grad-cam"] > means["localizer/unet/intrinsic"]
    key = ["reader", "radiograph", "finding", "occasion"]
    assert (ratings[ratings["question"] == "choice"].groupby(key)["value"].sum() == 1).all()
    assert simulate_ratings(sheets, good).equals(ratings) and not simulate_ratings(sheets, good, seed=1).equals(ratings)


def test_nobody_is_simulated_under_a_real_name() -> None:
    with pytest.raises(DataError, match="would be simulated"):
        simulate_ratings(sample_rating_cases(CASES, SOURCES, ["Dr. Roe"], max_cases=2), good)


@pytest.mark.parametrize("shown", [2, 3])
def test_no_sheet_comes_again_as_it_was(shown: int) -> None:
    many = [(f"film{i}", f"person{i}", "Edema") for i in range(60)]
    sheets = sample_rating_cases(many, SOURCES[:shown], READERS, max_cases=60, repeat_share=1)
    before = {(s.reader, s.radiograph): s.sources for s in sheets if s.occasion == 0}
    again = [s for s in sheets if s.occasion == 1]
    assert len(again) == 120 and not any(s.sources == before[s.reader, s.radiograph] for s in again)
    assert 40 < sum(s.sources[0] == SOURCES[0] for s in again) * shown / 2 < 80, "each as often in front"


def test_simulated_ratings_are_those_of_ever() -> None:
    sources = ("self-explaining/intrinsic", "baseline/grad-cam", "localizer/unet/intrinsic")
    sheets = sample_rating_cases(CASES, sources, READERS, max_cases=12)
    ratings = simulate_ratings(sheets, lambda source, sheet: {"location": 0.5, "extent": 0.5, "usefulness": 0.5})
    assert ratings["value"].tolist()[:12] == [3, 2, 3, 3, 3, 2, 2, 2, 3, 0, 0, 1]
