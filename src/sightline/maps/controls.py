"""Control maps, which know nothing about the model and which every method must exceed."""

from __future__ import annotations

import cv2
import numpy as np

from sightline._util.rng import keyed_rng
from sightline.core import Array


def center_map(height: int, width: int) -> Array:
    """Create a Gaussian in the middle of the grid, whose standard deviation is a quarter of each side.

    Parameters
    ----------
    height, width : int
        Cells of the grid.

    Returns
    -------
    (h, w) float32
        Values in (0, 1].

    Examples
    --------
    >>> center_map(3, 3).argmax()
    np.int64(4)
    """
    rows, cols = (((np.arange(n) + 0.5) / n - 0.5) / 0.25 for n in (height, width))
    return np.exp(-(rows[:, None] ** 2 + cols**2) / 2).astype(np.float32)


def noise_map(*key: object, height: int, width: int) -> Array:
    """Create uniform noise; the same key gives the same map, independently of what else was drawn.

    Parameters
    ----------
    *key : object
        Key of the random numbers, such as seed, radiograph and finding.
    height, width : int
        Cells of the grid.

    Returns
    -------
    (h, w) float32
        Values in [0, 1).

    Examples
    --------
    >>> bool(np.array_equal(noise_map(0, "id1", height=2, width=2), noise_map(0, "id1", height=2, width=2)))
    True
    """
    return keyed_rng(*key).random((height, width), np.float32)


def edge_map(image: Array) -> Array:
    """Compute the magnitude of the Sobel gradient of an image; pixels repeat beyond the border.

    Parameters
    ----------
    image : (H, W) array
        Image.

    Returns
    -------
    (H, W) float32
        Magnitudes, 0 or more.

    Examples
    --------
    >>> edge_map(np.float32([[0, 0, 1, 1]])).tolist()
    [[0.0, 4.0, 4.0, 0.0]]
    """
    image = np.asarray(image, np.float32)
    across = cv2.Sobel(image, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(image, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    return np.hypot(across, down)
