"""Models: any network wrapped in one call, and a zoo of architectures opened by name."""

from __future__ import annotations

from sightline.models.checkpoint import state_hash
from sightline.models.model import Model, wrap
from sightline.models.study_probabilities import study_probabilities
from sightline.models.training_record import TrainingRecord
from sightline.models.weight_randomization import with_random_weights
from sightline.models.zoo import ModelInfo, models, open_model

__all__ = [
    "Model",
    "ModelInfo",
    "TrainingRecord",
    "models",
    "open_model",
    "state_hash",
    "study_probabilities",
    "with_random_weights",
    "wrap",
]

from sightline.models import architectures as _architectures  # noqa: F401  (registers on import)
from sightline.models import image_text as _image_text  # noqa: F401
from sightline.models import wrapped_architectures as _wrapped  # noqa: F401
