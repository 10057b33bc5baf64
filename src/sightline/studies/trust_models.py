"""The networks of a trust study: the one that is judged, those it is compared with, and the ceiling."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sightline.core import AGAIN, OTHER, SHUFFLED, Dataset
from sightline.data import dataset
from sightline.errors import DataError
from sightline.findings import choose
from sightline.models import Model, state_hash
from sightline.models.zoo import open_model
from sightline.studies.leakage import require_held_out
from sightline.training.config import Recipe, Sample
from sightline.training.fit import fit
from sightline.training.labels import shuffle_labels

TRAINING = "phantom:850?start=100000&size=128"
PLAN = {
    "small": ("small?side=128", 0, 9), "again-1": ("small?side=128", 1, 9),
    "other-1-narrow": ("small?width=12&side=128", 2, 9), "shuffled-1": ("small?side=128", 3, 6),
    "unet": ("unet?side=128", 0, 8), "unet-again": ("unet?side=128", 1, 8), "retinanet": ("retinanet?side=128", 2, 10),
}  # fmt: skip
"""Name -> spec, seed and epochs of the networks trained on the phantom."""


@dataclass(frozen=True, slots=True)
class Team:
    """The model whose maps are judged, the same trained again, other architectures, and networks trained on marks."""

    model: Model
    replicates: tuple[Model, ...] = ()
    others: tuple[Model, ...] = ()
    shuffled: tuple[Model, ...] = ()
    """The same architecture trained on shuffled labels."""
    localizers: tuple[Model, ...] = ()
    """Their own maps show what can be learned of where findings are: the ceiling."""

    @property
    def classifiers(self) -> tuple[Model, ...]:
        return self.model, *self.replicates, *self.others, *self.shuffled

    @property
    def everyone(self) -> tuple[Model, ...]:
        return *self.classifiers, *self.localizers

    @property
    def partners(self) -> dict[str, str]:
        kinds = ((AGAIN, self.replicates), (OTHER, self.others), (SHUFFLED, self.shuffled))
        return {m.name: kind for kind, some in kinds for m in some}

    @property
    def localizing_partners(self) -> dict[str, str]:
        """What the first localizer is compared with."""
        first, *rest = self.localizers
        return {m.name: AGAIN if m.arch == first.arch else OTHER for m in rest}

    def findings(self, data: Dataset, wanted: str) -> tuple[str, ...]:
        """Those of the data set that every network knows, or of them the ones wanted (comma-separated)."""
        shared = tuple(f for f in data.findings if all(f in m.findings for m in self.everyone))
        if not shared:
            known = "; ".join(f"{m.name}: {', '.join(m.findings)}" for m in self.everyone)
            raise DataError(f"no finding of {data.spec!r} is known to all models; they know {known}")
        return tuple(choose(wanted or None, shared))

    def checked(self, data: Dataset) -> Team:
        """Itself. Errors: `DataError` for networks that are not what they are named for, or learned from this data."""
        hashes = [state_hash(m.net) for m in self.everyone]
        twins = [m.name for m, digest in zip(self.everyone, hashes, strict=True) if hashes.count(digest) > 1]
        if twins:
            raise DataError(
                f"{' and '.join(twins)} have the same weights: a network does not repeat itself by being copied"
            )
        strange = [m.name for m in (*self.replicates, *self.shuffled) if m.arch != self.model.arch]
        if strange:
            raise DataError(
                f"{', '.join(strange)} is no {self.model.arch or self.model.name} trained again; name it in --others"
            )
        mapless = [m.name for m in self.localizers if not callable(getattr(m.net, "maps", None))]
        if mapless:
            raise DataError(
                f"{', '.join(mapless)} has no maps(x) of its own; a localizer is a unet, a retinanet or alike"
            )
        self._refuse_other_trainings()
        require_held_out(self.everyone, data)
        return self

    def _refuse_other_trainings(self) -> None:
        """Replicates differ by their seed alone, as far as their records tell."""
        own = self.model.training
        for m in self.replicates:
            if own is None or m.training is None:
                continue
            other = m.training
            if (other.description, other.fraction) != (own.description, own.fraction):
                raise DataError(
                    f"{m.name} learned from {other.description} (share {other.fraction:g}), {self.model.name} from "
                    f"{own.description} (share {own.fraction:g}); a replicate differs by its seed alone"
                )
            if own.seed is not None and m.training.seed == own.seed:
                raise DataError(
                    f"{m.name} was trained with the seed of {self.model.name}, {own.seed}; train it with another"
                )


def opened(
    model: str,
    replicates: Sequence[str] = (),
    others: Sequence[str] = (),
    shuffled: Sequence[str] = (),
    localizers: Sequence[str] = (),
    seed: int = 0,
) -> Team:
    """The networks by their specs, under names that tell them apart."""
    first = open_model(model, seed=seed)

    def named(role: str, specs: Sequence[str], told: bool) -> tuple[Model, ...]:
        found = [open_model(s, seed=seed) for s in specs]
        kinds = [f"-{m.arch.partition('?')[0] or m.name}" if told else "" for m in found]
        return tuple(
            replace(m, name=f"{role}-{i + 1}{kind}") for i, (m, kind) in enumerate(zip(found, kinds, strict=True))
        )

    return Team(first, named("again", replicates, False), named("other", others, True),
                named("shuffled", shuffled, False), named("net", localizers, True))  # fmt: skip


def trained(folder: Path, seed: int, device: str) -> Team:
    """Small classifiers, one of them on shuffled labels, and localizers, trained on films that no study looks at."""
    source = dataset(TRAINING)
    made = {}
    for name, (spec, number, epochs) in PLAN.items():
        blank = open_model(spec, source.findings, seed=seed + number)
        blank.net.to(device)
        data = shuffle_labels(source, seed) if name.startswith("shuffled") else source
        recipe = Recipe(epochs=epochs, batch=16, augmented=False, seed=seed + number)
        done = fit(blank, data, folder / name, recipe, Sample(split_seed=seed), cache=folder / "images",
                   workers=os.cpu_count() or 1)  # fmt: skip
        made[name] = replace(done, name=name)
    return Team(made["small"], (made["again-1"],), (made["other-1-narrow"],), (made["shuffled-1"],),
                (made["unet"], made["unet-again"], made["retinanet"]))  # fmt: skip
