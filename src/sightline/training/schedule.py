"""Learning rates of a training: by step, by plateaus of the validation loss, and by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from sightline.models import Model
from sightline.models.weight_randomization import find_blocks
from sightline.training.config import TrainingConfig

WARM_UP_SHARE = 0.1
"""Share of the steps over which the learning rate rises; then it falls along a cosine."""
PLATEAU_PATIENCE, STOP_AFTER = 3, 10
"""Schedule 'plateau': validations without a lower loss after which the learning rate is halved, and the training ends
(CheXclusion, Seyyed-Kalantari et al. 2021, arXiv:2003.00827)."""


def count_plateaus(losses: Sequence[float]) -> tuple[int, int]:
    """Count plateaus of the validation loss.

    Parameters
    ----------
    losses
        Validation losses so far.

    Returns
    -------
    n_halvings : int
        Plateaus of `PLATEAU_PATIENCE` validations so far.
    n_stale : int
        Validations since the lowest loss.

    Examples
    --------
    >>> count_plateaus([0.5, 0.4, 0.4, 0.41, 0.42, 0.3])
    (1, 0)
    """
    best, stale, waited, halvings = math.inf, 0, 0, 0
    for loss in losses:
        if loss < best:
            best, stale, waited = loss, 0, 0
            continue
        stale, waited = stale + 1, waited + 1
        if waited == PLATEAU_PATIENCE:
            halvings, waited = halvings + 1, 0
    return halvings, stale


def learning_rate(config: TrainingConfig, share_done: float, halvings: int) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    config
        Options of the optimization.
    share_done
        Share of all steps that is done.
    halvings
        Plateaus so far.

    Returns
    -------
    float
    """
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "plateau":
        return float(config.lr * 0.5**halvings)
    if share_done < WARM_UP_SHARE:
        return config.lr * (0.1 + 0.9 * share_done / WARM_UP_SHARE)
    return config.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * (share_done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))) / 2)


def param_groups(model: Model, config: TrainingConfig) -> list[dict[str, Any]]:
    """Group the parameters that are trained for an optimizer, and freeze the others.

    The head is the block of layers nearest to the logits (`sightline.models.weight_randomization.find_blocks`).

    Parameters
    ----------
    model
        Model to be trained.
    config
        Options of the optimization.

    Returns
    -------
    list of dict
        Groups with `params`, `scale` (share of the learning rate) and `head` (True for the head).
    """
    if config.trainable == "all" and config.layer_decay == 1 and not config.head_only_steps:
        return [{"params": list(model.net.parameters()), "scale": 1.0, "head": True}]
    depths = {name: depth for depth, block in enumerate(find_blocks(model)) for name in block.layers}
    groups: dict[int, list[nn.Parameter]] = {}
    for name, module in model.net.named_modules():
        for parameter in module.parameters(recurse=False):
            depth = depths.get(name, len(depths))  # in no block: no logit depends on it
            parameter.requires_grad_(depth == 0 or config.trainable == "all")
            groups.setdefault(depth, []).append(parameter)
    trained = [depth for depth in sorted(groups) if depth == 0 or config.trainable == "all"]
    return [{"params": groups[d], "scale": config.layer_decay**d, "head": d == 0} for d in trained]
