"""Summaries of erasing and small changes, against plain computations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sightline.stats.faithfulness import summarize_faithfulness
from sightline.stats.verdicts import SMALLEST_EFFECTS


def tables(patients: int = 20) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    erased, changed = [], []
    for i in range(patients):
        who = (f"film{i}", f"person{i}", "Edema")
        chance = rng.uniform(0.4, 0.6)
        for source, gain in (("good", -0.2), ("bad", 0.2)):
            erased.append((source, *who, "deletion", chance + gain + rng.normal(0, 0.001), chance))
            erased.append((source, *who, "road", -gain + rng.normal(0, 0.01), 0.0))
        erased.append(("good", *who, "complexity", 0.5, np.nan))
        for change in ("noise", "blur"):
            moved = rng.uniform(0, 1)
            changed.append(("follows", change, *who, moved + rng.normal(0, 0.05), 0.9, moved))
            changed.append(("stays", change, *who, 0.0, 1.0, moved))
    head = ["radiograph", "patient", "finding"]
    return (
        pd.DataFrame(erased, columns=["source", *head, "measure", "value", "chance"]),
        pd.DataFrame(changed, columns=["method", "change", *head, "distance", "rank_correlation", "logit_change"]),
    )


def test_gaps_to_chance_have_the_right_side() -> None:
    found = summarize_faithfulness(*tables()).set_index(["measure", "method"])
    assert found.loc[("deletion", "good"), "gap"] == pytest.approx(-0.2, abs=0.001)
    assert found.loc[("deletion", "good"), "verdict"] == "shown"
    assert found.loc[("deletion", "bad"), "verdict"] == "shown absent"
    assert found.loc[("road", "good"), "verdict"] == "shown"
    assert found.loc[("road", "bad"), "verdict"] == "shown absent"
    assert found.loc[("deletion", "good"), "smallest_effect"] == SMALLEST_EFFECTS["deletion"]
    assert found.loc[("complexity", "good"), "mean"] == 0.5
    assert pd.isna(found.loc[("complexity", "good"), "gap"])


def test_a_map_that_beats_another_patients_is_still_compared_with_random_places() -> None:
    erased, changed = tables()
    good = erased[(erased["source"] == "good") & (erased["measure"] == "deletion")]
    random = good.assign(
        source="random", value=good["value"] - 0.05 - 0.01 * np.arange(len(good)) % 0.02, chance=np.nan
    )
    found = summarize_faithfulness(pd.concat([erased, random]), changed).set_index(["measure", "method"])
    row = found.loc[("deletion", "good")]
    assert row["verdict"] == "shown" and row["random_verdict"] == "shown absent"
    assert row["random"] == pytest.approx((good["value"].to_numpy() - random["value"].to_numpy()).mean())
    assert row["random_low"] <= row["random"] <= row["random_high"]
    assert pd.isna(found.loc[("road", "good"), "random"]), "where no order was drawn"
    assert pd.isna(found.loc[("deletion", "random"), "random"]), "nor is it compared with itself"


@pytest.mark.parametrize(("response", "verdict"), [(0.9, "shown absent"), (0.001, "not estimable")])
def test_a_network_that_does_not_respond_shows_nothing_about_maps(response: float, verdict: str) -> None:
    erased, changed = tables()
    still = erased[erased["measure"] == "deletion"].assign(
        value=lambda t: 0.0005 * np.arange(len(t)) / len(t),
        chance=lambda t: t["value"] + 0.0001 * (1 + np.arange(len(t)) % 3),
    )
    random = still[still["source"] == "good"].assign(source="random", measure="response", value=response, chance=np.nan)
    found = summarize_faithfulness(pd.concat([still, random]), changed).set_index(["measure", "method"])
    row = found.loc[("deletion", "good")]
    assert row["gap_low"] < row["gap_high"] < 0, "an interval below 0, of no size"
    assert row["verdict"] == verdict
    assert ("changes the probability by 0.001 only" in row["reason"]) == (verdict == "not estimable")
    assert found.loc[("response", "random"), "mean"] == pytest.approx(response)


def test_moving_together_is_a_rank_correlation() -> None:
    erased, changed = tables()
    found = summarize_faithfulness(erased, changed).set_index(["measure", "method"])
    part = changed[changed["method"] == "follows"]
    row = found.loc[("moves-with-model", "follows")]
    assert row["mean"] == pytest.approx(stats.spearmanr(part["distance"], part["logit_change"]).statistic)
    assert row["low"] < row["mean"] < row["high"] and row["patients"] == 20
    assert np.isnan(found.loc[("moves-with-model", "stays"), "mean"])  # a map that never moves has no correlation
    largest = part.groupby("radiograph")["distance"].max().mean()
    assert found.loc[("max-sensitivity", "follows"), "mean"] == pytest.approx(largest)


def test_an_undefined_distance_is_not_passed_over() -> None:
    erased, changed = tables()
    changed.loc[changed["radiograph"] == "film0", "distance"] = np.nan
    found = summarize_faithfulness(erased, changed).set_index(["measure", "method"])
    assert found.loc[("max-sensitivity", "follows"), "n"] == 19
    one = summarize_faithfulness(erased, changed[changed["patient"] == "person1"]).set_index(["measure", "method"])
    assert np.isnan(one.loc[("rank-correlation", "follows"), "low"])
