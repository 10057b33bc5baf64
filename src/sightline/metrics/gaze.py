"""How well a map agrees with where a reader looked: similarities of densities, and values at fixations.

Each is a metric that takes a `GazePair`. Shuffled ones compare with what other patients' readings would have given: a
map
that is the same for every film scores 0 on average, however central or smooth it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sightline.core import Array
from sightline.metrics.registry import metrics
from sightline.metrics.similarity import normalize, ssim

INF = float("inf")
UNIFORM_SHARE = 0.01
"""Share of a uniform density mixed into predictions before logarithms: no single zero decides the score."""


@dataclass(frozen=True)
class OtherPatients:
    """What readings of other patients come to, on the same grid; float64 (h, w) each."""

    density: Array
    """Mean density, sum 1."""
    fixation_map: Array
    """Mean share of the looking at each cell, sum 1."""
    standardized_density: Array
    """Mean of their densities, each less its mean and divided by its deviation."""


@dataclass(frozen=True)
class EvidenceMap:
    """A map as measures look at it, whatever it is compared with."""

    values: Array = field(repr=False)
    """float64 (h, w), 0 or more. One value everywhere says nothing: no measure is better for it than for chance."""

    @cached_property
    def standardized(self) -> Array:
        """The map less its mean, divided by its deviation."""
        return standardize(self.values)

    @cached_property
    def normalized(self) -> Array:
        """From 0, its least value, to 1."""
        return normalize(self.values)

    @cached_property
    def density(self) -> Array:
        """The map as a density, sum 1; uniform where it is 0 everywhere."""
        total = float(self.values.sum())
        return self.values / total if total > 0 else np.full(self.values.shape, 1 / self.values.size)

    @cached_property
    def sorted_with_ties(self) -> tuple[Array, Array]:
        """Places by rising value, and where each tie begins: int64 (D,), (ties,)."""
        flat = self.values.ravel()
        order = np.argsort(flat, kind="stable")
        return order, np.flatnonzero(np.append(True, np.diff(flat[order]) != 0))

    def auc(self, positive: Array, negative: Array) -> float:
        """Chance that a place drawn by `positive` has a higher value than one drawn by `negative` (h, w); ties half."""
        order, begins = self.sorted_with_ties
        first, second = (np.add.reduceat(w.ravel()[order], begins) for w in (positive, negative))
        below = np.cumsum(second) - second / 2
        return float((first * below).sum() / (first.sum() * second.sum()))


@dataclass(frozen=True)
class GazePair:
    """One map and one reading on one grid (h, w)."""

    map: EvidenceMap
    density: Array = field(repr=False)
    """float64, sum 1."""
    fixation_map: Array = field(repr=False)
    """float64: share of the looking (or of the fixations) at each cell, unsmoothed, sum 1."""
    other_patients: OtherPatients = field(repr=False)
    center_density: Array = field(repr=False)
    """float64: what is known without an image, sum 1."""


def standardize(values: Array) -> Array:
    """Less its mean, divided by its deviation; zeros where all values are equal (to rounding)."""
    gap = values - values.mean()
    spread = float(np.sqrt((gap * gap).mean()))
    if spread <= 1e-12 * float(np.abs(values).max(initial=0)):
        return np.zeros_like(gap)
    scores: Array = gap / spread
    return scores


@metrics(
    "ssim",
    title="SSIM",
    takes="glance",
    higher_is_better=True,
    range=(-1.0, 1.0),
    source="Wang et al. 2004, 10.1109/TIP.2003.819861",
)
def structural_similarity(g: GazePair) -> float:
    """Structural similarity of map and density, each brought to [0, 1]: window 7 × 7 cells, uniform, data range 1.

    0 for a map of one value, which would else be like every empty part of a density.
    """
    return 0.0 if not g.map.standardized.any() else float(ssim(g.map.normalized, normalize(g.density), 1.0))


@metrics(
    "ncc",
    title="NCC",
    takes="glance",
    higher_is_better=True,
    range=(-1.0, 1.0),
    source="Le Meur et al. 2007, 10.1016/j.visres.2007.06.015",
)
def ncc(g: GazePair) -> float:
    """Pearson correlation of map and density over cells, [-1, 1]."""
    return float((g.map.standardized * standardize(g.density)).mean())


@metrics(
    "nss",
    title="NSS",
    takes="glance",
    higher_is_better=True,
    range=(-INF, INF),
    source="Peters et al. 2005, 10.1016/j.visres.2005.03.019",
)
def nss(g: GazePair) -> float:
    """Mean of the standardized map at the fixations, in deviations of the map."""
    return float((g.map.standardized * g.fixation_map).sum())


@metrics(
    "auc-judd",
    title="AUC (Judd)",
    takes="glance",
    higher_is_better=True,
    range=(0.0, 1.0),
    source="Judd et al. 2009, 10.1109/ICCV.2009.5459462",
)
def auc_judd(g: GazePair) -> float:
    """Chance that a fixated cell has a higher value than one that is not, [0, 1]; exact, ties half."""
    looked = g.fixation_map > 0
    return float("nan") if looked.all() else g.map.auc(looked.astype(float), (~looked).astype(float))


@metrics(
    "shuffled-auc",
    title="Shuffled AUC",
    takes="glance",
    higher_is_better=True,
    range=(0.0, 1.0),
    source="Tatler et al. 2005, 10.1016/j.visres.2004.09.017; Zhang et al. 2008, 10.1167/8.7.32",
)
def shuffled_auc(g: GazePair) -> float:
    """Chance that a fixation lies at a higher value than one of another patient's reading, [0, 1]; exact, ties half."""
    return g.map.auc(g.fixation_map, g.other_patients.fixation_map)


@metrics(
    "similarity",
    title="Similarity",
    takes="glance",
    higher_is_better=True,
    range=(0.0, 1.0),
    source="Judd et al. 2012, MIT-CSAIL-TR-2012-001",
)
def similarity(g: GazePair) -> float:
    """What map and density, as densities, have in common, [0, 1]."""
    return float(np.minimum(g.map.density, g.density).sum())


@metrics(
    "kl",
    title="KL divergence",
    takes="glance",
    higher_is_better=False,
    range=(0.0, INF),
    source="Bylinskii et al. 2019, 10.1109/TPAMI.2018.2815601",
)
def kl(g: GazePair) -> float:
    """Divergence of the density from the map as a density (`UNIFORM_SHARE` of it uniform, as of the density), nats,
    from 0."""
    truth = _mix_with_uniform(g.density)
    return max(0.0, float((truth * np.log(truth / _mix_with_uniform(g.map.density))).sum()))


@metrics(
    "gain-center",
    title="Gain over center",
    takes="glance",
    higher_is_better=True,
    range=(-INF, INF),
    source="Kümmerer et al. 2015, 10.1073/pnas.1510393112",
)
def gain_over_center(g: GazePair) -> float:
    """How much better the map foresees fixations than the middle of the film does, bits per fixation."""
    return _information_gain(g, g.center_density)


@metrics(
    "gain-average",
    title="Gain over average gaze",
    takes="glance",
    higher_is_better=True,
    range=(-INF, INF),
    source="Kümmerer et al. 2015, 10.1073/pnas.1510393112",
)
def gain_over_average(g: GazePair) -> float:
    """How much better the map foresees fixations than the gaze at other patients does, bits per fixation."""
    return _information_gain(g, g.other_patients.density)


@metrics(
    "shuffled-ncc",
    title="Shuffled NCC",
    takes="glance",
    higher_is_better=True,
    range=(-2.0, 2.0),
    source="Bigolin Lanfredi et al. 2021, arXiv:2112.11716",
)
def shuffled_ncc(g: GazePair) -> float:
    """NCC with this reading less the mean NCC with readings of other patients, [-2, 2]."""
    return float((g.map.standardized * (standardize(g.density) - g.other_patients.standardized_density)).mean())


def _mix_with_uniform(density: Array) -> Array:
    mixed: Array = (1 - UNIFORM_SHARE) * density + UNIFORM_SHARE / density.size
    return mixed


def _information_gain(g: GazePair, base: Array) -> float:
    return float((g.fixation_map * np.log2(_mix_with_uniform(g.map.density) / _mix_with_uniform(base))).sum())
