"""Networks of a gaze study: one trained on labels, the same trained on gaze, too, and on gaze at other radiographs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.models import Model
from sightline.models.zoo import open_model
from sightline.studies.leakage import require_held_out
from sightline.studies.model_set import ModelSet, open_models
from sightline.training.config import TrainingConfig
from sightline.training.fit import fit
from sightline.training.gaze_weight_search import search_gaze_weight

PHANTOM_TRAIN_DATA = "phantom:1100?start=100000&size=160"
PHANTOM_VALIDATION_DATA = "phantom:400?start=200000&size=160&split=val"
GAZE_WEIGHTS = (3.0, 10.0)
"""Weights of the gaze term that are tried; that with the best validation AUROC is kept."""
TRAINING_CONFIG = TrainingConfig(epochs=9, batch_size=16, augment=False)


@dataclass(frozen=True, slots=True)
class GazeModels:
    """Networks of a gaze study."""

    baseline: Model
    """Trained on labels alone."""
    gaze_supervised: tuple[Model, ...] = ()
    """Trained on labels and gaze."""
    shuffled_gaze: tuple[Model, ...] = ()
    """Trained on labels and the gaze at other patients' radiographs: the effect of any pull to the usual places."""

    @classmethod
    def from_specs(
        cls, model: str, gaze_supervised: Sequence[str] = (), shuffled_gaze: Sequence[str] = (), seed: int = 0
    ) -> GazeModels:
        """Open the networks, each under a name of its role.

        Parameters
        ----------
        model, gaze_supervised, shuffled_gaze
            Checkpoints, or models as NAME?option=value.
        seed
            Seed of weights that no checkpoint gives.

        Returns
        -------
        GazeModels
            The networks.
        """

        def name(role: str, specs: Sequence[str]) -> Callable[[int, Model], str]:
            return lambda number, model: f"{role}-{number}" if len(specs) > 1 else role

        return cls(
            open_model(model, seed=seed),
            open_models(gaze_supervised, seed, name("gaze-supervised", gaze_supervised)),
            open_models(shuffled_gaze, seed, name("shuffled-gaze", shuffled_gaze)),
        )

    @property
    def models(self) -> tuple[Model, ...]:
        """All networks, in the order of their tables."""
        return (self.baseline, *self.gaze_supervised, *self.shuffled_gaze)

    @property
    def model_set(self) -> ModelSet:
        """All networks as one set."""
        return ModelSet(self.models)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(model, versus): every other network minus the baseline, and gaze-supervised minus shuffled ones."""
        others = [(m.name, self.baseline.name) for m in (*self.gaze_supervised, *self.shuffled_gaze)]
        return *others, *((t.name, s.name) for t in self.gaze_supervised for s in self.shuffled_gaze)

    @property
    def trainings(self) -> dict[str, list[str]]:
        """Role of a network -> names of its trainings: those supervised by gaze, by shuffled gaze, and the baseline."""
        roles = {"gaze-supervised": self.gaze_supervised, "shuffled-gaze": self.shuffled_gaze}
        trained = {role: [model.name for model in models] for role, models in roles.items() if models}
        return {**trained, self.baseline.name: [self.baseline.name]}

    def validate(self, data: Dataset) -> GazeModels:
        """Check that the networks differ and did not learn from the data.

        Parameters
        ----------
        data
            Data set of the study.

        Returns
        -------
        GazeModels
            The same networks.

        Raises
        ------
        DataError
            For networks with the same weights, or trained on patients of `data`.
        """
        self.model_set.require_distinct_names()
        self.model_set.require_distinct_weights("one of them was not trained any further")
        require_held_out(self.model_set.models, data)
        return self


def train_on_phantom(folder: Path, seed: int, device: str) -> tuple[GazeModels, dict[str, Any]]:
    """Train small networks on radiographs that no study explains, and search the weight of the gaze term.

    The first is trained on labels; the second starts from the same weights and is trained on the gaze, too, which its
    Grad-CAM of positive findings is compared with; the third is the second with the gaze at radiographs of other
    patients.

    Parameters
    ----------
    folder
        Folder of the trainings.
    seed
        Seed of weights and batches.
    device
        Device of the networks.

    Returns
    -------
    tuple of GazeModels and dict
        The networks, and the summary of the search for run.json.
    """
    source = open_dataset(PHANTOM_TRAIN_DATA)
    config, images, workers = replace(TRAINING_CONFIG, seed=seed), folder / "images", os.cpu_count() or 1

    def start(spec: str) -> Model:
        model = open_model(spec, source.findings, seed=seed)
        model.net.to(device)
        return model

    baseline = fit(start("small"), source, folder / "labels", config, cache=images, workers=workers)
    search = search_gaze_weight(
        lambda weight: start(f"gaze-supervised:small?supervised_map=cam&weight={weight:g}"),
        source,
        folder / "gaze",
        GAZE_WEIGHTS,
        config,
        cache=images,
        workers=workers,
    )
    supervised = replace(search.supervised, name="gaze")
    models = GazeModels(replace(baseline, name="labels"), (supervised,), (search.shuffled_gaze,))
    return models, {**search.summary, "by": "cam"}
