"""Guided integrated gradients: a path for every finding that changes the least sensitive pixels first."""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.path_methods import make_baseline, record_completeness_error
from sightline.methods.registry import methods

_REMAINDER_TOLERANCE = 1e-6
"""Rest of the path, as a share of the whole, that counts as none."""


@methods(
    "guided-ig",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Kapishnikov et al. 2021, arXiv:2106.09788, algorithm 1",
)
def guided_ig(
    context: BatchContext,
    targets: Tensor,
    *,
    baseline: str = "black",
    nodes: int = 50,
    fraction: float = 0.25,
    distance: float = 0.02,
) -> Tensor:
    """Integrate gradients along a path that avoids large ones, channels summed; float32 (N, T, side, side), signed.

    At each of `nodes` steps the `fraction` of values with the smallest gradients moves toward the image, then the next,
    until the step is complete. Every image and finding has a path of its own: images × findings × nodes passes of one
    image. Values are chosen by their slope at the beginning of a step, which leaves out how the slope changes within
    it: sums miss score(image) - score(baseline) by some percent however many nodes there are.
    `context.diagnostics` gets 'guided-ig/error', the miss as a share of the difference.

    Parameters
    ----------
    baseline : str
        Image that the path starts from, as `make_baseline` names it.
    nodes : int
        Steps of the path, from 1.
    fraction : float
        Share of the values that move together, in (0, 1].
    distance : float
        Farthest distance of a value from the straight path, as a share of its way, in [0, 1]; 1 is no limit.
    """
    if nodes < 1 or not 0 < fraction <= 1 or not 0 <= distance <= 1:
        raise SightlineError(
            f"nodes={nodes}, fraction={fraction}, distance={distance}; allowed: from 1, above 0 to 1, 0 to 1"
        )
    start = make_baseline(context, baseline)
    # One image at a time: rounding differs with the size of a batch, and changes a path where two slopes are alike
    maps = []
    for row in torch.arange(len(context.x), device=context.x.device)[:, None]:
        image_context = context.select(row)
        paths = [
            _integrate_guided_path(image_context, start[row], target, nodes, fraction, distance)
            for target in targets[:, None]
        ]
        maps.append(torch.cat(paths))
    stacked = torch.stack(maps)  # (N, T, side, side)
    record_completeness_error(context, "guided-ig", stacked, start, targets)
    return stacked


def _integrate_guided_path(
    context: BatchContext, start: Tensor, target: Tensor, nodes: int, fraction: float, distance: float
) -> Tensor:
    """Return the map, float32 (N, h, w), for one target int64 (1,)."""
    difference = (context.x - start).flatten(1)  # (N, D): D values of an image, moved from share 0 to share 1 each
    share, total = torch.zeros_like(difference), difference.abs().sum(1, keepdim=True)
    integral = torch.zeros_like(difference)
    for step in range(1, nodes + 1):
        point = context.with_inputs(start + (share * difference).reshape(context.x.shape))
        slope = point.input_gradient(target).flatten(1)  # (N, D)
        before, share = share, _advance_shares(share, slope, difference, total, step / nodes, fraction, distance)
        integral += (share - before) * difference * slope
    return integral.reshape(context.x.shape).sum(1)


def _advance_shares(
    share: Tensor, slope: Tensor, difference: Tensor, total: Tensor, goal: float, fraction: float, distance: float
) -> Tensor:
    """Advance the shares (N, D) until 1 - `goal` of the whole difference (L1 norm) remains for each image."""
    lowest, highest = max(goal - distance, 0.0), min(goal + distance, 1.0)
    share = share.clamp(min=lowest)
    order = slope.abs()
    while True:
        missing = ((1 - share) * difference.abs()).sum(1, keepdim=True) - (1 - goal) * total  # (N, 1): still to move
        free = (share < highest) & (difference != 0)  # (N, D)
        active = (missing > _REMAINDER_TOLERANCE * total) & free.any(1, keepdim=True)
        if not bool(active.any()):
            return share
        rank = int((order.shape[1] - 1) * fraction) + 1  # among all values, as published
        limit = order.masked_fill(~free, torch.inf).kthvalue(rank, 1, keepdim=True).values
        selected = free & (order <= limit) & active
        available = ((highest - share) * difference.abs() * selected).sum(1, keepdim=True)
        part = torch.where(available > 0, missing / available.clamp(min=1e-30), 0.0).clamp(max=1.0)
        share = torch.where(selected, torch.where(part >= 1, highest, share + part * (highest - share)), share)
