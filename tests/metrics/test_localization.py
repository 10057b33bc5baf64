"""Localization metrics against scikit-learn and plain counting, and laws over every registered metric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from sightline.core import Frame, SaliencyMap
from sightline.evaluation.scoring import score_map
from sightline.maps.controls import center_map
from sightline.metrics.chance import AverageMask, ChanceLevels
from sightline.metrics.histogram import joint_histogram
from sightline.metrics.localization import Peaks, pointing_game
from sightline.metrics.placed_map import binarize_map
from sightline.metrics.registry import metrics
from sightline.protocol import CORRECTED, PUBLISHED, Protocol

NAMES = [e.name for e in metrics.values() if e.info.takes != "glance" and e.info.is_score]
ALL = pytest.mark.parametrize("name", NAMES)


def a_map(values: np.ndarray, frame: Frame | None = None) -> SaliencyMap:
    return SaliencyMap("r", "Edema", "m/x", values.astype(np.float32), frame or Frame.whole(values.shape))


def case(seed: int, shape: tuple[int, int] = (24, 30)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, bool)
    r, c, h, w = rng.integers([0, 0, 3, 3], [12, 15, 10, 12])
    truth[r : r + h, c : c + w] = True
    return rng.random(shape).astype(np.float32) + 0.4 * truth, truth


def value(name: str, values: np.ndarray, truth: np.ndarray, **options: object) -> float:
    protocol = options.get("protocol", CORRECTED)
    return score_map(a_map(values), truth, [name], protocol, levels_of(truth))[name][0]


def levels_of(truth: np.ndarray) -> ChanceLevels:
    """Levels of chance with a symmetric average mask, which hits every fourth time."""
    average = AverageMask(joint_histogram(center_map(*truth.shape), truth, (slice(None), slice(None))), 0.25)
    return ChanceLevels(truth, None, lambda: average)


@given(st.integers(0, 10**6))
def test_areas_equal_scikit_learns(seed: int) -> None:
    values, truth = case(seed)
    quantized = np.floor((values - values.min()) / (values.max() - values.min()) * np.float32(5100))
    flat, mark = quantized.ravel(), truth.ravel()
    assert value("pixel-auroc", values, truth) == pytest.approx(sk.roc_auc_score(mark, flat), abs=1e-4)
    assert value("average-precision", values, truth) == pytest.approx(sk.average_precision_score(mark, flat), abs=1e-3)
    precision, recall, _ = sk.precision_recall_curve(mark, flat)
    assert value("pr-area", values, truth) == pytest.approx(sk.auc(recall, precision), abs=1e-3)


def score_pr_area(values: np.ndarray, truth: np.ndarray, source: str, protocol: Protocol) -> tuple[float, str, str]:
    m = SaliencyMap("r", "Edema", source, values.astype(np.float32), Frame.whole(values.shape))
    return score_map(m, truth, ["pr-area"], protocol)["pr-area"]


def published_pr_area(values: np.ndarray, truth: np.ndarray) -> float:
    """As the code of Arun et al. does: magnitudes, cut at their 99th percentile, scaled, and a trapezoidal area."""
    values = np.abs(values)
    low, top = values.min(), np.percentile(values, 99)
    precision, recall, _ = sk.precision_recall_curve(truth.ravel(), np.clip((values - low) / (top - low), 0, 1).ravel())
    return float(sk.auc(recall, precision))


@pytest.mark.parametrize("seed", range(20))
def test_published_pr_area_is_of_magnitudes_cut_at_their_99th_percentile(seed: int) -> None:
    values, truth = case(seed)
    signed = (values - 0.7).astype(np.float32)
    signed[3, 4] = 1e4  # one hot pixel
    wanted = published_pr_area(signed, truth)
    third = replace(CORRECTED, name="third", fill_holes=True, ties="first", interval="order-statistics")
    for source in ("m/gradient", "control/untrained/gradient"):
        assert score_pr_area(signed, truth, source, PUBLISHED)[0] == pytest.approx(wanted, abs=2e-3)
    raw = score_pr_area(signed, truth, "m/gradient", CORRECTED)
    assert raw == score_pr_area(signed, truth, "m/gradient", third) and abs(raw[0] - wanted) > 5e-3
    for source in ("m/intrinsic", "localizer/unet/intrinsic", "control/average-mask"):  # maps that they do not treat
        assert score_pr_area(signed, truth, source, PUBLISHED) == raw


def test_magnitudes_that_are_flat_once_cut_get_the_worst_score_with_a_reason() -> None:
    values, truth = np.zeros((30, 30)), np.zeros((30, 30), bool)
    values[3, 3:6] = truth[3, 3:6] = 1
    value, status, reason = score_pr_area(values, truth, "m/gradient", PUBLISHED)
    assert (value, status) == (0.0, "flat") and "99th percentile" in reason
    assert score_pr_area(values, truth, "m/gradient", CORRECTED) == (1.0, "ok", "")


@given(st.integers(0, 10**6))
def test_overlaps_equal_scikit_learns(seed: int) -> None:
    values, truth = case(seed)
    protocol = CORRECTED
    predicted = binarize_map(a_map(values), protocol)
    references = {
        "iou": sk.jaccard_score,
        "dice": sk.f1_score,
        "precision": sk.precision_score,
        "recall": sk.recall_score,
    }
    for name, reference in references.items():
        assert value(name, values, truth) == pytest.approx(reference(truth.ravel(), predicted.ravel()))
    assert value("specificity", values, truth) == pytest.approx(sk.recall_score(~truth.ravel(), ~predicted.ravel()))


@given(st.integers(0, 10**6))
def test_mass_and_rank_equal_their_definitions(seed: int) -> None:
    values, truth = case(seed)
    assert value("relevance-mass", values, truth) == pytest.approx(values[truth].sum() / values.sum(), rel=1e-4)
    k = int(truth.sum())
    highest = np.zeros(truth.size, bool)
    highest[np.argsort(-values.ravel(), kind="stable")[:k]] = True
    assert value("relevance-rank", values, truth) == pytest.approx((highest & truth.ravel()).sum() / k, abs=2 / k)


def test_rank_draws_ties_in_expectation() -> None:
    truth = np.zeros((4, 4), bool)
    truth[0, :2] = True
    values = np.zeros((4, 4))
    values[0] = 1  # four tied pixels, two of them inside
    assert value("relevance-rank", values, truth) == pytest.approx(0.5)


def test_hit_under_each_tie_rule() -> None:
    peaks = {
        rule: Peaks(is_first_inside=False, n_inside=1, n_peaks=4, ties=rule) for rule in ("first", "any", "expected")
    }
    assert {rule: pointing_game(p) for rule, p in peaks.items()} == {"first": 0.0, "any": 1.0, "expected": 0.25}


def test_hit_on_a_plateau_of_the_frame() -> None:
    values = np.zeros((2, 2))
    values[0, 0] = 1  # upsampled, the corner is a plateau of tied maxima
    truth = np.zeros((8, 8), bool)
    truth[0, 0] = True
    m = SaliencyMap("r", "Edema", "m/x", values.astype(np.float32), Frame.whole((8, 8)))
    assert score_map(m, truth, ["pointing-game"], PUBLISHED)["pointing-game"][0] == 1.0
    assert score_map(m, truth, ["pointing-game"], CORRECTED)["pointing-game"][0] == pytest.approx(1 / 4)


@ALL
@given(seed=st.integers(0, 10**6))
def test_values_lie_in_the_declared_range(name: str, seed: int) -> None:
    low, high = metrics[name].info.range
    assert low <= value(name, *case(seed)) <= high


@ALL
@given(seed=st.integers(0, 10**6))
def test_mirrored_together_nothing_changes(name: str, seed: int) -> None:
    values, truth = case(seed)
    assert value(name, values[:, ::-1], truth[:, ::-1]) == pytest.approx(value(name, values, truth), abs=1e-9)


@ALL
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.125, 4.0, 1024.0]))
def test_scaling_a_map_changes_nothing(name: str, seed: int, scale: float) -> None:
    values, truth = case(seed)
    assert value(name, values * scale, truth) == pytest.approx(value(name, values, truth), abs=1e-9)


@ALL
def test_the_mark_itself_is_the_best_map(name: str) -> None:
    _, truth = case(11)
    facts = metrics[name].info
    best = facts.range[1] if facts.higher_is_better else facts.range[0]
    assert value(name, truth.astype(float), truth) == pytest.approx(best)


@ALL
def test_the_inverse_of_the_mark_is_worse_than_noise(name: str) -> None:
    _, truth = case(13)
    noise = value(name, np.random.default_rng(0).random(truth.shape), truth)
    inverse = value(name, 1.0 - truth, truth)
    assert inverse <= noise if metrics[name].info.higher_is_better else inverse >= noise


@ALL
@pytest.mark.parametrize("broken", [np.zeros((6, 6)), np.full((6, 6), np.nan), np.full((6, 6), -np.inf)])
def test_a_failed_map_loses(name: str, broken: np.ndarray) -> None:
    truth = np.eye(6, dtype=bool)
    score, status, why = score_map(a_map(broken), truth, [name], CORRECTED, levels_of(truth))[name]
    assert score == metrics[name].info.worst_value
    assert status in ("flat", "non-finite")
    assert why


@ALL
def test_a_mark_on_another_image_size_refuses_the_map(name: str) -> None:
    truth = np.ones((5, 6), bool)
    score, status, why = score_map(a_map(np.eye(6)), truth, [name], CORRECTED, levels_of(truth))[name]
    assert (score, status) == (metrics[name].info.worst_value, "refused")
    assert "(6, 6)" in why
    assert "(5, 6)" in why


@ALL
@given(seed=st.integers(0, 10**6))
def test_map_mask_and_histogram_metrics_agree_on_frames(name: str, seed: int) -> None:
    """A map over a crop scores as the same map padded by hand with its lowest value, unseen pixels unpredicted."""
    values, truth = case(seed)
    frame = Frame(truth.shape, (4.0, 5.0, 20.0, 25.0))
    cropped = values[4:20, 5:25]
    score = score_map(a_map(cropped, frame), truth, [name], CORRECTED, levels_of(truth))[name][0]
    if metrics[name].info.takes == "histogram" and name != "relevance-mass":
        padded = np.full(truth.shape, cropped.min(), np.float32)
        padded[4:20, 5:25] = cropped
        assert score == pytest.approx(value(name, padded, truth), abs=1e-6)
    assert np.isfinite(score)


def heat_ratio(values: np.ndarray, truth: np.ndarray) -> float:
    """The effective heat ratio by its definition, threshold by threshold."""
    heat = np.where(values / values.max() >= 0.1, values / values.max(), 0.0)
    points = heat[heat > 0]
    ratios = []
    for quantile in np.linspace(0, 1, 11):
        above = heat >= min(np.quantile(points, quantile), 0.99)
        ratios.append(heat[above & truth].sum() / above.sum())
    return float(np.trapezoid(ratios, np.linspace(0, 1, 11)))


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 2.0]))
def test_effective_heat_ratio_equals_its_definition(seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    values, truth = (rng.random((60, 70)) ** 2 - offset * 0.1).astype(np.float32), case(seed, (60, 70))[1]
    values += np.float32(0.3) * truth
    assert value("effective-heat-ratio", values, truth) == pytest.approx(heat_ratio(values, truth), abs=4e-3)


def test_effective_heat_ratio_without_positive_values_is_nothing() -> None:
    values, truth = case(2)
    assert value("effective-heat-ratio", values - 5, truth) == 0.0
