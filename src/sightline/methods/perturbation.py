"""Perturbation methods: the scores of images with hidden parts, by forward passes that serve all findings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.path_methods import make_baseline
from sightline.methods.registry import methods


@methods(
    "occlusion",
    needs="nothing",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Zeiler and Fergus 2014, arXiv:1311.2901",
)
def occlusion(
    context: BatchContext, targets: Tensor, *, window: int = 40, stride: int = 40, baseline: str = "black"
) -> Tensor:
    """Compute the drop of the score when a window is covered; float32 (N, T, side, side), signed.

    A pixel gets the mean drop of the windows over it; windows at the border are cut off.

    Parameters
    ----------
    window : int
        Height and width of the window, in pixels, from 1.
    stride : int
        Distance between windows, in pixels, from 1.
    baseline : str
        Image that covers the window, as `make_baseline` names it.
    """
    if window < 1 or stride < 1:
        raise SightlineError(f"window={window}, stride={stride}; allowed: from 1")
    start, whole = make_baseline(context, baseline), context.scores[:, targets]
    side = context.x.shape[-1]
    total = context.x.new_zeros((context.x.shape[0], len(targets), side, side))
    count = context.x.new_zeros((side, side))
    for top in range(0, side, stride):
        for left in range(0, side, stride):
            covered = (..., slice(top, min(top + window, side)), slice(left, min(left + window, side)))
            images = context.x.clone()
            images[covered] = start[covered]
            drop = whole - context.with_inputs(images).scores[:, targets]  # (N, T)
            total[covered] += drop[..., None, None]
            count[covered] += 1
    return total / count.clamp(min=1)


@methods(
    "rise",
    needs="nothing",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Petsiuk et al. 2018, arXiv:1806.07421",
)
def rise(context: BatchContext, targets: Tensor, *, samples: int = 500, grid: int = 7, keep: float = 0.5) -> Tensor:
    """Average random soft masks, weighted by the score of the image under each; float32 (N, T, side, side).

    Masks are keyed by (seed, draw) alone, so that every image gets the same. As in the paper the mean score is not
    subtracted: a finding whose score is high everywhere has a map that is high everywhere.

    Parameters
    ----------
    samples : int
        Masks, from 1.
    grid : int
        Cells along a side of a mask, from 1.
    keep : float
        Probability that a cell stays visible, in (0, 1).
    """
    if samples < 1 or grid < 1 or not 0 < keep < 1:
        raise SightlineError(f"samples={samples}, grid={grid}, keep={keep}; allowed: from 1, from 1, between 0 and 1")
    start, side = make_baseline(context, "black"), context.x.shape[-1]
    total = context.x.new_zeros((context.x.shape[0], len(targets), side, side))
    for draw in range(samples):
        mask = _draw_mask(context.seed, draw, grid, keep, side).to(context.x.device)
        scores = context.with_inputs(start + mask * (context.x - start)).scores[:, targets]  # (N, T)
        total += scores[..., None, None] * mask
    return total / (samples * keep)


def _draw_mask(seed: int, draw: int, grid: int, keep: float, side: int) -> Tensor:
    """Draw a random grid, enlarged and shifted by a random part of a cell: float32 (side, side)."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + draw) % 2**63)
    cell = -(-side // grid)
    coarse = (torch.rand((1, 1, grid + 1, grid + 1), generator=generator) < keep).float()
    fine = F.interpolate(coarse, scale_factor=cell, mode="bilinear", align_corners=False)[0, 0]
    top, left = torch.randint(0, cell, (2,), generator=generator).tolist()
    return fine[top : top + side, left : left + side]


@methods(
    "score-cam",
    needs="features",
    signed=False,
    class_agnostic=False,
    resolution="features",
    source="Wang et al. 2020, arXiv:1910.01279",
)
def score_cam(context: BatchContext, targets: Tensor, *, channels: int = 0) -> Tensor:
    """Weight the features by the score of the image under each channel; float32 (N, T, h', w'), negative sums are 0.

    A channel, scaled to [0, 1] and enlarged, multiplies the image (in [0, 1]: hidden parts are black); the weights are
    the softmax of the scores over channels.

    Parameters
    ----------
    channels : int
        Channels to use, those with the highest mean in each image; 0 for all.
    """
    features, start = context.features, make_baseline(context, "black")
    low, high = features.amin((2, 3), keepdim=True), features.amax((2, 3), keepdim=True)
    masks = (features - low) / (high - low).clamp(min=1e-12)  # (N, K, h', w')
    order = features.mean((2, 3)).argsort(1, descending=True)  # (N, K)
    order = order[:, : channels or order.shape[1]]
    scores = []
    for column in order.T:
        coarse = masks.gather(1, column[:, None, None, None].expand(-1, 1, *masks.shape[2:]))  # (N, 1, h', w')
        mask = F.interpolate(coarse, context.x.shape[2:], mode="bilinear", align_corners=False)
        scores.append(context.with_inputs(start + mask * (context.x - start)).scores[:, targets])
    weights = torch.stack(scores, 2).softmax(2)  # (N, T, k)
    selected = features.gather(1, order[:, :, None, None].expand(-1, -1, *features.shape[2:]))
    return torch.einsum("ntk,nkhw->nthw", weights, selected).relu()
