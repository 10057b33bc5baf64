"""Gradients of the score with respect to the image: plain, times the image, and averaged over noise."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.registry import methods


def reduce_channels(gradient: Tensor, reduce: str) -> Tensor:
    """Reduce the channels (N, T, C, h, w) -> (N, T, h, w): signed sum or mean, or sum or maximum of magnitudes."""
    if reduce == "sum":
        return gradient.sum(2)
    if reduce == "mean":
        return gradient.mean(2)
    if reduce == "abs-sum":
        return gradient.abs().sum(2)
    if reduce == "abs-max":
        return gradient.abs().amax(2)
    raise SightlineError(f"reduce={reduce}; allowed: sum, mean, abs-sum, abs-max")


def draw_noisy_copies(context: BatchContext, samples: int, sigma: float) -> Iterator[Tensor]:
    """Copies of the batch with Gaussian noise, `sigma` of each image's own range, keyed by (seed, id, draw)."""
    if samples < 1 or sigma < 0:
        raise SightlineError(f"samples={samples}, sigma={sigma}; allowed: samples from 1, sigma from 0")
    spread = sigma * (context.x.amax((1, 2, 3)) - context.x.amin((1, 2, 3)))  # (N,)
    for draw in range(samples):
        yield context.x + spread[:, None, None, None] * context.standard_normal(draw)


@methods(
    "gradient",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Simonyan et al. 2014, arXiv:1312.6034",
)
def gradient(context: BatchContext, targets: Tensor, *, reduce: str = "sum") -> Tensor:
    """How the score changes with each pixel; float32 (N, T, side, side), signed unless `reduce` takes magnitudes.

    reduce: of the channels: 'sum' (the change with the gray level), 'mean', 'abs-sum', or 'abs-max' as in the paper.
    """
    return reduce_channels(context.input_gradient(targets), reduce)


@methods(
    "input-x-gradient",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Shrikumar et al. 2016, arXiv:1605.01713",
)
def input_x_gradient(context: BatchContext, targets: Tensor, *, reduce: str = "sum") -> Tensor:
    """The prepared image times the gradient; float32 (N, T, side, side). Zero is the mean gray of normalization."""
    return reduce_channels(context.input_gradient(targets) * context.x[:, None], reduce)


@methods(
    "smoothgrad",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Smilkov et al. 2017, arXiv:1706.03825",
)
def smoothgrad(
    context: BatchContext, targets: Tensor, *, samples: int = 25, sigma: float = 0.15, reduce: str = "sum"
) -> Tensor:
    """Mean gradient of noisy copies; float32 (N, T, side, side), signed.

    sigma: of the noise, as a share of the image's range.
    """
    total = sum(context.gradients_at(draw_noisy_copies(context, samples, sigma), targets))
    assert isinstance(total, Tensor)
    return reduce_channels(total / samples, reduce)


@methods(
    "smoothgrad-squared",
    needs="input-gradient",
    signed=False,
    class_agnostic=False,
    resolution="input",
    source="Hooker et al. 2019, arXiv:1806.10758; the SmoothGrad of Arun et al. 2021, 10.1148/ryai.2021200267",
)
def smoothgrad_squared(context: BatchContext, targets: Tensor, *, samples: int = 25, sigma: float = 0.15) -> Tensor:
    """Mean squared gradient of noisy copies, summed over channels; float32 (N, T, side, side), 0 or more."""
    total = sum(g.square() for g in context.gradients_at(draw_noisy_copies(context, samples, sigma), targets))
    assert isinstance(total, Tensor)
    return reduce_channels(total / samples, "sum")


@methods(
    "vargrad",
    needs="input-gradient",
    signed=False,
    class_agnostic=False,
    resolution="input",
    source="Adebayo et al. 2018, arXiv:1810.03307",
)
def vargrad(context: BatchContext, targets: Tensor, *, samples: int = 25, sigma: float = 0.15) -> Tensor:
    """Variance of the gradient over noisy copies, summed over channels; float32 (N, T, side, side), 0 or more."""
    mean, spread = torch.zeros(1), torch.zeros(1)
    # Welford's update: squares of large means would cancel
    for count, found in enumerate(context.gradients_at(draw_noisy_copies(context, samples, sigma), targets), 1):
        step = found - mean.to(found.device)
        mean = mean.to(found.device) + step / count
        spread = spread.to(found.device) + step * (found - mean)
    return reduce_channels(spread / samples, "sum").clamp(min=0)
