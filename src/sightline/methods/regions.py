"""XRAI: attributions of pixels, gathered into regions of the image."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy import ndimage
from skimage.segmentation import felzenszwalb
from torch import Tensor

from sightline.core import Array
from sightline.methods import methods
from sightline.methods.pass_ import Pass
from sightline.methods.path import integrate

SCALES = (50, 100, 150, 250, 500, 1200)
_SMALLEST, _DILATION = 150, 5


@methods(
    "xrai",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Kapishnikov et al. 2019, arXiv:1906.02825",
)
def xrai(p: Pass, targets: Tensor, *, nodes: int = 16) -> Tensor:
    """Regions of over-segmentations, the densest in attribution first; float32 (N, T, side, side).

    Attributions are the mean of Integrated Gradients from black and from white. Regions come from Felzenszwalb's method
    at six scales, widened by five pixels; each place has the mean attribution its region adds when it is taken.
    """
    low, high = (p.model.normalize(torch.full_like(p.x[:, 0], v)) for v in (0.0, 1.0))
    found = (integrate(p, low, targets, nodes) + integrate(p, high, targets, nodes)) / 2  # (N, T, h, w)
    maps = np.empty(tuple(found.shape), np.float32)
    for n, image in enumerate(p.x.mean(1).cpu().numpy()):
        masks = regions(image)
        for t, attribution in enumerate(found[n].cpu().numpy()):
            maps[n, t] = gathered(attribution, masks)
    return torch.from_numpy(maps).to(p.x.device)


def regions(image: Array) -> Array:
    """Widened segments of an image (h, w) at every scale: bool (K, h w), each once."""
    spread = float(np.ptp(image))
    gray = (image - image.min()) / spread if spread > 0 else image * 0
    wide = np.ones((2 * _DILATION + 1,) * 2, bool)
    smallest = max(4, round(_SMALLEST * image.size / 224**2))
    masks = []
    for scale in SCALES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an image without a third dimension
            labels = felzenszwalb(gray, scale=scale, sigma=0.8, min_size=smallest)
        masks += [ndimage.binary_dilation(labels == label, wide).ravel() for label in range(labels.max() + 1)]
    return np.unique(np.array(masks), axis=0)


def gathered(attribution: Array, masks: Array) -> Array:
    """Take the region with the highest mean attribution among its places still free, until none is left.

    attribution (h, w), masks bool (K, h w) -> float32 (h, w): the mean that the region of a place added.
    """
    flat, out = attribution.ravel().astype(np.float64), np.zeros(attribution.size)
    free = np.ones(flat.size, bool)
    sums, counts = masks @ flat, masks.sum(1).astype(float)
    left = counts > 0
    while left.any() and free.any():
        gains = np.where(left, sums / np.maximum(counts, 1), -np.inf)
        best = int(np.argmax(gains))
        taken = masks[best] & free
        out[taken] = gains[best]
        free &= ~taken
        places = np.flatnonzero(taken)
        touched = masks[:, places]
        sums -= touched @ flat[places]
        counts -= touched.sum(1)
        left = counts > 0.5
    return out.reshape(attribution.shape).astype(np.float32)
