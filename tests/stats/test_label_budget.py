"""The label budget: curves over findings, and where they cross, which was put in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sightline.report.sections.selfexplain.sentences import crossing_sentence
from sightline.stats.intervals import infer
from sightline.stats.jackknife import LeaveOneOut, leave_one_out
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
    assert cross["low"] < cross["point"] < cross["high"] and cross["outside"] == cross["reason"] == ""
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


def cell(*patients: float) -> LeaveOneOut:
    return leave_one_out(np.array(patients)[:, None], np.arange(len(patients)))


def test_an_end_beyond_what_was_tried_has_no_number() -> None:
    """At 99 the detector is ahead on average, and not clearly."""
    flat = cell(*[1.0] * 10)
    ahead, unsure = cell(*np.linspace(0.3, 0.5, 10)), cell(*np.linspace(0.5, 1.6, 10))
    cells = {("self-explaining", 9): flat, ("detector", 9): ahead}
    found = find_crossing({**cells, ("self-explaining", 99): flat, ("detector", 99): unsure})
    assert found["point"] > 9 and np.isnan(found["high"]) and found["text"].endswith("above 99]")
    gap = [flat - ahead, flat - unsure]  # the bound is where the interval of the difference leaves 0
    share = np.interp(np.log1p(found["low"]), np.log1p([9, 99]), [0, 1])
    between = leave_one_out(
        (1 - share) * (1 - np.linspace(0.3, 0.5, 10))[:, None] + share * (1 - np.linspace(0.5, 1.6, 10))[:, None],
        np.arange(10),
    )
    assert gap[0].point[0] > 0 > gap[1].point[0] and infer(between).low[0] == pytest.approx(0, abs=0.01)


def test_few_patients_have_a_crossing_without_an_interval() -> None:
    _, found = label_budget_curves(scores({9: 0.2, 99: 0.6}, {9: 0.4, 99: 0.4}, films=6))
    assert found["point"] > 9 and np.isnan(found["low"]) and found["text"].endswith("3 of at least 5 patients)")


def put(*gaps: float) -> dict[str, object]:
    """The crossing of a gap put in at 5, 20 and 80 films."""
    nothing = np.linspace(-1e-6, 1e-6, 9)
    cells = {("detector", told): cell(*nothing) for told in (5, 20, 80)}
    ahead = {("self-explaining", told): cell(*(gap - nothing)) for told, gap in zip((5, 20, 80), gaps, strict=True)}
    return find_crossing({**cells, **ahead})


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
    assert crossing_sentence({}) == "" == crossing_sentence({"point": None})


def test_one_budget_is_no_curve() -> None:
    _, found = label_budget_curves(scores({9: 0.2}, {0: 0.3, 9: 0.4}))
    assert np.isnan(found["point"]) and found["text"] == "fewer than two budgets"
