"""Augmentation: changes that another exposure and another positioning of the same patient would make."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class AugmentationStrength:
    """Ranges of the changes of an image."""

    max_degrees: float
    """Greatest rotation, either way."""
    max_shift: float
    """Greatest shift, as a share of width and height."""
    min_zoom: float
    """Least share of the width that is visible."""
    max_zoom: float
    """Greatest share of the width that is visible."""
    max_gain: float
    """Greatest relative change of contrast."""
    max_offset: float
    """Greatest change of brightness."""
    max_blur: float = 0.0
    """Greatest standard deviation of a Gaussian, as a share of the width; drawn from 0."""


LIGHT_AUGMENTATION = AugmentationStrength(6.0, 0.05, 0.92, 1.08, 0.2, 0.08)
"""Augmentation for labels: everything that is annotated stays on the image."""
STRONG_AUGMENTATION = AugmentationStrength(20.0, 0.1, 0.75, 1.05, 0.4, 0.15, 3 / 224)
"""Augmentation for contrastive learning, after Zhang et al. 2020, arXiv:2010.00747 (crops of 60 to 100 % of the area,
20 degrees, shifts of a tenth, blur up to 3 pixels of 224), but never mirrored."""


def augment(
    images: Tensor,
    generator: torch.Generator,
    mask_targets: Tensor | None = None,
    strength: AugmentationStrength = LIGHT_AUGMENTATION,
) -> tuple[Tensor, Tensor | None]:
    """Rotate, shift and zoom images at random and change their exposure; never mirror them.

    Heart, stomach and side markers have a side.

    Parameters
    ----------
    images : (N, h, w) float32 in [0, 1]
        Images.
    generator
        Source of random numbers.
    mask_targets : (N, F, g, g)
        Targets that move with the images.
    strength
        Ranges of the changes.

    Returns
    -------
    images : (N, h, w) float32 in [0, 1]
    mask_targets : (N, F, g, g) or None
        NaN stays NaN.
    """

    def draw(low: float, high: float) -> Tensor:
        return low + torch.rand(len(images), generator=generator) * (high - low)  # (N,)

    turn, shift = math.radians(strength.max_degrees), 2 * strength.max_shift
    angle, zoom = draw(-turn, turn), draw(strength.min_zoom, strength.max_zoom)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = [torch.stack([cos, -sin, draw(-shift, shift)], 1), torch.stack([sin, cos, draw(-shift, shift)], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [len(images), 1, *images.shape[1:]], align_corners=False)
    moved = F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]  # (N, h, w)
    gain = draw(1 - strength.max_gain, 1 + strength.max_gain)[:, None, None]
    offset = draw(-strength.max_offset, strength.max_offset)[:, None, None]
    brightened = (gain * (moved - 0.5) + 0.5 + offset).clamp(0, 1)
    if strength.max_blur:
        brightened = _blur(brightened, draw(0.0, strength.max_blur * images.shape[2]))
    if mask_targets is not None:
        grid = F.affine_grid(torch.stack(rows, 1), list(mask_targets.shape), align_corners=False)
        mask_targets = F.grid_sample(mask_targets, grid, align_corners=False)  # NaN stays NaN
    return brightened, mask_targets


def _blur(images: Tensor, deviations: Tensor) -> Tensor:
    """Blur each image (N, h, w) by a Gaussian of its own standard deviation (N,), in pixels; edges are repeated."""
    half = max(1, math.ceil(2.5 * float(deviations.max())))
    offsets = torch.arange(-half, half + 1, dtype=images.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * deviations[:, None].clamp(min=1e-3) ** 2))  # (N, 2 half + 1)
    kernel = kernel / kernel.sum(1, keepdim=True)
    n = len(images)
    padded = F.pad(images[None], (half,) * 4, mode="replicate")
    down = F.conv2d(padded, kernel[:, None, :, None], groups=n)
    across: Tensor = F.conv2d(down, kernel[:, None, None, :], groups=n)
    return across[0]
