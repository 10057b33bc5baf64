"""The networks of a trust study: the one that is judged, those it is compared with, and the ceiling."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sightline.core import LABEL_RANDOMIZATION, OTHER_ARCHITECTURE, RETRAINED, Dataset
from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.findings import select_findings
from sightline.models import Model, state_hash
from sightline.models.zoo import open_model
from sightline.studies.leakage import require_held_out
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
"""Name -> spec, seed and epochs of the networks trained on the phantom."""


@dataclass(frozen=True, slots=True)
class TrustModels:
    """The model whose maps are judged, the same trained again, other architectures, and networks trained on marks."""

    model: Model
    replicates: tuple[Model, ...] = ()
    other_architectures: tuple[Model, ...] = ()
    shuffled_labels: tuple[Model, ...] = ()
    """The same architecture trained on shuffled labels."""
    localizers: tuple[Model, ...] = ()
    """Their own maps show what can be learned of where findings are: the ceiling."""

    @property
    def classifiers(self) -> tuple[Model, ...]:
        return self.model, *self.replicates, *self.other_architectures, *self.shuffled_labels

    @property
    def all_models(self) -> tuple[Model, ...]:
        return *self.classifiers, *self.localizers

    @property
    def comparisons(self) -> dict[str, str]:
        kinds = (
            (RETRAINED, self.replicates),
            (OTHER_ARCHITECTURE, self.other_architectures),
            (LABEL_RANDOMIZATION, self.shuffled_labels),
        )
        return {m.name: kind for kind, some in kinds for m in some}

    @property
    def localizer_comparisons(self) -> dict[str, str]:
        """What the first localizer is compared with."""
        first, *rest = self.localizers
        return {m.name: RETRAINED if m.arch == first.arch else OTHER_ARCHITECTURE for m in rest}

    def shared_findings(self, data: Dataset, findings: str) -> tuple[str, ...]:
        """Those of the data set that every network knows, or of them the ones wanted (comma-separated)."""
        shared = tuple(f for f in data.findings if all(f in m.findings for m in self.all_models))
        if not shared:
            known = "; ".join(f"{m.name}: {', '.join(m.findings)}" for m in self.all_models)
            raise DataError(f"no finding of {data.spec!r} is known to all models; they know {known}")
        return tuple(select_findings(findings or None, shared))

    def validate(self, data: Dataset) -> TrustModels:
        """Itself. Errors: `DataError` for networks that are not what they are named for, or learned from this data."""
        hashes = [state_hash(m.net) for m in self.all_models]
        twins = [m.name for m, digest in zip(self.all_models, hashes, strict=True) if hashes.count(digest) > 1]
        if twins:
            raise DataError(
                f"{' and '.join(twins)} have the same weights: a network does not repeat itself by being copied"
            )
        strange = [m.name for m in (*self.replicates, *self.shuffled_labels) if m.arch != self.model.arch]
        if strange:
            raise DataError(
                f"{', '.join(strange)} is no {self.model.arch or self.model.name} trained again; "
                "name it in --other-architectures"
            )
        mapless = [m.name for m in self.localizers if not callable(getattr(m.net, "maps", None))]
        if mapless:
            raise DataError(
                f"{', '.join(mapless)} has no maps(x) of its own; a localizer is a unet, a retinanet or alike"
            )
        self._require_same_training()
        require_held_out(self.all_models, data)
        return self

    def _require_same_training(self) -> None:
        """Replicates differ by their seed alone, as far as their records tell."""
        own = self.model.training_record
        for m in self.replicates:
            if own is None or m.training_record is None:
                continue
            other = m.training_record
            if (other.description, other.fraction) != (own.description, own.fraction):
                raise DataError(
                    f"{m.name} learned from {other.description} (share {other.fraction:g}), {self.model.name} from "
                    f"{own.description} (share {own.fraction:g}); a replicate differs by its seed alone"
                )
            if own.seed is not None and m.training_record.seed == own.seed:
                raise DataError(
                    f"{m.name} was trained with the seed of {self.model.name}, {own.seed}; train it with another"
                )


def from_specs(
    model: str,
    replicates: Sequence[str] = (),
    other_architectures: Sequence[str] = (),
    shuffled_labels: Sequence[str] = (),
    localizers: Sequence[str] = (),
    seed: int = 0,
) -> TrustModels:
    """The networks by their specs, under names that tell them apart."""
    first = open_model(model, seed=seed)

    def named(role: str, specs: Sequence[str], told: bool) -> tuple[Model, ...]:
        found = [open_model(s, seed=seed) for s in specs]
        kinds = [f"-{m.arch.partition('?')[0] or m.name}" if told else "" for m in found]
        return tuple(
            replace(m, name=f"{role}-{i + 1}{kind}") for i, (m, kind) in enumerate(zip(found, kinds, strict=True))
        )

    return TrustModels(
        first,
        named("again", replicates, False),
        named("other", other_architectures, True),
        named("shuffled", shuffled_labels, False),
        named("net", localizers, True),
    )


def train_on_phantom(folder: Path, seed: int, device: str) -> TrustModels:
    """Small classifiers, one of them on shuffled labels, and localizers, trained on films that no study looks at."""
    source = open_dataset(PHANTOM_TRAIN_DATA)
    made = {}
    for name, (spec, number, epochs) in PHANTOM_NETWORKS.items():
        blank = open_model(spec, source.findings, seed=seed + number)
        blank.net.to(device)
        data = shuffle_labels(source, seed) if name.startswith("shuffled") else source
        recipe = TrainingConfig(epochs=epochs, batch_size=16, augment=False, seed=seed + number)
        done = fit(
            blank,
            data,
            folder / name,
            recipe,
            SamplingConfig(split_seed=seed),
            cache=folder / "images",
            workers=os.cpu_count() or 1,
        )
        made[name] = replace(done, name=name)
    return TrustModels(
        made["small"],
        (made["again-1"],),
        (made["other-1-narrow"],),
        (made["shuffled-1"],),
        (made["unet"], made["unet-again"], made["retinanet"]),
    )
