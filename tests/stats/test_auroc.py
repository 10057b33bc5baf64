"""AUROC and its resamples against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sightline.stats.auroc import bootstrap_auroc, estimate_auroc
from sightline.stats.bootstrap import draw_weights


@given(st.integers(0, 1000))
def test_every_resample_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = np.r_[0, 1, rng.integers(0, 2, 18)]
    probability = np.round(rng.random(20), 1)  # ties
    group = rng.integers(0, 7, 20)
    w = draw_weights(7, 6, seed)
    point, draws = bootstrap_auroc(probability, label, group, w)
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
    found = estimate_auroc(pd.DataFrame({**rows, "label": [1, 1, 0, 0, -1, np.nan]}))
    assert found.iloc[0][["mean", "n", "positives", "patients"]].tolist() == [1.0, 4, 2, 4]


def test_a_finding_with_one_class_is_left_out() -> None:
    rows = {"model": "net", "patient": list("ab"), "study": list("ab"), "finding": "Edema", "probability": [0.9, 0.8]}
    assert estimate_auroc(pd.DataFrame({**rows, "label": [1, 1]})).empty


def test_the_views_of_a_study_count_once_by_the_greatest() -> None:
    rows = {"model": "net", "patient": list("aabc"), "study": ["a1", "a1", "b1", "c1"], "finding": "Edema"}
    found = estimate_auroc(pd.DataFrame({**rows, "probability": [0.1, 0.9, 0.5, 0.3], "label": [1, 1, 0, 0]}))
    assert found.iloc[0][["mean", "n", "positives", "patients"]].tolist() == [1.0, 3, 1, 3]


def test_the_average_is_the_mean_of_the_findings_with_an_interval_of_its_own() -> None:
    rng = np.random.default_rng(0)
    label = np.tile([0, 1], 40)
    frames = [
        pd.DataFrame(
            {
                "model": "net",
                "patient": np.arange(80) // 2,
                "study": np.arange(80),
                "finding": finding,
                "probability": rng.normal(label * lift, 1),
                "label": label,
            }
        )
        for finding, lift in (("Edema", 0.5), ("Fracture", 2.0))
    ]
    frames.append(frames[0].assign(finding="Nodule", label=1))  # one class: no AUROC, and no part of the average
    first, second, average = estimate_auroc(pd.concat(frames)).to_dict("records")
    assert average["finding"] == "average" and average["mean"] == pytest.approx((first["mean"] + second["mean"]) / 2)
    assert average["low"] < average["mean"] < average["high"]
    assert average["high"] - average["low"] < first["high"] - first["low"]
    assert (average["n"], average["positives"], average["patients"]) == (160, 80, 40)
