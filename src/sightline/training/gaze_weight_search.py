"""How much gaze may teach: the weight of the gaze term that validates best, and the control of what it taught."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sightline.core import Dataset
from sightline.errors import SightlineError
from sightline.models import Model
from sightline.training.config import Recipe, Sample
from sightline.training.fit import fit
from sightline.training.labels import shuffle_gaze


@dataclass(frozen=True, slots=True)
class Sweep:
    """Networks taught with different weights of the gaze term, and which of them is kept."""

    taught: Model
    """Of the weight chosen."""
    shuffled: Model
    """The same, taught by the gaze at films of other patients."""
    aurocs: Mapping[float, float]
    """Weight -> mean validation AUROC."""
    chosen: float

    @property
    def facts(self) -> dict[str, Any]:
        """For run.json."""
        return {"weights": {f"{weight:g}": value for weight, value in self.aurocs.items()}, "chosen": self.chosen}


def swept(
    make: Callable[[float], Model],
    data: Dataset,
    out: Path,
    weights: Sequence[float],
    recipe: Recipe,
    sample: Sample = Sample(),
    *,
    cache: Path | None = None,
    workers: int = 1,
) -> Sweep:
    """Train `make(weight)` for each weight and, of the one with the best validation AUROC, the control.

    The first of equals is kept. Each network has its folder in `out`: weight-3 and so on, and shuffled. The rest is
    as `fit` takes it. Errors: those of `fit`, and `SightlineError` without weights, or where no AUROC is known.
    """
    if not weights or min(weights) <= 0:
        raise SightlineError(f"weights={tuple(weights)}; give at least one, all above 0")
    taught = partial(fit, recipe=recipe, sample=sample, cache=cache, workers=workers)
    made = {w: taught(make(w), data, out / f"weight-{w:g}") for w in dict.fromkeys(weights)}
    aurocs = {w: a for w, m in made.items() if m.training and (a := m.training.val_auroc) is not None}
    if not aurocs:
        raise SightlineError(
            f"{data.spec!r}: no validation AUROC tells the weights apart; validate on more radiographs"
        )
    best = max(aurocs, key=lambda w: aurocs[w])
    control = taught(make(best), shuffle_gaze(data, recipe.seed), out / "shuffled")
    return Sweep(made[best], replace(control, name="shuffled-gaze"), aurocs, best)
