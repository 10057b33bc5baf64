"""Path methods: gradients integrated along a path from an image without evidence to the image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sightline._util.rng import BACKGROUND_IMAGE, keyed_rng
from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.gradient import draw_noisy_copies, reduce_channels
from sightline.methods.path_integrals import find_quadrature, integrate_channels
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
    context: BatchContext,
    targets: Tensor,
    *,
    baseline: str = "black",
    nodes: int = 0,
    rule: str = "gauss-legendre",
    reduce: str = "sum",
) -> Tensor:
    """Multiply image - baseline by the mean gradient between the two; float32 (N, T, side, side).

    The map is signed unless `reduce` takes magnitudes; the sum of channels sums to score(image) - score(baseline). The
    mean is a quadrature. `context.diagnostics` gets 'integrated-gradients/error' (that sum minus the difference, as a
    share of the difference) and 'integrated-gradients/nodes'.

    Parameters
    ----------
    baseline : str
        Image that the path starts from, as `make_baseline` names it.
    nodes : int
        Nodes of the quadrature. With 0 each map by itself takes 8, 16, 32 or 64, the first whose sum is right to 1 %.
    rule : {'gauss-legendre', 'uniform', 'endpoints'}
        Quadrature: Gauss-Legendre, the midpoints of equal steps, or equally spaced nodes from the baseline to the image
        itself (as in the code that Arun et al. 2021 use, 10.1148/ryai.2021200267).
    reduce : {'sum', 'mean', 'abs-sum', 'abs-max'}
        Reduction of the channels, see `reduce_channels`.
    """
    if nodes < 0:
        raise SightlineError(f"nodes={nodes}; allowed: 0 (as many as needed) or more")
    quadrature = find_quadrature(rule)
    start = make_baseline(context, baseline)
    count, findings = context.x.shape[0], len(targets)
    difference = (context.scores - context.with_inputs(start).scores)[:, targets]  # (N, T)
    maps = context.x.new_zeros((count, findings, *context.x.shape[2:]))
    error, nodes_used = torch.full_like(difference, torch.inf), torch.zeros_like(difference)
    pending = torch.ones_like(difference, dtype=torch.bool)
    level = nodes or MIN_NODES
    while pending.any():
        rows, columns = pending.any(1).nonzero()[:, 0], pending.any(0).nonzero()[:, 0]
        part = context.select(rows)
        channels = integrate_channels(part, start[rows], targets[columns], level, quadrature, summed=reduce == "sum")
        integrals = reduce_channels(channels, reduce)
        block = (rows[:, None], columns[None])
        is_pending = pending[block]  # (M, S), integrals (M, S, h, w)
        maps[block] = torch.where(is_pending[:, :, None, None], integrals, maps[block])
        block_error = channels.double().sum((2, 3, 4)).float() - difference[block]
        error[block] = torch.where(is_pending, block_error, error[block])
        nodes_used[block] = torch.where(is_pending, float(level), nodes_used[block])
        if nodes or level == MAX_NODES:
            break
        pending &= error.abs() > (COMPLETENESS_TOLERANCE * difference.abs()).clamp(min=ROUNDING_ERROR)
        level *= 2
    context.diagnostics["integrated-gradients/error"] = error / difference.abs().clamp(min=ROUNDING_ERROR)
    context.diagnostics["integrated-gradients/nodes"] = nodes_used
    return maps


def make_baseline(context: BatchContext, name: str) -> Tensor:
    """Return images without evidence, from which a path starts or with which a part of an image is hidden.

    Parameters
    ----------
    context : BatchContext
        The batch.
    name : {'black', 'zero', 'mean', 'blur', 'random', 'data'}
        'black' is an image of zeros, normalized; 'zero' is zero after normalization, the mean color of the training
        images, as in CheXlocalize; 'mean' is each image's own mean gray; 'blur' the blurred image; 'random' uniform
        noise between the extremes of each image, keyed by (seed, id); 'data' the mean of the background images.

    Returns
    -------
    Tensor, (N, C, side, side) float32

    Raises
    ------
    SightlineError
        If the name is none of these, or if 'data' lacks background images.
    """
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
    """Record the error of completeness of maps in `context.diagnostics`.

    Parameters
    ----------
    context : BatchContext
        The batch; its diagnostics get 'NAME/error', (N, T): the sum of a map minus the difference, as a share of it.
    name : str
        Name of the method.
    maps : Tensor, (N, T, h, w)
        The maps.
    start : Tensor, (N, C, side, side)
        Images that the path started from; the difference is score(image) - score(start).
    targets : Tensor, (T,) int64
        Indices of the findings among the logits.
    """
    difference = (context.scores - context.with_inputs(start).scores)[:, targets]
    error = maps.double().sum((2, 3)).float() - difference
    context.diagnostics[f"{name}/error"] = error / difference.abs().clamp(min=ROUNDING_ERROR)


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Blur images by a Gaussian, with repeated borders."""
    reach = max(1, min(round(3 * sigma), x.shape[-1] - 1))
    offsets = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    padded = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, kernel[:, :, None, :], groups=x.shape[1])
    return F.conv2d(rows, kernel[:, :, :, None], groups=x.shape[1])


@methods(
    "smooth-ig",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Smilkov et al. 2017, arXiv:1706.03825, applied to Sundararajan et al. 2017, arXiv:1703.01365",
)
def smooth_ig(
    context: BatchContext,
    targets: Tensor,
    *,
    baseline: str = "black",
    nodes: int = 16,
    samples: int = 5,
    sigma: float = 0.1,
    rule: str = "gauss-legendre",
    squared: bool = False,
) -> Tensor:
    """Average the integrated gradients of noisy copies; float32 (N, T, side, side), signed unless they are squared.

    Channels are summed. The Smooth IG of Arun et al. 2021, 10.1148/ryai.2021200267, has squared=True, samples=25,
    sigma=0.15, nodes=10 and rule=endpoints.

    Parameters
    ----------
    baseline : str
        Image that the path starts from, as `make_baseline` names it.
    nodes : int
        Nodes of the quadrature, from 1.
    samples : int
        Noisy copies, from 1.
    sigma : float
        Standard deviation of the noise, as a share of the image's range; keyed by (seed, id, draw).
    rule : {'gauss-legendre', 'uniform', 'endpoints'}
        Quadrature, as in `integrated_gradients`.
    squared : bool
        Average the squares, of each channel by itself.
    """
    if nodes < 1:
        raise SightlineError(f"nodes={nodes}; allowed: from 1")
    start, quadrature = make_baseline(context, baseline), find_quadrature(rule)
    integrals = (
        integrate_channels(context.with_inputs(x), start, targets, nodes, quadrature, summed=not squared)
        for x in draw_noisy_copies(context, samples, sigma)
    )
    total = sum(part.square() if squared else part for part in integrals)
    assert isinstance(total, Tensor)
    return reduce_channels(total / samples, "sum")


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
    """Compute expected gradients over baselines with noise; float32 (N, T, side, side), signed.

    Each baseline takes one random point on the path, keyed by (seed, id, draw). A map sums to the score minus the mean
    score of the baselines, in expectation.

    Parameters
    ----------
    samples : int
        Baselines, from 1.
    sigma : float
        Standard deviation of their noise, as a share of the image's range; keyed by (seed, id, draw).
    baseline : str
        Image that the noise is added to, as `make_baseline` names it; with 'data' each draw takes one of the background
        images, the distribution of Erion et al.
    """
    fixed = None if baseline == "data" else make_baseline(context, baseline)
    total = context.x.new_zeros((context.x.shape[0], len(targets), *context.x.shape[2:]))
    for draw, noisy in enumerate(draw_noisy_copies(context, samples, sigma)):
        start = (_draw_background(context, draw) if fixed is None else fixed) + (noisy - context.x)
        normal = context.standard_normal(samples + draw)[:, :1, :1, :1]
        share = 0.5 + 0.5 * torch.erf(normal / 2**0.5)  # uniform (N, 1, 1, 1)
        gradient = context.with_inputs(start + share * (context.x - start)).input_gradient(targets)
        total += torch.einsum("ntchw,nchw->nthw", gradient, context.x - start)
    return total / samples


def _draw_background(context: BatchContext, draw: int) -> Tensor:
    """Draw one background image for each image, (N, C, side, side), keyed by (seed, id, draw)."""
    count = len(context.background)
    rows = [int(keyed_rng(context.seed, i, BACKGROUND_IMAGE, draw).integers(count)) for i in context.ids]
    return context.background[torch.tensor(rows, device=context.x.device)]


@methods(
    "blur-ig",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Xu et al. 2020, arXiv:2004.03383",
)
def blur_ig(context: BatchContext, targets: Tensor, *, nodes: int = 20, sigma: float = 0.15) -> Tensor:
    """Integrate gradients along a path from a blurred image to the sharp one; float32 (N, T, side, side), signed.

    A map sums to the score minus that of the blurred image as nodes grow, without a baseline in a color that no
    radiograph has. `context.diagnostics` gets 'blur-ig/error', the miss as a share of the difference.

    Parameters
    ----------
    nodes : int
        Steps of the path, from 1.
    sigma : float
        Standard deviation of the strongest blur, as a share of the side; scales are equally spaced.
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
    """Integrate gradients with respect to the features along a path of images; float32 (N, T, h', w'), signed.

    The trapezoidal sum of gradients times steps of the features, summed over channels: it adds up to
    score(image) - score(baseline), and `context.diagnostics` gets 'layer-conductance/error'. One forward per node
    serves every finding.

    Parameters
    ----------
    nodes : int
        Steps of the path, from 1.
    baseline : str
        Image that the path starts from, as `make_baseline` names it.
    """
    if nodes < 1:
        raise SightlineError(f"nodes={nodes}; allowed: from 1")
    start = make_baseline(context, baseline)
    total: Tensor | None = None
    previous: tuple[Tensor, Tensor] | None = None
    for step in range(nodes + 1):
        point = context.with_inputs(start + step / nodes * (context.x - start))
        features = point.features
        gradients = torch.stack([point.feature_gradient(target) for target in targets.tolist()], 1)  # (N, T, K, h', w')
        if previous is not None:
            part = torch.einsum("ntkhw,nkhw->nthw", (gradients + previous[1]) / 2, features - previous[0])
            total = part if total is None else total + part
        previous = features, gradients
    assert total is not None
    record_completeness_error(context, "layer-conductance", total, start, targets)
    return total
