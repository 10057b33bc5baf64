"""Models: any network wrapped in one call, and a zoo of architectures opened by name."""

from __future__ import annotations

from sightline.models import vision_ops as vision_ops  # first: before anything imports torchvision
from sightline.models.wrap import Model, TrainingRecord, state_hash, untrained, wrap

__all__ = ["Model", "TrainingRecord", "state_hash", "untrained", "wrap"]
