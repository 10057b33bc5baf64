"""The networks of a gaze study: one trained on labels, the same taught by gaze, and taught by gaze at other films."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.core import Dataset
from sightline.data import dataset
from sightline.errors import DataError
from sightline.findings import choose
from sightline.models import Model, state_hash
from sightline.models.zoo import open_model
from sightline.studies.leakage import require_held_out
from sightline.training.config import Recipe
from sightline.training.fit import fit
from sightline.training.gaze_weight_search import swept

TRAINING = "phantom:1100?start=100000&size=160"
VALIDATION = "phantom:400?start=200000&size=160&split=val"
WEIGHTS = (3.0, 10.0)
"""Of the gaze term: that with the best validation AUROC is kept."""
RECIPE = Recipe(epochs=9, batch=16, augmented=False)


@dataclass(frozen=True, slots=True)
class Gazers:
    """Whose maps are compared with gaze."""

    plain: Model
    """Trained on labels alone."""
    taught: tuple[Model, ...] = ()
    """Trained on labels and gaze."""
    shuffled: tuple[Model, ...] = ()
    """Trained on labels and the gaze at other patients' films: what any pull to the usual places would bring."""

    @property
    def everyone(self) -> tuple[Model, ...]:
        return self.plain, *self.taught, *self.shuffled

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(model, versus): taught and shuffled less plain, and taught less shuffled."""
        others = [*self.taught, *self.shuffled]
        made = [(m.name, self.plain.name) for m in others]
        return *made, *((t.name, s.name) for t in self.taught for s in self.shuffled)

    def findings(self, data: Dataset, wanted: str) -> tuple[str, ...]:
        """Those of the data set that every network knows, or of them the ones wanted (comma-separated)."""
        shared = tuple(f for f in data.findings if all(f in m.findings for m in self.everyone) and f != "No Finding")
        if not shared:
            known = "; ".join(f"{m.name}: {', '.join(m.findings)}" for m in self.everyone)
            raise DataError(f"no finding of {data.spec!r} is known to all models; they know {known}")
        return tuple(choose(wanted or None, shared))

    def checked(self, data: Dataset) -> Gazers:
        """Itself. Errors: `DataError` for networks that share weights, or learned from the radiographs compared."""
        hashes = [state_hash(m.net) for m in self.everyone]
        twins = [m.name for m, digest in zip(self.everyone, hashes, strict=True) if hashes.count(digest) > 1]
        if twins:
            raise DataError(f"{' and '.join(twins)} have the same weights: nothing was taught to one of them")
        require_held_out(self.everyone, data)
        return self


def opened(model: str, taught: Sequence[str], shuffled: Sequence[str], seed: int = 0) -> Gazers:
    """The networks by their specs, under names that tell them apart."""
    plain = open_model(model, seed=seed)

    def named(role: str, specs: Sequence[str]) -> tuple[Model, ...]:
        several = len(specs) > 1
        made = [open_model(spec, seed=seed) for spec in specs]
        return tuple(replace(m, name=f"{role}-{i + 1}" if several else role) for i, m in enumerate(made))

    return Gazers(plain, named("taught", taught), named("shuffled-gaze", shuffled))


def trained(folder: Path, seed: int, device: str) -> tuple[Gazers, dict[str, Any]]:
    """Small networks on films that no study looks at, and the sweep of the weight of the gaze term.

    The first is trained on labels; the second starts from the same weights and is taught by its own Grad-CAM of the
    findings that are there; the third is the second with the gaze at films of other patients.
    """
    source = dataset(TRAINING)
    recipe, images, workers = replace(RECIPE, seed=seed), folder / "images", os.cpu_count() or 1

    def blank(spec: str) -> Model:
        made = open_model(spec, source.findings, seed=seed)
        made.net.to(device)
        return made

    plain = fit(blank("small"), source, folder / "labels", recipe, cache=images, workers=workers)
    sweep = swept(lambda weight: blank(f"gaze:small?by=cam&weight={weight:g}"), source, folder / "gaze", WEIGHTS,
                  recipe, cache=images, workers=workers)  # fmt: skip
    team = Gazers(replace(plain, name="labels"), (replace(sweep.taught, name="gaze"),), (sweep.shuffled,))
    return team, {**sweep.facts, "by": "cam"}
