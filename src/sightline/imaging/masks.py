"""Masks of boxes, contours, points, run lengths and annotations of any kind."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from sightline.core import Annotation, Array, Size
from sightline.errors import DataError


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
