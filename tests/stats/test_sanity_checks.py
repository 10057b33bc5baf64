"""Levels and verdicts of similarities made by hand, and chance against an implementation of its own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sightline.stats.sanity_checks import LEAST_CEILING, similarity_levels, verdicts
from sightline.stats.verdicts import SMALLEST_EFFECTS


def similarity(final: float, again: float, chance: float, patients: int = 30, noise: float = 0.05) -> pd.DataFrame:
    """Two cases a patient; a cascade of two stages, one replicate, one pair each."""
    rng, partner = np.random.default_rng(0), np.random.default_rng(1)
    rows = []
    for number in range(2 * patients):
        head = {"method": "m", "radiograph": f"r{number}", "patient": f"p{number // 2}", "finding": "Edema"}
        head |= {"protocol": "corrected", "measure": "ssim"}
        for kind, versus, order, step, mean in (
            ("randomization", "head", "top-down", 1, 0.9),
            ("randomization", "body", "top-down", 2, final),
            ("randomization", "body", "independent", 2, 0.95),
            ("repeatability", "again-1", "", 0, again),
            ("pair", "", "", 0, chance),
            ("pair", "again-1", "", 0, chance),
        ):
            value = mean + noise * (partner if (kind, versus) == ("pair", "again-1") else rng).standard_normal()
            rows.append({**head, "comparison": kind, "versus": versus, "order": order, "step": step, "value": value})
    return pd.DataFrame(rows)


def said(table: pd.DataFrame, criterion: str) -> pd.Series:
    return verdicts(table).set_index("criterion").loc[criterion]


def test_claims_follow_the_whole_interval() -> None:
    assert said(similarity(0.1, 0.6, 0.3), "randomization")["verdict"] == "shown"
    assert said(similarity(0.5, 0.6, 0.3), "randomization")["verdict"] == "shown absent"
    assert said(similarity(0.3, 0.6, 0.3), "randomization")["verdict"] == "shown"
    assert said(similarity(0.3, 0.6, 0.3, noise=0.8), "randomization")["verdict"] == "undecided"
    assert said(similarity(0.3, 0.3, 0.3), "repeatability")["verdict"] == "shown absent"
    assert said(similarity(0.1, 0.6, 0.3), "repeatability")["verdict"] == "shown"
    assert said(similarity(0.1, 0.2, 0.3), "repeatability")["verdict"] == "shown absent"


def test_more_than_chance_by_less_than_counts_is_not_shown() -> None:
    row = said(similarity(0.1, 0.02, 0.0, noise=0.001), "repeatability")
    assert row["low"] > 0 and row["verdict"] == "shown absent" and row["smallest_effect"] == SMALLEST_EFFECTS["ssim"]
    small = verdicts(similarity(0.1, 0.02, 0.0, noise=0.001), smallest_effects={"ssim": 0.01})
    assert set(small[small["criterion"] == "repeatability"]["verdict"]) == {"shown"}


def test_the_difference_is_paired_case_by_case_and_counts_patients() -> None:
    table = similarity(0.1, 0.6, 0.3)
    row = said(table, "randomization")
    last = table[(table["step"] == 2) & (table["order"] == "top-down")]["value"].to_numpy()
    gap = last - table[(table["comparison"] == "pair") & (table["versus"] == "")]["value"].to_numpy()
    assert row["mean"] == pytest.approx(gap.mean())
    assert row["low"] < gap.mean() < row["high"]
    assert (row["n"], row["patients"]) == (60, 30)
    assert (row["level"], row["chance"]) == pytest.approx((last.mean(), (last - gap).mean()))


def test_one_patient_is_not_estimable() -> None:
    row = said(similarity(0.1, 0.6, 0.3, patients=1), "randomization")
    assert (row["verdict"], row["reason"]) == ("not estimable", "1 patient, at least 8 are needed")


def test_a_case_without_a_pair_or_a_map_leaves_the_difference_not_the_table() -> None:
    table = similarity(0.1, 0.6, 0.3)
    table = table[(table["comparison"] != "pair") | (table["radiograph"] != "r3")]
    table.loc[(table["radiograph"] == "r5") & (table["step"] == 2), "value"] = np.nan
    assert said(table, "randomization")["n"] == 58
    assert similarity_levels(table).query("comparison == 'repeatability'")["n"].item() == 60


def test_levels_are_means_of_every_comparison() -> None:
    table = similarity(0.1, 0.6, 0.3)
    found = similarity_levels(table)
    assert len(found) == 6
    for versus in ("", "again-1"):
        pair = found[(found["comparison"] == "pair") & (found["versus"] == versus)]
        wanted = table[(table["comparison"] == "pair") & (table["versus"] == versus)]["value"].mean()
        assert pair["mean"].item() == pytest.approx(wanted)
    assert (found["low"] <= found["mean"]).all() and (found["mean"] <= found["high"]).all()


def with_networks(mine: pd.DataFrame, again: float, chance: float) -> pd.DataFrame:
    """The table beside that of a network trained on annotations, which was trained twice."""
    net = similarity(0.1, again, chance, noise=0.06)
    net = net[net["comparison"].isin(["repeatability", "pair"])]
    net = net.assign(method="localizer/net-1-unet/intrinsic", versus="net-2-unet")
    return pd.concat([mine, net], ignore_index=True)


def test_repeatable_is_what_reaches_networks_trained_on_annotations() -> None:
    rows = verdicts(with_networks(similarity(0.1, 0.6, 0.3), 0.8, 0.2)).set_index("criterion")
    row = rows.loc["repeatability-ceiling"]
    assert (row["method"], row["verdict"], row["n"], row["patients"]) == ("m", "shown absent", 60, 30)
    assert row["mean"] == pytest.approx(-0.2, abs=0.03) and row["chance"] == pytest.approx(0.8, abs=0.02)
    assert set(rows.loc["repeatability", "method"]) == {"m", "localizer/net-1-unet/intrinsic"}
    reached = said(with_networks(similarity(0.1, 0.79, 0.3), 0.8, 0.2), "repeatability-ceiling")
    assert reached["verdict"] == "shown" and reached["direction"] == "not lower"
    everywhere = said(with_networks(similarity(0.1, 0.79, 0.79), 0.8, 0.2), "repeatability-ceiling")
    assert everywhere["verdict"] == "shown absent", "a map that is the same for every patient repeats by chance"


@pytest.mark.parametrize("again", [0.02, 0.1, LEAST_CEILING - 0.05])
def test_no_map_is_repeatable_because_networks_do_not_repeat_either(again: float) -> None:
    row = said(with_networks(similarity(0.1, again, -0.2), again, -0.3), "repeatability-ceiling")
    assert row["verdict"] == "not estimable" and "annotations reach a similarity of" in row["reason"]
    alone = said(similarity(0.1, 0.6, 0.3), "repeatability-ceiling")
    assert alone["verdict"] == "not estimable" and "no two networks" in alone["reason"]


def slow(table: pd.DataFrame, kind: str, versus: str) -> list[float]:
    """Differences to chance, row by row, by loops and dictionaries."""
    own, gaps = "" if kind == "randomization" else versus, []
    rows = [r for r in table.to_dict("records") if (r["measure"], r["protocol"]) == ("ssim", "corrected")]
    for row in rows:
        if (row["comparison"], row["versus"]) != (kind, versus) or row["order"] == "independent":
            continue
        for pair in rows:
            alike = (pair[k] == row[k] for k in ("method", "radiograph", "finding"))
            if pair["comparison"] == "pair" and pair["versus"] == own and all(alike):
                level, chance = row["value"], 0.0 if np.isnan(pair["value"]) else pair["value"]
                if kind in ("repeatability", "reproducibility") and np.isnan(level):
                    level = 0.0
                gaps.append(level - chance)
    return [g for g in gaps if not np.isnan(g)]


def test_chance_is_that_of_the_two_networks_compared_and_a_stage_has_the_models_own() -> None:
    rng = np.random.default_rng(1)
    table = similarity(0.1, 0.4, 0.3, patients=6)
    table.loc[(table["comparison"] == "pair") & (table["versus"] == ""), "value"] += 0.4  # the model likes one place
    other = table[table["versus"] == "again-1"].assign(
        versus="other-1",
        comparison=lambda t: t["comparison"].replace("repeatability", "reproducibility"),
        value=lambda t: t["value"] + rng.normal(0, 0.3, len(t)),
    )
    table = pd.concat([table, other], ignore_index=True).sample(frac=1, random_state=0)
    table.loc[rng.random(len(table)) < 0.2, "value"] = np.nan
    found = verdicts(table).set_index(["criterion", "versus"])
    for kind, versus in (("repeatability", "again-1"), ("reproducibility", "other-1"), ("randomization", "body")):
        wanted = slow(table, kind, versus)
        assert found.loc[(kind, versus), "mean"] == pytest.approx(np.mean(wanted))
        assert found.loc[(kind, versus), "n"] == len(wanted)


def test_failed_maps_lose_what_should_come_back_and_are_counted() -> None:
    whole = similarity(0.1, 0.6, 0.3)
    table = whole.copy()
    failed = table["radiograph"].isin([f"r{n}" for n in range(0, 60, 2)])  # one case of every patient
    table.loc[failed, "value"] = np.nan
    again, before = said(table, "repeatability"), said(whole, "repeatability")
    assert (again["n"], again["patients"], again["failed"]) == (60, 30, 30) and before["failed"] == 0
    assert again["mean"] == pytest.approx(before["mean"] / 2, abs=0.02)  # nor is a case of them any gain
    forgot = said(table, "randomization")
    assert (forgot["n"], forgot["failed"]) == (30, 30)  # what says nothing has nothing to forget
    level = similarity_levels(table).query("comparison == 'repeatability'").iloc[0]
    assert (level["n"], level["failed"]) == (60, 30) and level["mean"] == pytest.approx(0.3, abs=0.02)


def test_where_every_map_failed_nothing_is_estimated() -> None:
    row = said(similarity(0.1, 0.6, 0.3).assign(value=np.nan), "repeatability")
    assert row["verdict"] == "not estimable" and np.isnan(row["mean"]) and np.isnan(row["level"])
    assert (row["n"], row["failed"]) == (0, 60)
