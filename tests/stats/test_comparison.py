"""All pairs of sources: against single differences, Holm's steps by hand, and tables with little to compare."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from sightline.errors import DataError, UnknownNameError
from sightline.protocol import CORRECTED, PUBLISHED, Protocol
from sightline.stats.comparison import COLUMNS, compare, concordance, rank_sources, select_pairs
from sightline.stats.estimates import AVERAGE, differences, estimates


def table(
    levels: Mapping[str, float], patients: int = 12, protocol: str = "corrected", noise: float = 0.05
) -> pd.DataFrame:
    """Scores of sources around their levels: two findings, two radiographs a patient."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.1, patients)
    rows = [
        (protocol, "iou", source, f"r{p}-{view}", f"p{p}", finding, level + shared[p] + noise * rng.normal())
        for source, level in levels.items()
        for p in range(patients)
        for view in range(2)
        for finding in ("Edema", "Mass")
    ]
    return pd.DataFrame(rows, columns=["protocol", "metric", "source", "radiograph", "patient", "finding", "value"])


LEVELS = {"a/cam": 0.5, "a/lrp": 0.4, "b/cam": 0.52, "b/lrp": 0.1, "control/center": 0.3, "reader/second": 0.7}


def test_every_pair_is_the_difference_of_its_two_sources() -> None:
    scores = table(LEVELS)
    compared = compare(scores, "corrected")
    assert list(compared.columns) == COLUMNS
    assert len(compared) == 6 * 3
    for row in compared.to_dict("records"):
        two = scores[scores["source"].isin([row["source"], row["versus"]])]
        alone = differences(two, CORRECTED, versus=row["versus"])
        wanted = alone[alone["finding"] == row["finding"]].iloc[0]
        assert [row[k] for k in ("mean", "low", "high", "p")] == [wanted[k] for k in ("mean", "low", "high", "p")]
        assert (row["reason"], row["scope"]) == ("", "patients")


def test_averages_and_single_findings_are_adjusted_apart() -> None:
    compared = compare(table(LEVELS))
    for of_average in (True, False):
        family = compared[(compared["finding"] == AVERAGE) == of_average].sort_values("p", kind="stable")
        worst = 0.0
        for step, (p, adjusted) in enumerate(zip(family["p"], family["p_holm"], strict=True)):
            worst = max(worst, min(1.0, p * (len(family) - step)))
            assert adjusted == pytest.approx(worst)


def test_pairs_of_methods_and_of_models() -> None:
    names = ["a/cam", "a/lrp", "b/cam", "folder"]
    assert select_pairs(names, "method") == [("a/cam", "a/lrp")]
    assert select_pairs(names, "model") == [("a/cam", "b/cam")]
    assert len(select_pairs(names)) == 6
    with pytest.raises(DataError, match="no pair to compare by method"):
        compare(table({"a/cam": 0.5, "b/cam": 0.5}), by="method")


@pytest.mark.parametrize("levels", [{"a/cam": 0.5}, {"control/center": 0.5, "reader/second": 0.7}])
def test_one_source_is_refused_with_what_the_table_has(levels: dict[str, float]) -> None:
    with pytest.raises(DataError, match="no pair to compare"):
        compare(table(levels))


def test_named_sources_may_be_of_any_kind() -> None:
    compared = compare(table(LEVELS), sources=["control/center", "reader/second"])
    assert set(compared["source"]) == {"control/center"}
    with pytest.raises(UnknownNameError, match="no source 'c/cam'; it has a/cam"):
        compare(table(LEVELS), sources=["a/cam", "c/cam"])


def test_one_patient_has_no_interval_and_the_row_says_why() -> None:
    compared = compare(table(LEVELS, patients=1))
    assert compared[["low", "high", "p", "p_holm"]].isna().all(axis=None)
    assert compared["mean"].notna().all()
    assert compared["reason"].str.contains("patient").all()


def test_sources_that_share_no_radiograph_say_so() -> None:
    scores = table({"a/cam": 0.5, "b/cam": 0.4})
    first = scores["radiograph"] < "r3"
    compared = compare(scores[first == (scores["source"] == "a/cam")])
    assert compared["finding"].tolist() == ["Edema", "Mass", AVERAGE]
    assert compared["mean"].isna().all()
    assert (compared["n"] == 0).all()
    assert (compared["reason"] == "no radiograph has a score of both").all()


def test_a_finding_that_one_source_lacks_has_a_row_with_the_reason() -> None:
    scores = table({"a/cam": 0.5, "b/cam": 0.4})
    compared = compare(scores[(scores["source"] == "a/cam") | (scores["finding"] == "Edema")]).set_index("finding")
    assert compared.loc["Mass", "reason"] == "no radiograph has a score of both"
    assert compared.loc["Edema", "reason"] == ""


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_equal_scores_and_failures_everywhere_are_never_a_difference(value: float) -> None:
    compared = compare(table({"a/cam": 0, "b/cam": 0}).assign(value=value))
    assert (compared["mean"] == 0).all()
    assert not (compared["p_holm"] < 1).any()
    ranks = rank_sources(compared)
    assert (ranks[["rank", "low", "high"]] == [1.5, 1, 2]).all(axis=None)


def test_scores_that_are_all_undefined_have_no_numbers() -> None:
    compared = compare(table({"a/cam": 0, "b/cam": 0}).assign(value=np.nan))
    assert compared[["mean", "low", "p_holm"]].isna().all(axis=None)
    assert (compared["reason"] != "").all()
    assert rank_sources(compared)[["rank", "low", "high"]].isna().all(axis=None)


def test_trainings_of_a_network_are_compared_as_one() -> None:
    levels = {"a-1/cam": 0.5, "a-2/cam": 0.55, "b-1/cam": 0.3, "b-2/cam": 0.35, "c/cam": 0.4}
    trainings = {"a": ["a-1", "a-2"], "b": ["b-1", "b-2"]}
    compared = compare(table(levels), trainings=trainings).set_index(["source", "versus", "finding"])
    both, one = compared.loc[("a/cam", "b/cam", AVERAGE)], compared.loc[("a/cam", "c/cam", AVERAGE)]
    means = estimates(table(levels)).set_index(["source", "finding"])["mean"]
    wanted = sum(means[f"a-{i}/cam", AVERAGE] - means[f"b-{i}/cam", AVERAGE] for i in (1, 2)) / 2
    assert both["mean"] == pytest.approx(wanted)
    assert (both["trainings"], both["scope"]) == ("2 and 2", "patients and trainings")
    assert (one["trainings"], one["scope"]) == ("2 and 1", "patients and trainings of one network")
    with pytest.raises(UnknownNameError, match="no source is of the model 'a-3'"):
        compare(table(levels), trainings={"a": ["a-3"]})
    with pytest.raises(DataError, match="a-1 is named as a training twice"):
        compare(table(levels), trainings={"a": ["a-1"], "b": ["a-1"]})


def test_ranks_follow_the_scores_and_their_sets_the_adjusted_p() -> None:
    compared = compare(table({"a/cam": 0.5, "b/cam": 0.501, "c/cam": 0.1}, noise=0.02))
    ranks = rank_sources(compared)
    ranks = ranks[ranks["finding"] == AVERAGE].set_index("source")
    assert ranks.loc["c/cam", ["rank", "low", "high"]].tolist() == [3, 3, 3]
    assert sorted(ranks["rank"]) == [1, 2, 3]
    assert ranks.loc["a/cam", ["low", "high"]].tolist() == [1, 2]


def test_ranks_begin_with_the_smallest_where_lower_is_better() -> None:
    compared = compare(table({"a/cam": 0.5, "b/cam": 0.1}).assign(metric="kl"))
    higher = compare(table({"a/cam": 0.5, "b/cam": 0.1}))
    best = {
        name: rank_sources(c).query("rank == 1")["source"].unique().tolist()
        for name, c in [("d", compared), ("h", higher)]
    }
    assert best == {"d": ["b/cam"], "h": ["a/cam"]}


def test_concordance_is_kendalls_w() -> None:
    rng = np.random.default_rng(2)
    wide = np.stack([rng.permutation(5) + 1 for _ in range(4)])
    ranks = pd.DataFrame(
        [(f"m{i}", f"s{j}", wide[i, j]) for i in range(4) for j in range(5)], columns=["metric", "source", "rank"]
    )
    correlations = [np.corrcoef(wide[i], wide[j])[0, 1] for i in range(4) for j in range(i)]
    assert concordance(ranks, ["metric"]) == pytest.approx((1 + 3 * np.mean(correlations)) / 4)  # Kendall 1948
    assert np.isnan(concordance(ranks[ranks["metric"] == "m0"], ["metric"]))


def test_protocols_are_given_by_name_or_as_records() -> None:
    scores = pd.concat([table(LEVELS), table(LEVELS, protocol="published")])
    for given in ("published", PUBLISHED, ["published"], [PUBLISHED]):
        assert set(compare(scores, given)["protocol"]) == {"published"}
        pd.testing.assert_frame_equal(estimates(scores, given), estimates(scores, PUBLISHED))
    pd.testing.assert_frame_equal(differences(scores), differences(scores, [CORRECTED, PUBLISHED]))
    mine = Protocol("mine", "carried", "otsu", False, "any", "lose", "patient", "percentile")
    own = table(LEVELS, protocol="mine")
    assert set(compare(own, mine)["protocol"]) == {"mine"}
    with pytest.raises(UnknownNameError, match="no protocol is called 'mine'"):
        compare(own)
    with pytest.raises(DataError, match="no scores under published; it was scored under corrected"):
        estimates(table(LEVELS), "published")


def test_versus_takes_the_place_of_the_usual_pairs() -> None:
    scores = table(LEVELS)
    rows = differences(scores, versus="a/cam")
    assert set(rows["source"]) == set(LEVELS) - {"a/cam"}
    assert set(rows["versus"]) == {"a/cam"}
    two = differences(scores, versus=["a/cam", "b/cam"])
    pairs = set(zip(two["source"], two["versus"], strict=True))
    assert len(pairs) == 9  # each once: b/cam minus a/cam, and not the reverse
    assert ("a/cam", "b/cam") not in pairs
    with pytest.raises(UnknownNameError, match="no source 'z'"):
        differences(scores, versus="z")
