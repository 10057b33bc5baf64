"""Stability of ranks, readers above controls and agreement of metrics, against scipy and against made-up cases."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from sightline.stats.bootstrap import draw_weights
from sightline.stats.estimates import ScoreMatrix
from sightline.stats.metric_suitability import MetricScores, kendall_tau, metric_agreement, metric_suitability

SOURCES = ("net/a", "net/b", "control/center", "control/noise", "reader/second")


def scores_of(name: str, signal: float, patients: int = 40, seed: int = 0, higher: bool = True) -> MetricScores:
    """Sources whose means are `signal` apart, in the order of `SOURCES`, with noise of 1."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(patients, len(SOURCES))) + signal * np.arange(len(SOURCES))
    keys = [(source, "Edema") for source in SOURCES]
    ids = [f"r{i}" for i in range(patients)]
    weights = draw_weights(patients, 200, 0)
    return MetricScores(
        name, ScoreMatrix(values if higher else -values, np.arange(patients), keys, weights, ids), higher
    )


def test_tau_is_that_of_scipy_with_ties() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, (50, 6)).astype(float), rng.integers(0, 4, (50, 6)).astype(float)
    expected = [scipy.stats.kendalltau(a, b).statistic for a, b in zip(first, second, strict=True)]
    assert kendall_tau(first, second) == pytest.approx(expected, nan_ok=True)


def test_stability_is_one_for_clear_ranks_and_about_zero_for_chance() -> None:
    clear = metric_suitability([scores_of("iou", 5.0)], ["Edema"], seed=0).iloc[0]
    assert clear["rank_stability"] == 1 and clear["sources"] == 4 and clear["patients"] == 40
    chance = [
        metric_suitability([scores_of("iou", 0.0, seed=s)], ["Edema"], seed=0)["rank_stability"].iloc[0]
        for s in range(60)
    ]
    assert abs(np.mean(chance)) < 0.12


def test_a_metric_of_which_less_is_better_is_judged_alike() -> None:
    more, less = (metric_suitability([scores_of("x", 1.0, higher=h)], ["Edema"], seed=0) for h in (True, False))
    columns = ["rank_stability", "reader_wins", "control"]
    assert more[columns].to_dict() == less[columns].to_dict()


def test_a_reader_is_compared_with_the_best_control() -> None:
    metric = scores_of("iou", 0.6)
    row = metric_suitability([metric], ["Edema"], seed=0).iloc[0]
    assert row["control"] == "control/noise" and row["reader"] == "reader/second"
    wins = (metric.matrix.values[:, 4] > metric.matrix.values[:, 3]).mean()
    assert row["reader_wins"] == pytest.approx(wins)
    assert row["reader_wins_low"] < wins < row["reader_wins_high"] and row["reader_patients"] == 40


def test_few_patients_and_few_sources_say_so() -> None:
    row = metric_suitability([scores_of("iou", 1.0, patients=6)], ["Edema"], seed=0).iloc[0]
    assert np.isnan(row["rank_stability"]) and row["reason"] == "6 patients, fewer than 10"
    metric = scores_of("iou", 1.0)
    metric.matrix.keys[:2] = [("net/a", "Mass"), ("net/b", "Mass")]
    assert metric_suitability([metric], ["Edema"], seed=0).iloc[0]["reason"] == "2 sources, fewer than 3"


def test_agreement_is_that_of_scipy_case_by_case() -> None:
    first, second = scores_of("iou", 0.1, seed=1), scores_of("dice", 0.1, seed=2)
    second.matrix.values[:, :4] += first.matrix.values[:, :4]
    row = metric_agreement([first, second], ["Edema"]).iloc[0]
    a, b = first.matrix.values, second.matrix.values
    spearman = np.mean([scipy.stats.spearmanr(a[:, j], b[:, j]).statistic for j in (0, 1)])
    assert row["case_agreement"] == pytest.approx(spearman)
    tau = scipy.stats.kendalltau(a[:, :4].mean(0), b[:, :4].mean(0)).statistic
    assert row["rank_agreement"] == pytest.approx(tau) and row["n"] == 40


def test_scores_are_matched_by_radiograph_and_not_by_place() -> None:
    first, second = scores_of("iou", 0.1), scores_of("dice", 0.1)
    order = np.random.default_rng(0).permutation(40)
    m = second.matrix
    shuffled = ScoreMatrix(m.values[order], m.group[order], m.keys, m.weights, [m.radiographs[i] for i in order])
    row = metric_agreement([first, MetricScores("dice", shuffled, True)], ["Edema"]).iloc[0]
    assert row["case_agreement"] == pytest.approx(1) and row["rank_agreement"] == pytest.approx(1)
