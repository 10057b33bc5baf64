"""Paired comparisons of methods with floor and ceiling: against SciPy's and plain definitions, and corrected."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sightline.protocol import CORRECTED
from sightline.stats.estimates import differences
from sightline.stats.utility import compare_with_prior, rank_biserial, signed_rank


def table(shift: dict[str, float], patients: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.2, 0.6, patients)
    rows = [
        ("corrected", source, f"film{i}", f"person{i}", finding, metric, base[i] + gain + rng.normal(0, 0.05))
        for source, gain in shift.items()
        for i in range(patients)
        for finding in ("Edema", "Nodule")
        for metric in ("average-precision", "pr-area")
    ]
    return pd.DataFrame(rows, columns=["protocol", "source", "radiograph", "patient", "finding", "metric", "value"])


def test_floor_learning_and_ceiling() -> None:
    scores = table(
        {
            "net/good": 0.2,
            "net/bad": -0.2,
            "other/good": 0.3,
            "control/average-mask": 0.0,
            "control/untrained/good": 0.0,
            "localizer/unet/intrinsic": 0.4,
        }
    )
    found = compare_with_prior(scores, differences(scores, [CORRECTED]), "net", [CORRECTED])
    assert set(found["method"]) == {"good", "bad", "localizer/unet/intrinsic"}
    net = found[found["method"] == "localizer/unet/intrinsic"]
    assert set(net["criterion"]) == {"utility"} and set(net["verdict"]) == {"shown"}
    good = found[(found["method"] == "good") & (found["measure"] == "average-precision")].set_index("criterion")
    assert good.loc["utility", "verdict"] == "shown" and good.loc["learned", "verdict"] == "shown"
    assert good.loc["ceiling", "verdict"] == "shown absent" and good.loc["ceiling", "mean"] == pytest.approx(
        -0.2, abs=0.03
    )
    assert good.loc["utility", "effect"] == pytest.approx(1, abs=0.05) and good.loc["utility", "p"] < 0.001
    bad = found[(found["method"] == "bad") & (found["measure"] == "average-precision")].set_index("criterion")
    assert "learned" not in bad.index and bad.loc["utility", "verdict"] == "shown absent"
    assert bad.loc["utility", "effect"] < -0.9


def test_p_is_that_of_patients_and_corrected_by_holm() -> None:
    scores = table({"net/a": 0.02, "net/b": 0.01, "net/c": 0.03, "control/average-mask": 0.0}, patients=12)
    found = compare_with_prior(scores, differences(scores, [CORRECTED]), "net", [CORRECTED])
    found = found[found["measure"] == "average-precision"].set_index("method")
    wide = scores[scores["metric"] == "average-precision"].pivot_table(
        index=["patient", "finding"], columns="source", values="value"
    )
    plain = {}
    for name in "abc":
        gaps = (wide[f"net/{name}"] - wide["control/average-mask"]).groupby("patient").mean()
        assert len(gaps) == 12
        plain[name] = stats.wilcoxon(gaps).pvalue
    ordered = sorted(plain, key=lambda name: plain[name])
    wanted = np.maximum.accumulate([min(1, (3 - k) * plain[name]) for k, name in enumerate(ordered)])
    assert found.loc[ordered, "p"].to_numpy(float) == pytest.approx(wanted)


def test_too_few_pairs_have_no_p() -> None:
    assert np.isnan(signed_rank(np.array([1.0, 2, 3, 4, 5])))
    assert np.isnan(signed_rank(np.zeros(20)))
    assert np.isnan(rank_biserial(np.zeros(3)))


@given(st.lists(st.floats(-1, 1).filter(lambda v: abs(v) > 1e-6), min_size=1, max_size=20))
def test_rank_biserial_is_the_difference_of_rank_sums(gaps: list[float]) -> None:
    values = np.array(gaps)
    ranks = stats.rankdata(np.abs(values))
    up, down = ranks[values > 0].sum(), ranks[values < 0].sum()
    assert rank_biserial(values) == pytest.approx((up - down) / (up + down))
    assert rank_biserial(-values) == pytest.approx(-rank_biserial(values))
