"""Pooling of evidence: differentiable functions from evidence (N, F, P) at P positions to logits (N, F)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

LSE_SHARPNESS = 5.0
"""Sharpness of log-sum-exp: 0 would be the mean of all positions, infinity the highest one."""
WILDCAT_SHARE, WILDCAT_NEGATIVE_WEIGHT = 0.2, 0.7
"""Share of the positions that WILDCAT averages at either end, and the weight of the lowest."""


def log_sum_exp(evidence: Tensor) -> Tensor:
    """Pool between mean and maximum: Pinheiro and Collobert 2015, arXiv:1411.6228.

    Parameters
    ----------
    evidence : (N, F, P)
        Logits of positions.

    Returns
    -------
    Tensor : (N, F)
        Logits.

    Examples
    --------
    >>> round(float(log_sum_exp(torch.tensor([[[1.0, 1.0, 1.0]]]))), 6)
    1.0
    """
    return (torch.logsumexp(LSE_SHARPNESS * evidence, 2) - math.log(evidence.shape[2])) / LSE_SHARPNESS


def noisy_or(evidence: Tensor) -> Tensor:
    """Return the logit of the probability that any position shows the finding, if all are independent.

    Li et al. 2018, arXiv:1711.06373.

    Parameters
    ----------
    evidence : (N, F, P)
        Logits of positions.

    Returns
    -------
    Tensor : (N, F)
        Logits.

    Examples
    --------
    >>> noisy_or(torch.tensor([[[0.3]]])).item() == torch.tensor(0.3).item()
    True
    """
    if evidence.shape[2] == 1:
        return evidence[:, :, 0]
    missed = F.softplus(evidence).sum(2).clamp(min=1e-6)  # -log of the probability that no position does
    return missed + torch.log(-torch.expm1(-missed))


def pcam(evidence: Tensor) -> Tensor:
    """Average the evidence, weighed by the probability of each position: Ye et al. 2020, arXiv:2005.14480.

    The paper pools features by these weights and classifies the mean. As its classifier is the one that gave the
    evidence, the two are the same number.

    Parameters
    ----------
    evidence : (N, F, P)
        Logits of positions.

    Returns
    -------
    Tensor : (N, F)
        Logits.
    """
    return weighted_mean(evidence, evidence.sigmoid())


def wildcat(evidence: Tensor) -> Tensor:
    """Add the mean of the highest fifth of the positions and 0.7 times that of the lowest.

    Durand et al. 2017, 10.1109/CVPR.2017.631, with one map per class (the mean of several linear maps is one).

    Parameters
    ----------
    evidence : (N, F, P)
        Logits of positions.

    Returns
    -------
    Tensor : (N, F)
        Logits.
    """
    count = max(1, round(WILDCAT_SHARE * evidence.shape[2]))
    ordered = evidence.sort(2, descending=True).values
    return ordered[:, :, :count].mean(2) + WILDCAT_NEGATIVE_WEIGHT * ordered[:, :, -count:].mean(2)


def weighted_mean(evidence: Tensor, gate: Tensor) -> Tensor:
    """Average the evidence, weighed by a gate.

    Parameters
    ----------
    evidence : (N, F, P)
        Logits of positions.
    gate : (N, F, P) or (N, 1, P)
        Weights from 0.

    Returns
    -------
    Tensor : (N, F)
        Logits.
    """
    return (evidence * gate).sum(2) / gate.sum(2).clamp(min=1e-6)


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "lse": log_sum_exp,
    "noisy-or": noisy_or,
    "pcam": pcam,
    "wildcat": wildcat,
}
"""Pooling functions by name."""
