"""DeLong's variance beside its definition by pairs, simulation, and other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from sightline.core import Array
from sightline.metrics.classification import best_cutoff
from sightline.stats import delong
from sightline.stats.calibration import brier, calibration_error


def sample(seed: int, n: int = 60, models: int = 2) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    labels = np.append([0, 0, 1, 1], rng.integers(0, 2, n - 4))
    shared = rng.normal(size=n)
    return np.round(labels + shared + rng.normal(size=(models, n)), 1), labels  # with ties


def by_pairs(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Areas and covariances from every pair of a positive and a negative, as the paper defines them."""
    kernels = []
    for row in scores:
        x, y = row[labels == 1][:, None], row[labels == 0][None]
        kernels.append((x > y) + 0.5 * (x == y))
    k = np.array(kernels)  # (K, m, n)
    area = k.mean((1, 2))
    ten, one = k.mean(2), k.mean(1)
    covariance = np.cov(ten) / ten.shape[1] + np.cov(one) / one.shape[1]
    return area, covariance


@given(st.integers(0, 100_000), st.integers(6, 80))
def test_areas_and_covariances_are_those_of_pairs(seed: int, n: int) -> None:
    scores, labels = sample(seed, n)
    for ours, wanted in zip(delong.auroc_with_covariance(scores, labels), by_pairs(scores, labels), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-12)
    assert delong.auroc_with_covariance(scores, labels)[0][0] == pytest.approx(roc_auc_score(labels, scores[0]))


def test_the_test_holds_its_level_and_has_power() -> None:
    """Of models that are equally good, 5 % of the samples give p below 0.05."""
    p = []
    for seed in range(400):
        (first, second), labels = sample(seed, 80)
        p.append(delong.p_value(first, second, labels))
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.085
    (first, _), labels = sample(1, 200)
    assert delong.p_value(first, np.random.default_rng(0).normal(size=200), labels) < 0.01


def test_intervals_cover() -> None:
    truth = 0.760  # of a unit shift between normals of deviation sqrt(2)
    hits = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        labels = np.repeat([0, 1], 50)
        _, low, high = delong.auroc_interval(labels + rng.normal(0, np.sqrt(2) / np.sqrt(2), 100), labels)
        hits.append(low <= truth <= high)
    assert 0.91 < np.mean(hits) < 0.98


def test_what_has_no_area_or_no_interval() -> None:
    one = np.array([[0.1, 0.2, 0.3]])
    assert np.isnan(delong.auroc_with_covariance(one, np.ones(3))[0]).all()
    area, covariance = delong.auroc_with_covariance(one, np.array([0, 0, 1]))
    assert area[0] == 1 and np.isnan(covariance).all()
    assert np.isnan(delong.p_value(one[0], one[0], np.array([0, 0, 1])))
    same = np.arange(10.0)
    assert np.isnan(delong.p_value(same, same, np.repeat([0, 1], 5)))


@given(st.integers(0, 10_000), st.integers(2, 60))
def test_brier_score_is_that_of_scikit_learn(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    p, labels = rng.random(n), rng.integers(0, 2, n)
    assert brier(p, labels) == pytest.approx(brier_score_loss(labels, p, pos_label=1))
    error = calibration_error(p, labels)
    assert abs(float(p.mean() - labels.mean())) - 1e-12 <= error <= 1


def test_calibration_sees_probabilities_that_are_off() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    labels = (rng.random(20_000) < p).astype(int)
    assert calibration_error(p, labels) < 0.02
    assert calibration_error(np.clip(p + 0.2, 0, 1), labels) == pytest.approx(0.2, abs=0.04)
    assert np.isnan(brier(p[:0], labels[:0])) and np.isnan(calibration_error(p[:0], labels[:0]))


@given(st.integers(0, 10_000), st.sampled_from(["f1", "youden"]))
def test_no_cutoff_is_better_than_the_best(seed: int, rule: str) -> None:
    scores, labels = sample(seed, 20, 1)
    s = scores[0]

    def worth(cutoff: float) -> float:
        said = s >= cutoff
        hits, wrong = float((said & (labels == 1)).sum()), float((said & (labels == 0)).sum())
        if rule == "f1":
            return 2 * hits / (said.sum() + labels.sum())
        return hits / labels.sum() - wrong / (labels == 0).sum()

    ours = best_cutoff(s, labels.astype(float), rule)  # type: ignore[arg-type]
    assert worth(ours) == pytest.approx(max(worth(c) for c in [*s, s.max() + 1]))
    assert np.isnan(best_cutoff(s, np.ones(20), rule))  # type: ignore[arg-type]
