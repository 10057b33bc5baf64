"""The networks of a trust study: the one that is judged, those it is compared with, and the ceiling."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sightline.core import DataError, Dataset
from sightline.data import dataset
from sightline.findings import choose
from sightline.models import Model, state_hash
from sightline.models.zoo import open_model
from sightline.sanity import AGAIN, OTHER
from sightline.training.fit import fit

TRAINING = "phantom:1200?start=100000&size=160"
CLASSIFIERS = {"small": ("small", 0), "again-1": ("small", 1), "other-1-narrow": ("small?width=12", 2)}
LOCALIZERS = {"unet": ("unet", 0), "unet-again": ("unet", 1), "retinanet": ("retinanet", 2)}
"""Name -> spec and seed, of the networks trained on the phantom."""


@dataclass(frozen=True, slots=True)
class Team:
    """The model whose maps are judged, the same trained again, other architectures, and networks trained on marks."""

    model: Model
    replicates: tuple[Model, ...] = ()
    others: tuple[Model, ...] = ()
    localizers: tuple[Model, ...] = field(default=())
    """Their own maps show what can be learned of where findings are: the ceiling."""

    @property
    def classifiers(self) -> tuple[Model, ...]:
        return self.model, *self.replicates, *self.others

    @property
    def everyone(self) -> tuple[Model, ...]:
        return *self.classifiers, *self.localizers

    @property
    def partners(self) -> dict[str, str]:
        return {m.name: AGAIN for m in self.replicates} | {m.name: OTHER for m in self.others}

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

    def checked(self) -> Team:
        """Itself. Errors: `DataError` for networks that are not what they are named for."""
        hashes = [state_hash(m.net) for m in self.everyone]
        twins = [m.name for m, digest in zip(self.everyone, hashes, strict=True) if hashes.count(digest) > 1]
        if twins:
            raise DataError(
                f"{' and '.join(twins)} have the same weights: a network does not repeat itself by being copied"
            )
        strange = [m.name for m in self.replicates if m.arch != self.model.arch]
        if strange:
            raise DataError(
                f"{', '.join(strange)} is no {self.model.arch or self.model.name} trained again; name it in --others"
            )
        mapless = [m.name for m in self.localizers if not callable(getattr(m.net, "maps", None))]
        if mapless:
            raise DataError(
                f"{', '.join(mapless)} has no maps(x) of its own; a localizer is a unet, a retinanet or alike"
            )
        return self


def opened(model: str, replicates: Sequence[str], others: Sequence[str], localizers: Sequence[str], seed: int) -> Team:
    """The networks by their specs, under names that tell them apart."""
    first = open_model(model, seed=seed)
    again = [replace(open_model(s, seed=seed), name=f"again-{i + 1}") for i, s in enumerate(replicates)]
    other = [open_model(s, seed=seed) for s in others]
    other = [replace(m, name=f"other-{i + 1}-{m.name}") for i, m in enumerate(other)]
    marked = [open_model(s, seed=seed) for s in localizers]
    marked = [replace(m, name=f"{i + 1}-{m.arch.partition('?')[0] or m.name}") for i, m in enumerate(marked)]
    return Team(first, tuple(again), tuple(other), tuple(marked))


def trained(folder: Path, seed: int, device: str) -> Team:
    """Three small classifiers and three localizers, trained on phantom films that no study looks at."""
    source = dataset(TRAINING)
    made = {}
    for name, (spec, number) in (CLASSIFIERS | LOCALIZERS).items():
        blank = open_model(spec, source.findings, seed=seed + number)
        blank.net.to(device)
        done = fit(blank, source, folder / name, epochs=_EPOCHS.get(name, 10), batch=16, augmented=False,
                   seed=seed + number, split_seed=seed, cache=folder / "images",
                   workers=os.cpu_count() or 1)  # fmt: skip
        made[name] = replace(done, name=name)
    return Team(made["small"], (made["again-1"],), (made["other-1-narrow"],), tuple(made[name] for name in LOCALIZERS))


_EPOCHS = {"unet": 8, "unet-again": 8, "retinanet": 16}
