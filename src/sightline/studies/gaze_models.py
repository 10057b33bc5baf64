"""The networks of a gaze study: one trained on labels, the same taught by gaze, and taught by gaze at other films."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.findings import select_findings
from sightline.models import Model, state_hash
from sightline.models.zoo import open_model
from sightline.studies.leakage import require_held_out
from sightline.training.config import TrainingConfig
from sightline.training.fit import fit
from sightline.training.gaze_weight_search import search_gaze_weight

PHANTOM_TRAIN_DATA = "phantom:1100?start=100000&size=160"
PHANTOM_VALIDATION_DATA = "phantom:400?start=200000&size=160&split=val"
GAZE_WEIGHTS = (3.0, 10.0)
"""Of the gaze term: that with the best validation AUROC is kept."""
TRAINING_CONFIG = TrainingConfig(epochs=9, batch_size=16, augment=False)


@dataclass(frozen=True, slots=True)
class GazeModels:
    """Whose maps are compared with gaze."""

    baseline: Model
    """Trained on labels alone."""
    gaze_supervised: tuple[Model, ...] = ()
    """Trained on labels and gaze."""
    shuffled_gaze: tuple[Model, ...] = ()
    """Trained on labels and the gaze at other patients' films: what any pull to the usual places would bring."""

    @property
    def all_models(self) -> tuple[Model, ...]:
        return self.baseline, *self.gaze_supervised, *self.shuffled_gaze

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(model, versus): taught and shuffled less plain, and taught less shuffled."""
        others = [*self.gaze_supervised, *self.shuffled_gaze]
        made = [(m.name, self.baseline.name) for m in others]
        return *made, *((t.name, s.name) for t in self.gaze_supervised for s in self.shuffled_gaze)

    def shared_findings(self, data: Dataset, findings: str) -> tuple[str, ...]:
        """Those of the data set that every network knows, or of them the ones wanted (comma-separated)."""
        shared = tuple(f for f in data.findings if all(f in m.findings for m in self.all_models) and f != "No Finding")
        if not shared:
            known = "; ".join(f"{m.name}: {', '.join(m.findings)}" for m in self.all_models)
            raise DataError(f"no finding of {data.spec!r} is known to all models; they know {known}")
        return tuple(select_findings(findings or None, shared))

    def validate(self, data: Dataset) -> GazeModels:
        """Itself. Errors: `DataError` for networks that share weights, or learned from the radiographs compared."""
        hashes = [state_hash(m.net) for m in self.all_models]
        twins = [m.name for m, digest in zip(self.all_models, hashes, strict=True) if hashes.count(digest) > 1]
        if twins:
            raise DataError(f"{' and '.join(twins)} have the same weights: nothing was taught to one of them")
        require_held_out(self.all_models, data)
        return self


def from_specs(model: str, gaze_supervised: Sequence[str], shuffled_gaze: Sequence[str], seed: int = 0) -> GazeModels:
    """The networks by their specs, under names that tell them apart."""
    plain = open_model(model, seed=seed)

    def named(role: str, specs: Sequence[str]) -> tuple[Model, ...]:
        several = len(specs) > 1
        made = [open_model(spec, seed=seed) for spec in specs]
        return tuple(replace(m, name=f"{role}-{i + 1}" if several else role) for i, m in enumerate(made))

    return GazeModels(plain, named("gaze-supervised", gaze_supervised), named("shuffled-gaze", shuffled_gaze))


def train_on_phantom(folder: Path, seed: int, device: str) -> tuple[GazeModels, dict[str, Any]]:
    """Small networks on films that no study looks at, and the sweep of the weight of the gaze term.

    The first is trained on labels; the second starts from the same weights and is taught by its own Grad-CAM of the
    findings that are there; the third is the second with the gaze at films of other patients.
    """
    source = open_dataset(PHANTOM_TRAIN_DATA)
    recipe, images, workers = replace(TRAINING_CONFIG, seed=seed), folder / "images", os.cpu_count() or 1

    def blank(spec: str) -> Model:
        made = open_model(spec, source.findings, seed=seed)
        made.net.to(device)
        return made

    plain = fit(blank("small"), source, folder / "labels", recipe, cache=images, workers=workers)
    sweep = search_gaze_weight(
        lambda weight: blank(f"gaze-supervised:small?supervised_map=cam&weight={weight:g}"),
        source,
        folder / "gaze",
        GAZE_WEIGHTS,
        recipe,
        cache=images,
        workers=workers,
    )
    team = GazeModels(replace(plain, name="labels"), (replace(sweep.supervised, name="gaze"),), (sweep.shuffled_gaze,))
    return team, {**sweep.summary, "by": "cam"}
