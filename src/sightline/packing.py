"""Sixteen bits a pixel: how maps as fine as the image are stored, with scores that stay the same.

Values become whole multiples of a step, 1/65000 of the map's own range: finer than the 5100 levels at which scores
count, zero stays zero (so that the sign and the positive mass are kept), and the highest value stays alone at the top
(so that hits are kept).
"""

from __future__ import annotations

import numpy as np

from sightline.core import Array

LEVELS = 65000
LARGE = 64 * 64
"""Cells above which a map is packed; class activation maps are far smaller and stay lossless."""


def pack(maps: Array) -> tuple[Array, Array, Array]:
    """float32 (N, h, w) -> codes uint16 (N, h, w), step float64 (N,), lowest int64 (N,).

    A map that is not finite keeps nothing but that fact: its step is NaN. A flat one is its value as step.

    >>> codes, step, lowest = pack(np.float32([[[0, 0.5, 1]]]))
    >>> unpack(codes, step, lowest).tolist()
    [[[0.0, 0.5, 1.0]]]
    """
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        low, high = flat.min(1), flat.max(1)
        step = np.where(high > low, (high - low) / LEVELS, high)
    step[~np.isfinite(low + high)] = np.nan
    usable = np.where(np.isfinite(step) & (step != 0), step, 1.0)[:, None]
    whole = np.rint(np.where(np.isfinite(step)[:, None], flat, 0.0) / usable).astype(np.int64)  # (N, h * w)
    highest = flat == high[:, None]
    beside = (whole == whole.max(1, keepdims=True)) & ~highest  # what rounding has raised to the maximum
    positive = (high > 0)[:, None]
    whole += highest & positive & beside.any(1, keepdims=True)  # up, where zero could be beside it and must stay
    whole -= beside & ~positive  # down, where the maximum could be zero itself
    lowest = whole.min(1)
    return (whole - lowest[:, None]).astype(np.uint16).reshape(maps.shape), step, lowest


def unpack(codes: Array, step: Array, lowest: Array) -> Array:
    """The maps behind `pack`, float32 (N, h, w); all NaN where the step is."""
    whole = codes.astype(np.float64) + lowest.reshape(-1, 1, 1)
    values: Array = (whole * step.reshape(-1, 1, 1)).astype(np.float32)
    return values
