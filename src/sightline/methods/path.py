"""Path methods: gradients collected on the way from an image without evidence to the image."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from sightline.core import SightlineError
from sightline.methods import methods
from sightline.methods.pass_ import Pass

FIRST_NODES, MOST_NODES = 8, 64
TOLERANCE = 0.01
"""Accepted error of completeness, as a share of the difference the map has to explain."""
ROUNDING = 1e-5
"""Differences smaller than this are float32 noise: no number of nodes explains them better."""


@methods(
    "integrated-gradients",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Sundararajan et al. 2017, arXiv:1703.01365",
)
def integrated_gradients(p: Pass, targets: Tensor, *, baseline: str = "black", nodes: int = 0) -> Tensor:
    """(image - baseline) × mean gradient between the two, summed over channels; float32 (N, T, side, side), signed.

    A map sums to score(image) - score(baseline). The mean is a Gauss-Legendre quadrature with `nodes` nodes; with
    0, each map by itself takes 8, 16, 32 or 64, the first whose sum is right to 1 %. baseline: 'black' (an image of
    zeros, prepared) or 'mean' (each image's own mean gray).
    `Pass.notes` gets 'integrated-gradients/error' (sum less the difference, as a share of it) and '/nodes'.
    """
    if nodes < 0:
        raise SightlineError(f"nodes={nodes}; allowed: 0 (as many as needed) or more")
    start = _baseline(p, baseline)
    count, findings = p.x.shape[0], len(targets)
    wanted = (p.scores - p.at(start).scores)[:, targets]  # (N, T)
    maps = p.x.new_zeros((count, findings, *p.x.shape[2:]))
    error, used = torch.full_like(wanted, torch.inf), torch.zeros_like(wanted)
    pending = torch.ones_like(wanted, dtype=torch.bool)
    level = nodes or FIRST_NODES
    while pending.any():
        rows, cols = pending.any(1).nonzero()[:, 0], pending.any(0).nonzero()[:, 0]
        found = _integrate(p.take(rows), start[rows], targets[cols], level)  # (M, S, h, w)
        block = (rows[:, None], cols[None])
        open_ = pending[block]
        maps[block] = torch.where(open_[:, :, None, None], found, maps[block])
        error[block] = torch.where(open_, found.double().sum((2, 3)).float() - wanted[block], error[block])
        used[block] = torch.where(open_, float(level), used[block])
        if nodes or level == MOST_NODES:
            break
        pending &= error.abs() > (TOLERANCE * wanted.abs()).clamp(min=ROUNDING)
        level *= 2
    p.notes["integrated-gradients/error"] = error / wanted.abs().clamp(min=ROUNDING)
    p.notes["integrated-gradients/nodes"] = used
    return maps


def _baseline(p: Pass, name: str) -> Tensor:
    """(N, C, side, side): where the path starts."""
    if name == "black":
        return p.model.normalize(p.x.new_zeros((1, *p.x.shape[2:]))).expand_as(p.x).contiguous()
    if name == "mean":
        return p.x.mean((2, 3), keepdim=True).expand_as(p.x).contiguous()
    raise SightlineError(f"integrated-gradients?baseline={name}; allowed: black, mean")


def _integrate(p: Pass, start: Tensor, targets: Tensor, nodes: int) -> Tensor:
    """float32 (N, T, h, w): path integral with Gauss-Legendre nodes, summed over channels."""
    at, weights = cast("tuple[np.ndarray, np.ndarray]", np.polynomial.legendre.leggauss(nodes))  # on [-1, 1]
    step = p.x - start
    total = p.x.new_zeros((p.x.shape[0], len(targets), *p.x.shape[2:]))
    for share, weight in zip((at + 1) / 2, weights / 2, strict=True):
        gradient = p.at(start + float(share) * step).input_gradient(targets)  # (N, T, C, h, w)
        total += float(weight) * torch.einsum("ntchw,nchw->nthw", gradient, step)
    return total
