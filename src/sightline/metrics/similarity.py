"""How alike two maps are, whatever either is worth: structure, ranks, and the places that stand out most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from sightline.core import Array

SSIM_WINDOW = 7
"""Pixels: side of the uniform window of `ssim`, scikit-image's default."""
Normalization = Literal["published", "raw"]
"""How a map is brought to [0, 1] before it is compared."""


def normalize(maps: Array, normalization: Normalization = "raw") -> Array:
    """Maps (..., h, w) brought to [0, 1]; one that is the same everywhere is 0, one that is not finite stays so.

    raw: least to greatest value, signs kept in order. published: magnitudes, cut off at their 99th percentile, as
    Arun et al. 2021 (10.1148/ryai.2021200267) show and compare them.

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
    """Structural similarity of maps (..., h, w) in pairs, h and w from 7 -> float64 (...), in [-1, 1].

    Wang et al. 2004, 10.1109/TIP.2003.819861, with a uniform window of 7 × 7, sample covariances and the border of 3
    pixels left out of the mean: `skimage.metrics.structural_similarity` as it comes. data_range: 1 for maps in [0, 1];
    2 is what scikit-image once assumed of floats, and what was published. NaN if a map is not finite.

    >>> float(ssim(np.eye(9), np.eye(9)))
    1.0
    """
    if a.shape != b.shape or min(a.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"maps of {a.shape} and {b.shape}; they must be alike, and {SSIM_WINDOW} x {SSIM_WINDOW} or larger"
        )
    pairs = zip(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]), strict=True)
    found = np.array([_ssim(x, y, data_range) for x, y in pairs])
    return found.reshape(a.shape[:-2])


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
"""Pixels worked on at a time, so that what lies between stays in the processor's cache."""


def _ssim_sum(x: Array, y: Array, data_range: float) -> float:
    """Sum over the places whose window lies inside; the border is computed, too, as whole rows are faster than parts.

    By u = x + y and v = x - y: 2 cov(x, y) = (var u - var v) / 2, var x + var y = (var u + var v) / 2, and so with
    products of means, in fewer passes over memory than term by term.
    """
    pad, size = SSIM_WINDOW // 2, (SSIM_WINDOW, SSIM_WINDOW)
    x, y = x.astype(np.float64), y.astype(np.float64)
    u, v = x + y, x - y
    shift = u.mean()  # variances of values far from zero would lose digits
    u -= shift
    planes: list[Array] = [cv2.blur(p, size) for p in (u, v, u * u, v * v)]  # (rows, w) each
    mean, gap, spread, apart = planes
    spread -= mean * mean
    gap *= gap  # of means, squared
    apart -= gap
    mean += shift
    mean *= mean
    mean += 2 * (0.01 * data_range) ** 2
    spread += 2 * (0.03 * data_range) ** 2 * (SSIM_WINDOW**2 - 1) / SSIM_WINDOW**2  # covariances are those of a sample
    alike, most = mean - gap, mean + gap
    alike *= spread - apart
    most *= spread + apart
    alike /= most
    return float(alike[pad:-pad, pad:-pad].sum())


def rank_correlation(a: Array, b: Array) -> Array:
    """Spearman correlation of the pixels of maps (..., h, w) in pairs -> float64 (...), ties at their mean rank.

    Two maps that are both the same everywhere are alike (1), one alone is like nothing (0); NaN if one is not finite.

    >>> float(rank_correlation(np.array([[1, 2, 3]]), np.array([[1, 4, 9]])))
    1.0
    """
    pairs = zip(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]), strict=True)
    found = np.array([_correlation(_ranks(x), _ranks(y)) for x, y in pairs]).reshape(a.shape[:-2])
    finite = np.isfinite(a).all((-2, -1)) & np.isfinite(b).all((-2, -1))
    return np.where(finite, found, np.nan)


def _ranks(values: Array) -> Array:
    """Ranks of all values, float64 (D,), ties at their mean, less the mean rank."""
    flat = values.ravel()
    order = np.argsort(flat)
    ordered = flat[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(begins[1:], flat.size)
    ranks = np.empty(flat.size)
    ranks[order] = np.repeat((begins + ends - flat.size) / 2, ends - begins)
    return ranks


def _correlation(first: Array, second: Array) -> float:
    """Of centered ranks (D,)."""
    sizes = float(first @ first), float(second @ second)
    if not all(sizes):
        return float(not any(sizes))
    return float(np.clip(first @ second / np.sqrt(sizes[0] * sizes[1]), -1, 1))


def top_overlap(a: Array, b: Array, share: float = 0.05) -> Array:
    """How much of the highest `share` of one map's pixels is among the other's, (..., h, w) in pairs -> (...), [0, 1].

    Pixels tied at the edge count in part, each as its chance to be taken. Equal maps overlap wholly where nothing is
    tied. NaN if a map is not finite.

    >>> float(top_overlap(np.arange(100.0).reshape(10, 10), np.arange(100.0).reshape(10, 10)))
    1.0
    """
    count = max(1, round(share * a.shape[-1] * a.shape[-2]))
    first, second = (_top_membership(m.reshape(*m.shape[:-2], -1).astype(np.float64), count) for m in (a, b))
    overlap = np.minimum(np.minimum(first, second).sum(-1) / count, 1.0)  # shares of ties may add up to a little more
    finite = np.isfinite(a).all((-2, -1)) & np.isfinite(b).all((-2, -1))
    return np.where(finite, overlap, np.nan)


def _top_membership(values: Array, count: int) -> Array:
    """(..., D) -> chance of each pixel to be among the `count` highest."""
    edge = np.partition(values, -count, axis=-1)[..., -count, None]
    above, tied = values > edge, values == edge
    left = count - above.sum(-1, keepdims=True)
    chance: Array = above + tied * left / np.maximum(tied.sum(-1, keepdims=True), 1)
    return chance


@dataclass(frozen=True, slots=True)
class PreparedMap:
    """A map made ready to be compared with several others."""

    normalized: Array
    """float64 (h, w) in [0, 1]."""
    ranks: Array
    top_weights: Array
    is_finite: bool

    @classmethod
    def from_values(cls, values: Array, normalization: Normalization = "raw", top_share: float = 0.05) -> PreparedMap:
        """Of a map (h, w), as `normalize` brings it to [0, 1]."""
        seen = normalize(values, normalization)
        count = max(1, round(top_share * seen.size))
        return cls(seen, _ranks(seen), _top_membership(seen.ravel(), count) / count, bool(np.isfinite(seen).all()))

    @property
    def is_flat(self) -> bool:
        """Whether it says nothing: one value everywhere."""
        return not self.normalized.any()

    def similarities(self, other: PreparedMap, data_range: float) -> dict[str, float]:
        """ssim, rank (`rank_correlation`) and top (`top_overlap`) of this map and another.

        NaN if one is not finite, or if this one is flat: what says nothing can neither be kept nor lost.
        """
        if not (self.is_finite and other.is_finite) or self.is_flat:
            return dict.fromkeys(("ssim", "rank", "top"), float("nan"))
        return {
            "ssim": _ssim(self.normalized, other.normalized, data_range),
            "rank": _correlation(self.ranks, other.ranks),
            "top": min(1.0, float(np.minimum(self.top_weights, other.top_weights).sum())),
        }
