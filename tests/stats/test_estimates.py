"""Estimates and paired differences from tables of scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sightline.protocol import CORRECTED, PUBLISHED
from sightline.stats.estimates import differences, estimates


def table(seed: int = 0, sources: tuple[str, ...] = ("net/cam", "control/center", "reader/human")) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "protocol": p,
            "metric": "iou",
            "source": s,
            "finding": f,
            "radiograph": f"r{i}",
            "patient": f"p{i // 2}",
            "value": rng.random() + 0.2 * k,
        }
        for p in ("corrected", "published")
        for k, s in enumerate(sources)
        for f in ("Edema", "Mass")
        for i in range(30)
    ]
    return pd.DataFrame(rows)


def test_estimates_are_the_means_with_n_and_patients() -> None:
    scores = table()
    found = estimates(scores, [CORRECTED])
    rows = scores[(scores.protocol == "corrected") & (scores.source == "net/cam")]
    edema = found[(found.source == "net/cam") & (found.finding == "Edema")].iloc[0]
    assert edema["mean"] == pytest.approx(rows[rows.finding == "Edema"].value.mean())
    assert (edema["n"], edema["patients"], edema["source_kind"]) == (30, 15, "model")
    assert edema["low"] < edema["mean"] < edema["high"]
    both = found[(found.source == "net/cam") & (found.finding == "average")].iloc[0]
    assert both["mean"] == pytest.approx(rows.groupby("finding").value.mean().mean())
    assert (both["n"], both["patients"]) == (60, 15)


def test_the_published_protocol_draws_images() -> None:
    found = estimates(table(), [PUBLISHED])
    assert set(found["patients"]) == {30}


def test_row_order_changes_nothing() -> None:
    scores = table()
    shuffled = scores.sample(frac=1, random_state=3)
    keys = ["metric", "source", "finding"]
    for make in (estimates, differences):
        a, b = (make(s, [CORRECTED]).sort_values(keys).reset_index(drop=True) for s in (scores, shuffled))
        pd.testing.assert_frame_equal(a, b)


def test_differences_are_paired() -> None:
    """A gap that hardly varies has a narrow interval, however wide the two estimates are."""
    scores = table()
    reader = scores[scores.source == "net/cam"].assign(
        source="reader/human", value=lambda d: d.value + 0.1 + np.linspace(0, 1e-6, len(d))
    )
    gap = differences(pd.concat([scores[scores.source == "net/cam"], reader]), [CORRECTED])
    assert np.allclose(gap[["mean", "low", "high"]], -0.1, atol=1e-5)
    assert (gap["p"] < 0.01).all()


def test_a_source_that_answers_for_one_finding_is_compared_on_it() -> None:
    scores = table()
    scores = scores[~((scores.source == "control/center") & (scores.finding == "Mass"))]
    gap = differences(scores, [CORRECTED])
    assert set(gap[gap.versus == "control/center"].finding) == {"Edema", "average"}


def test_a_gap_on_which_all_patients_agree_is_bounded_by_what_others_could_change() -> None:
    scores = table().assign(value=lambda d: np.where(d.source == "reader/human", 1.0, 0.5))
    gap = differences(scores[scores.source != "control/center"], [CORRECTED]).set_index("finding").loc["Edema"]
    assert gap["mean"] == -0.5 and gap["low"] < -0.5 < gap["high"] < 0
    assert gap["p"] == pytest.approx(2 * (1 / 1.5) ** 15)


def test_few_patients_have_no_interval_and_the_cell_says_why() -> None:
    scores = table()
    few = scores[scores.radiograph.isin([f"r{i}" for i in range(8)])]
    for made in (estimates(few, [CORRECTED]), differences(few, [CORRECTED])):
        assert made["low"].isna().all() and set(made["reason"]) == {"4 of at least 5 patients"}
    assert differences(few, [CORRECTED])["p"].isna().all()
