"""Regressions against statsmodels, intervals against the paper's own numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from sightline.stats.multiplicity import bonferroni, holm
from sightline.stats.regression import (
    SHAPE_FEATURES,
    fisher_interval,
    rank_correlation_left_out,
    regress_on_confidence,
    regress_on_features,
    significance_stars,
    slope_left_out,
    spearman,
)

PRINTED = [
    # Table 2 of 10.1038/s42256-022-00536-x (preprint): rho, n, and the interval that this n gives
    (0.577, 381, 0.506, 0.640),
    (0.348, 296, 0.244, 0.444),
    (0.592, 229, 0.501, 0.670),
    (0.384, 120, 0.220, 0.527),
    (0.548, 124, 0.411, 0.661),
    (0.428, 668, 0.364, 0.488),
    (0.509, 50, 0.269, 0.690),
    (0.690, 159, 0.599, 0.764),
    (0.734, 11, 0.240, 0.926),
    (0.468, 327, 0.379, 0.549),
    (0.285, 2365, 0.248, 0.322),
]


PRINTED_STARS = [
    # the same table: slope, its interval, n and its stars, of the findings with fewer than three stars
    (0.218, 0.087, 0.349, 50, "**"),
    (0.446, 0.108, 0.783, 11, "*"),
]


def cases(seed: int = 0, n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    patient = rng.integers(0, n // 3, n)
    table = pd.DataFrame({"patient": [f"p{i}" for i in patient], "finding": rng.choice(["Edema", "Mass", "Hernia"], n)})
    table["instances"] = rng.integers(0, 4, n)
    table["size"], table["irrectangularity"] = rng.random(n) ** 2, rng.random(n)
    table["elongation"] = 1 + rng.exponential(size=n)
    table["probability"] = rng.random(n)
    effect = pd.Series({"Edema": 0.2, "Mass": 0.0, "Hernia": -0.2})[table["finding"]].to_numpy()
    table["iou"] = 0.3 * table["size"] + effect + rng.normal(size=n // 3)[patient % (n // 3)] * 0.1
    table.loc[rng.random(n) < 0.1, "iou"] = np.nan
    return table


@pytest.mark.parametrize("feature", SHAPE_FEATURES)
def test_published_features_are_ordinary_least_squares_of_the_stack(feature: str) -> None:
    table = cases()
    row = regress_on_features(table, "iou", "published").set_index("feature").loc[feature]
    kept = table[table["instances"] > 0].copy()
    kept["x"] = (kept[feature] - kept[feature].min()) / (kept[feature].max() - kept[feature].min())
    peer = smf.ols("iou ~ x", data=kept).fit()
    assert row["slope"] == pytest.approx(peer.params["x"])
    assert [row["low"], row["high"]] == pytest.approx(peer.conf_int().loc["x"].tolist())
    assert row["p"] == pytest.approx(peer.pvalues["x"])
    assert row["n"] == peer.nobs
    assert row["stars"] == significance_stars(min(4 * peer.pvalues["x"], 1))


@pytest.mark.parametrize("feature", SHAPE_FEATURES)
def test_corrected_features_compare_within_findings_by_patients(feature: str) -> None:
    table = cases()
    row = regress_on_features(table, "iou", "corrected").set_index("feature").loc[feature]
    kept = table[table["instances"] > 0].copy()
    kept["x"] = (kept[feature] - kept[feature].min()) / (kept[feature].max() - kept[feature].min())
    kept = kept.dropna(subset=["iou"])
    formula = "iou ~ x + C(finding)"
    assert row["slope"] == pytest.approx(smf.ols(formula, data=kept).fit().params["x"])
    rest = [kept[kept["patient"] != p] for p in dict.fromkeys(kept["patient"])]
    without = np.array([smf.ols(formula, data=part).fit().params["x"] for part in rest])
    error = np.sqrt((len(rest) - 1) / len(rest) * ((without - without.mean()) ** 2).sum())
    codes = pd.factorize(kept["patient"])[0]
    peer = smf.ols(formula, data=kept).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    assert peer.bse["x"] < error < 1.2 * peer.bse["x"]
    assert 1.9 * error < (row["high"] - row["low"]) / 2 < 2.5 * error and row["low"] < row["slope"] < row["high"]
    assert (row["p"] < 0.05) == (row["low"] > 0 or row["high"] < 0)


def test_ranks_without_each_patient_are_scipys() -> None:
    rng = np.random.default_rng(0)
    x, y, patient = np.round(rng.random(60), 1), np.round(rng.random(60), 1), np.repeat(np.arange(20), 3)
    r = rank_correlation_left_out(x, y, patient)
    assert r.point[0] == pytest.approx(stats.spearmanr(x, y).statistic)
    for g in range(20):
        rest = patient != g
        assert r.left_out[g, 0] == pytest.approx(stats.spearmanr(x[rest], y[rest]).statistic)


def test_slopes_without_each_patient_drop_a_finding_that_only_he_has() -> None:
    rng = np.random.default_rng(1)
    finding = np.r_[np.zeros(20), np.ones(2)]
    design = np.column_stack([rng.random(22), finding == 0, finding == 1]).astype(float)
    y, patient = rng.random(22), np.r_[np.arange(20) // 2, 10, 10]
    r = slope_left_out(design, y, patient)
    assert r.left_out[10, 0] == pytest.approx(np.polyfit(design[:20, 0], y[:20], 1)[0])


def test_an_outcome_that_does_not_vary_has_no_slope_and_no_star() -> None:
    rows = regress_on_confidence(cases().assign(iou=0.1), "iou", "corrected")
    assert rows[["slope", "p", "rho", "rho_p"]].isna().all(axis=None) and not rows["stars"].any()


def test_a_confounder_between_findings_fools_only_the_published_form() -> None:
    rng = np.random.default_rng(1)
    finding = np.repeat(["Cardiomegaly", "Lung Lesion"], 150)
    large = finding == "Cardiomegaly"
    table = pd.DataFrame({"finding": finding, "patient": [f"p{i}" for i in range(300)], "instances": 1})
    table["size"] = np.where(large, 0.5, 0.05) + rng.normal(size=300) * 0.01
    table["elongation"] = table["irrectangularity"] = rng.random(300)
    table["iou"] = np.where(large, 0.6, 0.1) + rng.normal(size=300) * 0.05
    size = {
        d: regress_on_features(table, "iou", d).set_index("feature").loc["size"] for d in ("published", "corrected")
    }
    assert size["published"]["low"] > 0.3
    assert size["corrected"]["low"] < 0 < size["corrected"]["high"]


@pytest.mark.parametrize("definition", ["published", "corrected"])
def test_nothing_to_regress_on_is_nan_with_its_n(definition: str) -> None:
    table = cases().assign(size=0.25, elongation=np.inf)
    rows = regress_on_features(table, "iou", definition).set_index("feature")
    assert rows.loc[["size", "elongation"], "slope"].isna().all()
    assert rows.loc["elongation", "n"] == 0
    few = regress_on_features(cases(n=6).head(2), "iou", definition)
    assert few["slope"].isna().all()
    assert regress_on_confidence(cases().assign(iou=np.nan), "iou", definition)["slope"].isna().all()


@pytest.mark.parametrize("definition", ["published", "corrected"])
def test_assurance_per_finding_and_over_all(definition: str) -> None:
    table = cases()
    rows = regress_on_confidence(table, "iou", definition).set_index("finding")
    assert list(rows.index) == [*dict.fromkeys(table["finding"]), "all"]
    known = table.dropna(subset=["iou"])
    edema = known[known["finding"] == "Edema"]
    assert rows.loc["Edema", "slope"] == pytest.approx(smf.ols("iou ~ probability", edema).fit().params["probability"])
    assert rows.loc["Edema", "rho"] == pytest.approx(stats.spearmanr(edema["probability"], edema["iou"])[0])
    assert rows.loc["all", "n"] == len(known)
    formula = "iou ~ probability" + (" + C(finding)" if definition == "corrected" else "")
    assert rows.loc["all", "slope"] == pytest.approx(smf.ols(formula, known).fit().params["probability"])


@pytest.mark.parametrize(("slope", "low", "high", "n", "stars"), PRINTED_STARS)
def test_the_stars_that_the_paper_prints_for_confidence_are_not_adjusted(
    slope: float, low: float, high: float, n: int, stars: str
) -> None:
    p = 2 * stats.t.sf(slope / ((high - low) / 2 / stats.t.ppf(0.975, n - 2)), n - 2)
    assert significance_stars(p) == stars != significance_stars(11 * p)


def test_stars_for_confidence_are_adjusted_as_corrected_only() -> None:
    table = cases()
    published, corrected = (regress_on_confidence(table, "iou", d) for d in ("published", "corrected"))
    assert (published["p_adjusted"] == published["p"]).all()
    assert published["stars"].tolist() == [significance_stars(p) for p in published["p"]]
    assert published["rho_stars"].tolist() == [significance_stars(p) for p in published["rho_p"]]
    assert corrected["p_adjusted"].tolist() == holm(corrected["p"].to_numpy()).tolist()


@pytest.mark.parametrize(("rho", "n", "low", "high"), PRINTED)
def test_fisher_intervals_of_the_papers_table_with_its_own_n(rho: float, n: int, low: float, high: float) -> None:
    assert fisher_interval(rho, n) == pytest.approx((low, high), abs=6e-4)


def test_rank_correlation_of_too_little_is_undefined() -> None:
    assert np.isnan(spearman(np.array([1.0, 2, 3]), np.array([1.0, 2, 3]))[0])
    assert np.isnan(spearman(np.ones(9), np.arange(9.0))[0])
    assert spearman(np.arange(5.0), np.arange(5.0))[:3] == pytest.approx((1, 1, 1))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjustments_are_those_of_statsmodels_and_ignore_nan(p: list[float]) -> None:
    values = np.array([p[0], np.nan, *p[1:]])
    for own, name in ((bonferroni, "bonferroni"), (holm, "holm")):
        adjusted = own(values)
        assert np.isnan(adjusted[1])
        assert np.delete(adjusted, 1) == pytest.approx(multipletests(p, method=name)[1])


def test_scaling_a_predictor_rescales_its_slope() -> None:
    rng = np.random.default_rng(8)
    table = pd.DataFrame({"finding": "Edema", "patient": range(60), "probability": rng.random(60), "y": rng.random(60)})
    for feature in SHAPE_FEATURES:
        table[feature] = rng.uniform(1, 5, 60)
    wide, standard, raw = (
        regress_on_features(table, "y", "published", s).set_index("feature") for s in ("min-max", "z-score", "raw")
    )
    for feature in SHAPE_FEATURES:
        x = table[feature]
        assert wide.loc[feature, "slope"] == pytest.approx(raw.loc[feature, "slope"] * (x.max() - x.min()))
        assert standard.loc[feature, "slope"] == pytest.approx(raw.loc[feature, "slope"] * x.std())
        assert standard.loc[feature, "p"] == pytest.approx(raw.loc[feature, "p"])
    table["size"] = 0.5
    assert np.isnan(regress_on_features(table, "y", "published").set_index("feature").loc["size", "slope"])
    plain, scaled = (regress_on_confidence(table, "y", "published", s) for s in ("raw", "min-max"))
    assert scaled["slope"][0] == pytest.approx(plain["slope"][0] * np.ptp(table["probability"]))
    assert scaled["rho"][0] == plain["rho"][0]


@pytest.mark.parametrize("definition", ["published", "corrected"])
def test_a_constant_outcome_has_no_star_in_any_form(definition: str) -> None:
    table = cases().assign(iou=0.3)
    shapes, confidence = regress_on_features(table, "iou", definition), regress_on_confidence(table, "iou", definition)
    for rows in (shapes, confidence):
        assert rows[["slope", "low", "high", "p"]].isna().all(axis=None)
        assert (rows["stars"] == "").all()
    assert confidence["rho"].isna().all() and (confidence["rho_stars"] == "").all()


def test_an_outcome_that_only_differs_between_findings_has_no_slope_within_them() -> None:
    table = cases()
    table["iou"] = table["finding"].map({f: i / 7 for i, f in enumerate(dict.fromkeys(table["finding"]))})
    assert regress_on_confidence(table, "iou", "corrected")["slope"].isna().all()
