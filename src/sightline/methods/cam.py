"""Class activation maps: sums of the feature channels, weighted by their effect on the score."""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.registry import methods


@methods(
    "grad-cam",
    needs="features",
    signed=False,
    class_agnostic=False,
    resolution="features",
    source="Selvaraju et al. 2017, arXiv:1610.02391",
)
def grad_cam(context: BatchContext, targets: Tensor) -> Tensor:
    """Weight the features by the mean gradient of each channel; float32 (N, T, h', w'), negative sums are 0.

    With global average pooling and one linear layer this is the class activation map divided by h'w'. A finding that
    no feature is evidence for has an all-zero map.
    """
    weights = [context.feature_gradient(target).mean((2, 3)) for target in targets.tolist()]  # each (N, K)
    return torch.einsum("ntk,nkhw->nthw", torch.stack(weights, 1), context.features).relu()


@methods(
    "grad-cam++",
    needs="features",
    signed=False,
    class_agnostic=False,
    resolution="features",
    source="Chattopadhay et al. 2018, arXiv:1710.11063, equations 10 and 19",
)
def grad_cam_plus_plus(context: BatchContext, targets: Tensor) -> Tensor:
    """Weight the features by their positive gradients and shares in the score; float32 (N, T, h', w').

    Negative sums are 0. The paper explains exp(logit); its positive factor, the same for all of a map, is left out
    because it overflows and changes no comparison within the map. A feature without gradient has no share.
    """
    maps = [_plus_plus_weights(context.features, context.feature_gradient(target)) for target in targets.tolist()]
    return torch.einsum("ntk,nkhw->nthw", torch.stack(maps, 1), context.features).relu()


def _plus_plus_weights(features: Tensor, gradient: Tensor) -> Tensor:
    """Return the weights (N, K) of channels from features and gradients (N, K, h', w')."""
    total = features.sum((2, 3), keepdim=True)  # (N, K, 1, 1)
    # The paper divides g² by 2g² + ΣA·g³; g² cancels, which keeps tiny gradients from underflowing
    share = 2 + total * gradient
    alpha = torch.where((gradient > 0) & (share != 0), 1 / share, 0.0)
    return (alpha * gradient.clamp(min=0)).sum((2, 3))


@methods(
    "cam",
    needs="features",
    signed=True,
    class_agnostic=False,
    resolution="features",
    source="Zhou et al. 2016, arXiv:1512.04150",
)
def cam(context: BatchContext, targets: Tensor) -> Tensor:
    """Weight the features by the linear layer behind a global average pooling; float32 (N, T, h', w'), signed.

    Refused for any other head, which lacks the weights of the paper.
    """
    maps = []
    for target in targets.tolist():
        gradient = context.feature_gradient(target)  # (N, K, h', w'): w_k / h'w' everywhere, for every image
        weight = gradient[0].mean((1, 2))  # (K,)
        spread = float((gradient - weight[:, None, None]).abs().max())
        if context.target_output == "probability" or spread > 1e-4 * float(weight.abs().max()):
            raise SightlineError(
                "cam needs logits behind a global average pooling and one linear layer; "
                f"{context.model.name} has no such weights here (use grad-cam, or target_output='logit')"
            )
        maps.append(torch.einsum("k,nkhw->nhw", weight * gradient[0, 0].numel(), context.features))
    return torch.stack(maps, 1)


@methods(
    "hires-cam",
    needs="features",
    signed=False,
    class_agnostic=False,
    resolution="features",
    source="Draelos and Carin 2020, arXiv:2011.08891",
)
def hires_cam(context: BatchContext, targets: Tensor) -> Tensor:
    """Multiply the features by their gradients, cell by cell, and sum the channels; float32 (N, T, h', w').

    Negative sums are 0. The map is provably faithful for a head that is linear in each cell; behind global average
    pooling and one linear layer it equals Grad-CAM, up to the number of cells.
    """
    return torch.stack([(context.features * context.feature_gradient(t)).sum(1) for t in targets.tolist()], 1).relu()


@methods(
    "layer-cam",
    needs="features",
    signed=False,
    class_agnostic=False,
    resolution="features",
    source="Jiang et al. 2021, 10.1109/TIP.2021.3089943",
)
def layer_cam(context: BatchContext, targets: Tensor) -> Tensor:
    """Multiply the features by their positive gradients, cell by cell, and sum the channels; float32 (N, T, h', w')."""
    maps = [(context.features * context.feature_gradient(t).clamp(min=0)).sum(1) for t in targets.tolist()]
    return torch.stack(maps, 1).relu()


@methods(
    "xgrad-cam",
    needs="features",
    signed=False,
    class_agnostic=False,
    resolution="features",
    source="Fu et al. 2020, arXiv:2008.02312, equation 8",
)
def xgrad_cam(context: BatchContext, targets: Tensor) -> Tensor:
    """Weight the features by mean gradients in which each cell counts by its share of the channel.

    float32 (N, T, h', w'); negative sums are 0. A channel that sums to zero has no weight.
    """
    total = context.features.sum((2, 3))  # (N, K)
    maps = []
    for target in targets.tolist():
        weighted = (context.features * context.feature_gradient(target)).sum((2, 3))
        weights = torch.where(total != 0, weighted / torch.where(total != 0, total, 1.0), 0.0)  # (N, K)
        maps.append(torch.einsum("nk,nkhw->nhw", weights, context.features))
    return torch.stack(maps, 1).relu()


@methods(
    "eigen-cam",
    needs="features",
    signed=False,
    class_agnostic=True,
    resolution="features",
    source="Muhammad and Yeasin 2020, arXiv:2008.00299",
)
def eigen_cam(context: BatchContext, targets: Tensor) -> Tensor:
    """Project the features on their first principal direction, for all findings alike; float32 (N, T, h', w').

    As in the paper the features are not centered. The sign, which a decomposition leaves open, makes the projection
    positive on average; negative values are 0.
    """
    n, _, h, w = context.features.shape
    flat = context.features.flatten(2).double()  # (N, K, h'w')
    _, _, rows = torch.linalg.svd(flat, full_matrices=False)
    first = (flat @ rows[:, 0, :, None])[..., 0]  # (N, K): sigma times the direction among channels
    map_ = torch.einsum("nk,nkc->nc", first / first.norm(dim=1, keepdim=True).clamp(min=1e-30), flat)
    map_ = map_ * torch.where(map_.sum(1, keepdim=True) < 0, -1.0, 1.0)
    return map_.relu().float().reshape(n, 1, h, w).expand(n, len(targets), h, w)


@methods(
    "ablation-cam",
    needs="features",
    signed=False,
    class_agnostic=False,
    resolution="features",
    source="Desai and Ramaswamy 2020, 10.1109/WACV45572.2020.9093360",
)
def ablation_cam(context: BatchContext, targets: Tensor) -> Tensor:
    """Weight the features by the drop of the score without each channel; float32 (N, T, h', w'), negative sums are 0.

    The paper divides the drop by the score: one factor for the whole map, which compares no cells and inverts the map
    where the score is negative, so it is left out. Behind global average pooling and one linear layer the drop follows
    from the gradient; other heads are evaluated once per channel.
    """
    features, score = context.features, context.scores[:, targets]  # (N, K, h', w'), (N, T)
    if context.target_output == "logit" and context.model.has_affine_head:
        drops = [(features * context.feature_gradient(target)).sum((2, 3)) for target in targets.tolist()]
        weights = torch.stack(drops, 1)  # (N, T, K)
    else:
        drops = [score - context.scores_without(channel)[:, targets] for channel in range(features.shape[1])]
        weights = torch.stack(drops, 2)
    return torch.einsum("ntk,nkhw->nthw", weights, features).relu()
