"""Random fields that are the same at every image size."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.core import Array, Size


def fractal_noise(key: tuple[int, ...], size: Size, scale: float, octaves: int = 4) -> Array:
    """Draw smooth noise of about unit standard deviation.

    It is drawn on lattices whose shape does not depend on the size of the image, so every size has the same pattern.

    Parameters
    ----------
    key : tuple of int
        Seed.
    size : tuple of int
        (H, W) of the image.
    scale : float
        Width of the largest blobs, in widths of the image.
    octaves : int
        Number of lattices, each twice as fine as the one before.

    Returns
    -------
    (H, W) float32
        The noise.
    """
    out = np.zeros(size, np.float32)
    for octave in range(octaves):
        cells = max(2, round(2**octave / scale))
        rows = max(2, round(1.3 * cells))
        lattice = np.random.default_rng((*key, octave)).normal(size=(rows + 3, cells + 3)).astype(np.float32)
        reach = round(size[1] * 1.3)
        wide = cv2.resize(lattice, (size[1], reach), interpolation=cv2.INTER_CUBIC)
        out += wide[: size[0]] * 0.6**octave
    return out / 1.2
