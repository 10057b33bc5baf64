"""AUROC, and AUROC without each patient, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sightline.stats.auroc import auroc_left_out, estimate_auroc
from sightline.stats.delong import auroc_with_covariance


@given(st.integers(0, 1000))
def test_the_area_without_each_patient_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = np.r_[0, 1, rng.integers(0, 2, 18)]
    probability = np.round(rng.random(20), 1)  # ties
    group = rng.integers(0, 7, 20)
    r = auroc_left_out(probability, label, group, 8)  # the last patient is not in the sample
    assert r.point[0] == pytest.approx(roc_auc_score(label, probability))
    for g in range(8):
        rest = group != g
        if len(set(label[rest])) == 2:
            assert r.left_out[g, 0] == pytest.approx(roc_auc_score(label[rest], probability[rest]))
        else:
            assert np.isnan(r.left_out[g, 0])
    assert (r.weight[:, 0] > 0).sum() == len(set(group))


def test_with_one_image_a_patient_the_standard_error_is_that_of_delong() -> None:
    rng = np.random.default_rng(0)
    label = np.tile([0, 0, 1], 100)
    score = label + rng.normal(size=300)
    r = auroc_left_out(score, label, np.arange(300), 300)
    variance = 299 / 300 * ((r.left_out - r.left_out.mean()) ** 2).sum()
    assert variance == pytest.approx(auroc_with_covariance(score[None], label)[1][0, 0], rel=0.01)


def test_too_few_patients_of_a_class_have_no_interval_and_a_perfect_area_has_one() -> None:
    rows = {
        "model": "net",
        "patient": range(20),
        "study": range(20),
        "finding": "Edema",
        "probability": np.arange(20.0),
    }
    few, perfect = (
        estimate_auroc(pd.DataFrame({**rows, "label": (np.arange(20) >= k).astype(int)})).iloc[0] for k in (18, 12)
    )
    assert few["mean"] == 1 and np.isnan(few["low"]) and few["reason"].startswith("2 patients with and 18 without")
    assert 0.5 < perfect["low"] < perfect["high"] == 1 and perfect["reason"] == ""


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
