"""Right and wrong predictions, most salient regions, and columns printed twice."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from sightline.protocol import CORRECTED
from sightline.stats.gaze_agreement import (
    compare_by_correctness,
    find_duplicate_rows,
    most_salient_regions,
    region_distributions,
)
from sightline.stats.model_comparison import compare_auroc, discrimination
from sightline.stats.multiplicity import add_holm

REGIONS = ("Aortic Knob", "Right Lung", "Left Lung")


def scores(effect: float, patients: int = 40, finding: str = "Edema", noise: float = 0.05) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, patients)
    value = 0.4 + effect * (p >= 0.6) + noise * rng.standard_normal(patients)
    return pd.DataFrame(
        {
            "protocol": "corrected",
            "source": "net/grad-cam",
            "radiograph": [f"r{i}" for i in range(patients)],
            "patient": [f"p{i}" for i in range(patients)],
            "finding": finding,
            "metric": "ssim",
            "value": value,
            "probability": p,
        }
    )


def test_the_difference_is_that_of_the_two_means() -> None:
    table = scores(0.2)
    found = compare_by_correctness(table, {("net", "Edema"): 0.6}, (CORRECTED,)).set_index("finding").loc["Edema"]
    right = table["probability"] >= 0.6
    assert found["correct"] == pytest.approx(table["value"][right].mean())
    assert found["incorrect"] == pytest.approx(table["value"][~right].mean())
    assert (found["correct_n"], found["incorrect_n"]) == (right.sum(), (~right).sum())
    assert found["mean"] == pytest.approx(found["correct"] - found["incorrect"])
    assert 0.1 < found["low"] < found["mean"] < found["high"] < 0.3 and found["p"] < 0.01


def test_no_effect_is_not_told_apart_and_few_patients_say_nothing() -> None:
    found = compare_by_correctness(scores(0.0), {("net", "Edema"): 0.6}, (CORRECTED,))
    assert (found["p"] > 0.05).all()
    few = compare_by_correctness(scores(0.2, 8), {("net", "Edema"): 0.6}, (CORRECTED,))
    assert few[["mean", "low", "high", "p"]].isna().any(axis=1).all() or (few["incorrect_n"] >= 5).all()
    none = compare_by_correctness(scores(0.2), {("net", "Edema"): 0.0}, (CORRECTED,))
    assert none["incorrect_n"].eq(0).all() and none["p"].isna().all() and none["cutoff"].eq(0.0).all()


def test_a_model_without_a_cutoff_is_cut_at_one_half() -> None:
    found = compare_by_correctness(scores(0.1), {}, (CORRECTED,))
    assert found["cutoff"].eq(0.5).all()


def test_tests_are_corrected_within_their_family() -> None:
    table = pd.concat([scores(e, finding=f) for e, f in ((0.2, "Edema"), (0.05, "Fracture"), (0.0, "Pneumonia"))])
    found = compare_by_correctness(table, {}, (CORRECTED,))
    own = found[found["finding"] != "average"]
    assert (own["p_holm"] >= own["p"]).all() and own["p_holm"].max() <= 1
    average = found[found["finding"] == "average"]
    assert average["p_holm"].tolist() == average["p"].tolist()  # one source: nothing to correct


def test_holm_is_that_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = [0.01, 0.04, 0.03, 0.005, 0.9]
    rows = [{"p": value} for value in [*p, float("nan")]]
    add_holm(rows)
    np.testing.assert_allclose([r["p_holm"] for r in rows[:-1]], multipletests(p, method="holm")[1])
    assert np.isnan(rows[-1]["p_holm"])


def shares(values: dict[str, list[list[float]]]) -> pd.DataFrame:
    """source -> shares of the three regions, case by case."""
    rows = [
        {"source": s, "radiograph": f"r{i}", "patient": f"p{i}", "finding": "Edema", "region": r, "share": v}
        for s, cases in values.items()
        for i, case in enumerate(cases)
        for r, v in zip(REGIONS, case, strict=True)
    ]
    return pd.DataFrame(rows)


def test_the_most_salient_region_has_the_highest_z_score_of_its_source() -> None:
    """Not the largest share: the right lung always has that."""
    table = shares({"a": [[0.1, 0.6, 0.3], [0.2, 0.6, 0.2], [0.1, 0.7, 0.2]]})
    found = most_salient_regions(table, REGIONS)
    assert found["region"].tolist() == ["Left Lung", "Aortic Knob", "Right Lung"]
    left = np.array([0.3, 0.2, 0.2])
    assert found["z"].iloc[0] == pytest.approx((left[0] - left.mean()) / left.std(ddof=1))


def test_regions_that_are_missing_or_never_vary_and_maps_that_point_nowhere_are_left_out() -> None:
    nan = float("nan")
    table = shares({"a": [[0.1, 0.6, 0.3], [nan, 0.6, 0.2], [nan, nan, nan], [0.1, 0.6, 0.25]]})
    found = most_salient_regions(table, REGIONS)
    assert found["radiograph"].tolist() == ["r0", "r1", "r3"]  # the third says nothing
    assert set(found["region"]) == {"Left Lung"}  # shares of the others do not vary
    tied = most_salient_regions(shares({"a": [[0.1, 0.1, 0.5], [0.2, 0.2, 0.5]]}), REGIONS)
    assert tied["tied"].all() and tied["region"].tolist() == ["Aortic Knob"] * 2


def test_distributions_are_compared_with_that_of_the_gaze() -> None:
    rng = np.random.default_rng(0)

    def drawn(weights: list[float]) -> list[list[float]]:
        return [(0.2 + 0.3 * np.eye(3)[rng.choice(3, p=weights)] + 0.01 * rng.random(3)).tolist() for _ in range(60)]

    table = shares({"gaze": drawn([0.4, 0.3, 0.3]), "alike": drawn([0.4, 0.3, 0.3]), "other": drawn([0.02, 0.9, 0.08])})
    found = region_distributions(most_salient_regions(table, REGIONS), REGIONS, "gaze")
    whole = found[found["finding"] == "Edema"].set_index(["source", "region"])
    for source in ("gaze", "alike", "other"):
        assert whole.loc[source, "mean"].sum() == pytest.approx(1)
    assert np.isnan(whole.loc["gaze", "p"]).all()
    assert whole.loc["alike", "p"].iloc[0] > 0.05 > whole.loc["other", "p"].iloc[0]
    assert whole.loc["other", "distance"].iloc[0] > 0.2


def test_columns_printed_twice_are_found_in_the_published_table() -> None:
    facts = json.loads((files("sightline.report") / "published.json").read_text("utf-8"))["gaze"]
    for some in facts["ssim"].values():
        flat = pd.DataFrame({m: np.ravel(list(values.values())) for m, values in some.items()}).T
        assert find_duplicate_rows(flat) == [("grad-cam", "layer-conductance", 12)]
    assert find_duplicate_rows(pd.DataFrame({"x": [0.1, np.nan], "y": [np.nan, 0.1]}, index=["a", "b"])) == []


def predictions(models: int = 2, patients: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(patients):
        label = int(rng.integers(0, 2))
        for m in range(models):
            p = 1 / (1 + np.exp(-(label * (1 + 2 * m) - 1 + rng.normal())))
            rows.append(
                {
                    "model": f"m{m}",
                    "radiograph": f"r{i}",
                    "patient": f"p{i // 2}",
                    "study": f"s{i}",
                    "finding": "Edema",
                    "probability": p,
                    "label": float(label),
                }
            )
    return pd.DataFrame(rows)


def test_models_are_compared_on_the_same_images() -> None:
    table = predictions()
    gaps = compare_auroc(table, (("m1", "m0"),))
    (row,) = gaps.to_dict("records")
    own = discrimination(table).set_index("model")
    assert row["mean"] == pytest.approx(own.loc["m1", "auroc"] - own.loc["m0", "auroc"])
    assert row["low"] < row["mean"] < row["high"] and row["n"] == 60 and row["patients"] == 30
    assert row["p"] < 0.05 and row["p_holm"] == row["p"]
    assert (own["delong_low"] < own["auroc"]).all() and (own["auroc"] < own["delong_high"]).all()
    assert (own["brier_low"] < own["brier"]).all() and own["calibration"].between(0, 1).all()


def test_findings_of_one_class_and_unknown_labels_are_left_out() -> None:
    table = predictions()
    table.loc[table["label"] == 0, "label"] = -1.0
    assert discrimination(table).empty and compare_auroc(table, (("m1", "m0"),)).empty
