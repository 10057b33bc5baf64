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
        sentences.append(model.assumption)
    return sentences


def warn_about_models(models: Sequence[Model | Ensemble]) -> list[str]:
    """Log the warnings about several models to the logger "sightline".

    What `sightline.models.wrap` assumed is not logged again.

    Parameters
    ----------
    models
        Models and ensembles.

    Returns
    -------
    list of str
        The warnings, for run.json.
    """
    sentences = [(model, sentence) for model in models for sentence in model_warnings(model)]
    for model, sentence in sentences:
        if not (isinstance(model, Model) and not model.arch and sentence == model.assumption):
            logger.warning(sentence)
    return [sentence for _, sentence in sentences]
