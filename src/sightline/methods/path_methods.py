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
from sightline.methods.context import Pass
from sightline.methods.gradient import noisy
from sightline.methods.registry import methods

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
def integrated_gradients(
    p: Pass, targets: Tensor, *, baseline: str = "black", nodes: int = 0, rule: str = "gauss-legendre"
) -> Tensor:
    """(image - baseline) × mean gradient between the two, summed over channels; float32 (N, T, side, side), signed.

    A map sums to score(image) - score(baseline). The mean is a quadrature with `nodes` nodes; with 0, each map by
    itself takes 8, 16, 32 or 64, the first whose sum is right to 1 %. rule: 'gauss-legendre', or 'uniform' (the middles
    of equal steps). baseline: 'black' (an image of zeros, prepared), 'zero' (zeros in the network's own units, the mean
    color of its normalization, as in CheXlocalize), 'mean' (each image's own mean gray), 'blur', 'random' (uniform
    noise, keyed by seed and id), or 'data' (the mean of the background images).
    `Pass.notes` gets 'integrated-gradients/error' (sum less the difference, as a share of it) and '/nodes'.
    """
    if nodes < 0:
        raise SightlineError(f"nodes={nodes}; allowed: 0 (as many as needed) or more")
    quadrature = _quadrature_of(rule)
    start = baseline_of(p, baseline)
    count, findings = p.x.shape[0], len(targets)
    wanted = (p.scores - p.at(start).scores)[:, targets]  # (N, T)
    maps = p.x.new_zeros((count, findings, *p.x.shape[2:]))
    error, used = torch.full_like(wanted, torch.inf), torch.zeros_like(wanted)
    pending = torch.ones_like(wanted, dtype=torch.bool)
    level = nodes or FIRST_NODES
    while pending.any():
        rows, cols = pending.any(1).nonzero()[:, 0], pending.any(0).nonzero()[:, 0]
        found = integrate(p.take(rows), start[rows], targets[cols], level, quadrature)  # (M, S, h, w)
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


def baseline_of(p: Pass, name: str) -> Tensor:
    """(N, C, side, side): an image without evidence, from which a path starts or with which a part is hidden."""
    if name == "black":
        return p.model.normalize(p.x.new_zeros((1, *p.x.shape[2:]))).expand_as(p.x).contiguous()
    if name == "zero":
        return torch.zeros_like(p.x)
    if name == "data":
        return p.background.mean(0, keepdim=True).expand_as(p.x).contiguous()
    if name == "mean":
        return p.x.mean((2, 3), keepdim=True).expand_as(p.x).contiguous()
    if name == "blur":
        return _blurred(p.x, p.x.shape[-1] / 16)
    if name == "random":  # keyed by (seed, id): uniform between each image's extremes
        low, high = p.x.amin((1, 2, 3), keepdim=True), p.x.amax((1, 2, 3), keepdim=True)
        return low + (high - low) * (0.5 + 0.5 * torch.erf(p.normal(-1) / 2**0.5))
    raise SightlineError(f"baseline={name}; allowed: black, zero, mean, blur, random, data")


def tell_completeness(p: Pass, name: str, maps: Tensor, start: Tensor, targets: Tensor) -> None:
    """Note as 'NAME/error' how far maps (N, T, h, w) sum past the difference they explain, as a share of it (N, T)."""
    wanted = (p.scores - p.at(start).scores)[:, targets]
    missed = maps.double().sum((2, 3)).float() - wanted
    p.notes[f"{name}/error"] = missed / wanted.abs().clamp(min=ROUNDING)


def _blurred(x: Tensor, sigma: float) -> Tensor:
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


def uniform(nodes: int) -> tuple[Array, Array]:
    """The middles of equal steps.

    >>> uniform(2)[0].tolist()
    [0.25, 0.75]
    """
    return (np.arange(nodes) + 0.5) / nodes, np.full(nodes, 1 / nodes)


def _quadrature_of(rule: str) -> Quadrature:
    rules = {"gauss-legendre": gauss_legendre, "uniform": uniform}
    if rule not in rules:
        raise SightlineError(f"rule={rule}; allowed: {', '.join(rules)}")
    return rules[rule]


def integrate(p: Pass, start: Tensor, targets: Tensor, nodes: int, quadrature: Quadrature = gauss_legendre) -> Tensor:
    """float32 (N, T, h, w): integral of gradients on the way from `start` (N, C, h, w), channels summed."""
    step = p.x - start
    total = p.x.new_zeros((p.x.shape[0], len(targets), *p.x.shape[2:]))
    shares, weights = quadrature(nodes)
    points = (start + float(share) * step for share in shares)
    for weight, gradient in zip(weights, p.gradients_at(points, targets), strict=True):  # (N, T, C, h, w)
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
    p: Pass, targets: Tensor, *, baseline: str = "black", nodes: int = 16, samples: int = 5, sigma: float = 0.1
) -> Tensor:
    """Mean of Integrated Gradients of noisy copies; float32 (N, T, side, side), signed.

    sigma: of the noise, as a share of the image's range, keyed by (seed, id, draw).
    """
    if nodes < 1:
        raise SightlineError(f"nodes={nodes}; allowed: from 1")
    start = baseline_of(p, baseline)
    total = sum(integrate(p.at(x), start, targets, nodes) for x in noisy(p, samples, sigma))
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
    p: Pass, targets: Tensor, *, samples: int = 20, sigma: float = 0.1, baseline: str = "black"
) -> Tensor:
    """Expected gradients over baselines with noise; float32 (N, T, side, side), signed.

    One random point on the path per baseline, keyed by (seed, id, draw). baseline: as for integrated-gradients, except
    that with 'data' every draw takes one of the background images, the distribution of Erion et al.; sigma: of the
    noise, as a share of the image's range. Sums to the score less the mean score of the baselines, in expectation.
    """
    fixed = None if baseline == "data" else baseline_of(p, baseline)
    total = p.x.new_zeros((p.x.shape[0], len(targets), *p.x.shape[2:]))
    for draw, noise_of in enumerate(noisy(p, samples, sigma)):
        start = (_drawn(p, draw) if fixed is None else fixed) + (noise_of - p.x)
        share = 0.5 + 0.5 * torch.erf(p.normal(samples + draw)[:, :1, :1, :1] / 2**0.5)  # uniform (N, 1, 1, 1)
        gradient = p.at(start + share * (p.x - start)).input_gradient(targets)
        total += torch.einsum("ntchw,nchw->nthw", gradient, p.x - start)
    return total / samples


def _drawn(p: Pass, draw: int) -> Tensor:
    """(N, C, side, side): one background image for each image, keyed by (seed, id, draw)."""
    count = len(p.background)
    at = [int(keyed_rng(p.seed, i, BACKGROUND_IMAGE, draw).integers(count)) for i in p.ids]
    return p.background[torch.tensor(at, device=p.x.device)]


@methods(
    "blur-ig",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Xu et al. 2020, arXiv:2004.03383",
)
def blur_ig(p: Pass, targets: Tensor, *, nodes: int = 20, sigma: float = 0.15) -> Tensor:
    """Gradients on the way from a blurred image to the sharp one; float32 (N, T, side, side), signed.

    sigma: of the strongest blur, as a share of the side; scales are equally spaced. Sums to the score less that of the
    blurred image as nodes grow ('blur-ig/error' in `Pass.notes`), without a baseline of a color no radiograph has.
    """
    if nodes < 1 or sigma <= 0:
        raise SightlineError(f"nodes={nodes}, sigma={sigma}; allowed: nodes from 1, sigma above 0")
    strongest = sigma * p.x.shape[-1]
    total = p.x.new_zeros((p.x.shape[0], len(targets), *p.x.shape[2:]))
    before = _blurred(p.x, strongest)
    for step in range(1, nodes + 1):
        width = strongest * (1 - step / nodes)
        after = _blurred(p.x, width) if width > 0.2 else p.x
        gradient = p.at((before + after) / 2).input_gradient(targets)  # at the middle of the step
        total += torch.einsum("ntchw,nchw->nthw", gradient, after - before)
        before = after
    tell_completeness(p, "blur-ig", total, _blurred(p.x, strongest), targets)
    return total


@methods(
    "layer-conductance",
    needs="features",
    signed=True,
    class_agnostic=False,
    resolution="features",
    source="Dhamdhere et al. 2018, arXiv:1805.12233",
)
def layer_conductance(p: Pass, targets: Tensor, *, nodes: int = 32, baseline: str = "black") -> Tensor:
    """What flows through each place of the features on the way from a baseline; float32 (N, T, h', w'), signed.

    The trapezoidal sum of gradients times steps of the features, summed over channels: it adds up to
    score(image) - score(baseline), and `Pass.notes` gets 'layer-conductance/error'. One forward per node serves every
    finding.
    """
    if nodes < 1:
        raise SightlineError(f"nodes={nodes}; allowed: from 1")
    start = baseline_of(p, baseline)
    total: Tensor | None = None
    before: tuple[Tensor, Tensor] | None = None
    for step in range(nodes + 1):
        at = p.at(start + step / nodes * (p.x - start))
        features = at.features
        now = features, torch.stack([at.feature_gradient(t) for t in targets.tolist()], 1)  # (N, T, K, h', w')
        if before is not None:
            part = torch.einsum("ntkhw,nkhw->nthw", (now[1] + before[1]) / 2, now[0] - before[0])
            total = part if total is None else total + part
        before = now
    assert total is not None
    tell_completeness(p, "layer-conductance", total, start, targets)
    return total
