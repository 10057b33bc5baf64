"""XRAI: attributions of pixels, aggregated over regions of the image."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from skimage.segmentation import felzenszwalb
from torch import Tensor

from sightline.core import Array
from sightline.methods.context import BatchContext
from sightline.methods.path_integrals import integrate_gradients
from sightline.methods.registry import methods

SEGMENTATION_SCALES = (50, 100, 150, 250, 500, 1200)
_MIN_SEGMENT_SIZE, _DILATION_RADIUS = 150, 5


@methods(
    "xrai",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Kapishnikov et al. 2019, arXiv:1906.02825",
)
def xrai(context: BatchContext, targets: Tensor, *, nodes: int = 16) -> Tensor:
    """Rank regions of over-segmentations by their density of attribution; float32 (N, T, side, side).

    Attributions are the mean of integrated gradients from black and from white. Regions come from Felzenszwalb's method
    at six scales, dilated by five pixels; each pixel has the mean attribution that its region adds when it is taken.

    Parameters
    ----------
    nodes : int
        Nodes of the quadrature, from 1.
    """
    black, white = (context.model.normalize(torch.full_like(context.x[:, 0], value)) for value in (0.0, 1.0))
    from_black = integrate_gradients(context, black, targets, nodes)
    attributions = (from_black + integrate_gradients(context, white, targets, nodes)) / 2  # (N, T, h, w)
    maps = np.empty(tuple(attributions.shape), np.float32)
    for n, image in enumerate(context.x.mean(1).cpu().numpy()):
        regions = find_region_cells(segment_image(image))
        for column, attribution in enumerate(attributions[n].cpu().numpy()):
            maps[n, column] = rank_regions(attribution, regions)
    return torch.from_numpy(maps).to(context.x.device)


def segment_image(image: Array) -> Array:
    """Segment an image at every scale, and dilate the segments.

    Parameters
    ----------
    image : ndarray, (h, w)
        The image.

    Returns
    -------
    ndarray, (K, h w) bool
        Masks of the segments, each once, in an order that does not depend on that of the scales.
    """
    spread = float(np.ptp(image))
    gray = (image - image.min()) / spread if spread > 0 else image * 0
    kernel = np.ones((2 * _DILATION_RADIUS + 1,) * 2, np.uint8)
    min_size = max(4, round(_MIN_SEGMENT_SIZE * image.size / 224**2))
    masks: dict[bytes, Array] = {}
    for scale in SEGMENTATION_SCALES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about an image without a third dimension
            labels = felzenszwalb(gray, scale=scale, sigma=0.8, min_size=min_size)
        for label in range(labels.max() + 1):
            mask = cv2.dilate((labels == label).view(np.uint8), kernel).ravel().astype(bool)
            masks.setdefault(mask.tobytes(), mask)
    return np.array([masks[key] for key in sorted(masks)])


@dataclass(frozen=True, slots=True)
class RegionCells:
    """Regions as unions of cells: pixels that lie in the same regions form one cell."""

    cells_of_region: Array
    """bool (K, C): True for the cells of each region."""
    cell_of_pixel: Array
    """int (h w,): index of the cell of each pixel."""


def find_region_cells(masks: Array) -> RegionCells:
    """Find the cells of regions.

    Parameters
    ----------
    masks : ndarray, (K, h w) bool
        Masks of the regions.

    Returns
    -------
    RegionCells
    """
    codes = np.ascontiguousarray(np.packbits(masks, axis=0).T)  # (h w, K / 8)
    _, first, cells = np.unique(codes.view(f"V{codes.shape[1]}").ravel(), return_index=True, return_inverse=True)
    return RegionCells(np.ascontiguousarray(masks[:, first]), cells)


def rank_regions(attribution: Array, regions: RegionCells) -> Array:
    """Rank regions: take that with the highest mean attribution among its free pixels, until none is left.

    Parameters
    ----------
    attribution : ndarray, (h, w)
        Attributions of the pixels.
    regions : RegionCells
        The regions.

    Returns
    -------
    ndarray, (h, w) float32
        The mean attribution that the region of each pixel added when it was taken.
    """
    count = regions.cells_of_region.shape[1]
    total = np.bincount(regions.cell_of_pixel, attribution.ravel().astype(np.float64), count)  # (C,)
    size = np.bincount(regions.cell_of_pixel, minlength=count).astype(float)
    free, gain_of_cell = np.ones(count, bool), np.zeros(count)
    sums, sizes = regions.cells_of_region @ total, regions.cells_of_region @ size
    while (remaining := sizes > 0.5).any():
        gains = np.where(remaining, sums / np.maximum(sizes, 1), -np.inf)
        best = int(np.argmax(gains))
        taken = np.flatnonzero(regions.cells_of_region[best] & free)
        gain_of_cell[taken] = gains[best]
        free[taken] = False
        overlaps = regions.cells_of_region[:, taken]
        sums -= overlaps @ total[taken]
        sizes -= overlaps @ size[taken]
    values: Array = gain_of_cell[regions.cell_of_pixel].reshape(attribution.shape).astype(np.float32)
    return values
