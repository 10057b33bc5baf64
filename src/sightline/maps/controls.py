"""Maps that know nothing of the model: what any real method must beat."""

from __future__ import annotations

import cv2
import numpy as np

from sightline._util.rng import keyed_rng
from sightline.core import Array


def center_map(height: int, width: int) -> Array:
    """A Gaussian bump in the middle, a quarter of each side wide (standard deviation); float32 (h, w) in (0, 1].

    >>> center_map(3, 3).argmax()
    np.int64(4)
    """
    rows, cols = (((np.arange(n) + 0.5) / n - 0.5) / 0.25 for n in (height, width))
    return np.exp(-(rows[:, None] ** 2 + cols**2) / 2).astype(np.float32)


def noise_map(*key: object, height: int, width: int) -> Array:
    """Uniform noise in [0, 1), float32 (h, w); the same key gives the same map, whatever else was drawn.

    >>> bool(np.array_equal(noise_map(0, "id1", height=2, width=2), noise_map(0, "id1", height=2, width=2)))
    True
    """
    return keyed_rng(*key).random((height, width), np.float32)


def edge_map(image: Array) -> Array:
    """Sobel gradient magnitude of an image (H, W) -> float32 (H, W), 0 or more; pixels repeat beyond the border.

    >>> edge_map(np.float32([[0, 0, 1, 1]])).tolist()
    [[0.0, 4.0, 4.0, 0.0]]
    """
    image = np.asarray(image, np.float32)
    across = cv2.Sobel(image, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(image, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    return np.hypot(across, down)
