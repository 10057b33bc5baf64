"""Measures of agreement with gaze, beside plain implementations and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from sightline.core import Array
from sightline.errors import UnknownNameError
from sightline.maps.controls import center_map
from sightline.metrics.gaze import UNIFORM_SHARE, EvidenceMap, GazePair, OtherPatients, standardize
from sightline.metrics.registry import metrics, parse_metric, require_annotation_metric

SHAPE = (16, 12)
NAMES = [e.name for e in metrics.values() if e.info.takes == "glance"]
PRIOR = center_map(*SHAPE).astype(float) / center_map(*SHAPE).sum()


def reading(seed: int, count: int = 9) -> tuple[Array, Array]:
    """A density and where its fixations lie."""
    rng = np.random.default_rng((7, seed))
    fixated, smooth = np.zeros(SHAPE), np.zeros(SHAPE)
    rows, cols = np.indices(SHAPE)
    for _ in range(count):
        r, c, weight = rng.integers(SHAPE[0]), rng.integers(SHAPE[1]), rng.uniform(0.1, 1)
        fixated[r, c] += weight
        smooth += weight * np.exp(-((rows - r) ** 2 + (cols - c) ** 2) / 4)
    return smooth / smooth.sum(), fixated / fixated.sum()


def others_of(some: list[tuple[Array, Array]]) -> OtherPatients:
    return OtherPatients(
        np.mean([d for d, _ in some], 0),
        np.mean([f for _, f in some], 0),
        np.mean([standardize(d) for d, _ in some], 0),
    )


def glance(values: Array, own: int = 0, rest: tuple[int, ...] = (1, 2, 3)) -> GazePair:
    return GazePair(EvidenceMap(values), *reading(own), others_of([reading(i) for i in rest]), PRIOR)


def a_map(seed: int) -> Array:
    return np.random.default_rng((8, seed)).uniform(0, 1, SHAPE).round(1)  # with ties


def plain(values: Array, own: int, rest: tuple[int, ...]) -> dict[str, float]:
    """Every measure by its definition, cell by cell."""
    density, fixated = reading(own)
    cells = [(r, c) for r in range(SHAPE[0]) for c in range(SHAPE[1])]
    mean = sum(values[x] for x in cells) / len(cells)
    deviation = math.sqrt(sum((values[x] - mean) ** 2 for x in cells) / len(cells))

    def correlation(other: Array) -> float:
        center_ = sum(other[x] for x in cells) / len(cells)
        spread = math.sqrt(sum((other[x] - center_) ** 2 for x in cells))
        return sum((values[x] - mean) * (other[x] - center_) for x in cells) / (
            deviation * math.sqrt(len(cells)) * spread
        )

    def area(first: dict[tuple[int, int], float], second: dict[tuple[int, int], float]) -> float:
        won = sum(
            p * q * (1.0 if values[x] > values[y] else 0.5 if values[x] == values[y] else 0.0)
            for x, p in first.items()
            for y, q in second.items()
        )
        return won / (sum(first.values()) * sum(second.values()))

    there = {x: fixated[x] for x in cells if fixated[x] > 0}
    pooled = {x: sum(reading(i)[1][x] for i in rest) / len(rest) for x in cells}
    share = {
        x: (1 - UNIFORM_SHARE) * values[x] / sum(values[y] for y in cells) + UNIFORM_SHARE / len(cells) for x in cells
    }
    truth = {x: (1 - UNIFORM_SHARE) * density[x] + UNIFORM_SHARE / len(cells) for x in cells}
    average = {x: sum(reading(i)[0][x] for i in rest) / len(rest) for x in cells}

    def gain(base: dict[tuple[int, int], float]) -> float:
        return sum(
            p * math.log2(share[x] / ((1 - UNIFORM_SHARE) * base[x] + UNIFORM_SHARE / len(cells)))
            for x, p in there.items()
        )

    def unit(v: Array) -> Array:
        return (v - v.min()) / (v.max() - v.min())

    return {
        "ssim": structural_similarity(unit(values), unit(density), data_range=1.0),
        "ncc": correlation(density),
        "nss": sum(p * (values[x] - mean) / deviation for x, p in there.items()),
        "auc-judd": area(dict.fromkeys(there, 1.0), {x: 1.0 for x in cells if x not in there}),
        "shuffled-auc": area(there, {x: p for x, p in pooled.items() if p > 0}),
        "similarity": sum(min(values[x] / sum(values[y] for y in cells), density[x]) for x in cells),
        "kl": sum(truth[x] * math.log(truth[x] / share[x]) for x in cells),
        "gain-center": gain({x: PRIOR[x] for x in cells}),
        "gain-average": gain(average),
        "shuffled-ncc": correlation(density) - sum(correlation(reading(i)[0]) for i in rest) / len(rest),
    }


@pytest.mark.parametrize("seed", range(4))
def test_each_is_what_its_definition_says(seed: int) -> None:
    values, rest = a_map(seed), (seed + 1, seed + 2, seed + 5)
    wanted = plain(values, seed, rest)
    assert sorted(wanted) == sorted(NAMES)
    found = {name: metrics[name](glance(values, seed, rest)) for name in NAMES}
    assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_they_stay_in_range_and_do_not_see_the_scale_of_a_map(name: str, seed: int, scale: float) -> None:
    entry = metrics[name]
    low, high = entry.info.range
    value = entry(glance(a_map(seed), seed))
    assert low - 1e-12 <= value <= high + 1e-12
    assert entry(glance(a_map(seed) * scale, seed)) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_density_itself_is_the_best_map(name: str) -> None:
    facts, ceilings = metrics[name].info, {"ssim": 1.0, "ncc": 1.0, "similarity": 1.0, "kl": 0.0}
    for own in range(5):
        top = metrics[name](glance(reading(own)[0], own))
        if name in ceilings:
            assert top == pytest.approx(ceilings[name], abs=1e-9)
        rest = [metrics[name](glance(a_map(seed), own)) for seed in range(6)]
        assert all((top > value) == facts.higher_is_better for value in rest)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flat", [0.0, 3.0])
def test_a_map_of_one_value_says_nothing(name: str, flat: float) -> None:
    """Every failed map is worth the same, and less than the density itself."""
    neutral = {"ssim": 0.0, "ncc": 0.0, "nss": 0.0, "auc-judd": 0.5, "shuffled-auc": 0.5, "shuffled-ncc": 0.0}
    value = metrics[name](glance(np.full(SHAPE, flat)))
    assert value == pytest.approx(neutral.get(name, metrics[name](glance(np.full(SHAPE, 1.0)))))
    assert (metrics[name](glance(reading(0)[0])) > value) == metrics[name].info.higher_is_better


@pytest.mark.parametrize(("name", "chance"), [("shuffled-ncc", 0.0), ("shuffled-auc", 0.5)])
@given(seed=st.integers(0, 10_000))
def test_what_is_the_same_on_every_film_is_at_chance(name: str, chance: float, seed: int) -> None:
    """Exactly, over all films: whatever each film gains, the others lose."""
    values, films = PRIOR if seed == 0 else a_map(seed), range(5)
    found = [metrics[name](glance(values, own, tuple(i for i in films if i != own))) for own in films]
    assert np.mean(found) == pytest.approx(chance, abs=1e-12)


def test_metrics_of_gaze_are_no_metrics_of_marks() -> None:
    entry, window = parse_metric("ncc@spoken")
    assert (entry.name, window) == ("ncc", "spoken")
    with pytest.raises(UnknownNameError, match="`sightline gaze`"):
        require_annotation_metric("ncc")
    with pytest.raises(UnknownNameError):
        parse_metric("ncc@otsu")
    require_annotation_metric("iou")
