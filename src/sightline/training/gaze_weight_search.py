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
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit
from sightline.training.labels import shuffle_gaze


@dataclass(frozen=True, slots=True)
class GazeWeightSearch:
    """Networks taught with different weights of the gaze term, and which of them is kept."""

    supervised: Model
    """Of the weight chosen."""
    shuffled_gaze: Model
    """The same, taught by the gaze at films of other patients."""
    aurocs: Mapping[float, float]
    """Weight -> mean validation AUROC."""
    best_weight: float

    @property
    def summary(self) -> dict[str, Any]:
        """For run.json."""
        return {"weights": {f"{weight:g}": value for weight, value in self.aurocs.items()}, "chosen": self.best_weight}


def search_gaze_weight(
    make_model: Callable[[float], Model],
    data: Dataset,
    out: Path,
    gaze_weights: Sequence[float],
    config: TrainingConfig,
    sampling: SamplingConfig = SamplingConfig(),
    *,
    cache: Path | None = None,
    workers: int = 1,
) -> GazeWeightSearch:
    """Train `make(weight)` for each weight and, of the one with the best validation AUROC, the control.

    The first of equals is kept. Each network has its folder in `out`: weight-3 and so on, and shuffled. The rest is
    as `fit` takes it. Errors: those of `fit`, and `SightlineError` without weights, or where no AUROC is known.
    """
    if not gaze_weights or min(gaze_weights) <= 0:
        raise SightlineError(f"weights={tuple(gaze_weights)}; give at least one, all above 0")
    taught = partial(fit, config=config, sampling=sampling, cache=cache, workers=workers)
    made = {w: taught(make_model(w), data, out / f"weight-{w:g}") for w in dict.fromkeys(gaze_weights)}
    aurocs = {w: a for w, m in made.items() if m.training_record and (a := m.training_record.val_auroc) is not None}
    if not aurocs:
        raise SightlineError(
            f"{data.spec!r}: no validation AUROC tells the weights apart; validate on more radiographs"
        )
    best = max(aurocs, key=lambda w: aurocs[w])
    control = taught(make_model(best), shuffle_gaze(data, config.seed), out / "shuffled")
    return GazeWeightSearch(made[best], replace(control, name="shuffled-gaze"), aurocs, best)
