"""Does what lies near belong together? Precision among the nearest of a gallery."""

from __future__ import annotations

import numpy as np

from sightline.core import Array

DEFAULT_KS = (5, 10, 50)


def precision_at_k(queries: Array, gallery: Array, is_relevant: Array, ks: tuple[int, ...] = DEFAULT_KS) -> Array:
    """Share of the k nearest of a gallery that are like the query, for each k: float64 (Q, len(at)), [0, 1].

    queries (Q, D), gallery (N, D): unit vectors; alike: bool (Q, N). Of equals the first in the gallery is nearer. NaN
    for a query without any likeness, and for k above N. Zhang et al. 2020, arXiv:2010.00747, section 5.3.

    >>> precision_at_k(np.eye(2), np.eye(2), np.eye(2, dtype=bool), (1, 2)).tolist()
    [[1.0, 0.5], [1.0, 0.5]]
    """
    out = np.full((len(queries), len(ks)), np.nan)
    for row, query in enumerate(queries):
        if not is_relevant[row].any():
            continue
        order = np.argsort(-(gallery @ query), kind="stable")
        hits = np.cumsum(is_relevant[row][order])
        for column, k in enumerate(ks):
            if k <= len(gallery):
                out[row, column] = hits[k - 1] / k
    return out
