"""Levels and verdicts of similarities made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sightline.stats.trust import levels, verdict, verdicts


def similarity(final: float, again: float, chance: float, patients: int = 30, noise: float = 0.05) -> pd.DataFrame:
    """Two cases a patient; a cascade of two stages, one replicate, one pair each."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(2 * patients):
        head = {"method": "m", "radiograph": f"r{number}", "patient": f"p{number // 2}", "finding": "Edema"}
        head |= {"protocol": "corrected", "measure": "ssim"}
        for kind, versus, order, step, mean in (
            ("randomization", "head", "top-down", 1, 0.9), ("randomization", "body", "top-down", 2, final),
            ("randomization", "body", "independent", 2, 0.95),
            ("repeatability", "again-1", "", 0, again), ("pair", f"r{number + 1}", "", 0, chance),
        ):  # fmt: skip
            value = mean + noise * rng.standard_normal()
            rows.append({**head, "kind": kind, "versus": versus, "order": order, "step": step, "value": value})
    return pd.DataFrame(rows)


def said(table: pd.DataFrame, criterion: str) -> pd.Series:
    return verdicts(table).set_index("criterion").loc[criterion]


def test_no_more_alike_than_chance_at_the_last_stage_passes_and_more_fails() -> None:
    assert said(similarity(0.1, 0.6, 0.3), "randomization")["verdict"] == "passes"
    assert said(similarity(0.5, 0.6, 0.3), "randomization")["verdict"] == "fails"
    assert said(similarity(0.3, 0.6, 0.3), "randomization")["verdict"] == "passes"
    assert said(similarity(0.3, 0.6, 0.3, noise=0.4), "randomization")["verdict"] == "undecided"
    assert said(similarity(0.3, 0.3, 0.3), "repeatability")["verdict"] == "fails"
    assert said(similarity(0.1, 0.6, 0.3), "repeatability")["verdict"] == "passes"
    assert said(similarity(0.1, 0.2, 0.3), "repeatability")["verdict"] == "fails"


def test_the_difference_is_paired_case_by_case_and_counts_patients() -> None:
    table = similarity(0.1, 0.6, 0.3)
    row = said(table, "randomization")
    last = table[(table["step"] == 2) & (table["order"] == "top-down")]["value"].to_numpy()
    gap = last - table[table["kind"] == "pair"]["value"].to_numpy()
    assert row["mean"] == pytest.approx(gap.mean())
    assert row["low"] < gap.mean() < row["high"]
    assert (row["n"], row["patients"]) == (60, 30)
    assert (row["level"], row["chance"]) == pytest.approx((last.mean(), (last - gap).mean()))


def test_one_patient_is_not_estimable() -> None:
    assert said(similarity(0.1, 0.6, 0.3, patients=1), "randomization")["verdict"] == "not estimable"


def test_a_case_without_a_pair_or_a_map_leaves_the_difference_not_the_table() -> None:
    table = similarity(0.1, 0.6, 0.3)
    table = table[(table["kind"] != "pair") | (table["radiograph"] != "r3")]
    table.loc[(table["radiograph"] == "r5") & (table["step"] == 2), "value"] = np.nan
    assert said(table, "randomization")["n"] == 58
    assert levels(table).query("kind == 'repeatability'")["n"].item() == 60


def test_levels_are_means_of_every_comparison() -> None:
    table = similarity(0.1, 0.6, 0.3)
    found = levels(table)
    assert len(found) == 5
    pair = found[found["kind"] == "pair"]
    assert pair["mean"].item() == pytest.approx(table[table["kind"] == "pair"]["value"].mean())
    assert (found["low"] <= found["mean"]).all() and (found["mean"] <= found["high"]).all()


@pytest.mark.parametrize(
    ("low", "high", "forgets", "wanted"),
    [(-2, -1, True, "passes"), (-2, -1, False, "fails"), (1, 2, True, "fails"), (1, 2, False, "passes"),
     (-1, 1, True, "undecided"), (-1, 1, False, "undecided"), (-1, 0.05, True, "passes"), (-1, 0.05, False, "fails"),
     (0.01, 0.05, True, "fails"), (0.01, 0.05, False, "passes"), (np.nan, np.nan, False, "not estimable")],
)  # fmt: skip
def test_what_an_interval_says(low: float, high: float, forgets: bool, wanted: str) -> None:
    assert verdict({"low": low, "high": high}, forgets, margin=0.1) == wanted


@pytest.mark.parametrize(("high", "wanted"), [(0.0, "undecided"), (-0.01, "fails"), (0.01, "undecided")])
def test_without_a_margin_an_interval_has_to_lie_on_one_side(high: float, wanted: str) -> None:
    assert verdict({"low": -1, "high": high}, below=False) == wanted


def test_what_comes_back_is_compared_with_what_networks_trained_on_marks_bring_back() -> None:
    mine, net = similarity(0.1, 0.6, 0.3), similarity(0.1, 0.8, 0.2)
    net = net[net["kind"].isin(["repeatability", "pair"])].assign(
        method="localizer/net-1-unet/own", versus="net-2-unet"
    )
    rows = verdicts(pd.concat([mine, net], ignore_index=True)).set_index("criterion")
    row = rows.loc["repeatability-ceiling"]
    assert (row["method"], row["verdict"], row["n"], row["patients"]) == ("m", "fails", 60, 30)
    assert row["mean"] == pytest.approx(-0.2, abs=0.03) and row["chance"] == pytest.approx(0.8, abs=0.02)
    assert set(rows.loc["repeatability", "method"]) == {"m", "localizer/net-1-unet/own"}
    assert "repeatability-ceiling" not in set(verdicts(mine)["criterion"])
