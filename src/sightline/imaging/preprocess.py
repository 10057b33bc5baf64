"""What a network sees of an image: resized, then cropped or padded to a square, without torch."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.core import Array, Frame, Radiograph, Size
from sightline.errors import DataError
from sightline.imaging.geometry import Resize, input_frame


def fit_image(image: Array, side: int, resize: Resize) -> tuple[Array, Frame]:
    """float32 (H, W) in [0, 1] -> float32 (side, side), and the frame that places it on the image.

    Shrinking averages over areas (so fine structure does not alias), enlarging is bilinear, padding is black.
    Errors: `DataError` if the image is not (H, W), is empty, or holds NaN or infinity.

    >>> seen, frame = fit_image(np.ones((4, 8), np.float32), 2, "pad")
    >>> seen.tolist(), frame.box
    ([[1.0, 1.0], [0.0, 0.0]], (0.0, 0.0, 8.0, 8.0))
    """
    image = np.asarray(image, np.float32)
    if image.ndim != 2 or image.size == 0:
        raise DataError(f"an image must be (H, W) with at least one pixel, not {image.shape}")
    if not np.isfinite(image).all():
        raise DataError(f"an image of {image.shape} holds {np.sum(~np.isfinite(image))} pixels of NaN or infinity")
    size = (image.shape[0], image.shape[1])
    resized, frame = input_frame(size, side, resize)
    seen = _resize(image, resized)
    for axis in (0, 1):
        offset = round(frame.box[axis] * resized[axis] / size[axis])  # negative where padded
        seen = _crop_or_pad(seen, axis, offset, side)
    return np.ascontiguousarray(seen), frame


def decode_to_bytes(radiograph: Radiograph, side: int, resize: Resize) -> Array | str:
    """The radiograph as bytes, uint8 (side, side); a sentence where it cannot be read."""
    try:
        seen, _ = fit_image(radiograph.read(), side, resize)
    except (DataError, OSError) as error:
        return f"{radiograph.id}: {error}"
    pixels: Array = np.rint(seen.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def _resize(image: Array, size: Size) -> Array:
    """Shrink, then enlarge, because OpenCV's area averaging needs every axis to shrink."""
    shrunk = (min(size[0], image.shape[0]), min(size[1], image.shape[1]))
    if shrunk != image.shape:
        image = cv2.resize(image, shrunk[::-1], interpolation=cv2.INTER_AREA)
    if size != image.shape:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return image


def _crop_or_pad(image: Array, axis: int, offset: int, side: int) -> Array:
    """`side` pixels of an axis from `offset`, zeros where there is no image."""
    length = image.shape[axis]
    margins = [(0, 0), (0, 0)]
    margins[axis] = (max(-offset, 0), max(offset + side - length, 0))
    kept = np.take(image, np.arange(max(offset, 0), min(offset + side, length)), axis)
    return np.pad(kept, margins)
