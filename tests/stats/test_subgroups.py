"""Means and differences of subgroups against drawing patients one by one."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.protocol import CORRECTED, PUBLISHED
from sightline.stats.bootstrap import draw_weights
from sightline.stats.estimates import ScoreMatrix
from sightline.stats.subgroups import MIN_PATIENTS, Membership, estimate_subgroups

FINDINGS = ["Edema", "Mass"]


def a_matrix(seed: int, radiographs: int = 60, shift: float = 0.0) -> tuple[ScoreMatrix, Membership]:
    """Two radiographs of each patient, two sources; the last third of the patients are 'male' and score higher."""
    rng = np.random.default_rng(seed)
    values = rng.random((radiographs, 4))
    values[rng.random(values.shape) < 0.2] = np.nan
    group = np.arange(radiographs) // 2
    male = group >= group.max() * 2 / 3
    values[male] += shift
    keys = [(source, finding) for source in ("net/cam", "control/center") for finding in FINDINGS]
    weights = draw_weights(int(group.max()) + 1, 400, seed)
    both = np.repeat(male[:, None], 2, 1)
    ids = [f"r{i}" for i in range(radiographs)]
    return ScoreMatrix(values, group, keys, weights, ids), Membership("sex", {"female": ~both, "male": both})


def test_means_and_differences_are_those_of_the_cases_by_hand() -> None:
    matrix, membership = a_matrix(1)
    table = estimate_subgroups(matrix, FINDINGS, [membership], CORRECTED, "score")
    average = table[(table["source"] == "net/cam") & (table["finding"] == "average")].set_index("group")
    male = membership.groups["male"][:, 0]
    by_hand = {
        name: np.nanmean(matrix.values[rows, :2], axis=0).mean() for name, rows in (("male", male), ("female", ~male))
    }
    assert average["mean"].to_dict() == pytest.approx(by_hand)
    assert average.loc["male", "versus"] == "female", "the larger group is the reference"
    assert average.loc["male", "difference"] == pytest.approx(by_hand["male"] - by_hand["female"])
    assert np.isnan(average.loc["female", "difference"]) and average["reason"].tolist() == ["", ""]
    draws = []
    for row in matrix.weights:
        drawn = np.repeat(np.arange(len(matrix.group)), row[matrix.group])
        parts = [matrix.values[drawn[keep[drawn]], :2] for keep in (male, ~male)]
        draws.append(np.nanmean(parts[0], axis=0).mean() - np.nanmean(parts[1], axis=0).mean())
    spread = average.loc["male", "difference_high"] - average.loc["male", "difference_low"]
    assert spread == pytest.approx(2 * 1.96 * np.std(draws), rel=0.25)
    tail = min(np.mean(np.array(draws) <= 0), np.mean(np.array(draws) >= 0))
    assert average.loc["male", "p"] == pytest.approx(min(1, 2 * tail), abs=0.1)


def test_a_true_difference_is_seen_and_a_small_group_says_why_it_is_empty() -> None:
    matrix, membership = a_matrix(2, shift=0.8)
    few = np.zeros((60, 2), bool)
    few[:6] = True
    groups = {**membership.groups, "few": few, "none": np.zeros((60, 2), bool)}
    table = estimate_subgroups(matrix, FINDINGS, [Membership("sex", groups)], CORRECTED, "score")
    average = table[(table["source"] == "net/cam") & (table["finding"] == "average")].set_index("group")
    assert average.loc["male", "difference_low"] > 0.5 and average.loc["male", "p"] < 0.01
    assert average.loc["few", "reason"] == f"3 patients, fewer than {MIN_PATIENTS}"
    assert average.loc["none", "reason"] == "no scored case"
    assert average.loc[["few", "none"], ["mean", "difference", "p"]].isna().all(axis=None)


def test_only_findings_that_every_group_has_are_averaged() -> None:
    """Mass occurs in women alone: the averages of both groups are those of Edema."""
    matrix, membership = a_matrix(3)
    matrix.values[membership.groups["male"][:, 0], 1] = np.nan
    table = estimate_subgroups(matrix, FINDINGS, [membership], CORRECTED, "score")
    rows = table[table["source"] == "net/cam"].set_index(["group", "finding"])
    assert rows.loc[("female", "average"), "mean"] == pytest.approx(rows.loc[("female", "Edema"), "mean"])
    assert rows.loc[("female", "average"), "findings"] == 1
    assert rows.loc[("male", "Mass"), "reason"] == "no scored case"


def test_the_published_protocol_resamples() -> None:
    matrix, membership = a_matrix(5)
    tables = [estimate_subgroups(matrix, FINDINGS, [membership], p, "score") for p in (CORRECTED, PUBLISHED)]
    a, b = (table.dropna(subset="difference").iloc[0] for table in tables)
    assert a["difference"] == pytest.approx(b["difference"], abs=0.02), "published means are those of the resamples"
    assert a["difference_low"] != b["difference_low"]
    assert a["difference_high"] == pytest.approx(b["difference_high"], abs=0.05)


def test_all_differences_of_a_source_are_adjusted_together() -> None:
    matrix, membership = a_matrix(4, shift=0.1)
    twice = [membership, Membership("view", membership.groups)]
    table = estimate_subgroups(matrix, FINDINGS, twice, CORRECTED, "score").dropna(subset="p")
    alone = estimate_subgroups(matrix, FINDINGS, [membership], CORRECTED, "score").dropna(subset="p")
    assert (alone["p_holm"] == alone["p"]).all()
    assert (table["p_holm"] >= np.minimum(1, 2 * table["p"]) - 1e-12).all()


def test_the_interval_of_a_difference_covers_no_difference() -> None:
    """Nominal 95 %, groups of 20 and 40 patients: within what 100 data sets can tell."""
    covered = []
    for seed in range(100):
        matrix, membership = a_matrix(seed, radiographs=120)
        table = estimate_subgroups(matrix, FINDINGS, [membership], CORRECTED, "score").dropna(subset="difference")
        row = table[table["source"] == "net/cam"].iloc[0]
        covered.append(row["difference_low"] <= 0 <= row["difference_high"])
    assert 0.89 <= np.mean(covered) <= 1
