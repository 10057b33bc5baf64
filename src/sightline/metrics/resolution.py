"""Resolution: the best IoU that a map as coarse as this one can reach on an annotation."""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from sightline.core import Array, Frame, Size
from sightline.imaging.geometry import project_to_image, resample_area
from sightline.metrics.histogram import joint_histogram
from sightline.metrics.registry import metrics

COARSE_CELLS = 64
"""A map with fewer cells than this along a side of its image is coarse; finer maps reach every annotation closely."""
_PIXELS_PER_CELL = 12
_SIDE = 256
"""Pixels along a side at which grids of more cells are fitted."""
_OPTIONS = {"maxiter": 20}
"""Steps of the fit; more steps on more pixels raise the ceiling by about 0.006."""


@metrics(
    "iou-ceiling",
    title="IoU, ceiling of the grid",
    takes="grid",
    higher_is_better=True,
    range=(0.0, 1.0),
    source="10.1038/s42256-022-00536-x",
    is_score=False,
    undefined="the map is not coarse: it has 64 cells or more along each side of the image",
)
def iou_ceiling(shape: Size, frame: Frame, reference: Array) -> float:
    """Compute the best IoU that a map of this grid can reach on the annotation, by fitting one to the annotation.

    The values of the grid are fitted so that the interpolated map, cut at its best threshold, overlaps the annotation
    best. The fit is a map that exists, so that the true ceiling is never lower; a map that overlaps better than the fit
    counts instead of it in `sightline.evaluation.scoring`. NaN for maps that are not coarse.

    Examples
    --------
    >>> reference = np.zeros((64, 64), bool)
    >>> reference[30:34, 30:34] = True
    >>> bool(iou_ceiling((2, 2), Frame.whole((64, 64)), reference) < 0.5)
    True
    """
    if min(_cells_per_side(shape, frame)) >= COARSE_CELLS:
        return float("nan")
    return best_iou(_fit_grid(shape, frame, reference), frame, reference)


def _cells_per_side(shape: Size, frame: Frame) -> tuple[float, float]:
    top, left, bottom, right = frame.box
    return shape[0] * frame.size[0] / (bottom - top), shape[1] * frame.size[1] / (right - left)


def best_iou(values: Array, frame: Frame, reference: Array) -> float:
    """Compute the IoU of a map at its best threshold.

    Parameters
    ----------
    values : (h, w) float32
        Map.
    frame : Frame
        Place of the map on the image.
    reference : (H, W) bool
        Annotation, at least one pixel.

    Returns
    -------
    float
        IoU in [0, 1].
    """
    placed, window = project_to_image(values, frame)
    if not placed.size or not placed.max() > placed.min():
        inside = int(np.count_nonzero(reference[window]))
        return inside / (placed.size + np.count_nonzero(reference) - inside)
    histogram = joint_histogram(placed, reference, window)
    true, predicted = histogram.inside[::-1].cumsum(), (histogram.inside + histogram.outside)[::-1].cumsum()
    return float(np.max(true / (predicted + histogram.positives - true)))


def _fit_grid(shape: Size, frame: Frame, reference: Array) -> Array:
    """Return the grid whose interpolated map, cut at 0, overlaps the annotation best.

    The overlap is maximized in a soft form, where a pixel belongs to the mask by the sigmoid of its value. The fit
    starts from the shares of the cells that the annotation covers, minus a quarter of the largest; two more starts
    raise the ceiling by 0.005 on average and take three times as long.
    """
    cells = _cells_per_side(shape, frame)
    per_cell = (min(_PIXELS_PER_CELL, max(3.0, _SIDE / n)) for n in cells)
    size = tuple(min(full, round(k * n)) for full, k, n in zip(frame.size, per_cell, cells, strict=True))
    target = resample_area(reference, Frame.whole(frame.size), (size[0], size[1]))  # share of each pixel
    rows, cols = (n / full for n, full in zip(size, frame.size, strict=True))
    top, left, bottom, right = frame.box
    small = Frame((size[0], size[1]), (top * rows, left * cols, bottom * rows, right * cols))
    down, across = (_interpolation(shape, small, axis) for axis in (0, 1))
    window = project_to_image(np.zeros(shape, np.float32), small)[1]
    visible, annotated = target[window].astype(np.float32), float(target.sum())

    def loss(flat: Array) -> tuple[float, Array]:
        mask = special.expit(down @ flat.astype(np.float32).reshape(shape) @ across.T)
        overlap = float((mask * visible).sum())
        union = float(mask.sum()) + annotated - overlap
        slope = -(visible * (union + overlap) - overlap) / union**2 * mask * (1 - mask)
        return -overlap / union, (down.T @ slope @ across).ravel().astype(float)

    shares = resample_area(target, small, shape).astype(float)
    start = 8 * (shares / (shares.max() or 1.0) - 0.25)
    fit: Array = optimize.minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=_OPTIONS).x  # type: ignore[call-overload]  # the stubs lack a loss that returns its gradient
    return fit.reshape(shape).astype(np.float32)


def _interpolation(shape: Size, frame: Frame, axis: int) -> Array:
    """Return the weights of the cells along one axis for each pixel inside the frame; float32 (pixels, cells)."""
    cells = np.eye(shape[axis], dtype=np.float32)
    (height, width), (top, left, bottom, right) = frame.size, frame.box
    length, start, stop = ((height, top, bottom), (width, left, right))[axis]
    column = Frame((length, shape[axis]), (start, 0.0, stop, float(shape[axis])))
    weights: Array = project_to_image(cells, column)[0].astype(np.float32)
    return weights
