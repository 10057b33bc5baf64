"""A data set of bright and dark blobs that any network learns, made anew from its index.

Torch-free, because decoding processes import it.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from sightline.core import Array, Dataset, Radiograph

FINDINGS = ("Lung Lesion", "Pneumothorax")


def labels(index: int) -> dict[str, float]:
    present = np.random.default_rng([7, index]).random(2) < 0.5
    return dict(zip(FINDINGS, present.astype(float).tolist(), strict=True))


def read(index: int, size: int) -> Array:
    rng = np.random.default_rng(index)
    image = rng.normal(0.4, 0.08, (size, size)).astype(np.float32)
    rows, cols = np.ogrid[:size, :size]
    for sign, present in zip((1, -1), labels(index).values(), strict=True):
        row, col = rng.uniform(0.25, 0.75, 2) * size
        if present:
            image += sign * 0.4 * np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * (0.08 * size) ** 2))
    return image.clip(0, 1).astype(np.float32)


def blobs(count: int, size: int = 32) -> Dataset:
    radiographs = [Radiograph(f"r{i}", f"p{i // 2}", partial(read, i, size), labels=labels(i)) for i in range(count)]
    return Dataset("blobs", f"blobs:{count}", FINDINGS, radiographs, lambda radiograph, finding, reader: None)
