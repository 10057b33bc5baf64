"""Measurements of maps that claims can be checked against: where their evidence lies, and how focused it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import pandas as pd

from sightline.core import NAN, Array
from sightline.stats.intervals import mean_with_ci

SIDES = ("left", "right")
"""Sides of the patient: left is on the right of the image."""
ZONES = ("upper", "middle", "lower", "perihilar", "costophrenic", "cardiac", "mediastinal")
"""Zones of the chest, as `make_zone_masks` defines them."""
FOCUS, ENTROPY, SPREAD = SHAPE_MEASURES = ("focus", "entropy", "spread")
"""Measures of how evidence lies on a map, see `measure_shape`."""
MEASUREMENT_COLUMNS = ["model", "finding", "measure", "mean", "low", "high", "n", "patients"]


def make_zone_masks(lungs: Array, heart: Array | None = None, mediastinum: Array | None = None) -> dict[str, Array]:
    """Make masks of sides and zones of the chest.

    They follow from the rectangle around both lungs: sides are its halves, zones its thirds; perihilar is the middle
    third both ways, costophrenic the lowest quarter of the outer quarters. Heart and mediastinum are their own masks.

    Parameters
    ----------
    lungs : ndarray, (h, w) bool
        Both lungs, not empty.
    heart, mediastinum : ndarray, (h, w) bool, optional
        Their masks, if they are known.

    Returns
    -------
    dict of str to ndarray, (h, w) bool
        Side or zone to its mask; empty ones are left out.
    """
    rows, cols = (np.flatnonzero(lungs.any(axis)) for axis in (1, 0))
    down = (np.arange(lungs.shape[0])[:, None] + 0.5 - rows[0]) / (rows[-1] + 1 - rows[0])
    across = (np.arange(lungs.shape[1])[None] + 0.5 - cols[0]) / (cols[-1] + 1 - cols[0])
    within = (down >= 0) & (down < 1) & (across >= 0) & (across < 1)
    outer = (across < 0.25) | (across >= 0.75)
    masks = {
        "right": within & (across < 0.5),
        "left": within & (across >= 0.5),
        "upper": within & (down < 1 / 3),
        "middle": within & (down >= 1 / 3) & (down < 2 / 3),
        "lower": within & (down >= 2 / 3),
        "perihilar": within & (down >= 1 / 3) & (down < 2 / 3) & (across >= 1 / 3) & (across < 2 / 3),
        "costophrenic": within & (down >= 0.75) & outer,
    }
    masks |= {name: mask for name, mask in (("cardiac", heart), ("mediastinal", mediastinum)) if mask is not None}
    return {name: mask for name, mask in masks.items() if mask.any()}


def relative_density(values: Array, places: Mapping[str, Array]) -> dict[str, float]:
    """Compute the density of a map's evidence in each place, relative to that in all of them together.

    Parameters
    ----------
    values : ndarray, (h, w)
        The map; positive values count.
    places : mapping of str to ndarray, (h, w) bool
        Masks of the places.

    Returns
    -------
    dict of str to float
        1 for even evidence, 0 for none in the place; NaN for a map without any evidence in the places.
    """
    evidence = np.maximum(values, 0)
    whole = np.any(list(places.values()), axis=0)
    total = float(evidence[whole].mean())
    return {name: float(evidence[mask].mean()) / total if total > 0 else NAN for name, mask in places.items()}


def gini(values: Array) -> float:
    """Compute the Gini index of positive evidence (Hurley and Rickard 2009, 10.1109/TIT.2009.2027527).

    Parameters
    ----------
    values : ndarray
        The map.

    Returns
    -------
    float
        0 for even evidence, near 1 for all of it in one place; NaN without any.

    Examples
    --------
    >>> gini(np.ones((2, 2))), gini(np.eye(1, 4))
    (0.0, 0.75)
    """
    v = np.sort(np.maximum(values, 0).ravel())
    if not v.sum() > 0:
        return NAN
    ranks = np.arange(1, v.size + 1)
    return abs(float(2 * (ranks * v).sum() / (v.size * v.sum()) - (v.size + 1) / v.size))


def measure_shape(values: Array) -> dict[str, float]:
    """Measure how positive evidence lies on a map, wherever that is.

    Parameters
    ----------
    values : ndarray, (h, w)
        The map.

    Returns
    -------
    dict of str to float
        'focus': see `gini`. 'entropy': entropy of the evidence as a distribution over the map's cells, relative to that
        of an even map: 0 in one cell, 1 even. 'spread': root mean square distance to the center of mass, in shares of
        height and width: 0 in one cell, 0.41 even, 0.71 in two opposite corners. NaN for a map without evidence.

    Examples
    --------
    >>> measure_shape(np.eye(1, 4)) == {"focus": 0.75, "entropy": 0.0, "spread": 0.0}
    True
    """
    evidence = np.maximum(np.asarray(values, np.float64), 0)
    total = float(evidence.sum())
    if not total > 0:
        return dict.fromkeys(SHAPE_MEASURES, NAN)
    share = evidence / total
    positive = share[share > 0]
    entropy = abs(float(-(positive * np.log(positive)).sum()))
    variance = 0.0
    for axis, size in enumerate(share.shape):
        marginal = share.sum(1 - axis)
        positions = (np.arange(size) + 0.5) / size
        variance += float(marginal @ (positions - marginal @ positions) ** 2)
    return {FOCUS: gini(evidence), ENTROPY: entropy / float(np.log(max(share.size, 2))), SPREAD: variance**0.5}


@dataclass(frozen=True)
class Measurements:
    """Measurements of several models' maps, finding by finding."""

    table: pd.DataFrame = field(repr=False)
    """Columns `MEASUREMENT_COLUMNS`. measure: a place, whose relative density is given, or one of `SHAPE_MEASURES`;
    finding: 'average' for all cases together."""
    differences: pd.DataFrame = field(repr=False)
    """Differences of `SHAPE_MEASURES`, paired by case: finding, model, versus, measure, then as in `table`."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(dict.fromkeys(self.table["model"]))

    @property
    def findings(self) -> tuple[str, ...]:
        """Findings, without 'average'."""
        return tuple(f for f in dict.fromkeys(self.table["finding"]) if f != "average")

    def estimate(self, model: str, finding: str, measure: str) -> dict[str, float] | None:
        """Look up one measurement.

        Parameters
        ----------
        model : str
            Name of the model.
        finding : str
            Finding, or 'average'.
        measure : str
            A place, or one of `SHAPE_MEASURES`.

        Returns
        -------
        dict of str to float, or None
            mean, low, high, n, patients; None where nothing was measured or there is no interval.
        """
        t = self.table
        rows = t[(t["model"] == model) & (t["finding"] == finding) & (t["measure"] == measure)]
        return _read_row(rows)

    def difference(self, model: str, versus: str, finding: str, measure: str = FOCUS) -> dict[str, float] | None:
        """Look up the paired difference of two models.

        Parameters
        ----------
        model, versus : str
            Names of the models; the difference is the first minus the second.
        finding : str
            Finding, or 'average'.
        measure : str
            One of `SHAPE_MEASURES`.

        Returns
        -------
        dict of str to float, or None
            mean, low, high, n, patients; None where nothing was measured or there is no interval.
        """
        d = self.differences
        is_pair = (d["model"] == model) & (d["versus"] == versus) & (d["finding"] == finding)
        return _read_row(d[is_pair & (d["measure"] == measure)])


def _read_row(rows: pd.DataFrame) -> dict[str, float] | None:
    if rows.empty or rows[["low", "high"]].isna().to_numpy().any():
        return None
    return {k: float(rows.iloc[0][k]) for k in ("mean", "low", "high", "n", "patients")}


_HIGHEST_DENSITY = dict.fromkeys(("left", "right"), 2.0) | dict.fromkeys(("upper", "middle", "lower"), 3.0)
"""Relative density of a place that holds all evidence: sides are halves, and zones thirds, of the area."""


def estimate_measurements(cases: pd.DataFrame) -> Measurements:
    """Average measurements of maps by model and finding, and compare models, with intervals.

    Parameters
    ----------
    cases : DataFrame
        A row per map and measure: model, finding, radiograph, patient, measure, value.

    Returns
    -------
    Measurements
        Intervals (95 %) are over patients.
    """
    rows, differences = [], []
    for model, of_model in cases.groupby("model", sort=False):
        parts = [*of_model.groupby("finding", sort=False), ("average", of_model)]
        for finding, part in parts:
            for measure, values in part.groupby("measure", sort=False):
                key = {"model": model, "finding": finding, "measure": measure}
                bounds = (0.0, _HIGHEST_DENSITY.get(str(measure), float("inf")))
                rows.append(key | mean_with_ci(values["value"], values["patient"], bounds=bounds))
    for shape in SHAPE_MEASURES:
        wide = (
            cases[cases["measure"] == shape]
            .pivot_table(index=["finding", "radiograph", "patient"], columns="model", values="value")
            .reset_index()
        )
        names = [m for m in dict.fromkeys(cases["model"]) if m in wide]
        for model, versus in permutations(names, 2):
            for finding, part in [*wide.groupby("finding", sort=False), ("average", wide)]:
                key = {"finding": finding, "model": model, "versus": versus, "measure": shape}
                differences.append(key | mean_with_ci(part[model] - part[versus], part["patient"]))
    columns = ["finding", "model", "versus", "measure", "mean", "low", "high", "n", "patients"]
    return Measurements(pd.DataFrame(rows, columns=MEASUREMENT_COLUMNS), pd.DataFrame(differences, columns=columns))
