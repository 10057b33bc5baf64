"""Agreement of a map with the gaze of a reader: similarities of densities, and values at fixations.

Each metric takes a `GazePair`. Shuffled metrics compare with the gaze of readings of other patients: a map that is the
same for every radiograph scores 0 on average, however central or smooth it is.
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
"""Share of a uniform density mixed into densities before logarithms, so that no single zero decides the score."""


@dataclass(frozen=True)
class OtherPatients:
    """Summary of the gaze of readings of other patients on the same grid; float64 (h, w) each."""

    density: Array
    """Mean density, sum 1."""
    fixation_map: Array
    """Mean share of the gaze in each cell, sum 1."""
    standardized_density: Array
    """Mean of their standardized densities."""


@dataclass(frozen=True)
class EvidenceMap:
    """Map prepared for comparisons, with forms that several metrics share."""

    values: Array = field(repr=False)
    """float64 (h, w), 0 or more. No metric is better for a map of one value than for chance."""

    @cached_property
    def standardized(self) -> Array:
        """The map minus its mean, divided by its standard deviation."""
        return standardize(self.values)

    @cached_property
    def normalized(self) -> Array:
        """The map scaled so that its lowest value is 0 and its highest 1."""
        return normalize(self.values)

    @cached_property
    def density(self) -> Array:
        """The map as a density, sum 1; uniform where it is 0 everywhere."""
        total = float(self.values.sum())
        return self.values / total if total > 0 else np.full(self.values.shape, 1 / self.values.size)

    @cached_property
    def sorted_with_ties(self) -> tuple[Array, Array]:
        """Cells by rising value, and the start of each group of equal values: int64 (D,), (G,)."""
        flat = self.values.ravel()
        order = np.argsort(flat, kind="stable")
        return order, np.flatnonzero(np.append(True, np.diff(flat[order]) != 0))

    def auc(self, positive: Array, negative: Array) -> float:
        """Compute the chance that a positive cell has a higher value than a negative one; ties count half.

        Parameters
        ----------
        positive, negative : (h, w) array
            Weights by which the two cells are drawn.

        Returns
        -------
        float
            Area under the ROC curve, in [0, 1].
        """
        order, begins = self.sorted_with_ties
        first, second = (np.add.reduceat(w.ravel()[order], begins) for w in (positive, negative))
        below = np.cumsum(second) - second / 2
        return float((first * below).sum() / (first.sum() * second.sum()))


@dataclass(frozen=True)
class GazePair:
    """One map and the gaze of one reading on one grid (h, w)."""

    map: EvidenceMap
    """The map."""
    density: Array = field(repr=False)
    """float64: density of the gaze, sum 1."""
    fixation_map: Array = field(repr=False)
    """float64: share of the gaze time (or of the fixations) in each cell, unsmoothed, sum 1."""
    other_patients: OtherPatients = field(repr=False)
    """Gaze of readings of other patients."""
    center_density: Array = field(repr=False)
    """float64: density that is expected without an image, sum 1."""


def standardize(values: Array) -> Array:
    """Subtract the mean and divide by the standard deviation.

    Parameters
    ----------
    values : (h, w) array
        Values.

    Returns
    -------
    (h, w) float64
        Standardized values; zeros where all values are equal (to rounding).
    """
    centered = values - values.mean()
    deviation = float(np.sqrt((centered * centered).mean()))
    if deviation <= 1e-12 * float(np.abs(values).max(initial=0)):
        return np.zeros_like(centered)
    standardized: Array = centered / deviation
    return standardized


@metrics(
    "ssim",
    title="SSIM",
    takes="glance",
    higher_is_better=True,
    range=(-1.0, 1.0),
    source="Wang et al. 2004, 10.1109/TIP.2003.819861",
)
def structural_similarity(g: GazePair) -> float:
    """Compute the structural similarity of map and density, both scaled to [0, 1].

    The window is uniform, 7 × 7 cells, and the data range 1. A map of one value scores 0; it would otherwise be similar
    to every empty part of a density.
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
    """Compute the Pearson correlation of map and density over cells, in [-1, 1]."""
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
    """Compute the mean of the standardized map at the fixations, in standard deviations of the map."""
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
    """Compute the chance that a fixated cell has a higher value than one that is not, in [0, 1]; ties count half."""
    fixated = g.fixation_map > 0
    return float("nan") if fixated.all() else g.map.auc(fixated.astype(float), (~fixated).astype(float))


@metrics(
    "shuffled-auc",
    title="Shuffled AUC",
    takes="glance",
    higher_is_better=True,
    range=(0.0, 1.0),
    source="Tatler et al. 2005, 10.1016/j.visres.2004.09.017; Zhang et al. 2008, 10.1167/8.7.32",
)
def shuffled_auc(g: GazePair) -> float:
    """Compute the chance that a fixation lies at a higher value than another patient's, in [0, 1]; ties count half."""
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
    """Compute the overlap of map and gaze as densities, in [0, 1]."""
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
    """Compute the Kullback-Leibler divergence of the gaze density from the map as a density, in nats, from 0.

    Both are mixed with a uniform density, of which they contain `UNIFORM_SHARE`.
    """
    gaze = _mix_with_uniform(g.density)
    return max(0.0, float((gaze * np.log(gaze / _mix_with_uniform(g.map.density))).sum()))


@metrics(
    "gain-center",
    title="Gain over center",
    takes="glance",
    higher_is_better=True,
    range=(-INF, INF),
    source="Kümmerer et al. 2015, 10.1073/pnas.1510393112",
)
def gain_over_center(g: GazePair) -> float:
    """Compute how much better the map predicts fixations than the center of the image does, in bits per fixation."""
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
    """Compute how much better the map predicts fixations than the gaze of other patients does, in bits per fixation."""
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
    """Compute the NCC with this reading minus the mean NCC with readings of other patients, in [-2, 2]."""
    return float((g.map.standardized * (standardize(g.density) - g.other_patients.standardized_density)).mean())


def _mix_with_uniform(density: Array) -> Array:
    mixed: Array = (1 - UNIFORM_SHARE) * density + UNIFORM_SHARE / density.size
    return mixed


def _information_gain(g: GazePair, base: Array) -> float:
    return float((g.fixation_map * np.log2(_mix_with_uniform(g.map.density) / _mix_with_uniform(base))).sum())
