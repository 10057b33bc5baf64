"""Inputs of networks: images resized, then cropped or padded to a square, without torch."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.core import Array, Frame, Radiograph, Size
from sightline.errors import DataError
from sightline.imaging.geometry import Resize, input_frame


def fit_image(image: Array, side: int, resize: Resize) -> tuple[Array, Frame]:
    """Fit an image to the square input of a network.

    Shrinking averages over areas, so that fine structure does not alias; enlarging is bilinear; padding is black.

    Parameters
    ----------
    image : (H, W) array
        Image in [0, 1].
    side : int
        Side of the input, in pixels.
    resize : {'stretch', 'center-crop', 'pad'}
        See `sightline.imaging.geometry.input_frame`.

    Returns
    -------
    values : (side, side) float32
        Input in [0, 1].
    frame : Frame
        Place of the input on the image.

    Raises
    ------
    DataError
        If the image is not (H, W), is empty, or holds NaN or infinity.

    Examples
    --------
    >>> values, frame = fit_image(np.ones((4, 8), np.float32), 2, "pad")
    >>> values.tolist(), frame.box
    ([[1.0, 1.0], [0.0, 0.0]], (0.0, 0.0, 8.0, 8.0))
    """
    image = np.asarray(image, np.float32)
    if image.ndim != 2 or image.size == 0:
        raise DataError(f"an image must be (H, W) with at least one pixel, not {image.shape}")
    if not np.isfinite(image).all():
        raise DataError(f"an image of {image.shape} holds {np.sum(~np.isfinite(image))} pixels of NaN or infinity")
    size = (image.shape[0], image.shape[1])
    resized, frame = input_frame(size, side, resize)
    values = _resize(image, resized)
    for axis in (0, 1):
        offset = round(frame.box[axis] * resized[axis] / size[axis])  # negative where padded
        values = _crop_or_pad(values, axis, offset, side)
    return np.ascontiguousarray(values), frame


def decode_to_bytes(radiograph: Radiograph, side: int, resize: Resize) -> Array | str:
    """Read a radiograph as the input of a network in eight bits.

    Parameters
    ----------
    radiograph : Radiograph
        Radiograph to read.
    side : int
        Side of the input, in pixels.
    resize : {'stretch', 'center-crop', 'pad'}
        See `sightline.imaging.geometry.input_frame`.

    Returns
    -------
    (side, side) uint8 or str
        Pixels, or one sentence for a radiograph that cannot be read.
    """
    try:
        values, _ = fit_image(radiograph.read(), side, resize)
    except (DataError, OSError) as error:
        return f"{radiograph.id}: {error}"
    pixels: Array = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def _resize(image: Array, size: Size) -> Array:
    """Shrink, then enlarge, because the area averaging of OpenCV needs every axis to shrink."""
    shrunk = (min(size[0], image.shape[0]), min(size[1], image.shape[1]))
    if shrunk != image.shape:
        image = cv2.resize(image, shrunk[::-1], interpolation=cv2.INTER_AREA)
    if size != image.shape:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return image


def _crop_or_pad(image: Array, axis: int, offset: int, side: int) -> Array:
    """Return `side` pixels of an axis from `offset` on, zeros where there is no image."""
    length = image.shape[axis]
    margins = [(0, 0), (0, 0)]
    margins[axis] = (max(-offset, 0), max(offset + side - length, 0))
    kept = np.take(image, np.arange(max(offset, 0), min(offset + side, length)), axis)
    return np.pad(kept, margins)
