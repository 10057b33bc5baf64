"""Class activation maps: the features, weighed by what the head makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.methods import methods
from sightline.methods.pass_ import Pass


@methods(
    "grad-cam",
    needs="features",
    signed=False,
    class_agnostic=False,
    resolution="features",
    source="Selvaraju et al. 2017, arXiv:1610.02391",
)
def grad_cam(p: Pass, targets: Tensor) -> Tensor:
    """Features weighed by the mean gradient of each channel; negative sums are 0.

    float32 (N, T, h', w'). With global average pooling and one linear layer this is the class activation map divided
    by h'w'. A finding that no feature speaks for has an all-zero map.
    """
    weights = [p.feature_gradient(target).mean((2, 3)) for target in targets.tolist()]  # each (N, K)
    return torch.einsum("ntk,nkhw->nthw", torch.stack(weights, 1), p.features).relu()


@methods(
    "grad-cam++",
    needs="features",
    signed=False,
    class_agnostic=False,
    resolution="features",
    source="Chattopadhay et al. 2018, arXiv:1710.11063, equations 10 and 19",
)
def grad_cam_plus_plus(p: Pass, targets: Tensor) -> Tensor:
    """Features weighed by their positive gradients, each counted by its share in the score; negative sums are 0.

    float32 (N, T, h', w'). The paper explains exp(logit); its positive factor, the same for all of a map, is left out
    because it overflows and changes no comparison within the map. A feature without gradient has no share.
    """
    maps = [_plus_plus_weights(p.features, p.feature_gradient(target)) for target in targets.tolist()]
    return torch.einsum("ntk,nkhw->nthw", torch.stack(maps, 1), p.features).relu()


def _plus_plus_weights(features: Tensor, gradient: Tensor) -> Tensor:
    """(N, K, h', w') twice -> (N, K)."""
    total = features.sum((2, 3), keepdim=True)  # (N, K, 1, 1)
    # the paper divides g² by 2g² + ΣA·g³; g² cancels, which keeps tiny gradients from underflowing
    share = 2 + total * gradient
    alpha = torch.where((gradient > 0) & (share != 0), 1 / share, 0.0)
    return (alpha * gradient.clamp(min=0)).sum((2, 3))
