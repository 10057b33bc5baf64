"""Quantization of fine maps to sixteen bits per pixel, which leaves their scores unchanged.

Values become whole multiples of a step, 1/65000 of the range of the map. This is finer than the 5100 levels at which
scores are counted. Zero stays zero, which keeps signs and the positive mass, and the highest value remains the only
one at the top, so that the pointing game is kept.
"""

from __future__ import annotations

import numpy as np

from sightline.core import Array

LEVELS = 65000
"""Steps between the lowest and the highest value of a map."""
MAX_LOSSLESS_CELLS = 64 * 64
"""Cells above which a map is quantized; class activation maps are far smaller and are stored lossless."""


def quantize_maps(maps: Array) -> tuple[Array, Array, Array]:
    """Quantize maps to sixteen bits.

    Parameters
    ----------
    maps : (N, h, w) float32
        Maps.

    Returns
    -------
    codes : (N, h, w) uint16
        Multiples of the step above the lowest.
    step : (N,) float64
        Step of each map; NaN for a map that is not finite, the value of a flat map.
    lowest : (N,) int64
        Lowest multiple of each map.

    Examples
    --------
    >>> codes, step, lowest = quantize_maps(np.float32([[[0, 0.5, 1]]]))
    >>> dequantize_maps(codes, step, lowest).tolist()
    [[[0.0, 0.5, 1.0]]]
    """
    codes, step, lowest = np.zeros(maps.shape, np.uint16), np.full(len(maps), np.nan), np.zeros(len(maps), np.int64)
    for i, values in enumerate(maps):  # in turn, because one map fits into the cache of a processor
        if np.isfinite(values).all():
            codes[i], step[i], lowest[i] = _quantize_map(values.astype(np.float64))
    return codes, step, lowest


def _quantize_map(values: Array) -> tuple[Array, float, int]:
    """Quantize one finite map, float64 (h, w), to codes uint16 (h, w), step and lowest multiple."""
    low, high = float(values.min()), float(values.max())
    step = (high - low) / LEVELS if high > low else high
    whole = np.rint(values / (step or 1.0))
    highest = values == high
    rounded_up = (whole == whole.max()) & ~highest  # values that rounding has raised to the maximum
    if high > 0:
        whole += highest & rounded_up.any()  # raise the maximum, because zero could be next to it and must stay
    else:
        whole -= rounded_up  # lower the others, because the maximum could be zero itself
    lowest = int(whole.min())
    return (whole - lowest).astype(np.uint16), step, lowest


def dequantize_maps(codes: Array, step: Array, lowest: Array) -> Array:
    """Restore the maps that `quantize_maps` quantized.

    Parameters
    ----------
    codes : (N, h, w) uint16
        Codes.
    step : (N,) float64
        Step of each map.
    lowest : (N,) int64
        Lowest multiple of each map.

    Returns
    -------
    (N, h, w) float32
        Maps; all NaN where the step is NaN.
    """
    whole = codes.astype(np.float64) + lowest.reshape(-1, 1, 1)
    values: Array = (whole * step.reshape(-1, 1, 1)).astype(np.float32)
    return values
