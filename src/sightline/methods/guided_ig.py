"""Guided IG: a path that moves the least sensitive pixels first, another one for every finding."""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.path_methods import make_baseline, record_completeness_error
from sightline.methods.registry import methods

_REMAINDER_TOLERANCE = 1e-6
"""Rest of the way, as a share of the whole, that counts as none."""


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
    """Gradients along a path chosen to meet little of them, channels summed; float32 (N, T, side, side), signed.

    At each of `nodes` steps the `fraction` of values with the smallest gradients moves toward the image, then the next,
    until the step is made, none further than `distance` from the straight line (1: anywhere). A path of its own for
    every image and finding: images × findings × nodes passes of one image. Choosing steps by a small slope at their
    beginning leaves out what the slope becomes on the way: sums miss score(image) - score(baseline) by some percent
    however many nodes there are, and `Pass.notes['guided-ig/error']` says by how much.
    """
    if nodes < 1 or not 0 < fraction <= 1 or not 0 <= distance <= 1:
        raise SightlineError(
            f"nodes={nodes}, fraction={fraction}, distance={distance}; allowed: from 1, above 0 to 1, 0 to 1"
        )
    start = make_baseline(context, baseline)
    # One image at a time: rounding differs with the size of a batch, and turns a path at the first pair of like slopes
    rows = torch.arange(len(context.x), device=context.x.device)[:, None]
    alone = [(context.select(row), start[row]) for row in rows]
    paths = [
        torch.cat([_integrate_guided_path(*one, t, nodes, fraction, distance) for t in targets[:, None]])
        for one in alone
    ]
    maps = torch.stack(paths)  # (N, T, side, side)
    record_completeness_error(context, "guided-ig", maps, start, targets)
    return maps


def _integrate_guided_path(
    context: BatchContext, start: Tensor, target: Tensor, nodes: int, fraction: float, distance: float
) -> Tensor:
    """float32 (N, h, w) for one target int64 (1,)."""
    way = (context.x - start).flatten(1)  # (N, D): D values of an image, moved from share 0 to share 1 each
    share, total = torch.zeros_like(way), way.abs().sum(1, keepdim=True)
    found = torch.zeros_like(way)
    for step in range(1, nodes + 1):
        at = context.with_inputs(start + (share * way).reshape(context.x.shape))
        slope = at.input_gradient(target).flatten(1)  # (N, D)
        before, share = share, _advance_shares(share, slope, way, total, step / nodes, fraction, distance)
        found += (share - before) * way * slope
    return found.reshape(context.x.shape).sum(1)


def _advance_shares(
    share: Tensor, slope: Tensor, way: Tensor, total: Tensor, goal: float, fraction: float, distance: float
) -> Tensor:
    """Shares (N, D) after a step that leaves 1 - `goal` of the whole way, in the L1 norm, before each image."""
    least, most = max(goal - distance, 0.0), min(goal + distance, 1.0)
    share = share.clamp(min=least)
    order = slope.abs()
    while True:
        owed = ((1 - share) * way.abs()).sum(1, keepdim=True) - (1 - goal) * total  # (N, 1): still to be moved
        free = (share < most) & (way != 0)  # (N, D)
        active = (owed > _REMAINDER_TOLERANCE * total) & free.any(1, keepdim=True)
        if not bool(active.any()):
            return share
        at = int((order.shape[1] - 1) * fraction) + 1
        limit = order.masked_fill(~free, torch.inf).kthvalue(at, 1, keepdim=True).values  # of all values, as published
        chosen = free & (order <= limit) & active
        room = ((most - share) * way.abs() * chosen).sum(1, keepdim=True)
        part = torch.where(room > 0, owed / room.clamp(min=1e-30), 0.0).clamp(max=1.0)
        share = torch.where(chosen, torch.where(part >= 1, most, share + part * (most - share)), share)
