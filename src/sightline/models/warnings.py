"""What is to be said of models before their maps: what was assumed of them, and who counts as untrained."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sightline.models.ensemble import Ensemble
from sightline.models.model import Model


def model_warnings(model: Model | Ensemble) -> list[str]:
    """Sentences, none for a model that is known well.

    >>> from torch import nn
    >>> from sightline.models import wrap
    >>> model_warnings(wrap(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), ["Edema"], 4, channels=1,
    name="mine"))[0][:57]
    'mine has no training record, so it counts as an untrained'
    """
    said = []
    if model.training_record is None:
        own = isinstance(model, Model) and not model.arch
        way = "give training_record=TrainingRecord(...) to sl.wrap" if own else "name its checkpoint"
        said.append(
            f"{model.name} has no training record, so it counts as an untrained control; if it is trained, {way}"
        )
    if isinstance(model, Model) and model.assumed_settings:
        facts = {
            "findings": model.findings,
            "side": (model.side,),
            "resize": (model.resize,),
            "mean": model.mean,
            "std": model.std,
        }
        told = {name: f"{name}={'|'.join(map(str, values))}" for name, values in facts.items()}
        assumed = "; ".join(text for name, text in told.items() if name in model.assumed_settings)
        given = "; ".join(text for name, text in told.items() if name not in model.assumed_settings)
        said.append(
            f"the checkpoint of {model.name} holds weights alone. As you said: {given}. Assumed: {assumed}. "
            "Where it was "
            "trained otherwise, say so (side=, resize=, mean=, std=), or wrap it in a function of yours, my_model:make"
        )
    return said


def warn_about_models(models: Sequence[Model | Ensemble]) -> list[str]:
    """The caveats of all models, printed on standard error; for run.json."""
    said = [sentence for m in models for sentence in model_warnings(m)]
    for sentence in said:
        print(f"note: {sentence}", file=sys.stderr)
    return said
