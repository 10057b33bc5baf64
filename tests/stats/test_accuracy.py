"""AUROC and its resamples against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sightline.stats.accuracy import accuracy, auroc_draws
from sightline.stats.bootstrap import weights


@given(st.integers(0, 1000))
def test_every_resample_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = np.r_[0, 1, rng.integers(0, 2, 18)]
    probability = np.round(rng.random(20), 1)  # ties
    group = rng.integers(0, 7, 20)
    w = weights(7, 6, seed)
    point, draws = auroc_draws(probability, label, group, w)
    assert point == pytest.approx(roc_auc_score(label, probability))
    for b in range(6):
        weight = w[b][group]
        if weight[label == 1].sum() and weight[label == 0].sum():
            assert draws[b] == pytest.approx(roc_auc_score(label, probability, sample_weight=weight))
        else:
            assert np.isnan(draws[b])


def test_uncertain_and_unknown_labels_take_no_part() -> None:
    rows = {
        "model": "net",
        "patient": list("abcdef"),
        "study": list("abcdef"),
        "finding": "Edema",
        "probability": [0.9, 0.8, 0.2, 0.1, 0.5, 0.6],
    }
    found = accuracy(pd.DataFrame({**rows, "label": [1, 1, 0, 0, -1, np.nan]}))
    assert found.iloc[0][["mean", "n", "positives", "patients"]].tolist() == [1.0, 4, 2, 4]


def test_a_finding_with_one_class_is_left_out() -> None:
    rows = {"model": "net", "patient": list("ab"), "study": list("ab"), "finding": "Edema", "probability": [0.9, 0.8]}
    assert accuracy(pd.DataFrame({**rows, "label": [1, 1]})).empty


def test_the_views_of_a_study_count_once_by_the_greatest() -> None:
    rows = {"model": "net", "patient": list("aabc"), "study": ["a1", "a1", "b1", "c1"], "finding": "Edema"}
    found = accuracy(pd.DataFrame({**rows, "probability": [0.1, 0.9, 0.5, 0.3], "label": [1, 1, 0, 0]}))
    assert found.iloc[0][["mean", "n", "positives", "patients"]].tolist() == [1.0, 3, 1, 3]
