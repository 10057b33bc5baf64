"""No worse by more than a margin: against DeLong's own test, and on differences that were put in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from sightline.stats import delong
from sightline.stats.model_comparison import compare_auroc
from sightline.stats.noninferiority import NOT_ABOVE_CHANCE, noninferiority, noninferiority_term
from sightline.stats.verdicts import Criterion


def table(worse: float, patients: int = 150) -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for i in range(patients):
        for finding in ("Edema", "Nodule"):
            label = int(rng.random() < 0.4)
            x = label * 1.6 + rng.normal()
            y = x + rng.normal(0, 0.3) + worse * rng.normal()
            for model, value in (("plain", x), ("element", y)):
                rows.append((model, f"p{i}", f"s{i}", finding, 1 / (1 + np.exp(-value)), label))
    return pd.DataFrame(rows, columns=["model", "patient", "study", "finding", "probability", "label"])


@pytest.mark.parametrize(("worse", "verdict"), [(0.0, "non-inferior"), (4.0, "inferior")])
def test_what_was_lost_is_told(worse: float, verdict: str) -> None:
    found = noninferiority(table(worse), [("element", "plain")]).set_index("finding")
    assert found.loc["average", "verdict"] == verdict
    assert set(found.index) == {"Edema", "Nodule", "average"} and np.isnan(found.loc["average", "delong_low"])


def test_differences_are_those_of_the_paired_comparison() -> None:
    some = table(0.5)
    found = noninferiority(some, [("element", "plain")]).set_index("finding")
    other = compare_auroc(some, [("element", "plain")]).set_index("finding")
    for finding in ("Edema", "Nodule"):
        row = found.loc[finding]
        assert row["mean"] == pytest.approx(other.loc[finding, "mean"]) and row["n"] == other.loc[finding, "n"]
        assert row["low"] == pytest.approx(row["delong_low"], abs=0.03)
        assert row["high"] == pytest.approx(row["delong_high"], abs=0.03)


def test_delongs_interval_is_that_of_his_test() -> None:
    rng = np.random.default_rng(1)
    label = (rng.random(80) < 0.5).astype(int)
    a, b = label + rng.normal(0, 1, 80), label + rng.normal(0, 1.5, 80)
    gap, low, high = delong.auroc_difference(a, b, label)
    error = (high - low) / 2 / norm.ppf(0.975)
    assert delong.p_value(a, b, label) == pytest.approx(2 * norm.sf(abs(gap) / error))


@pytest.mark.parametrize(
    ("low", "high", "term"),
    [
        (0.01, 0.1, "superior"),
        (-0.04, 0.1, "non-inferior"),
        (-0.05, 0.0, "undecided"),
        (-0.1, -0.05, "undecided"),
        (-0.2, -0.06, "inferior"),
        (np.nan, 1.0, "not estimable"),
    ],
)
def test_terms_of_noninferiority_trials(low: float, high: float, term: str) -> None:
    loss = {"mean": (low + high) / 2, "low": low, "high": high, "patients": 40}
    assert noninferiority_term(Criterion("auroc", "not lower", 0.05).judge(loss), low) == term


def test_a_study_is_one_of_its_patient() -> None:
    """A folder of one's own may call the first study of every patient '1'."""
    named = table(0.5, 60)
    found = noninferiority(named.assign(study="1"), [("element", "plain")])
    assert found["n"].tolist()[:2] == [60, 60]
    pd.testing.assert_frame_equal(found, noninferiority(named, [("element", "plain")]))
    pairs = [compare_auroc(some, [("element", "plain")]) for some in (named.assign(study="1"), named)]
    pd.testing.assert_frame_equal(*pairs)


def test_nothing_is_lost_of_what_was_never_there() -> None:
    """Both networks guess: the interval of their difference says nothing of the element."""
    some = table(0.0)
    some["probability"] = np.repeat(np.random.default_rng(0).random(len(some) // 2), 2)
    found = noninferiority(some, [("element", "plain")])
    assert (found["verdict"] == "not estimable").all() and (found["reason"] == NOT_ABOVE_CHANCE).all()
    assert (found["low"] > -0.05).all()


def test_counts_of_the_average_are_those_of_its_findings() -> None:
    found = noninferiority(table(0.5), [("element", "plain")]).set_index("finding")
    each = found.drop("average")
    assert found.loc["average", "n"] == each["n"].sum() == 300
    assert found.loc["average", "positives"] == each["positives"].sum()
