"""Verdicts by the place of an interval, against simulation, and their combination."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from sightline.errors import DataError
from sightline.stats.intervals import mean_with_ci
from sightline.stats.verdicts import (
    MIN_PATIENTS,
    SMALLEST_EFFECTS,
    Criterion,
    Direction,
    Verdict,
    classify_difference,
    parse_smallest_effects,
    patients_text,
)


def gap(low: float, high: float, patients: int = 30) -> dict[str, float]:
    return {"mean": (low + high) / 2, "low": low, "high": high, "patients": patients}


@pytest.mark.parametrize(
    ("direction", "low", "high", "outcome"),
    [
        ("higher", 0.06, 0.20, "shown"),
        ("higher", 0.01, 0.20, "undecided"),  # above 0, but perhaps by less than counts
        ("higher", 0.01, 0.04, "shown absent"),  # above 0, and by less than counts
        ("higher", -0.20, -0.10, "shown absent"),
        ("lower", -0.20, -0.06, "shown"),
        ("lower", -0.20, 0.00, "undecided"),
        ("lower", -0.001, 0.000, "shown absent"),
        ("not higher", -0.30, 0.04, "shown"),
        ("not higher", -0.30, 0.06, "undecided"),
        ("not higher", 0.06, 0.10, "shown absent"),
        ("not lower", -0.04, 0.30, "shown"),
        ("not lower", -0.06, 0.30, "undecided"),
        ("not lower", -0.30, -0.06, "shown absent"),
    ],
)
def test_the_whole_interval_lies_on_a_side_of_the_smallest_effect(
    direction: Direction, low: float, high: float, outcome: str
) -> None:
    assert Criterion("ssim", direction, 0.05).judge(gap(low, high)).outcome == outcome


@pytest.mark.parametrize("direction", ["higher", "lower", "not higher", "not lower"])
def test_claim_and_opposite_claim_are_never_both_shown(direction: Direction) -> None:
    opposite: dict[str, Direction] = {"higher": "not higher", "lower": "not lower"}
    opposite |= {value: key for key, value in opposite.items()}  # type: ignore[misc]
    swap = {"shown": "shown absent", "shown absent": "shown", "undecided": "undecided"}
    ends = np.linspace(-0.2, 0.2, 9)
    for low, high in itertools.combinations(ends, 2):
        claims = [Criterion("x", d, 0.06).judge(gap(low, high)).outcome for d in (direction, opposite[direction])]
        assert claims[1] == swap[claims[0]]


def test_no_effect_of_nothing_and_no_verdict_without_enough_patients() -> None:
    criterion = Criterion("deletion", "lower", SMALLEST_EFFECTS["deletion"])
    assert criterion.judge(gap(0.0, 0.0)).outcome == "shown absent"
    few = criterion.judge(gap(-0.3, -0.2, MIN_PATIENTS - 1))
    assert few.text() == f"not estimable: {MIN_PATIENTS - 1} patients, at least {MIN_PATIENTS} are needed"
    assert criterion.judge(gap(np.nan, np.nan)).text() == "not estimable: the difference has no interval"
    unknown = criterion.judge({**gap(np.nan, np.nan), "reason": "all values are equal"})
    assert unknown.text() == "not estimable: all values are equal"
    assert criterion.judge(gap(np.nan, np.nan, 0)).text() == "not estimable: nothing could be compared"
    assert criterion.judge(gap(-0.3, -0.2, MIN_PATIENTS)).outcome == "shown"


def test_absence_is_shown_only_by_a_test_that_could_have_found_the_effect() -> None:
    criterion = Criterion("deletion", "lower", 0.02)
    absent, shown = criterion.judge(gap(-0.001, 0.001)), criterion.judge(gap(-0.2, -0.1))
    assert absent.require_sensitivity(True, "x") == absent and shown.require_sensitivity(False, "x") == shown
    assert absent.require_sensitivity(False, "no response").text() == "not estimable: no response"


def test_as_many_patients_as_asked_for_decide_four_times_out_of_five() -> None:
    rng, true, spread = np.random.default_rng(0), 0.1, 0.2
    criterion = Criterion("ssim", "higher", 0.05)
    few = criterion.judge({"mean": true, "low": true - 1.96 * spread / 5, "high": 0.2, "patients": 25})
    assert few.outcome == "undecided" and few.patients_needed == pytest.approx(0.2**2 * 2.8016**2 / 0.05**2, rel=0.01)
    n = int(few.patients_needed)
    names = pd.Series(np.arange(n).astype(str))
    decided = [criterion.judge(mean_with_ci(rng.normal(true, spread, n), names)).outcome == "shown" for _ in range(150)]
    assert 0.7 < np.mean(decided) < 0.9


def test_an_estimate_at_the_bound_is_decided_by_no_number_of_patients() -> None:
    verdict = Criterion("ssim", "higher", 0.05).judge({"mean": 0.05, "low": 0.0, "high": 0.1, "patients": 20})
    assert verdict.text() == "undecided: more than 10,000 patients would decide"
    assert [patients_text(n) for n in (8.0, 93.0, 101.0, 9_999.0)] == [
        "about 8 patients",
        "about 93 patients",
        "about 110 patients",
        "about 10,000 patients",
    ]


def test_a_claim_that_needs_two_is_shown_by_both_and_absent_by_one() -> None:
    criterion = Criterion("ssim", "higher", 0.05)
    shown, absent = (criterion.judge(gap(*ends)) for ends in ((0.1, 0.2), (-0.1, 0.0)))
    undecided, unknown = criterion.judge(gap(0.0, 0.15)), criterion.judge(gap(0, 1, 2))
    order = (shown, undecided, unknown, absent)  # the later of two outcomes wins
    for (i, a), (j, b) in itertools.product(enumerate(order), repeat=2):
        assert a.combine(b).outcome == order[max(i, j)].outcome
    wider = criterion.judge(gap(-0.2, 0.4))
    assert undecided.combine(wider).patients_needed == max(undecided.patients_needed, wider.patients_needed)
    assert shown.combine(unknown).reason == unknown.reason


def test_columns_give_the_verdict_back() -> None:
    for ends in ((0.1, 0.2), (0.0, 0.2), (-0.1, 0.0), (np.nan, np.nan)):
        verdict = Criterion("ssim", "higher", 0.05).judge(gap(*ends))
        row = {"measure": "ssim", **verdict.columns("random_")}
        assert str(Verdict.from_columns(row, "random_")) == str(verdict)  # NaN differs from itself


@pytest.mark.parametrize(
    ("ends", "relation"),
    [((0.03, 0.1), "higher"), ((-0.1, -0.03), "lower"), ((-0.01, 0.019), "equivalent"), ((0.0, 0.03), "undecided")],
)
def test_a_difference_without_a_claim_is_classified(ends: tuple[float, float], relation: str) -> None:
    assert classify_difference(gap(*ends), 0.02) == relation
    assert classify_difference(gap(*ends, 3), 0.02) == "not estimable"


def test_smallest_effects_are_set_by_measure() -> None:
    assert parse_smallest_effects([]) == dict(SMALLEST_EFFECTS)
    effects = parse_smallest_effects(["ssim=0.2", "road=0"])
    assert (effects["ssim"], effects["road"], effects["rank"]) == (0.2, 0, SMALLEST_EFFECTS["rank"])
    for option, message in (("sim=0.1", "no measure is called 'sim'"), ("ssim=a", "'a' is no number"), ("ssim=1", "0")):
        with pytest.raises(DataError, match=message):
            parse_smallest_effects([option])
