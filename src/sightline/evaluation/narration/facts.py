"""What maps do, in numbers that words can be checked against: where their evidence lies, and how focused it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import pandas as pd

from sightline.core import NAN, Array
from sightline.stats.bootstrap import mean_with_ci

SIDES = ("left", "right")
"""Of the patient: left is on the right of the film."""
ZONES = ("upper", "middle", "lower", "perihilar", "costophrenic", "cardiac", "mediastinal")
FOCUS, ENTROPY, SPREAD = SHAPE_MEASURES = ("focus", "entropy", "spread")
MEASUREMENT_COLUMNS = ["model", "finding", "measure", "mean", "low", "high", "n", "patients"]


def make_zone_masks(lungs: Array, heart: Array | None = None, mediastinum: Array | None = None) -> dict[str, Array]:
    """Place -> bool (h, w), by the rectangle around both lungs (bool (h, w), not empty).

    Sides are the halves of that rectangle, zones its thirds; perihilar is the middle third of it both ways,
    costophrenic the lowest quarter of its outer quarters. Heart and mediastinum are their own masks, where known.
    """
    rows, cols = (np.flatnonzero(lungs.any(axis)) for axis in (1, 0))
    down = (np.arange(lungs.shape[0])[:, None] + 0.5 - rows[0]) / (rows[-1] + 1 - rows[0])
    across = (np.arange(lungs.shape[1])[None] + 0.5 - cols[0]) / (cols[-1] + 1 - cols[0])
    within = (down >= 0) & (down < 1) & (across >= 0) & (across < 1)
    outer = (across < 0.25) | (across >= 0.75)
    found = {
        "right": within & (across < 0.5),
        "left": within & (across >= 0.5),
        "upper": within & (down < 1 / 3),
        "middle": within & (down >= 1 / 3) & (down < 2 / 3),
        "lower": within & (down >= 2 / 3),
        "perihilar": within & (down >= 1 / 3) & (down < 2 / 3) & (across >= 1 / 3) & (across < 2 / 3),
        "costophrenic": within & (down >= 0.75) & outer,
    }
    found |= {name: mask for name, mask in (("cardiac", heart), ("mediastinal", mediastinum)) if mask is not None}
    return {name: mask for name, mask in found.items() if mask.any()}


def relative_density(values: Array, places: Mapping[str, Array]) -> dict[str, float]:
    """How much denser a map's evidence is in each place than within all of them: 1 is even, 0 is none.

    values (h, w): positive parts count. NaN for a map without any there.
    """
    evidence = np.maximum(values, 0)
    whole = np.any(list(places.values()), axis=0)
    total = float(evidence[whole].mean())
    return {name: float(evidence[mask].mean()) / total if total > 0 else NAN for name, mask in places.items()}


def gini(values: Array) -> float:
    """How unevenly positive evidence is spread: 0 even, near 1 all in one place; NaN without any.

    Hurley and Rickard 2009, 10.1109/TIT.2009.2027527.

    >>> gini(np.ones((2, 2))), gini(np.eye(1, 4))
    (0.0, 0.75)
    """
    v = np.sort(np.maximum(values, 0).ravel())
    if not v.sum() > 0:
        return NAN
    ranks = np.arange(1, v.size + 1)
    return abs(float(2 * (ranks * v).sum() / (v.size * v.sum()) - (v.size + 1) / v.size))


def measure_shape(values: Array) -> dict[str, float]:
    """How positive evidence lies on a map (h, w), wherever that is; NaN for a map without any.

    focus: `gini`. entropy: of the evidence as a distribution over the map's cells, as a share of that of an even map: 0
    in one cell, 1 even. spread: root mean square distance to the center of mass, in shares of height and width: 0 in
    one cell, 0.41 even, 0.71 in two opposite corners.

    >>> measure_shape(np.eye(1, 4)) == {"focus": 0.75, "entropy": 0.0, "spread": 0.0}
    True
    """
    evidence = np.maximum(np.asarray(values, np.float64), 0)
    total = float(evidence.sum())
    if not total > 0:
        return dict.fromkeys(SHAPE_MEASURES, NAN)
    share = evidence / total
    some = share[share > 0]
    bits = abs(float(-(some * np.log(some)).sum()))
    variance = 0.0
    for axis, size in enumerate(share.shape):
        along = share.sum(1 - axis)
        at = (np.arange(size) + 0.5) / size
        variance += float(along @ (at - along @ at) ** 2)
    return {FOCUS: gini(evidence), ENTROPY: bits / float(np.log(max(share.size, 2))), SPREAD: variance**0.5}


@dataclass(frozen=True)
class Measurements:
    """Measurements of several models' maps, finding by finding."""

    table: pd.DataFrame = field(repr=False)
    """Columns `MEASUREMENT_COLUMNS`; measure: a place's lift, or one of `SHAPE_MEASURES`. finding 'average': all
    cases together."""
    differences: pd.DataFrame = field(repr=False)
    """Of `SHAPE_MEASURES`, paired by case: columns finding, model, versus, measure, mean, low, high, n, patients."""

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.table["model"]))

    @property
    def findings(self) -> tuple[str, ...]:
        return tuple(f for f in dict.fromkeys(self.table["finding"]) if f != "average")

    def estimate(self, model: str, finding: str, measure: str) -> dict[str, float] | None:
        """mean, low, high, n, patients; None where nothing was measured or there is no interval."""
        t = self.table
        rows = t[(t["model"] == model) & (t["finding"] == finding) & (t["measure"] == measure)]
        return _read_row(rows)

    def difference(self, model: str, versus: str, finding: str, measure: str = FOCUS) -> dict[str, float] | None:
        """One of `SHAPE_MEASURES` of one model less that of another; None where it was not measured."""
        d = self.differences
        asked = (d["model"] == model) & (d["versus"] == versus) & (d["finding"] == finding)
        return _read_row(d[asked & (d["measure"] == measure)])


def _read_row(rows: pd.DataFrame) -> dict[str, float] | None:
    if rows.empty or rows[["low", "high"]].isna().to_numpy().any():
        return None
    return {k: float(rows.iloc[0][k]) for k in ("mean", "low", "high", "n", "patients")}


def estimate_measurements(cases: pd.DataFrame, seed: int = 0) -> Measurements:
    """Facts of measured maps.

    cases: columns model, finding, radiograph, patient, measure, value; a row per map and measure. Intervals resample
    patients (95 %).
    """
    rows, gaps = [], []
    for model, of in cases.groupby("model", sort=False):
        parts = [*of.groupby("finding", sort=False), ("average", of)]
        for finding, part in parts:
            for measure, some in part.groupby("measure", sort=False):
                head = {"model": model, "finding": finding, "measure": measure}
                rows.append(head | mean_with_ci(some["value"], some["patient"], seed))
    for shape in SHAPE_MEASURES:
        wide = (
            cases[cases["measure"] == shape]
            .pivot_table(index=["finding", "radiograph", "patient"], columns="model", values="value")
            .reset_index()
        )
        names = [m for m in dict.fromkeys(cases["model"]) if m in wide]
        for model, versus in permutations(names, 2):
            for finding, part in [*wide.groupby("finding", sort=False), ("average", wide)]:
                head = {"finding": finding, "model": model, "versus": versus, "measure": shape}
                gaps.append(head | mean_with_ci(part[model] - part[versus], part["patient"], seed))
    columns = ["finding", "model", "versus", "measure", "mean", "low", "high", "n", "patients"]
    return Measurements(pd.DataFrame(rows, columns=MEASUREMENT_COLUMNS), pd.DataFrame(gaps, columns=columns))
