"""Levels and verdicts of similarities made by hand, and chance against an implementation of its own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sightline.stats.sanity_checks import similarity_levels, verdict, verdicts


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


def test_no_more_alike_than_chance_at_the_last_stage_passes_and_more_fails() -> None:
    assert said(similarity(0.1, 0.6, 0.3), "randomization")["verdict"] == "passes"
    assert said(similarity(0.5, 0.6, 0.3), "randomization")["verdict"] == "fails"
    assert said(similarity(0.3, 0.6, 0.3), "randomization")["verdict"] == "passes"
    assert said(similarity(0.3, 0.6, 0.3, noise=0.8), "randomization")["verdict"] == "undecided"
    assert said(similarity(0.3, 0.3, 0.3), "repeatability")["verdict"] == "fails"
    assert said(similarity(0.1, 0.6, 0.3), "repeatability")["verdict"] == "passes"
    assert said(similarity(0.1, 0.2, 0.3), "repeatability")["verdict"] == "fails"


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
    assert said(similarity(0.1, 0.6, 0.3, patients=1), "randomization")["verdict"] == "not estimable"


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


@pytest.mark.parametrize(
    ("low", "high", "forgets", "wanted"),
    [
        (-2, -1, True, "passes"),
        (-2, -1, False, "fails"),
        (1, 2, True, "fails"),
        (1, 2, False, "passes"),
        (-1, 1, True, "undecided"),
        (-1, 1, False, "undecided"),
        (-1, 0.05, True, "passes"),
        (-1, 0.05, False, "fails"),
        (0.01, 0.05, True, "fails"),
        (0.01, 0.05, False, "passes"),
        (np.nan, np.nan, False, "not estimable"),
    ],
)
def test_what_an_interval_says(low: float, high: float, forgets: bool, wanted: str) -> None:
    assert verdict({"low": low, "high": high}, forgets, margin=0.1) == wanted


@pytest.mark.parametrize(("high", "wanted"), [(0.0, "undecided"), (-0.01, "fails"), (0.01, "undecided")])
def test_without_a_margin_an_interval_has_to_lie_on_one_side(high: float, wanted: str) -> None:
    assert verdict({"low": -1, "high": high}, expected_below=False) == wanted


def test_what_comes_back_is_compared_with_what_networks_trained_on_marks_bring_back() -> None:
    mine, net = similarity(0.1, 0.6, 0.3), similarity(0.1, 0.8, 0.2)
    net = net[net["comparison"].isin(["repeatability", "pair"])].assign(
        method="localizer/net-1-unet/intrinsic", versus="net-2-unet", value=lambda t: t.value + 1e-4 * np.arange(len(t))
    )
    rows = verdicts(pd.concat([mine, net], ignore_index=True)).set_index("criterion")
    row = rows.loc["repeatability-ceiling"]
    assert (row["method"], row["verdict"], row["n"], row["patients"]) == ("m", "fails", 60, 30)
    assert row["mean"] == pytest.approx(-0.2, abs=0.03) and row["chance"] == pytest.approx(0.8, abs=0.02)
    assert set(rows.loc["repeatability", "method"]) == {"m", "localizer/net-1-unet/intrinsic"}
    assert "repeatability-ceiling" not in set(verdicts(mine)["criterion"])


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
