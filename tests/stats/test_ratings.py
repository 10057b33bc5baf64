"""Means, contrasts and kappa of ratings: against scikit-learn, plain loops, and what must come out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from sightline.core import Array
from sightline.data.reader_study.rating_sheets import RATING_COLUMNS, sample_rating_cases, simulate_ratings
from sightline.errors import DataError
from sightline.stats.ratings import contrasts, kappa, mean_ratings, rater_agreement

SOURCES = ("net/intrinsic", "net/grad-cam", "control/noise")
GOOD = {"net/intrinsic": 0.7, "net/grad-cam": 0.45, "control/noise": 0.2}


def table(readers: int = 2, most: int = 30, spread: float = 0.12) -> pd.DataFrame:
    cases = [(f"film{i}", f"person{i}", ("Edema", "Nodule")[i % 2]) for i in range(most)]
    sheets = sample_rating_cases(
        cases, SOURCES, [f"simulated {i}" for i in range(readers)], max_cases=most, repeat_share=0.5
    )
    return simulate_ratings(
        sheets,
        lambda source, sheet: dict.fromkeys(("location", "extent", "usefulness"), GOOD[source]),
        noise_std=spread,
    )


def counted(a: Array, b: Array, size: int) -> Array:
    found = np.zeros((size, size))
    np.add.at(found, (a, b), 1)
    return found


def slow_kappa(a: Array, b: Array) -> float:
    """From its definition: every answer of one with every answer of the other is what chance would pair."""
    seen = np.mean([(x - y) ** 2 for x, y in zip(a, b, strict=True)])
    chance = np.mean([(x - y) ** 2 for x in a for y in b])
    return float(1 - seen / chance)


answers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30)


@given(answers)
def test_kappa_is_that_of_its_definition_and_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs).T
    if len({*a, *b}) < 2:
        return
    found = float(kappa(counted(a, b, 5), "quadratic"))
    assert found == pytest.approx(slow_kappa(a, b), abs=1e-12)
    assert found == pytest.approx(cohen_kappa_score(a, b, labels=range(5), weights="quadratic"), abs=1e-12)
    plain = float(kappa(counted(a, b, 5), "nominal"))
    assert plain == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)


def test_kappa_of_one_and_the_same_answer_is_undefined() -> None:
    assert np.isnan(kappa(counted(np.array([2, 2]), np.array([2, 2]), 5), "quadratic"))
    assert np.isnan(kappa(np.zeros((5, 5)), "nominal"))


def test_means_and_choices() -> None:
    ratings = table()
    found = mean_ratings(ratings).set_index(["question", "source", "reader"])
    first = ratings[ratings["occasion"] == 0]
    for question, source in (("location", "net/intrinsic"), ("choice", "net/grad-cam")):
        some = first[(first["question"] == question) & (first["source"] == source)]
        row = found.loc[(question, source, "all")]
        assert row["mean"] == pytest.approx(some["value"].mean())
        assert row["low"] <= row["mean"] <= row["high"]
        assert row["n"] == len(some) and row["patients"] == 30
    rates = found.xs("choice", level="question").xs("all", level="reader")["mean"]
    assert rates.sum() == pytest.approx(1), "exactly one is chosen"


def test_contrasts_are_paired_and_adjusted() -> None:
    found = contrasts(table()).set_index(["question", "source", "versus"])
    rows = found.loc["usefulness"]
    assert len(rows) == 3 and (rows["p_holm"] >= rows["p"]).all()
    pair = next(i for i in rows.index if set(i) == {"net/intrinsic", "control/noise"})
    sign = 1 if pair[0] == "net/intrinsic" else -1
    assert sign * rows.loc[pair, "mean"] > 1.5
    assert rows.loc[pair, "low"] * rows.loc[pair, "high"] > 0, "the interval is clear of 0"
    assert (rows.loc[pair, "wins"] > 0.9) == (sign > 0)


def test_a_contrast_uses_only_what_both_have() -> None:
    ratings = table(readers=1)
    gone = ratings["source"].eq("net/intrinsic") & ratings["radiograph"].isin([f"film{i}" for i in range(10)])
    found = contrasts(ratings[~gone])
    mine = found[
        (found["question"] == "extent") & ((found["source"] == "net/intrinsic") | (found["versus"] == "net/intrinsic"))
    ]
    assert set(mine["n"]) == {20}


def test_readers_agree_as_far_as_they_are_alike() -> None:
    exact = rater_agreement(table(spread=0.0)).set_index(["question", "kind", "reader"]).sort_index()
    assert exact.loc[("location", "within", "simulated 0"), "kappa"] == pytest.approx(1)
    loose = rater_agreement(table(readers=3, spread=0.3)).set_index(["question", "kind", "reader"]).sort_index()
    row = loose.loc[("location", "between", "all")]
    assert 0 < row["kappa"] < 1 and row["low"] < row["kappa"] < row["high"]
    assert len(loose.loc[("location", "between")]) == 4, "three pairs and their mean"


def test_kappa_between_readers_is_that_of_their_rows() -> None:
    ratings = table(spread=0.3)
    found = rater_agreement(ratings).set_index(["question", "kind", "reader"])
    first = ratings[(ratings["occasion"] == 0) & (ratings["question"] == "extent")]
    wide = first.pivot_table(index=["radiograph", "finding", "source"], columns="reader", values="value")
    row = found.loc[("extent", "between", "simulated 0")]
    scores = cohen_kappa_score(wide.iloc[:, 0], wide.iloc[:, 1], labels=range(1, 6), weights="quadratic")
    assert row["kappa"] == pytest.approx(scores)
    assert row["n"] == len(wide) and row["patients"] == 30
    chosen = ratings[(ratings["occasion"] == 0) & (ratings["question"] == "choice") & (ratings["value"] == 1)]
    what = chosen.set_index(["radiograph", "finding", "reader"])["source"].unstack()  # noqa: PD010
    assert found.loc[("choice", "between", "simulated 0"), "kappa"] == pytest.approx(
        cohen_kappa_score(what.iloc[:, 0], what.iloc[:, 1])
    )


def test_the_interval_of_kappa_covers_what_is_true() -> None:
    """Two readers at random: kappa is 0, and 95 of 100 intervals should hold it."""
    held = 0
    for trial in range(40):
        rng = np.random.default_rng(trial)
        rows = [
            (f"r{k}", f"f{i}", f"p{i}", "Edema", "s", "extent", int(rng.integers(1, 6)), 0)
            for i in range(60)
            for k in range(2)
        ]
        row = rater_agreement(pd.DataFrame(rows, columns=pd.Index(RATING_COLUMNS))).iloc[0]
        held += row["low"] <= 0 <= row["high"]
    assert held >= 34


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="occasion"), "no occasion"),
        (lambda t: t.assign(value=7), "allowed: 1 to 5"),
        (lambda t: t.assign(question="beauty"), "question 'beauty'"),
        (lambda t: pd.concat([t, t]), "twice"),
    ],
)
def test_ratings_that_are_none_are_refused(change: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        mean_ratings(change(table(readers=1, most=4)))  # type: ignore[operator]


def test_one_patient_gives_no_interval() -> None:
    few = table(readers=1, most=1)
    assert np.isnan(mean_ratings(few)["low"]).all() and np.isnan(contrasts(few)["p"]).all()


def test_a_kappa_that_rests_on_one_patient_has_no_interval_and_says_so() -> None:
    """The second reader strays on one film: without it there is no kappa of theirs, and the mean is the first's."""
    rng, rows = np.random.default_rng(0), []
    for i in range(20):
        said = rng.integers(1, 6, 2)
        rows += [("free", f"f{i}", f"p{i}", "Edema", "s", "extent", int(said[k]), k) for k in range(2)]
        rows += [("fixed", f"f{i}", f"p{i}", "Edema", "s", "extent", 3 - (i == 0), k) for k in range(2)]
    found = rater_agreement(pd.DataFrame(rows, columns=pd.Index(RATING_COLUMNS)))
    row = found[found["kind"] == "within"].set_index("reader")
    assert np.isnan(row.loc["fixed", "low"]) and "without one of the patients" in row.loc["fixed", "reason"]
    assert row.loc["free", "low"] < row.loc["free", "kappa"] < row.loc["free", "high"]
    assert row.loc["all", "low"] < row.loc["all", "kappa"] == (row.loc["free", "kappa"] + 1) / 2
    assert row.loc["all", "high"] < 1
