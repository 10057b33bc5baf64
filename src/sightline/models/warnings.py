"""Warnings about models: settings that were assumed, and models that count as untrained."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sightline.models.ensemble import Ensemble
from sightline.models.model import Model

logger = logging.getLogger("sightline")


def model_warnings(model: Model | Ensemble) -> list[str]:
    """List what a reader of the maps of a model has to know about it.

    Parameters
    ----------
    model
        Model or ensemble.

    Returns
    -------
    list of str
        Sentences; none for a model with a training record whose settings are all known.

    Examples
    --------
    >>> from torch import nn
    >>> from sightline.models import wrap
    >>> model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), ["Edema"], 4, channels=1, name="mine")
    >>> model_warnings(model)[0][:57]
    'mine has no training record, so it counts as an untrained'
    """
    sentences = []
    if model.training_record is None:
        is_wrapped = isinstance(model, Model) and not model.arch
        remedy = "give training_record=TrainingRecord(...) to sl.wrap" if is_wrapped else "name its checkpoint"
        sentences.append(
            f"{model.name} has no training record, so it counts as an untrained control; if it is trained, {remedy}"
        )
    if isinstance(model, Model) and model.assumed_settings:
        settings = {
            "findings": model.findings,
            "side": (model.side,),
            "resize": (model.resize,),
            "mean": model.mean,
            "std": model.std,
        }
        texts = {name: f"{name}={'|'.join(map(str, values))}" for name, values in settings.items()}
        assumed = "; ".join(text for name, text in texts.items() if name in model.assumed_settings)
        stated = "; ".join(text for name, text in texts.items() if name not in model.assumed_settings)
        sentences.append(
            f"the checkpoint of {model.name} contains weights only. Stated by you: {stated}. Assumed: {assumed}. If it "
            "was trained otherwise, state it (side=, resize=, mean=, std=), or wrap it in a function of your own, "
            "my_model:make"
        )
    return sentences


def warn_about_models(models: Sequence[Model | Ensemble]) -> list[str]:
    """Log the warnings about several models to the logger "sightline".

    Parameters
    ----------
    models
        Models and ensembles.

    Returns
    -------
    list of str
        The warnings, for run.json.
    """
    sentences = [sentence for model in models for sentence in model_warnings(model)]
    for sentence in sentences:
        logger.warning(sentence)
    return sentences
