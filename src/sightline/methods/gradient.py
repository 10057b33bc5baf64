"""Gradients of the score with respect to the image: plain, times the image, and over noisy copies."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.registry import methods


def reduce_channels(gradient: Tensor, reduce: str) -> Tensor:
    """Reduce the channels of gradients.

    Parameters
    ----------
    gradient : Tensor, (N, T, C, h, w)
        The gradients.
    reduce : {'sum', 'mean', 'abs-sum', 'abs-max'}
        'sum' is the change with the gray level, 'mean' its share per channel; 'abs-sum' and 'abs-max' reduce the
        magnitudes, the latter as in Simonyan et al. 2014.

    Returns
    -------
    Tensor, (N, T, h, w)

    Raises
    ------
    SightlineError
        If `reduce` is none of these.
    """
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
    """Yield copies of a batch with Gaussian noise, keyed by (seed, id, draw).

    Parameters
    ----------
    context : BatchContext
        The batch.
    samples : int
        Number of copies, from 1.
    sigma : float
        Standard deviation of the noise, as a share of each image's own range, from 0.

    Yields
    ------
    Tensor, (N, C, side, side) float32

    Raises
    ------
    SightlineError
        If `samples` or `sigma` is out of range.
    """
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
    """Compute the gradient of the score; float32 (N, T, side, side), signed unless `reduce` takes magnitudes.

    Parameters
    ----------
    reduce : {'sum', 'mean', 'abs-sum', 'abs-max'}
        Reduction of the channels, see `reduce_channels`.
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
    """Multiply the normalized image by the gradient; float32 (N, T, side, side).

    A pixel of the mean gray of the normalization gets 0.

    Parameters
    ----------
    reduce : {'sum', 'mean', 'abs-sum', 'abs-max'}
        Reduction of the channels, see `reduce_channels`.
    """
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
    """Average the gradients of noisy copies; float32 (N, T, side, side), signed.

    Parameters
    ----------
    samples : int
        Noisy copies, from 1.
    sigma : float
        Standard deviation of the noise, as a share of the image's range.
    reduce : {'sum', 'mean', 'abs-sum', 'abs-max'}
        Reduction of the channels, see `reduce_channels`.
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
    """Average the squared gradients of noisy copies, channels summed; float32 (N, T, side, side), 0 or more.

    Parameters
    ----------
    samples : int
        Noisy copies, from 1.
    sigma : float
        Standard deviation of the noise, as a share of the image's range.
    """
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
    """Compute the variance of the gradient over noisy copies, channels summed; float32 (N, T, side, side), 0 or more.

    Parameters
    ----------
    samples : int
        Noisy copies, from 1.
    sigma : float
        Standard deviation of the noise, as a share of the image's range.
    """
    mean, total = torch.zeros(1), torch.zeros(1)
    # Welford's update: squares of large means would cancel
    for count, gradient in enumerate(context.gradients_at(draw_noisy_copies(context, samples, sigma), targets), 1):
        step = gradient - mean.to(gradient.device)
        mean = mean.to(gradient.device) + step / count
        total = total.to(gradient.device) + step * (gradient - mean)
    return reduce_channels(total / samples, "sum").clamp(min=0)
