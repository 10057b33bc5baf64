"""Intervals over trainings and patients: against the analysis of variance, and by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sightline.core import Array
from sightline.errors import UnknownNameError
from sightline.metrics.classification import auroc
from sightline.stats.model_comparison import auroc_over_trainings
from sightline.stats.trainings import (
    cluster_influence,
    estimates_over_trainings,
    interval_over_trainings,
    similarity_over_trainings,
)


def covariance_of_means(values: Array) -> Array:
    """Covariance over patients of the means of the columns of (P, S)."""
    return np.cov(values.T) / len(values)


def test_the_variance_is_that_of_the_crossed_random_effects() -> None:
    rng = np.random.default_rng(0)
    patients, s = 20, 4
    x = rng.normal(size=(patients, 1)) + rng.normal(size=(1, s)) + 0.3 * rng.normal(size=(patients, s))
    found = interval_over_trainings(x.mean(0), covariance_of_means(x), patients, [range(s)])
    grand, by_patient, by_training = x.mean(), x.mean(1), x.mean(0)
    ms_patient = s * ((by_patient - grand) ** 2).sum() / (patients - 1)
    ms_training = patients * ((by_training - grand) ** 2).sum() / (s - 1)
    rest = x - by_patient[:, None] - by_training[None] + grand
    ms_rest = (rest**2).sum() / ((patients - 1) * (s - 1))
    variance = (ms_patient + ms_training - ms_rest) / (patients * s)
    assert found.mean == pytest.approx(grand)
    reach = found.high - found.mean
    assert 1.96 < reach / variance**0.5 < 3.2  # Student's t between the normal and three degrees of freedom
    assert found.spread == pytest.approx(by_training.std(ddof=1))


def test_p_belongs_to_the_interval() -> None:
    rng = np.random.default_rng(1)
    for shift in np.linspace(0, 0.6, 13):
        x = shift + 0.5 * rng.normal(size=(15, 1)) + 0.1 * rng.normal(size=(1, 3)) + 0.2 * rng.normal(size=(15, 3))
        found = interval_over_trainings(x.mean(0), covariance_of_means(x), 15, [range(3)])
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


@pytest.mark.parametrize(("spread", "trainings"), [(0.0, 3), (0.05, 3), (0.05, 5)])
def test_intervals_of_differences_cover_where_patients_alone_do_not(spread: float, trainings: int) -> None:
    rng = np.random.default_rng(3)
    patients, sets, covered, narrow = 30, 400, 0, 0
    arms = [range(trainings), range(trainings, 2 * trainings)]
    sign = np.repeat([1, -1], trainings) / trainings
    for _ in range(sets):
        shared = 0.2 * rng.normal(size=(patients, 1))
        x = shared + spread * rng.normal(size=(1, 2 * trainings)) + 0.1 * rng.normal(size=(patients, 2 * trainings))
        cov = covariance_of_means(x)
        found = interval_over_trainings(x.mean(0), cov, patients, arms)
        covered += found.low <= 0 <= found.high
        narrow += abs(sign @ x.mean(0)) < 2.05 * (sign @ cov @ sign) ** 0.5
    assert covered / sets > 0.93
    assert (narrow / sets < 0.75) == (spread > 0)


def test_what_has_no_interval_says_why() -> None:
    one = interval_over_trainings(np.array([0.5, 0.6]), np.zeros((2, 2)), 1, [[0, 1]])
    assert np.isnan([one.low, one.high, one.p]).all()
    assert "patients" in one.reason
    same = interval_over_trainings(np.zeros(4), np.zeros((4, 4)), 9, [[0, 1], [2, 3]])
    assert (same.mean, same.reason) == (0, "nothing varies: all differences are equal")
    none = interval_over_trainings(np.full(2, np.nan), np.full((2, 2), np.nan), 0, [[0, 1]])
    assert none.reason == "no radiograph has a score of all trainings"


def test_one_training_has_an_interval_over_patients_that_says_so() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(25, 1))
    found = interval_over_trainings(x.mean(0), covariance_of_means(x).reshape(1, 1), 25, [[0]])
    assert found.scope == "patients"
    half = 2.0639 * x.std(ddof=1) / 5  # Student's t, 24 degrees of freedom
    assert (found.high - found.mean) == pytest.approx(half, rel=1e-4)


def test_influence_gives_the_sandwich_covariance_of_clustered_means() -> None:
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(6), [1, 2, 3, 1, 2, 4])
    values = rng.random((13, 2))
    values[rng.random((13, 2)) < 0.2] = np.nan
    means, influence = cluster_influence(values, group, 6)
    for k in range(2):
        column = values[:, k]
        assert means[k] == pytest.approx(np.nanmean(column))
        sums = [np.nansum(column[group == g] - np.nanmean(column)) for g in range(6)]
        wanted = np.sum(np.square(sums)) / (~np.isnan(column)).sum() ** 2 * 6 / 5
        assert (influence[:, k] ** 2).sum() == pytest.approx(wanted)


def test_estimates_over_trainings_name_the_network_and_every_finding() -> None:
    rng = np.random.default_rng(6)
    rows = [
        ("corrected", "iou", f"net-{t}/cam", f"r{p}", f"p{p}", finding, 0.5 + 0.1 * t + 0.1 * rng.normal())
        for t in range(3)
        for p in range(10)
        for finding in ("Edema", "Mass")
    ]
    names = ["protocol", "metric", "source", "radiograph", "patient", "finding", "value"]
    scores = pd.DataFrame(rows, columns=names)
    table = estimates_over_trainings(scores, {"net": ["net-0", "net-1", "net-2"]}).set_index("finding")
    assert table["source"].unique().tolist() == ["net/cam"]
    assert table["mean"]["Edema"] == pytest.approx(scores[scores["finding"] == "Edema"]["value"].mean())
    assert table["mean"]["average"] == pytest.approx(scores["value"].mean())
    assert (table["trainings"] == 3).all()
    assert (table["low"] < table["mean"]).all()
    single = estimates_over_trainings(scores, {"net": ["net-0"]})
    assert (single["scope"] == "patients").all()
    assert single["spread"].isna().all()
    with pytest.raises(UnknownNameError, match="the sources are of net-0, net-1, net-2"):
        estimates_over_trainings(scores, {"net": ["other"]})


def test_auroc_over_trainings_is_the_mean_difference_with_a_wider_interval() -> None:
    rng = np.random.default_rng(7)
    patients, label = 60, np.tile([0.0, 1.0], 30)
    shared = rng.normal(size=patients)
    scores = {f"net-{t}": 0.5 * t * label + shared + 0.5 * rng.normal(size=patients) for t in range(3)}
    scores["base"] = shared + 0.5 * rng.normal(size=patients)
    ids = {"patient": [f"p{i}" for i in range(patients)], "study": "", "finding": "Edema", "label": label}
    table = pd.concat([pd.DataFrame({"model": m, "probability": v, **ids}) for m, v in scores.items()])
    networks = {"net": ["net-0", "net-1", "net-2"], "base": ["base"]}
    row = auroc_over_trainings(table, networks, [("net", "base")]).iloc[0]
    areas = {m: auroc(v, label.astype(int)) for m, v in scores.items()}
    assert row["mean"] == pytest.approx(np.mean([areas[f"net-{t}"] for t in range(3)]) - areas["base"])
    assert (row["trainings"], row["scope"]) == ("3 and 1", "patients and trainings of one network")
    alone = auroc_over_trainings(table, {m: [m] for m in scores}, [("net-1", "base")]).iloc[0]
    assert alone["scope"] == "patients"
    assert row["high"] - row["low"] > alone["high"] - alone["low"]


def test_similarity_over_trainings_counts_failures_as_zero_and_needs_two_replicates() -> None:
    rng = np.random.default_rng(8)
    rows = [
        ("repeatability", "cam", again, f"r{i}", f"p{i}", "Edema", "corrected", "ssim", 0.5 + 0.1 * rng.normal())
        for again in ("again-1", "again-2")
        for i in range(12)
    ]
    names = ["comparison", "method", "versus", "radiograph", "patient", "finding", "protocol", "measure", "value"]
    table = pd.DataFrame(rows, columns=names)
    table.loc[0, "value"] = np.nan
    row = similarity_over_trainings(table).iloc[0]
    assert row["mean"] == pytest.approx(table["value"].fillna(0).mean())
    assert (row["n"], row["patients"], row["trainings"]) == (12, 12, 2)
    assert similarity_over_trainings(table[table["versus"] == "again-1"]).empty
