"""Geometry: grids on images, and maps on the pixels of images.

Every function uses the conventions of `sightline.core`: (row, col), pixel centers at +0.5, sizes (H, W).
"""

from __future__ import annotations

from typing import Literal, cast, get_args

import cv2
import numpy as np
from scipy.sparse import csr_array

from sightline.core import Array, Frame, Size
from sightline.errors import DataError, SightlineError

Resize = Literal["stretch", "center-crop", "pad"]
"""Way in which an image becomes the square input of a network."""


def parse_resize(text: str) -> Resize:
    """Return the way to fit images that a word names.

    Parameters
    ----------
    text : str
        One of the words of `Resize`.

    Returns
    -------
    Resize
        The same word.

    Raises
    ------
    SightlineError
        For any other word.
    """
    if text not in get_args(Resize):
        raise SightlineError(f"resize={text!r}; allowed: {', '.join(get_args(Resize))}")
    return cast(Resize, text)


def input_frame(size: Size, side: int, resize: Resize) -> tuple[Size, Frame]:
    """Compute how an image becomes the square input of a network.

    Center-crop follows torchvision's `Resize(side)` and `CenterCrop(side)`: the longer side is rounded down, the offset
    is rounded half to even.

    Parameters
    ----------
    size : (H, W)
        Size of the image, in pixels.
    side : int
        Side of the input, in pixels.
    resize : {'stretch', 'center-crop', 'pad'}
        stretch: without keeping proportions; center-crop: the middle of the resized image; pad: the whole image in the
        middle of the input.

    Returns
    -------
    resized : (h, w)
        Size to which the whole image is resized.
    frame : Frame
        Place of the input on the image; its box lies beyond the image where the input is padded.

    Examples
    --------
    >>> input_frame((2320, 2828), 320, "center-crop")[0]
    (320, 390)
    """
    height, width = size
    if resize == "stretch":
        return (side, side), Frame.whole(size)
    ends = min(size) if resize == "center-crop" else max(size)
    resized = (max(1, int(side * height / ends)), max(1, int(side * width / ends)))
    offsets = [round((r - side) / 2) for r in resized]  # negative when padding
    scales = [length / r for length, r in zip(size, resized, strict=True)]
    top, left = (o * s for o, s in zip(offsets, scales, strict=True))
    return resized, Frame(size, (top, left, top + side * scales[0], left + side * scales[1]))


def _bilinear_weights(cells: int, length: int, start: float, stop: float) -> tuple[csr_array, slice]:
    """Return bilinear weights along one axis, sparse (pixels inside, cells) with two per row, and the pixels inside."""
    centers = np.arange(length) + 0.5
    inside = np.flatnonzero((centers > start) & (centers < stop))
    covered = slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0)
    positions = np.clip((centers[covered] - start) * (cells / (stop - start)) - 0.5, 0, cells - 1)  # (L,)
    low = np.minimum(np.floor(positions).astype(np.intp), max(cells - 2, 0))
    upper = (positions - low).astype(np.float32)
    taps = np.stack([low, np.minimum(low + 1, cells - 1)], 1).ravel()  # (2L,)
    weights = np.stack([1 - upper, upper], 1).ravel()
    return csr_array((weights, taps, np.arange(0, 2 * low.size + 1, 2)), shape=(low.size, cells)), covered


def project_to_image(values: Array, frame: Frame) -> tuple[Array, tuple[slice, slice]]:
    """Interpolate a map to the pixels of the original image.

    The interpolation is bilinear with half-pixel centers and clamped edges (torch's `align_corners=False`).

    Parameters
    ----------
    values : (h, w) array
        Map that covers `frame.box`.
    frame : Frame
        Place of the map on the image.

    Returns
    -------
    values : (H', W') float32
        Values of the pixels whose centers lie inside the box.
    window : tuple of slice
        Rows and columns of the image (H, W) where these pixels lie; the whole image unless the frame is a crop.

    Examples
    --------
    >>> values, window = project_to_image(np.float32([[0, 1]]), Frame.whole((1, 4)))
    >>> values.tolist(), window
    ([[0.0, 0.25, 0.75, 1.0]], (slice(0, 1, None), slice(0, 4, None)))
    """
    (height, width), (top, left, bottom, right) = frame.size, frame.box
    values = np.ascontiguousarray(values, np.float32)
    over_rows, rows = _bilinear_weights(values.shape[0], height, top, bottom)
    over_cols, cols = _bilinear_weights(values.shape[1], width, left, right)
    if frame.is_whole:  # the same interpolation, several times faster in OpenCV
        stretched: Array = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
        return stretched, (rows, cols)
    wide = np.ascontiguousarray((over_cols @ values.T).T)  # (h, W')
    placed: Array = over_rows @ wide  # (H', W')
    return placed, (rows, cols)


def project_whole(values: Array, frame: Frame) -> Array:
    """Interpolate a map to all pixels of the original image, see `project_to_image`.

    Parameters
    ----------
    values : (h, w) array
        Map that covers `frame.box`.
    frame : Frame
        Place of the map on the image.

    Returns
    -------
    (H, W) float32
        Values; pixels that the map does not cover get its lowest value.
    """
    placed, window = project_to_image(values, frame)
    if placed.shape == frame.size:
        return placed
    whole = np.full(frame.size, placed.min() if placed.size else 0, np.float32)
    whole[window] = placed
    return whole


def resample_area(image: Array, frame: Frame, shape: Size) -> Array:
    """Average an image or mask over the cells of a grid, the reverse of `project_to_image`.

    Parameters
    ----------
    image : (H, W) array
        Image or mask.
    frame : Frame
        Place of the grid on the image.
    shape : (h, w)
        Number of cells.

    Returns
    -------
    (h, w) float32
        Mean over the area of each cell; 0 beyond the image.

    Raises
    ------
    DataError
        If the image has not the size of the frame.

    Examples
    --------
    >>> resample_area(np.eye(4), Frame.whole((4, 4)), (2, 2)).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    image = np.asarray(image, np.float32)
    if image.shape != frame.size:
        raise DataError(f"an image of {image.shape} was given for a frame of {frame.size}; both must be (H, W)")
    top, left, bottom, right = frame.box
    rows = _area_weights(shape[0], image.shape[0], top, bottom)  # (h, H)
    cols = _area_weights(shape[1], image.shape[1], left, right)  # (w, W)
    return rows @ image @ cols.T


def _area_weights(cells: int, length: int, start: float, stop: float) -> Array:
    """Return the share of each cell that each pixel covers, (cells, length)."""
    edges = np.linspace(start, stop, cells + 1)
    pixels = np.arange(length)
    low = np.maximum(edges[:-1, None], pixels[None])
    high = np.minimum(edges[1:, None], pixels[None] + 1)
    shares: Array = (np.clip(high - low, 0, None) / ((stop - start) / cells)).astype(np.float32)
    return shares
