"""Binarization: masks of maps, by thresholds that are read off the joint histogram."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.core import Array
from sightline.errors import UnknownNameError
from sightline.imaging.masks import outlines
from sightline.metrics.histogram import QUANTIZATION_STEPS, JointHistogram, quantize, scale_to_steps

_ALLOWED = "'otsu', 'above:T' with 0 <= T < 1, 'top:FRACTION' with 0 < FRACTION <= 1"


def parse_binarizer(binarizer: str) -> tuple[str, float]:
    """Parse the text of a binarizer.

    Parameters
    ----------
    binarizer : str
        'otsu', 'above:T' with 0 <= T < 1, or 'top:FRACTION' with 0 < FRACTION <= 1.

    Returns
    -------
    name : str
        'otsu', 'above' or 'top'.
    argument : float
        T or FRACTION; 0 for 'otsu'.

    Raises
    ------
    UnknownNameError
        If the text is no binarizer.

    Examples
    --------
    >>> parse_binarizer("otsu"), parse_binarizer("top:0.05")
    (('otsu', 0.0), ('top', 0.05))
    """
    name, _, argument = binarizer.partition(":")
    try:
        if name == "otsu" and not argument:
            return name, 0.0
        if name == "above" and 0 <= float(argument) < 1:
            return name, float(argument)
        if name == "top" and 0 < float(argument) <= 1:
            return name, float(argument)
    except ValueError:
        pass  # not a number: the error below says what is
    raise UnknownNameError(f"no binarizer {binarizer!r}; allowed: {_ALLOWED}")


def threshold_bin(histogram: JointHistogram, binarizer: str) -> int:
    """Find the first bin of the predicted mask under a binarizer.

    Parameters
    ----------
    histogram : JointHistogram
        Histogram of the map.
    binarizer : str
        'otsu' (see `JointHistogram.otsu_bin`); 'above:0.4' (strictly above 0.4 of the min-max normalized map);
        'top:0.05' (the highest 5 % of the pixels that the model saw, ties included).

    Returns
    -------
    int
        Bin; the mask has the pixels in this bin or higher.
    """
    name, argument = parse_binarizer(binarizer)
    if name == "otsu":
        return histogram.otsu_bin()
    return histogram.bin_above(argument) if name == "above" else histogram.top_bin(argument)


def mask_from_bin(values: Array, histogram: JointHistogram, bin_: int) -> Array:
    """Return the mask of the pixels in a bin or higher.

    Parameters
    ----------
    values : (H', W') float32
        Part of the placed map that the model saw.
    histogram : JointHistogram
        Histogram of the same map.
    bin_ : int
        First bin of the mask.

    Returns
    -------
    (H', W') bool
        Mask.
    """
    mask: Array = values >= _smallest_value_in_bin(histogram, bin_)
    return mask


def _smallest_value_in_bin(histogram: JointHistogram, bin_: int) -> np.float32:
    """Return the smallest float32 that `quantize` puts into `bin_` or higher, so that one comparison gives the mask."""
    if not 0 < bin_ <= QUANTIZATION_STEPS:
        return np.float32(-np.inf if bin_ <= 0 else np.inf)
    low, high = histogram.low, histogram.high

    def inside(value: np.float32) -> bool:
        return bool(scale_to_steps(np.array([value]), low, high, QUANTIZATION_STEPS)[0] >= bin_)

    value = np.float32(low + (high - low) * bin_ / QUANTIZATION_STEPS)
    while inside(value):
        value = np.nextafter(value, np.float32(-np.inf))
    while not inside(value):
        value = np.nextafter(value, np.float32(np.inf))
    return value


def fill_contours(mask: Array) -> Array:
    """Draw a mask again from its contours, as the published pipeline does: holes are filled, single pixels dropped.

    Parameters
    ----------
    mask : (H, W) bool
        Mask.

    Returns
    -------
    (H, W) bool
        Mask that was drawn again.
    """
    canvas = np.zeros(mask.shape, np.uint8)
    for contour in outlines(mask, holes=True, corners_only=True):
        if len(contour) > 1:
            cv2.drawContours(canvas, [contour], -1, 1, cv2.FILLED)
    return canvas.view(bool)


def smoothed_otsu_mask(values: Array, smooth_window: float, *, published: bool, only_positive: bool = False) -> Array:
    """Return Otsu's mask of a map after a box filter.

    Parameters
    ----------
    values : (H', W') float32
        Part of the placed map that the model saw.
    smooth_window : float
        Side of the filter: a share of H' below 1, pixels from 1 on.
    published : bool
        True computes it as heatmap_to_segmentation.py of CheXlocalize does: the map is colored with JET, converted to
        gray, filtered and inverted. JET is not monotonic in gray (blue and red are dark, the middle is bright), so
        high and low values become alike. It is kept for comparison only.
    only_positive : bool
        Set negative values of the filtered map to 0 before the threshold is chosen; not for the published form.

    Returns
    -------
    (H', W') bool
        Mask; empty if the filtered map is flat.
    """
    side = max(1, int(smooth_window if smooth_window >= 1 else smooth_window * values.shape[0]))
    if published:
        gray = quantize(values, float(values.min()), float(values.max()), 255).astype(np.uint8)
        colored = cv2.cvtColor(cv2.applyColorMap(gray, cv2.COLORMAP_JET), cv2.COLOR_RGB2GRAY)
        gray = np.uint8(255) - np.asarray(cv2.boxFilter(colored, -1, (side, side)), np.uint8)
    else:
        filtered = cv2.boxFilter(values, -1, (side, side), borderType=cv2.BORDER_REFLECT_101)
        filtered = np.maximum(filtered, 0) if only_positive else filtered
        low, high, *_ = cv2.minMaxLoc(filtered)
        if not high > low:
            return np.zeros(values.shape, bool)
        gray = quantize(filtered, low, high, 255).astype(np.uint8)
    mask: Array = cv2.threshold(gray, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1].astype(bool)
    return mask
