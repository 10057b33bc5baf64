"""Maps and outlines on radiographs: the one color scale of the report, contours as SVG paths, and embedded images."""

from __future__ import annotations

import base64
import io

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image

from sightline.core import Array
from sightline.imaging.masks import outlines

REFERENCE_OUTLINE, READER_OUTLINE, PREDICTED_OUTLINE, RECTANGLE_OUTLINE = "#2ee6c5", "#ff9a3c", "#ffffff", "#ffe14d"
"""Colors of outlines: reference annotation, second reader, binarized map, smallest rectangle. They lie on radiographs,
so they are the same on a light and on a dark page."""
_COLORS = mpl.colormaps["magma"]


def overlay_map(image: Array, strength: Array) -> Array:
    """Color a radiograph by a map; weak places stay gray.

    Parameters
    ----------
    image : (H, W) float in [0, 1]
        The radiograph.
    strength : (H, W) float in [0, 1]
        The map on the pixels of the image.

    Returns
    -------
    (H, W, 3) float32 in [0, 1]
        The colored image.
    """
    color = _COLORS(0.25 + 0.75 * strength)[..., :3].astype(np.float32)
    alpha = (0.8 * strength**0.7)[..., None]
    colored: Array = to_rgb(image) * (1 - alpha) + color * alpha
    return colored.astype(np.float32)


def to_rgb(image: Array) -> Array:
    """Repeat a gray image in three channels.

    Parameters
    ----------
    image : (H, W) float in [0, 1]
        The image.

    Returns
    -------
    (H, W, 3) float32 in [0, 1]
        The same image.
    """
    return np.repeat(image[..., None], 3, 2).astype(np.float32)


def encode_jpeg(image: Array) -> str:
    """Encode an image as a data URI.

    Parameters
    ----------
    image : (H, W) or (H, W, 3) float in [0, 1]
        The image.

    Returns
    -------
    str
        JPEG file as a data URI.
    """
    out = io.BytesIO()
    pixels = np.clip(np.asarray(image) * 255 + 0.5, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(out, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def outline_path(mask: Array, shape: tuple[float, float]) -> str:
    """Return the outlines of a mask, holes included, as SVG path data.

    Parameters
    ----------
    mask : (H, W) bool
        The mask.
    shape : (float, float)
        Height and width of the drawing, in its units.

    Returns
    -------
    str
        Path data; empty for an empty mask.
    """
    scale = np.array([shape[1] / mask.shape[1], shape[0] / mask.shape[0]])
    scaled = (((contour + 0.5) * scale).astype(np.float32) for contour in outlines(mask, holes=True))
    return "".join(_closed_path(cv2.approxPolyDP(points, 0.4, closed=True)) for points in scaled)


def rectangle_path(mask: Array, shape: tuple[float, float]) -> str:
    """Return the smallest rectangle around the piece of a mask with the longest outline, as SVG path data.

    Parameters
    ----------
    mask : (H, W) bool
        The mask, not empty.
    shape : (float, float)
        Height and width of the drawing, in its units.

    Returns
    -------
    str
        Path data.
    """
    longest = max(outlines(mask), key=lambda piece: cv2.arcLength(piece, True))
    scale = np.array([shape[1] / mask.shape[1], shape[0] / mask.shape[0]])
    return _closed_path((cv2.boxPoints(cv2.minAreaRect(longest)) + 0.5) * scale)


def _closed_path(points: Array) -> str:
    """SVG path data of a closed line through points (..., 2) as (x, y)."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points.reshape(-1, 2)) + "Z"
