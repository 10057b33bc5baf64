"""Training: one readable `fit`, by patient, resumable, from any data set to a checkpoint that describes itself."""

from __future__ import annotations

from sightline.training.fit import fit
from sightline.training.recipe import Recipe, Sample

__all__ = ["Recipe", "Sample", "fit"]
