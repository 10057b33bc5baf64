"""Training of networks: `fit` splits by patient, can be resumed, and writes a checkpoint that describes itself."""

from __future__ import annotations

from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit

__all__ = ["SamplingConfig", "TrainingConfig", "fit"]
