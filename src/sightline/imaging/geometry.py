"""Geometry: grids on images, and masks of boxes, contours, points and run lengths.

Every function uses the conventions of `sightline.core`: (row, col), pixel centers at +0.5, sizes (H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from scipy.sparse import csr_array

from sightline.core import Annotation, Array, Frame, Size
from sightline.errors import DataError

Resize = Literal["stretch", "center-crop", "pad"]
"""Way in which an image becomes the square input of a network."""


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


def boxes_to_mask(boxes: Array, size: Size) -> Array:
    """Rasterize the union of boxes: the pixels whose centers lie inside.

    Parameters
    ----------
    boxes : (K, 4) array
        (top, left, bottom, right), edges in pixels.
    size : (H, W)
        Size of the mask.

    Returns
    -------
    (H, W) bool
        Mask.

    Examples
    --------
    >>> boxes_to_mask(np.array([[0, 1, 2, 3]]), (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    mask = np.zeros(size, bool)
    for top, left, bottom, right in np.ceil(np.asarray(boxes, float).reshape(-1, 4) - 0.5).astype(int):
        mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return mask


def contours_to_mask(contours: Sequence[Array], size: Size) -> Array:
    """Rasterize the union of filled polygons as CheXlocalize does, bit-equal to its released masks.

    The polygons are drawn with their outline on a 1-bit image by Pillow; holes are not cut out.

    Parameters
    ----------
    contours : sequence of (K, 2) array
        Polygons of (row, col).
    size : (H, W)
        Size of the mask.

    Returns
    -------
    (H, W) bool
        Mask.

    Raises
    ------
    DataError
        If a polygon has fewer than two points, which Pillow cannot draw.
    """
    canvas = Image.new("1", (size[1], size[0]))
    draw = ImageDraw.Draw(canvas)
    for contour in contours:
        if len(contour) < 2:
            raise DataError(f"a contour has {len(contour)} point(s); a polygon needs at least 2")
        draw.polygon([(float(col), float(row)) for row, col in contour], outline=1, fill=1)
    return np.array(canvas, bool)


def mask_to_contours(mask: Array) -> list[Array]:
    """Trace the outer contours of a mask.

    Parameters
    ----------
    mask : (H, W) bool
        Mask.

    Returns
    -------
    list of (K, 2) float
        Contours of (row, col), at the boundary pixels.
    """
    return [contour.reshape(-1, 2)[:, ::-1].astype(float) for contour in outlines(mask, corners_only=True)]


def outlines(mask: Array, *, holes: bool = False, corners_only: bool = False) -> list[Array]:
    """Trace the 8-connected pieces of a mask (H, W) through the centers of their boundary pixels.

    Parameters
    ----------
    mask : (H, W) array
        Mask of any type; pixels that are not 0 are inside.
    holes : bool
        Trace the borders of holes, too.
    corners_only : bool
        Leave out pixels between the ends of straight lines.

    Returns
    -------
    list of (K, 1, 2) int32
        Points in OpenCV's order, (x, y), for functions of OpenCV; `mask_to_contours` gives (row, col).
    """
    mode = cv2.RETR_LIST if holes else cv2.RETR_EXTERNAL
    chain = cv2.CHAIN_APPROX_SIMPLE if corners_only else cv2.CHAIN_APPROX_NONE
    return list(cv2.findContours(mask.astype(np.uint8), mode, chain)[0])


def points_to_mask(points: Array, size: Size, radius: float) -> Array:
    """Rasterize the union of disks around points.

    Parameters
    ----------
    points : (K, 2) array
        (row, col).
    size : (H, W)
        Size of the mask.
    radius : float
        Radius of the disks, in pixels; the pixel in which a point lies is always included.

    Returns
    -------
    (H, W) bool
        Mask.
    """
    mask = np.zeros(size, bool)
    rows, cols = np.ogrid[: size[0], : size[1]]
    for row, col in np.asarray(points, float).reshape(-1, 2):
        mask |= (rows + 0.5 - row) ** 2 + (cols + 0.5 - col) ** 2 <= radius**2
        if 0 <= row < size[0] and 0 <= col < size[1]:
            mask[int(row), int(col)] = True
    return mask


def rle_to_mask(rle: dict[str, object]) -> Array:
    """Decode a COCO run-length encoding.

    Parameters
    ----------
    rle : dict
        {'size': [H, W], 'counts': compressed str}.

    Returns
    -------
    (H, W) bool
        Mask.

    Raises
    ------
    DataError
        If it is no such encoding, or if the runs do not fill the mask.
    """
    runs, (height, width) = _parse_rle(rle)
    inside = np.arange(runs.size) % 2 == 1
    columns = np.repeat(inside, runs).reshape(width, height).view(np.uint8)
    mask: Array = cv2.transpose(columns).view(bool)  # row by row in memory, as everything else reads it
    return mask


def rle_area(rle: dict[str, object]) -> int:
    """Count the pixels of a mask in an encoding without decoding it.

    Parameters
    ----------
    rle : dict
        COCO run-length encoding, see `rle_to_mask`.

    Returns
    -------
    int
        Pixels of the mask.

    Examples
    --------
    >>> rle_area(mask_to_rle(np.eye(3, dtype=bool)))
    3
    """
    return int(_parse_rle(rle)[0][1::2].sum())


def _parse_rle(rle: dict[str, object]) -> tuple[Array, Size]:
    size, counts = rle.get("size"), rle.get("counts")
    sides = [side for side in size if isinstance(side, int) and side >= 0] if isinstance(size, list | tuple) else []
    if len(sides) != 2 or not isinstance(counts, str) or not counts.isascii():
        raise DataError(f"not a COCO run-length encoding: size {size!r}, counts of type {type(counts).__name__}")
    runs = _decode_runs(counts)
    # The decoder of pycocotools returns uninitialized memory where runs end too soon.
    if not runs.size or runs.min() < 0 or runs.sum() != sides[0] * sides[1]:
        raise DataError(f"a run-length encoding of size {size} covers {runs.sum()} pixels")
    return runs, (sides[0], sides[1])


def _decode_runs(counts: str) -> Array:
    """Return the lengths, int64 (K,), of the runs in COCO's compressed text.

    A character holds five bits from 48 on, lowest first; bit 5 is set while more follow; bit 4 of the last is the sign.
    From the fourth run on, the text holds the difference to the run two before.
    """
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48  # (characters,)
    last = (codes & 32) == 0
    if not last.size or not last[-1]:
        return np.zeros(0, np.int64)
    first = np.flatnonzero(np.concatenate([[True], last[:-1]]))  # (K,)
    place = np.arange(codes.size) - np.repeat(first, np.diff(first, append=codes.size))
    runs = np.add.reduceat((codes & 31) << (5 * place), first)
    runs -= np.where(codes[last] & 16, 1 << (5 * (place[last] + 1)), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return np.asarray(runs)


def mask_to_rle(mask: Array) -> dict[str, object]:
    """Encode a mask as COCO run lengths, with text that JSON can hold.

    Parameters
    ----------
    mask : (H, W) bool
        Mask.

    Returns
    -------
    dict
        {'size': [H, W], 'counts': compressed str}.
    """
    rle = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": rle["counts"].decode("ascii")}


def rasterize_annotation(annotation: Annotation, point_radius: float = 0.05) -> Array:
    """Return an annotation of any kind as a mask.

    Parameters
    ----------
    annotation : Annotation
        Annotation of any kind; a density covers the pixels above its mean.
    point_radius : float
        Radius of the disks that stand for points, in shorter sides of the image.

    Returns
    -------
    (H, W) bool
        Mask.

    Raises
    ------
    DataError
        If the pixels of a region are not of the size that the annotation states.
    """
    value = annotation.read()
    if annotation.kind == "region":
        mask = np.ascontiguousarray(value, bool)
    elif annotation.kind == "contours":
        mask = contours_to_mask(value, annotation.size)
    elif annotation.kind == "boxes":
        mask = boxes_to_mask(value, annotation.size)
    elif annotation.kind == "points":
        mask = points_to_mask(value, annotation.size, point_radius * min(annotation.size))
    else:
        mask = np.asarray(value) > np.mean(value)
    if mask.shape != annotation.size:
        raise DataError(
            f"the mask of {annotation.finding!r} by {annotation.reader!r} on {annotation.radiograph!r} is "
            f"{mask.shape}, but its image is {annotation.size}; both must be (H, W) of the original"
        )
    return mask
