"""Search for the weight of the gaze loss with the best validation, and train its control."""

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
    """Result of a search: the best network and its control."""

    supervised: Model
    """Network trained with the best weight."""
    shuffled_gaze: Model
    """Control: the same, trained on the gaze at radiographs of other patients."""
    aurocs: Mapping[float, float]
    """Mean validation AUROC of each weight."""
    best_weight: float
    """Weight with the highest AUROC."""

    @property
    def summary(self) -> dict[str, Any]:
        """Weights with their AUROC, for run.json."""
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
    """Train a network for each weight, and the control of the one with the best validation AUROC.

    Of equal weights the first is kept. Each network has its folder in `out`: weight-3 and so on, and shuffled.

    Parameters
    ----------
    make_model
        Function of a weight that returns an untrained model.
    data
        Data set with labels and gaze.
    out
        Folder of the networks.
    gaze_weights
        Weights to compare, above 0.
    config, sampling, cache, workers
        See `sightline.training.fit`.

    Returns
    -------
    GazeWeightSearch
        Best network and control.

    Raises
    ------
    SightlineError
        Without weights, or if no AUROC is known; also errors of `fit`.
    """
    if not gaze_weights or min(gaze_weights) <= 0:
        raise SightlineError(f"gaze_weights={tuple(gaze_weights)}; give at least one, all above 0")
    train = partial(fit, config=config, sampling=sampling, cache=cache, workers=workers)
    models = {w: train(make_model(w), data, out / f"weight-{w:g}") for w in dict.fromkeys(gaze_weights)}
    aurocs = {w: a for w, m in models.items() if m.training_record and (a := m.training_record.val_auroc) is not None}
    if not aurocs:
        raise SightlineError(f"{data.spec!r}: no weight has a validation AUROC; validate on more radiographs")
    best = max(aurocs, key=lambda w: aurocs[w])
    control = train(make_model(best), shuffle_gaze(data, config.seed), out / "shuffled")
    return GazeWeightSearch(models[best], replace(control, name="shuffled-gaze"), aurocs, best)
