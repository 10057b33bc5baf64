"""How evidence at the places of a map comes to one logit: functions of evidence (N, F, P) alone, differentiable."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

LSE_SHARPNESS = 5.0
"""Of log-sum-exp: 0 would be the mean of all places, infinity the highest one."""
WILDCAT_SHARE, WILDCAT_NEGATIVE_WEIGHT = 0.2, 0.7
"""Of WILDCAT: share of the places that speak for and against, and the weight of the latter."""


def log_sum_exp(evidence: Tensor) -> Tensor:
    """Between mean and maximum, (N, F): Pinheiro and Collobert 2015, arXiv:1411.6228.

    >>> round(float(log_sum_exp(torch.tensor([[[1.0, 1.0, 1.0]]]))), 6)
    1.0
    """
    return (torch.logsumexp(LSE_SHARPNESS * evidence, 2) - math.log(evidence.shape[2])) / LSE_SHARPNESS


def noisy_or(evidence: Tensor) -> Tensor:
    """Logit of the chance that any place holds the finding, were places independent, (N, F): arXiv:1711.06373.

    >>> noisy_or(torch.tensor([[[0.3]]])).item() == torch.tensor(0.3).item()
    True
    """
    if evidence.shape[2] == 1:
        return evidence[:, :, 0]
    missed = F.softplus(evidence).sum(2).clamp(min=1e-6)  # -log of the chance that none does
    return missed + torch.log(-torch.expm1(-missed))


def pcam(evidence: Tensor) -> Tensor:
    """Mean weighed by the chance of each place, (N, F): Ye et al. 2020, arXiv:2005.14480.

    The paper pools features by these weights and classifies the mean; as its classifier is the one that gave the
    evidence, the two are the same number.
    """
    return weighted_mean(evidence, evidence.sigmoid())


def wildcat(evidence: Tensor) -> Tensor:
    """Mean of the highest fifth of the places and `WILDCAT_NEGATIVE_WEIGHT` times that of the lowest, (N, F): Durand
    et al. 2017,
    10.1109/CVPR.2017.631, with one map of each class (the mean of several linear maps is one)."""
    count = max(1, round(WILDCAT_SHARE * evidence.shape[2]))
    ordered = evidence.sort(2, descending=True).values
    return ordered[:, :, :count].mean(2) + WILDCAT_NEGATIVE_WEIGHT * ordered[:, :, -count:].mean(2)


def weighted_mean(evidence: Tensor, gate: Tensor) -> Tensor:
    """Mean weighed by a gate (N, F, P) or (N, 1, P) from 0, (N, F)."""
    return (evidence * gate).sum(2) / gate.sum(2).clamp(min=1e-6)


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "lse": log_sum_exp,
    "noisy-or": noisy_or,
    "pcam": pcam,
    "wildcat": wildcat,
}
