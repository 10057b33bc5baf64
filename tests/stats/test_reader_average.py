"""The mean over readers against slow statistics of complete and incomplete tables."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from sightline.core import Array
from sightline.protocol import CORRECTED
from sightline.stats.reader_average import (
    average_readers,
    differences_from_readers,
    percentage_below_readers,
    readers_in_reference,
)

NO_ROWS = pd.DataFrame(columns=["protocol", "source", "radiograph", "patient", "finding", "metric", "value", "reader"])


def table(values: dict[str, Array], reader: str = "truth") -> pd.DataFrame:
    """Make a table of scores: source -> (images, findings), NaN for none; two images a patient."""
    rows = [
        ("corrected", source, f"i{i}", f"p{i // 2}", f"finding {f}", "iou", value, reader)
        for source, scores in values.items()
        for (i, f), value in np.ndenumerate(scores)
    ]
    return pd.DataFrame(rows, columns=NO_ROWS.columns)


def slow_interval(scores: Array) -> tuple[float, float, float]:
    """Mean over readers of (images, readers), two images a patient, by loops over patients and pairs of readers."""
    patients, readers = len(scores) // 2, scores.shape[1]
    means = [float(np.mean(scores[:, j])) for j in range(readers)]
    without = [
        [float(np.mean([scores[i, j] for i in range(len(scores)) if i // 2 != g])) for j in range(readers)]
        for g in range(patients)
    ]
    center = np.mean(without, axis=0)
    pairs = [
        sum((row[a] - center[a]) * (row[b] - center[b]) for row in without) * (patients - 1) / patients
        for a in range(readers)
        for b in range(readers)
        if a != b
    ]
    shared = max(float(np.mean(pairs)), 0.0)
    between = float(np.var(means, ddof=1)) / readers
    degrees = (between + shared) ** 2 / (between**2 / (readers - 1) + shared**2 / (patients - 1))
    reach = float(t.ppf(0.975, min(degrees, 1.5 * (readers - 1)))) * np.sqrt(between + shared)
    return float(np.mean(means)), float(np.mean(means) - reach), float(np.mean(means) + reach)


@pytest.fixture
def complete() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    cases = rng.normal(0, 0.1, (24, 2))
    scores = {f"reader/R{j}": 0.5 + 0.05 * j + cases + rng.normal(0, 0.1, (24, 2)) for j in range(3)}
    return {**scores, "m/grad-cam": 0.3 + cases + rng.normal(0, 0.1, (24, 2))}


def test_complete_tables_agree_with_a_slow_computation(complete: dict[str, Array]) -> None:
    scores = table(complete)
    readers = np.stack([complete[f"reader/R{j}"] for j in range(3)], -1)  # (images, findings, readers)
    model = complete["m/grad-cam"][..., None]
    found = average_readers(scores, [CORRECTED]).set_index("finding")
    gaps = differences_from_readers(scores, NO_ROWS, [CORRECTED]).set_index("finding")
    for f, name in ((0, "finding 0"), (1, "finding 1"), ([0, 1], "average")):
        part = readers[:, f].mean(1) if isinstance(f, list) else readers[:, f]
        own = model[:, f].mean(1) if isinstance(f, list) else model[:, f]
        np.testing.assert_allclose(found.loc[name, ["mean", "low", "high"]].to_numpy(float), slow_interval(part))
        np.testing.assert_allclose(gaps.loc[name, ["mean", "low", "high"]].to_numpy(float), slow_interval(own - part))
        assert found.loc[name, "n"] == part.size * (2 if name == "average" else 1)
        assert found.loc[name, "patients"] == 12
    assert set(found["source"]) == set(gaps["versus"]) == {"reader/all readers"}
    assert (gaps["p"] < 0.05).tolist() == ((gaps["low"] > 0) | (gaps["high"] < 0)).tolist()


def test_percentages_follow_from_the_means_and_widen_with_them(complete: dict[str, Array]) -> None:
    below = percentage_below_readers(table(complete), NO_ROWS, [CORRECTED]).set_index("finding")
    human = np.mean([complete[f"reader/R{j}"].mean() for j in range(3)])
    expected = 100 * (human - complete["m/grad-cam"].mean()) / human
    np.testing.assert_allclose(below.loc["average", ["human", "decrease"]].to_numpy(float), [human, expected])
    gaps = differences_from_readers(table(complete), NO_ROWS, [CORRECTED]).set_index("finding")
    width = (gaps["high"] - gaps["low"]) / below["human"] * 100
    assert ((below["high"] - below["low"]) < 1.2 * width).all()  # the denominator varies with the numerator
    assert ((below["high"] - below["low"]) > 0.4 * width).all()
    assert (below["detectable"] > (gaps["high"] - gaps["low"]) / 2).all()


def test_a_map_and_a_reader_are_compared_against_the_same_reference(complete: dict[str, Array]) -> None:
    rng = np.random.default_rng(3)
    left_out = pd.concat(table({"m/grad-cam": rng.normal(0.2, 0.1, (24, 2))}, f"truth without R{j}") for j in range(3))
    scores = table(complete)
    assert readers_in_reference(scores, left_out) == [f"reader/R{j}" for j in range(3)]
    gaps = differences_from_readers(scores, left_out, [CORRECTED]).set_index("finding")
    expected = left_out["value"].mean() - np.mean([complete[f"reader/R{j}"].mean() for j in range(3)])
    np.testing.assert_allclose(gaps.loc["average", "mean"], expected)


def test_readers_of_different_images_count_the_same() -> None:
    """Reader R2 read only easy images of one finding: the mean over findings is not better for it."""
    values = {"reader/R0": np.full((12, 2), 0.5), "reader/R1": np.full((12, 2), 0.7)}
    values["reader/R2"] = np.full((12, 2), np.nan)
    for scores in values.values():
        scores[:, 1] += 0.2  # the second finding is easy
    values["reader/R2"][:4, 1] = 0.8
    found = average_readers(table(values), [CORRECTED]).set_index("finding")
    np.testing.assert_allclose(found.loc["finding 0", "mean"], 0.6)
    np.testing.assert_allclose(found.loc["finding 1", "mean"], 0.8)
    np.testing.assert_allclose(found.loc["average", "mean"], 0.7)


def test_one_reader_has_no_mean_over_readers_and_few_cases_no_interval(complete: dict[str, Array]) -> None:
    alone = {k: v for k, v in complete.items() if k in ("reader/R0", "m/grad-cam")}
    assert average_readers(table(alone), [CORRECTED]).empty
    assert differences_from_readers(table(alone), NO_ROWS, [CORRECTED]).empty
    one_patient = average_readers(table({k: v[:2] for k, v in complete.items()}), [CORRECTED])
    assert one_patient["mean"].notna().all()
    assert one_patient[["low", "high"]].isna().all().all()
    with_points = {**alone, "reader/R0 points": complete["reader/R1"]}
    assert average_readers(table(with_points), [CORRECTED]).empty  # contours and points of one person are two kinds
