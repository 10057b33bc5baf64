"""XRAI: attributions of pixels, gathered into regions of the image."""

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
from sightline.methods.path_methods import integrate_gradients
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
    """Regions of over-segmentations, the densest in attribution first; float32 (N, T, side, side).

    Attributions are the mean of Integrated Gradients from black and from white. Regions come from Felzenszwalb's method
    at six scales, widened by five pixels; each place has the mean attribution its region adds when it is taken.
    """
    low, high = (context.model.normalize(torch.full_like(context.x[:, 0], v)) for v in (0.0, 1.0))
    found = (
        integrate_gradients(context, low, targets, nodes) + integrate_gradients(context, high, targets, nodes)
    ) / 2  # (N, T, h, w)
    maps = np.empty(tuple(found.shape), np.float32)
    for n, image in enumerate(context.x.mean(1).cpu().numpy()):
        overlaps = find_region_cells(segment_image(image))
        for t, attribution in enumerate(found[n].cpu().numpy()):
            maps[n, t] = rank_regions(attribution, overlaps)
    return torch.from_numpy(maps).to(context.x.device)


def segment_image(image: Array) -> Array:
    """Widened segments of an image (h, w) at every scale: bool (K, h w), each once."""
    spread = float(np.ptp(image))
    gray = (image - image.min()) / spread if spread > 0 else image * 0
    wide = np.ones((2 * _DILATION_RADIUS + 1,) * 2, np.uint8)
    smallest = max(4, round(_MIN_SEGMENT_SIZE * image.size / 224**2))
    masks: dict[bytes, Array] = {}
    for scale in SEGMENTATION_SCALES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an image without a third dimension
            labels = felzenszwalb(gray, scale=scale, sigma=0.8, min_size=smallest)
        for label in range(labels.max() + 1):
            mask = cv2.dilate((labels == label).view(np.uint8), wide).ravel().astype(bool)
            masks.setdefault(mask.tobytes(), mask)
    return np.array([masks[key] for key in sorted(masks)])  # so that ties do not depend on the order of scales


@dataclass(frozen=True, slots=True)
class RegionCells:
    """Regions as unions of cells: places that lie in the same regions are one cell."""

    cells_of_region: Array
    """bool (K, C): which cells a region has."""
    cell_of_pixel: Array
    """int (h w,): which cell a place is of."""


def find_region_cells(masks: Array) -> RegionCells:
    """The cells of regions bool (K, h w)."""
    codes = np.ascontiguousarray(np.packbits(masks, axis=0).T)  # (h w, K / 8)
    _, first, cells = np.unique(codes.view(f"V{codes.shape[1]}").ravel(), return_index=True, return_inverse=True)
    return RegionCells(np.ascontiguousarray(masks[:, first]), cells)


def rank_regions(attribution: Array, regions: RegionCells) -> Array:
    """Take the region with the highest mean attribution among its places still free, until none is left.

    attribution (h, w) -> float32 (h, w): the mean that the region of a place added.
    """
    count = regions.cells_of_region.shape[1]
    total = np.bincount(regions.cell_of_pixel, attribution.ravel().astype(np.float64), count)  # (C,)
    size = np.bincount(regions.cell_of_pixel, minlength=count).astype(float)
    free, found = np.ones(count, bool), np.zeros(count)
    sums, sizes = regions.cells_of_region @ total, regions.cells_of_region @ size
    while (left := sizes > 0.5).any():
        gains = np.where(left, sums / np.maximum(sizes, 1), -np.inf)
        best = int(np.argmax(gains))
        taken = np.flatnonzero(regions.cells_of_region[best] & free)
        found[taken] = gains[best]
        free[taken] = False
        touched = regions.cells_of_region[:, taken]
        sums -= touched @ total[taken]
        sizes -= touched @ size[taken]
    values: Array = found[regions.cell_of_pixel].reshape(attribution.shape).astype(np.float32)
    return values
