"""Simulated patients with several alike radiographs each, whose true values are known: samples for `coverage.py`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

from sightline.core import Array

FINDINGS = 10
FILMS = 4
"""Most radiographs of a patient; each has one to four."""
USUAL = np.linspace(-2.0, 0.8, FINDINGS)
"""Logit of the score of each finding: means from 0.17 to 0.66."""
EXTREME = np.repeat([-3.5, -3.0, -2.5, 2.5, 3.5], 2)
"""Means near 0 and 1."""
GAP = 0.5
"""Logits by which a second source is worse."""


class Pairs(NamedTuple):
    """Pairs of numbers of N radiographs."""

    patient: Array
    """int (N,)."""
    x: Array
    """float (N, ...)."""
    y: Array
    """float (N, ...)."""


def count_films(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """One to four radiographs for each patient."""
    return rng.integers(1, FILMS + 1, shape)


def draw_scores(
    rng: np.random.Generator, samples: int, patients: int, level: Array, hits: bool, marked: bool = True
) -> tuple[Array, Array, Array]:
    """Scores of a source, of an equal one and of a worse one, float (samples, patients, FILMS, FINDINGS) each.

    A patient has a level of their own, another for each finding, and is more or less often marked; NaN is not marked.
    """
    shape = (samples, patients, FILMS, FINDINGS)
    film = np.arange(FILMS) < count_films(rng, shape[:2])[..., None]
    latent = (
        level + rng.normal(0, 0.8, (samples, patients, 1, 1)) + rng.normal(0, 0.5, (samples, patients, 1, FINDINGS))
    )
    latent = latent + rng.normal(0, 0.7, shape)
    present = rng.random(shape) < expit(-0.6 + 0.8 * rng.normal(size=shape[:2]))[..., None, None]
    present = (present | (not marked)) & film[..., None]
    sources = []
    for shift in (0.0, 0.0, -GAP):
        chance = expit(latent + shift + rng.normal(0, 0.3, shape))
        values = (rng.random(shape) < chance).astype(float) if hits else chance
        sources.append(np.where(present, values, np.nan))
    return sources[0], sources[1], sources[2]


def true_means(level: Array) -> tuple[Array, Array]:
    """Mean of each finding of the source and of the worse one, by the same draws."""
    first, _, worse = draw_scores(np.random.default_rng(99), 40, 1000, level, hits=False, marked=False)
    means: list[Array] = [np.nanmean(x, axis=(0, 1, 2)) for x in (first, worse)]
    return means[0], means[1]


def draw_predictions(rng: np.random.Generator, patients: int, lift: float) -> tuple[Pairs, Array]:
    """Logits of two networks (x, y) and labels; most radiographs of a patient have the same label."""
    patient = np.repeat(np.arange(patients), count_films(rng, (patients,)))
    label = (rng.random(patients) < 0.3)[patient]
    label = np.where(rng.random(len(patient)) < 0.85, label, ~label)
    level = rng.normal(0, 0.8, patients)[patient]
    first, second = (lift * label + level + rng.normal(0, s, len(patient)) for s in (0.6, 1.0))
    return Pairs(patient, first, second), label.astype(int)


def area(score: Array, label: Array) -> float:
    """AUROC."""
    positive = label.sum()
    return float(
        (rankdata(score)[label == 1].sum() - positive * (positive + 1) / 2) / positive / (len(label) - positive)
    )


def draw_confidence(rng: np.random.Generator, patients: int, slope: float) -> Pairs:
    """Probability and overlap, float (N, FINDINGS): patients differ in both, and findings do."""
    patient = np.repeat(np.arange(patients), count_films(rng, (patients,)))
    size = (len(patient), FINDINGS)
    common = np.linspace(-1.5, 1.5, FINDINGS)
    x = common + rng.normal(0, 0.8, patients)[patient][:, None] + rng.normal(0, 0.7, size)
    y = np.linspace(0.5, -2, FINDINGS) + slope * (x - common) + rng.normal(0, 0.8, patients)[patient][:, None]
    return Pairs(patient, expit(x), expit(y + rng.normal(0, 0.6, size)))


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's correlation."""
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def draw_sizes(rng: np.random.Generator, patients: int) -> tuple[Pairs, Array]:
    """Skewed size x and overlap y = 0.1 x + errors of patients, and the finding (N,)."""
    patient = np.repeat(np.arange(patients), count_films(rng, (patients,)))
    parts = []
    for finding in range(4):
        x = rng.gamma(1, 1, len(patient)) + rng.normal(0, 0.5, patients)[patient]
        y = 0.1 * x + rng.normal(0, 0.4, patients)[patient] + rng.normal(0, 0.4, len(patient))
        kept = rng.random(len(patient)) < 0.5
        parts.append((patient[kept], x[kept], y[kept], np.full(kept.sum(), finding)))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Pairs(columns[0], columns[1], columns[2]), columns[3]


def draw_ratings(rng: np.random.Generator, patients: int) -> Pairs:
    """Answers of two readers on a scale of five points, several cases a patient."""
    patient = np.repeat(np.arange(patients), count_films(rng, (patients,)))
    truth = rng.normal(0, 1, patients)[patient] + rng.normal(0, 0.5, len(patient))
    x, y = (np.clip(np.rint(3 + truth + rng.normal(0, 0.7, len(patient))), 1, 5) for _ in range(2))
    return Pairs(patient, x, y)


BUDGETS = (10, 30, 100, 300)
"""Numbers of annotated radiographs."""


def draw_budget(rng: np.random.Generator, patients: int) -> tuple[Array, Array, Array]:
    """Patient (N,), overlap of a self-explaining network and of a detector at each budget (N, len(BUDGETS))."""
    patient = np.repeat(np.arange(patients), count_films(rng, (patients,)))
    level = rng.normal(0, 0.8, patients)[patient][:, None]
    network, detector = np.full(len(BUDGETS), -0.5), np.array([-2.0, -1.2, 0.1, 0.6])
    first, second = (
        expit(mean + level + 0.5 * rng.normal(size=patients)[patient][:, None] + rng.normal(0, 0.6, (len(patient), 4)))
        for mean in (network, detector)
    )
    return patient, first, second


def draw_readers(rng: np.random.Generator, patients: int, readers: int) -> tuple[Array, Array, Array]:
    """Patient (N,), scores of readers (readers, N, 3) and of a map (N, 3) of three findings; NaN is not marked.

    The map is 0.15 worse than readers in general; every reader differs from the others, and patients differ.
    """
    patient = np.repeat(np.arange(patients), count_films(rng, (patients,)))
    case = rng.normal(0, 0.08, (patients, 1))[patient] + rng.normal(0, 0.08, (len(patient), 3))
    mean = np.array([0.45, 0.6, 0.75])
    human = mean + rng.normal(0, 0.05, (readers, 1, 1)) + case + rng.normal(0, 0.1, (readers, *case.shape))
    model = mean - READER_GAP + 0.8 * case + rng.normal(0, 0.12, case.shape)
    marked = rng.random(case.shape) < 0.6
    return patient, np.where(marked, human, np.nan), np.where(marked, model, np.nan)


READER_GAP = 0.15
"""By how much the map of `draw_readers` is worse."""


def draw_trainings(rng: np.random.Generator, patients: int, trainings: int) -> tuple[Array, Array]:
    """Patient (N,) and scores of the trainings of two networks that are equal on average, (N, 2 * trainings)."""
    patient = np.repeat(np.arange(patients), count_films(rng, (patients,)))
    level = rng.normal(0, 0.2, patients)[patient][:, None]
    network = rng.normal(0, 0.05, 2 * trainings)
    return patient, 0.5 + level + network + rng.normal(0, 0.15, (len(patient), 2 * trainings))


def draw_candidates(rng: np.random.Generator, patients: int, candidates: int) -> tuple[Array, Array]:
    """Patient (N,) and scores of methods that are equal on average, (N, candidates): mean 0.5."""
    patient = np.repeat(np.arange(patients), count_films(rng, (patients,)))
    level = rng.normal(0, 0.1, patients)[patient][:, None]
    of_method = rng.normal(0, 0.1, (patients, candidates))[patient]
    return patient, np.clip(0.5 + level + of_method + rng.normal(0, 0.1, of_method.shape), 0, 1)
