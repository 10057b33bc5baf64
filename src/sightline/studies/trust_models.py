"""Networks of a trust study: the model whose maps are judged, the networks it is compared with, and the ceiling."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from sightline.core import LABEL_RANDOMIZATION, OTHER_ARCHITECTURE, RETRAINED, Dataset
from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.models import Model
from sightline.models.zoo import open_model
from sightline.studies.leakage import require_held_out
from sightline.studies.model_set import ModelSet, architecture_name, open_models
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit
from sightline.training.labels import shuffle_labels

PHANTOM_TRAIN_DATA = "phantom:850?start=100000&size=128"
PHANTOM_NETWORKS = {
    "small": ("small?side=128", 0, 9),
    "again-1": ("small?side=128", 1, 9),
    "other-1-narrow": ("small?width=12&side=128", 2, 9),
    "shuffled-1": ("small?side=128", 3, 6),
    "unet": ("unet?side=128", 0, 8),
    "unet-again": ("unet?side=128", 1, 8),
    "retinanet": ("retinanet?side=128", 2, 10),
}
"""Name -> spec, seed and number of epochs of the networks trained on the phantom."""


@dataclass(frozen=True, slots=True)
class TrustModelSpecs:
    """Checkpoints, or models as NAME?option=value, of the networks of a trust study."""

    model: str
    """The model whose maps are judged; empty to train all on the phantom."""
    replicates: tuple[str, ...] = ()
    """The same architecture, trained with other seeds."""
    other_architectures: tuple[str, ...] = ()
    """Other architectures."""
    shuffled_labels: tuple[str, ...] = ()
    """The same architecture, trained on shuffled labels."""
    localizers: tuple[str, ...] = ()
    """Networks trained on annotations."""


@dataclass(frozen=True, slots=True)
class TrustModels:
    """Networks of a trust study."""

    model: Model
    """The model whose maps are judged."""
    replicates: tuple[Model, ...] = ()
    """The same architecture, trained with other seeds."""
    other_architectures: tuple[Model, ...] = ()
    """Other architectures."""
    shuffled_labels: tuple[Model, ...] = ()
    """The same architecture, trained on shuffled labels."""
    localizers: tuple[Model, ...] = ()
    """Networks trained on annotations; their own maps show how well findings can be located: the ceiling."""

    @classmethod
    def from_specs(cls, specs: TrustModelSpecs, seed: int = 0) -> TrustModels:
        """Open the networks, each under a name of its role.

        Parameters
        ----------
        specs
            Specs of the networks.
        seed
            Seed of weights that no checkpoint gives.

        Returns
        -------
        TrustModels
            The networks.
        """
        return cls(
            open_model(specs.model, seed=seed),
            open_models(specs.replicates, seed, lambda i, m: f"again-{i}"),
            open_models(specs.other_architectures, seed, lambda i, m: f"other-{i}-{architecture_name(m)}"),
            open_models(specs.shuffled_labels, seed, lambda i, m: f"shuffled-{i}"),
            open_models(specs.localizers, seed, lambda i, m: f"net-{i}-{architecture_name(m)}"),
        )

    @property
    def classifiers(self) -> tuple[Model, ...]:
        """Networks that methods explain."""
        return self.model, *self.replicates, *self.other_architectures, *self.shuffled_labels

    @property
    def model_set(self) -> ModelSet:
        """All networks."""
        return ModelSet((*self.classifiers, *self.localizers))

    @property
    def comparisons(self) -> dict[str, str]:
        """Networks that the model is compared with -> kind of the comparison."""
        groups = (
            (RETRAINED, self.replicates),
            (OTHER_ARCHITECTURE, self.other_architectures),
            (LABEL_RANDOMIZATION, self.shuffled_labels),
        )
        return {model.name: kind for kind, models in groups for model in models}

    @property
    def localizer_comparisons(self) -> dict[str, str]:
        """Networks that the first localizer is compared with -> kind of the comparison."""
        first, *rest = self.localizers
        return {m.name: RETRAINED if m.arch == first.arch else OTHER_ARCHITECTURE for m in rest}

    def validate(self, data: Dataset) -> TrustModels:
        """Check that the networks are what their roles require, and did not learn from the data.

        Parameters
        ----------
        data
            Data set of the study.

        Returns
        -------
        TrustModels
            The same networks.

        Raises
        ------
        DataError
            For networks with the same weights, of another architecture or other training than their role requires,
            without maps of their own, or trained on patients of `data`.
        """
        self.model_set.require_distinct_names()
        self.model_set.require_distinct_weights("a network does not repeat itself by being copied")
        others = [m.name for m in (*self.replicates, *self.shuffled_labels) if m.arch != self.model.arch]
        if others:
            raise DataError(
                f"{', '.join(others)} is no {self.model.arch or self.model.name} trained again; "
                "name it in --other-architectures"
            )
        ModelSet(self.localizers).require_own_maps()
        self._require_same_training()
        require_held_out(self.model_set.models, data)
        return self

    def _require_same_training(self) -> None:
        """Check that replicates differ by their seed alone, as far as their training records state it."""
        reference = self.model.training_record
        for model in self.replicates:
            other = model.training_record
            if reference is None or other is None:
                continue
            if (other.description, other.fraction) != (reference.description, reference.fraction):
                raise DataError(
                    f"{model.name} learned from {other.description} (share {other.fraction:g}), {self.model.name} from "
                    f"{reference.description} (share {reference.fraction:g}); a replicate differs by its seed alone"
                )
            if reference.seed is not None and other.seed == reference.seed:
                raise DataError(
                    f"{model.name} was trained with the seed of {self.model.name}, {reference.seed}; "
                    "train it with another"
                )


def train_on_phantom(folder: Path, seed: int, device: str) -> TrustModels:
    """Train small classifiers, one of them on shuffled labels, and localizers on radiographs that no study explains.

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
    TrustModels
        The networks.
    """
    source = open_dataset(PHANTOM_TRAIN_DATA)
    trained = {}
    for name, (spec, number, epochs) in PHANTOM_NETWORKS.items():
        blank = open_model(spec, source.findings, seed=seed + number)
        blank.net.to(device)
        model = fit(
            blank,
            shuffle_labels(source, seed) if name.startswith("shuffled") else source,
            folder / name,
            TrainingConfig(epochs=epochs, batch_size=16, augment=False, seed=seed + number),
            SamplingConfig(split_seed=seed),
            cache=folder / "images",
            workers=os.cpu_count() or 1,
        )
        trained[name] = replace(model, name=name)
    return TrustModels(
        trained["small"],
        (trained["again-1"],),
        (trained["other-1-narrow"],),
        (trained["shuffled-1"],),
        (trained["unet"], trained["unet-again"], trained["retinanet"]),
    )
