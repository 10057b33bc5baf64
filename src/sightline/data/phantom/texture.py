"""Random fields that look the same at every size of film."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.core import Array, Size


def fractal_noise(key: tuple[int, ...], size: Size, scale: float, octaves: int = 4) -> Array:
    """Smooth noise of about unit spread, float32 (H, W); `scale` is the width of its largest blobs in widths of film.

    Drawn on lattices whose shape does not depend on the film's resolution, so every size shows the same clouds.
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
