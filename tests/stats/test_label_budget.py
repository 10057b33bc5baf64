"""The label budget: curves over findings, and where they cross, which was put in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sightline.report.sections.selfexplain.sentences import crossing_sentence
from sightline.stats.label_budget import find_crossing, label_budget_curves


def scores(detector: dict[int, float], element: dict[int, float], films: int = 40, noise: float = 0.05) -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    base = rng.normal(0, 0.1, films)
    for role, curve in (("detector", detector), ("self-explaining", element)):
        for told, mean in curve.items():
            for i in range(films):
                rows += [
                    (role, told, f"f{i}", f"p{i // 2}", finding, mean + base[i] + rng.normal(0, noise))
                    for finding in ("Edema", "Nodule")
                ]
    return pd.DataFrame(rows, columns=["role", "n_annotated", "radiograph", "patient", "finding", "value"])


def test_the_crossing_is_where_it_was_put() -> None:
    """The gap falls from 0.2 to -0.2 straight over the logarithm: its middle lies at the geometric mean."""
    found = label_budget_curves(scores({9: 0.2, 99: 0.6}, {0: 0.35, 9: 0.4, 99: 0.4}))
    curve, cross = found
    assert cross["point"] == pytest.approx(np.sqrt(10 * 100) - 1, rel=0.25)
    assert cross["low"] < cross["point"] < cross["high"] and cross["share"] == 1 and cross["outside"] == ""
    row = curve[(curve["role"] == "self-explaining") & (curve["n_annotated"] == 0)].iloc[0]
    assert row["mean"] == pytest.approx(0.35, abs=0.06) and row["low"] < row["mean"] < row["high"]
    assert row["n"] == 80 and row["patients"] == 20


def test_curves_that_do_not_cross_say_so() -> None:
    _, above = label_budget_curves(scores({9: 0.1, 99: 0.2}, {9: 0.5, 99: 0.5}))
    assert (
        above["outside"] == "above"
        and np.isnan(above["point"])
        and (above["text"] == "not shown to cross up to 99 radiographs [above 99, above 99]")
    )
    _, below = label_budget_curves(scores({9: 0.5, 99: 0.6}, {9: 0.1, 99: 0.1}))
    assert below["outside"] == "below" and below["text"] == "below 9 radiographs [below 9, below 9]"


def test_an_end_beyond_what_was_tried_has_no_number() -> None:
    """Some resamples cross, some never do."""
    draws = {
        ("self-explaining", 9): np.ones(101),
        ("detector", 9): np.zeros(101),
        ("self-explaining", 99): np.ones(101),
    }
    draws["detector", 99] = np.where(np.arange(101) < 60, 1.5, 0.5)
    found = find_crossing(draws)
    assert np.isnan(found["high"]) and found["low"] == pytest.approx(found["point"])
    assert found["share"] == pytest.approx(0.59) and found["text"].endswith("above 99]")


def put(*gaps: float) -> dict[str, object]:
    """The crossing of a gap put in at 5, 20 and 80 films."""
    draws = {("detector", told): np.zeros(101) for told in (5, 20, 80)}
    return find_crossing(
        draws | {("self-explaining", told): np.full(101, gap) for told, gap in zip((5, 20, 80), gaps, strict=True)}
    )


def test_a_detector_that_falls_behind_again_has_not_crossed() -> None:
    """Ahead at 5 films, behind at 20: it is not ahead from 5 on."""
    back = put(-0.1, 0.1, -0.1)
    assert 20 < back["point"] < 80 and back["times"] == 2  # type: ignore[operator]
    assert "From 40 radiographs [40, 40] on, a detector" in crossing_sentence(
        back
    ) and "more than once" in crossing_sentence(back)
    behind = put(-0.1, 0.1, 0.1)
    assert behind["outside"] == "above" and behind["times"] == 1
    text = "but not with many: self-explaining network ahead at 80 radiographs [above 80, above 80]."
    assert crossing_sentence(behind).endswith(text)


def test_every_sentence_has_its_interval() -> None:
    assert "not shown to cross up to 80 radiographs [above 80, above 80]" in crossing_sentence(put(0.1, 0.1, 0.1))
    always = crossing_sentence(put(-0.1, -0.1, -0.1))
    assert "At every number of annotated radiographs from 5 on" in always and "[below 5, below 5]" in always
    assert crossing_sentence({}) == "" == crossing_sentence({"point": None, "share": None})


def test_one_budget_is_no_curve() -> None:
    _, found = label_budget_curves(scores({9: 0.2}, {0: 0.3, 9: 0.4}))
    assert np.isnan(found["point"]) and found["text"] == "fewer than two budgets"
