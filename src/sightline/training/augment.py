"""Light augmentation: what another exposure and another positioning of the same patient would change."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

DEGREES, SHIFT, ZOOM = 6.0, 0.05, 0.08
GAIN, OFFSET = 0.2, 0.08


def augment(images: Tensor, generator: torch.Generator, marks: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """float32 (N, h, w) in [0, 1] -> the same, each turned, moved, zoomed, brightened and stretched a little.

    Never mirrored: heart, stomach and side markers have a side. marks (N, F, g, g) of the images move with them.
    """

    def draw(reach: float) -> Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * reach  # (N,)

    angle, zoom = draw(math.radians(DEGREES)), 1 + draw(ZOOM)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = [torch.stack([cos, -sin, draw(2 * SHIFT)], 1), torch.stack([sin, cos, draw(2 * SHIFT)], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [len(images), 1, *images.shape[1:]], align_corners=False)
    moved = F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]  # (N, h, w)
    gain, offset = (1 + draw(GAIN))[:, None, None], draw(OFFSET)[:, None, None]
    brightened = (gain * (moved - 0.5) + 0.5 + offset).clamp(0, 1)
    if marks is not None:
        grid = F.affine_grid(torch.stack(rows, 1), list(marks.shape), align_corners=False)
        marks = F.grid_sample(marks, grid, align_corners=False)  # NaN stays NaN
    return brightened, marks
