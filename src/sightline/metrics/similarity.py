"""Similarity of two maps: structure, ranks, and the overlap of their highest pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from sightline.core import Array

SSIM_WINDOW = 7
"""Side of the uniform window of `ssim` in pixels, the default of scikit-image."""
Normalization = Literal["published", "raw"]
"""Way to scale a map to [0, 1] before it is compared."""


def normalize(maps: Array, normalization: Normalization = "raw") -> Array:
    """Scale maps to [0, 1].

    Parameters
    ----------
    maps : (..., h, w) array
        Maps.
    normalization : {'raw', 'published'}
        raw: from the lowest to the highest value. published: magnitudes, clipped at their 99th percentile, as Arun et
        al. 2021 (10.1148/ryai.2021200267) show and compare them.

    Returns
    -------
    (..., h, w) float64
        Scaled maps; 0 for a map of one value, NaN for one that is not finite.

    Examples
    --------
    >>> normalize(np.array([[-1.0, 0.0, 3.0]])).tolist()
    [[0.0, 0.25, 1.0]]
    """
    values = maps.astype(np.float64)
    if normalization == "published":
        values = np.abs(values)
        finite = np.isfinite(values).all((-2, -1), keepdims=True)
        top = np.percentile(np.where(finite, values, 0.0), 99, axis=(-2, -1), keepdims=True)
        values = np.minimum(values, np.where(finite, top, np.inf))
    low, high = values.min((-2, -1), keepdims=True), values.max((-2, -1), keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    with np.errstate(invalid="ignore"):
        scaled: Array = np.where(np.isfinite(low + high), (values - low) / span, np.nan)
    return scaled


def ssim(a: Array, b: Array, data_range: float = 1.0) -> Array:
    """Compute the structural similarity of pairs of maps.

    It is that of Wang et al. 2004 (10.1109/TIP.2003.819861) with a uniform window of 7 × 7 pixels, sample covariances
    and the border of 3 pixels left out of the mean, which are the defaults of `skimage.metrics.structural_similarity`;
    this function computes it in strips that fit into the cache of the processor.

    Parameters
    ----------
    a, b : (..., h, w) array
        Maps, h and w at least 7.
    data_range : float
        1 for maps in [0, 1]; 2 was once assumed by scikit-image for floats, and is what was published.

    Returns
    -------
    (...) float64
        Similarity in [-1, 1]; NaN if a map is not finite.

    Raises
    ------
    ValueError
        If shapes differ or are smaller than the window.

    Examples
    --------
    >>> float(ssim(np.eye(9), np.eye(9)))
    1.0
    """
    if a.shape != b.shape or min(a.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"maps of {a.shape} and {b.shape}; they must have the same shape, at least {SSIM_WINDOW} × {SSIM_WINDOW}"
        )
    pairs = zip(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]), strict=True)
    similarities = np.array([_ssim(x, y, data_range) for x, y in pairs])
    return similarities.reshape(a.shape[:-2])


def _ssim(x: Array, y: Array, data_range: float) -> float:
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    pad = SSIM_WINDOW // 2
    inner = x.shape[0] - 2 * pad
    strip = max(SSIM_WINDOW, _PIXELS_PER_STRIP // x.shape[1])
    total = 0.0
    for top in range(0, inner, strip):
        rows = slice(top, min(top + strip, inner) + 2 * pad)
        total += _ssim_sum(x[rows], y[rows], data_range)
    return float(total / (inner * (x.shape[1] - 2 * pad)))


_PIXELS_PER_STRIP = 9_000
"""Pixels computed at a time, so that intermediate results stay in the cache of the processor."""


def _ssim_sum(x: Array, y: Array, data_range: float) -> float:
    """Sum the similarity over the pixels whose window lies inside.

    The border is computed, too, because whole rows are faster than parts. By u = x + y and v = x - y: 2 cov(x, y) =
    (var u - var v) / 2, var x + var y = (var u + var v) / 2, and so with
    products of means, in fewer passes over memory than term by term.
    """
    pad, size = SSIM_WINDOW // 2, (SSIM_WINDOW, SSIM_WINDOW)
    x, y = x.astype(np.float64), y.astype(np.float64)
    u, v = x + y, x - y
    shift = u.mean()  # variances of values far from zero would lose digits
    u -= shift
    planes: list[Array] = [cv2.blur(p, size) for p in (u, v, u * u, v * v)]  # (rows, w) each
    mean_u, mean_v, var_u, var_v = planes
    var_u -= mean_u * mean_u
    mean_v *= mean_v  # squared from here on, as mean_u below
    var_v -= mean_v
    mean_u += shift
    mean_u *= mean_u
    mean_u += 2 * (0.01 * data_range) ** 2
    var_u += 2 * (0.03 * data_range) ** 2 * (SSIM_WINDOW**2 - 1) / SSIM_WINDOW**2  # covariances are those of a sample
    numerator, denominator = mean_u - mean_v, mean_u + mean_v
    numerator *= var_u - var_v
    denominator *= var_u + var_v
    numerator /= denominator
    return float(numerator[pad:-pad, pad:-pad].sum())


def rank_correlation(a: Array, b: Array) -> Array:
    """Compute the Spearman correlation of the pixels of pairs of maps, ties at their mean rank.

    Parameters
    ----------
    a, b : (..., h, w) array
        Maps.

    Returns
    -------
    (...) float64
        Correlation in [-1, 1]; 1 for two maps of one value each, 0 if only one of them is flat, NaN if one is not
        finite.

    Examples
    --------
    >>> float(rank_correlation(np.array([[1, 2, 3]]), np.array([[1, 4, 9]])))
    1.0
    """
    pairs = zip(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]), strict=True)
    correlations = np.array([_correlation(_ranks(x), _ranks(y)) for x, y in pairs]).reshape(a.shape[:-2])
    finite = np.isfinite(a).all((-2, -1)) & np.isfinite(b).all((-2, -1))
    return np.where(finite, correlations, np.nan)


def _ranks(values: Array) -> Array:
    """Return the centered ranks of all values, float64 (D,), ties at their mean."""
    flat = values.ravel()
    order = np.argsort(flat)
    ordered = flat[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(begins[1:], flat.size)
    ranks = np.empty(flat.size)
    ranks[order] = np.repeat((begins + ends - flat.size) / 2, ends - begins)
    return ranks


def _correlation(first: Array, second: Array) -> float:
    """Correlate centered ranks (D,)."""
    sizes = float(first @ first), float(second @ second)
    if not all(sizes):
        return float(not any(sizes))
    return float(np.clip(first @ second / np.sqrt(sizes[0] * sizes[1]), -1, 1))


def top_overlap(a: Array, b: Array, share: float = 0.05) -> Array:
    """Compute the overlap of the highest pixels of pairs of maps.

    Parameters
    ----------
    a, b : (..., h, w) array
        Maps.
    share : float
        Share of the pixels that counts as highest. Pixels tied at the limit count in part, by their chance to be taken.

    Returns
    -------
    (...) float64
        Overlap in [0, 1]; equal maps without ties overlap wholly. NaN if a map is not finite.

    Examples
    --------
    >>> float(top_overlap(np.arange(100.0).reshape(10, 10), np.arange(100.0).reshape(10, 10)))
    1.0
    """
    count = max(1, round(share * a.shape[-1] * a.shape[-2]))
    first, second = (_top_membership(m.reshape(*m.shape[:-2], -1).astype(np.float64), count) for m in (a, b))
    overlap = np.minimum(np.minimum(first, second).sum(-1) / count, 1.0)  # shares of ties may add up to a little more
    finite = np.isfinite(a).all((-2, -1)) & np.isfinite(b).all((-2, -1))
    return np.where(finite, overlap, np.nan)


def _top_membership(values: Array, count: int) -> Array:
    """Return the chance of each pixel of (..., D) to be among the `count` highest."""
    limit = np.partition(values, -count, axis=-1)[..., -count, None]
    above, tied = values > limit, values == limit
    remaining = count - above.sum(-1, keepdims=True)
    chance: Array = above + tied * remaining / np.maximum(tied.sum(-1, keepdims=True), 1)
    return chance


@dataclass(frozen=True, slots=True)
class PreparedMap:
    """Map prepared to be compared with several others."""

    normalized: Array
    """float64 (h, w) in [0, 1]."""
    ranks: Array
    """float64 (D,): centered ranks."""
    top_weights: Array
    """float64 (D,): chance of each pixel to be among the highest, divided by their number."""
    is_finite: bool
    """Whether all values are finite."""

    @classmethod
    def from_values(cls, values: Array, normalization: Normalization = "raw", top_share: float = 0.05) -> PreparedMap:
        """Prepare a map.

        Parameters
        ----------
        values : (h, w) array
            Map.
        normalization : {'raw', 'published'}
            See `normalize`.
        top_share : float
            Share of the pixels that counts as highest.

        Returns
        -------
        PreparedMap
            Prepared map.
        """
        scaled = normalize(values, normalization)
        count = max(1, round(top_share * scaled.size))
        weights = _top_membership(scaled.ravel(), count) / count
        return cls(scaled, _ranks(scaled), weights, bool(np.isfinite(scaled).all()))

    @property
    def is_flat(self) -> bool:
        """Whether the map has one value everywhere."""
        return not self.normalized.any()

    def similarities(self, other: PreparedMap, data_range: float) -> dict[str, float]:
        """Compare this map with another.

        Parameters
        ----------
        other : PreparedMap
            Map on the same grid.
        data_range : float
            See `ssim`.

        Returns
        -------
        dict of str to float
            'ssim', 'rank' (see `rank_correlation`) and 'top' (see `top_overlap`); NaN if one map is not finite, or if
            this one is flat, because a flat map can be neither preserved nor lost.
        """
        if not (self.is_finite and other.is_finite) or self.is_flat:
            return dict.fromkeys(("ssim", "rank", "top"), float("nan"))
        return {
            "ssim": _ssim(self.normalized, other.normalized, data_range),
            "rank": _correlation(self.ranks, other.ranks),
            "top": min(1.0, float(np.minimum(self.top_weights, other.top_weights).sum())),
        }
