"""Path methods: gradients collected on the way from an image without evidence to the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline._util.rng import BACKGROUND_IMAGE, keyed_rng
from sightline.core import Array
from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.gradient import draw_noisy_copies
from sightline.methods.registry import methods

MIN_NODES, MAX_NODES = 8, 64
COMPLETENESS_TOLERANCE = 0.01
"""Accepted error of completeness, as a share of the difference the map has to explain."""
ROUNDING_ERROR = 1e-5
"""Differences smaller than this are float32 noise: no number of nodes explains them better."""


@methods(
    "integrated-gradients",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Sundararajan et al. 2017, arXiv:1703.01365",
)
def integrated_gradients(
    context: BatchContext, targets: Tensor, *, baseline: str = "black", nodes: int = 0, rule: str = "gauss-legendre"
) -> Tensor:
    """(image - baseline) × mean gradient between the two, summed over channels; float32 (N, T, side, side), signed.

    A map sums to score(image) - score(baseline). The mean is a quadrature with `nodes` nodes; with 0, each map by
    itself takes 8, 16, 32 or 64, the first whose sum is right to 1 %. rule: 'gauss-legendre', or 'uniform' (the middles
    of equal steps). baseline: 'black' (an image of zeros, prepared), 'zero' (zeros in the network's own units, the mean
    color of its normalization, as in CheXlocalize), 'mean' (each image's own mean gray), 'blur', 'random' (uniform
    noise, keyed by seed and id), or 'data' (the mean of the background images).
    `Pass.diagnostics` gets 'integrated-gradients/error' (sum less the difference, as a share of it) and '/nodes'.
    """
    if nodes < 0:
        raise SightlineError(f"nodes={nodes}; allowed: 0 (as many as needed) or more")
    quadrature = _find_quadrature(rule)
    start = make_baseline(context, baseline)
    count, findings = context.x.shape[0], len(targets)
    wanted = (context.scores - context.with_inputs(start).scores)[:, targets]  # (N, T)
    maps = context.x.new_zeros((count, findings, *context.x.shape[2:]))
    error, used = torch.full_like(wanted, torch.inf), torch.zeros_like(wanted)
    pending = torch.ones_like(wanted, dtype=torch.bool)
    level = nodes or MIN_NODES
    while pending.any():
        rows, cols = pending.any(1).nonzero()[:, 0], pending.any(0).nonzero()[:, 0]
        found = integrate_gradients(context.select(rows), start[rows], targets[cols], level, quadrature)  # (M, S, h, w)
        block = (rows[:, None], cols[None])
        open_ = pending[block]
        maps[block] = torch.where(open_[:, :, None, None], found, maps[block])
        error[block] = torch.where(open_, found.double().sum((2, 3)).float() - wanted[block], error[block])
        used[block] = torch.where(open_, float(level), used[block])
        if nodes or level == MAX_NODES:
            break
        pending &= error.abs() > (COMPLETENESS_TOLERANCE * wanted.abs()).clamp(min=ROUNDING_ERROR)
        level *= 2
    context.diagnostics["integrated-gradients/error"] = error / wanted.abs().clamp(min=ROUNDING_ERROR)
    context.diagnostics["integrated-gradients/nodes"] = used
    return maps


def make_baseline(context: BatchContext, name: str) -> Tensor:
    """(N, C, side, side): an image without evidence, from which a path starts or with which a part is hidden."""
    if name == "black":
        return context.model.normalize(context.x.new_zeros((1, *context.x.shape[2:]))).expand_as(context.x).contiguous()
    if name == "zero":
        return torch.zeros_like(context.x)
    if name == "data":
        return context.background.mean(0, keepdim=True).expand_as(context.x).contiguous()
    if name == "mean":
        return context.x.mean((2, 3), keepdim=True).expand_as(context.x).contiguous()
    if name == "blur":
        return _blur(context.x, context.x.shape[-1] / 16)
    if name == "random":  # keyed by (seed, id): uniform between each image's extremes
        low, high = context.x.amin((1, 2, 3), keepdim=True), context.x.amax((1, 2, 3), keepdim=True)
        return low + (high - low) * (0.5 + 0.5 * torch.erf(context.standard_normal(-1) / 2**0.5))
    raise SightlineError(f"baseline={name}; allowed: black, zero, mean, blur, random, data")


def record_completeness_error(context: BatchContext, name: str, maps: Tensor, start: Tensor, targets: Tensor) -> None:
    """Note as 'NAME/error' how far maps (N, T, h, w) sum past the difference they explain, as a share of it (N, T)."""
    wanted = (context.scores - context.with_inputs(start).scores)[:, targets]
    missed = maps.double().sum((2, 3)).float() - wanted
    context.diagnostics[f"{name}/error"] = missed / wanted.abs().clamp(min=ROUNDING_ERROR)


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, borders repeated."""
    reach = max(1, min(round(3 * sigma), x.shape[-1] - 1))
    at = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    wide = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(wide, kernel[:, :, None, :], groups=x.shape[1])
    return F.conv2d(rows, kernel[:, :, :, None], groups=x.shape[1])


Quadrature = Callable[[int], tuple[Array, Array]]
"""Number of nodes -> places on [0, 1], weights that sum to 1."""


def gauss_legendre(nodes: int) -> tuple[Array, Array]:
    """Exact for polynomials of degree 2 nodes - 1."""
    at, weights = cast("tuple[Array, Array]", np.polynomial.legendre.leggauss(nodes))  # on [-1, 1]
    return (at + 1) / 2, weights / 2


def midpoint(nodes: int) -> tuple[Array, Array]:
    """The middles of equal steps.

    >>> midpoint(2)[0].tolist()
    [0.25, 0.75]
    """
    return (np.arange(nodes) + 0.5) / nodes, np.full(nodes, 1 / nodes)


def _find_quadrature(rule: str) -> Quadrature:
    rules = {"gauss-legendre": gauss_legendre, "uniform": midpoint}
    if rule not in rules:
        raise SightlineError(f"rule={rule}; allowed: {', '.join(rules)}")
    return rules[rule]


def integrate_gradients(
    context: BatchContext, start: Tensor, targets: Tensor, nodes: int, quadrature: Quadrature = gauss_legendre
) -> Tensor:
    """float32 (N, T, h, w): integral of gradients on the way from `start` (N, C, h, w), channels summed."""
    step = context.x - start
    total = context.x.new_zeros((context.x.shape[0], len(targets), *context.x.shape[2:]))
    shares, weights = quadrature(nodes)
    points = (start + float(share) * step for share in shares)
    for weight, gradient in zip(weights, context.gradients_at(points, targets), strict=True):  # (N, T, C, h, w)
        total += float(weight) * torch.einsum("ntchw,nchw->nthw", gradient, step)
    return total


@methods(
    "smooth-ig",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Smilkov et al. 2017, arXiv:1706.03825, of Sundararajan et al. 2017, arXiv:1703.01365",
)
def smooth_ig(
    context: BatchContext,
    targets: Tensor,
    *,
    baseline: str = "black",
    nodes: int = 16,
    samples: int = 5,
    sigma: float = 0.1,
) -> Tensor:
    """Mean of Integrated Gradients of noisy copies; float32 (N, T, side, side), signed.

    sigma: of the noise, as a share of the image's range, keyed by (seed, id, draw).
    """
    if nodes < 1:
        raise SightlineError(f"nodes={nodes}; allowed: from 1")
    start = make_baseline(context, baseline)
    total = sum(
        integrate_gradients(context.with_inputs(x), start, targets, nodes)
        for x in draw_noisy_copies(context, samples, sigma)
    )
    assert isinstance(total, Tensor)
    return total / samples


@methods(
    "gradient-shap",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Lundberg and Lee 2017, arXiv:1705.07874; Erion et al. 2021, 10.1038/s42256-021-00343-w",
)
def gradient_shap(
    context: BatchContext, targets: Tensor, *, samples: int = 20, sigma: float = 0.1, baseline: str = "black"
) -> Tensor:
    """Expected gradients over baselines with noise; float32 (N, T, side, side), signed.

    One random point on the path per baseline, keyed by (seed, id, draw). baseline: as for integrated-gradients, except
    that with 'data' every draw takes one of the background images, the distribution of Erion et al.; sigma: of the
    noise, as a share of the image's range. Sums to the score less the mean score of the baselines, in expectation.
    """
    fixed = None if baseline == "data" else make_baseline(context, baseline)
    total = context.x.new_zeros((context.x.shape[0], len(targets), *context.x.shape[2:]))
    for draw, noise_of in enumerate(draw_noisy_copies(context, samples, sigma)):
        start = (_draw_background(context, draw) if fixed is None else fixed) + (noise_of - context.x)
        share = 0.5 + 0.5 * torch.erf(
            context.standard_normal(samples + draw)[:, :1, :1, :1] / 2**0.5
        )  # uniform (N, 1, 1, 1)
        gradient = context.with_inputs(start + share * (context.x - start)).input_gradient(targets)
        total += torch.einsum("ntchw,nchw->nthw", gradient, context.x - start)
    return total / samples


def _draw_background(context: BatchContext, draw: int) -> Tensor:
    """(N, C, side, side): one background image for each image, keyed by (seed, id, draw)."""
    count = len(context.background)
    at = [int(keyed_rng(context.seed, i, BACKGROUND_IMAGE, draw).integers(count)) for i in context.ids]
    return context.background[torch.tensor(at, device=context.x.device)]


@methods(
    "blur-ig",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Xu et al. 2020, arXiv:2004.03383",
)
def blur_ig(context: BatchContext, targets: Tensor, *, nodes: int = 20, sigma: float = 0.15) -> Tensor:
    """Gradients on the way from a blurred image to the sharp one; float32 (N, T, side, side), signed.

    sigma: of the strongest blur, as a share of the side; scales are equally spaced. Sums to the score less that of the
    blurred image as nodes grow ('blur-ig/error' in `Pass.diagnostics`), without a baseline of a color no radiograph
    has.
    """
    if nodes < 1 or sigma <= 0:
        raise SightlineError(f"nodes={nodes}, sigma={sigma}; allowed: nodes from 1, sigma above 0")
    strongest = sigma * context.x.shape[-1]
    total = context.x.new_zeros((context.x.shape[0], len(targets), *context.x.shape[2:]))
    before = _blur(context.x, strongest)
    for step in range(1, nodes + 1):
        width = strongest * (1 - step / nodes)
        after = _blur(context.x, width) if width > 0.2 else context.x
        gradient = context.with_inputs((before + after) / 2).input_gradient(targets)  # at the middle of the step
        total += torch.einsum("ntchw,nchw->nthw", gradient, after - before)
        before = after
    record_completeness_error(context, "blur-ig", total, _blur(context.x, strongest), targets)
    return total


@methods(
    "layer-conductance",
    needs="features",
    signed=True,
    class_agnostic=False,
    resolution="features",
    source="Dhamdhere et al. 2018, arXiv:1805.12233",
)
def layer_conductance(context: BatchContext, targets: Tensor, *, nodes: int = 32, baseline: str = "black") -> Tensor:
    """What flows through each place of the features on the way from a baseline; float32 (N, T, h', w'), signed.

    The trapezoidal sum of gradients times steps of the features, summed over channels: it adds up to
    score(image) - score(baseline), and `Pass.diagnostics` gets 'layer-conductance/error'. One forward per node serves
    every
    finding.
    """
    if nodes < 1:
        raise SightlineError(f"nodes={nodes}; allowed: from 1")
    start = make_baseline(context, baseline)
    total: Tensor | None = None
    before: tuple[Tensor, Tensor] | None = None
    for step in range(nodes + 1):
        at = context.with_inputs(start + step / nodes * (context.x - start))
        features = at.features
        now = features, torch.stack([at.feature_gradient(t) for t in targets.tolist()], 1)  # (N, T, K, h', w')
        if before is not None:
            part = torch.einsum("ntkhw,nkhw->nthw", (now[1] + before[1]) / 2, now[0] - before[0])
            total = part if total is None else total + part
        before = now
    assert total is not None
    record_completeness_error(context, "layer-conductance", total, start, targets)
    return total
