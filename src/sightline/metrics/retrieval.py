"""Retrieval: precision among the nearest items of a gallery."""

from __future__ import annotations

import numpy as np

from sightline.core import Array

DEFAULT_KS = (5, 10, 50)
"""Numbers of neighbors that are reported by default."""


def precision_at_k(queries: Array, gallery: Array, is_relevant: Array, ks: tuple[int, ...] = DEFAULT_KS) -> Array:
    """Compute the share of relevant items among the k nearest of a gallery.

    Source: Zhang et al. 2020, arXiv:2010.00747, section 5.3.

    Parameters
    ----------
    queries : (Q, D) array
        Unit vectors.
    gallery : (N, D) array
        Unit vectors; of equally near ones the first is nearer.
    is_relevant : (Q, N) bool
        Whether an item of the gallery is relevant for a query.
    ks : tuple of int
        Numbers of neighbors.

    Returns
    -------
    (Q, len(ks)) float64
        Precision in [0, 1]; NaN for a query without any relevant item, and for k above N.

    Examples
    --------
    >>> precision_at_k(np.eye(2), np.eye(2), np.eye(2, dtype=bool), (1, 2)).tolist()
    [[1.0, 0.5], [1.0, 0.5]]
    """
    precision = np.full((len(queries), len(ks)), np.nan)
    for row, query in enumerate(queries):
        if not is_relevant[row].any():
            continue
        order = np.argsort(-(gallery @ query), kind="stable")
        hits = np.cumsum(is_relevant[row][order])
        for column, k in enumerate(ks):
            if k <= len(gallery):
                precision[row, column] = hits[k - 1] / k
    return precision
