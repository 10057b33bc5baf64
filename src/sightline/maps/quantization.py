"""Sixteen bits a pixel: how maps as fine as the image are stored, with scores that stay the same.

Values become whole multiples of a step, 1/65000 of the map's own range: finer than the 5100 levels at which scores
count, zero stays zero (so that the sign and the positive mass are kept), and the highest value stays alone at the top
(so that hits are kept).
"""

from __future__ import annotations

import numpy as np

from sightline.core import Array

LEVELS = 65000
MAX_LOSSLESS_CELLS = 64 * 64
"""Cells above which a map is packed; class activation maps are far smaller and stay lossless."""


def quantize_maps(maps: Array) -> tuple[Array, Array, Array]:
    """float32 (N, h, w) -> codes uint16 (N, h, w), step float64 (N,), lowest int64 (N,).

    A map that is not finite keeps nothing but that fact: its step is NaN. A flat one is its value as step.

    >>> codes, step, lowest = quantize_maps(np.float32([[[0, 0.5, 1]]]))
    >>> dequantize_maps(codes, step, lowest).tolist()
    [[[0.0, 0.5, 1.0]]]
    """
    codes, step, lowest = np.zeros(maps.shape, np.uint16), np.full(len(maps), np.nan), np.zeros(len(maps), np.int64)
    for place, one in enumerate(maps):  # in turn: a map fits a processor's cache, all of them do not
        if np.isfinite(one).all():
            codes[place], step[place], lowest[place] = _quantize_map(one.astype(np.float64))
    return codes, step, lowest


def _quantize_map(values: Array) -> tuple[Array, float, int]:
    """Finite float64 (h, w) -> codes uint16 (h, w), step and lowest."""
    low, high = float(values.min()), float(values.max())
    step = (high - low) / LEVELS if high > low else high
    whole = np.rint(values / (step or 1.0))
    highest = values == high
    beside = (whole == whole.max()) & ~highest  # what rounding has raised to the maximum
    if high > 0:
        whole += highest & beside.any()  # up, where zero could be beside it and must stay
    else:
        whole -= beside  # down, where the maximum could be zero itself
    lowest = int(whole.min())
    return (whole - lowest).astype(np.uint16), step, lowest


def dequantize_maps(codes: Array, step: Array, lowest: Array) -> Array:
    """The maps behind `quantize_maps`, float32 (N, h, w); all NaN where the step is."""
    whole = codes.astype(np.float64) + lowest.reshape(-1, 1, 1)
    values: Array = (whole * step.reshape(-1, 1, 1)).astype(np.float32)
    return values
