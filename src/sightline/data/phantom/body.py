"""The healthy body as outlines: lungs, heart, mediastinum and bones of one patient, in pixels of one film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from sightline.core import Array, Size
from sightline.data.phantom.scene import Anatomy, Scene

SHIFT = 4
"""Fractional bits of drawing coordinates: outlines are placed to a sixteenth of a pixel."""


@dataclass(frozen=True)
class ImagePlane:
    """The pixel grid of one film and the patient's position on it."""

    size: Size
    tilt: float
    zoom: float
    shift: tuple[float, float]

    @classmethod
    def from_scene(cls, scene: Scene, width: int) -> ImagePlane:
        """The film of a scene whose shorter side, the width, has so many pixels."""
        a = scene.anatomy
        return cls((round(width * a.aspect), width), a.tilt, a.zoom, a.shift)

    @property
    def unit(self) -> int:
        """Pixels per unit of length: the width of the film."""
        return self.size[1]

    def points(self, xy: Array) -> Array:
        """Points (K, 2) as (x, y) in widths -> int32 for drawing, turned, scaled and moved as the patient stands."""
        center = np.array([0.5, self.size[0] / self.unit / 2])
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        turned = self.zoom * (np.asarray(xy, float) - center) @ np.array([[c, s], [-s, c]]) + center + self.shift
        fixed: Array = np.round((turned * self.unit - 0.5) * 2**SHIFT).astype(np.int32)
        return fixed

    def fill(self, xy: Array) -> Array:
        """Filled outline as float32 (H, W) in [0, 1], antialiased."""
        canvas = np.zeros(self.size, np.uint8)
        cv2.fillPoly(canvas, [self.points(xy)], 255, cv2.LINE_AA, SHIFT)
        return canvas.astype(np.float32) / 255

    def stroke(self, canvas: Array, xy: Array, width: float, value: int = 255) -> None:
        """Draw a line of a width in units onto a uint8 canvas."""
        cv2.polylines(canvas, [self.points(xy)], False, value, max(1, round(width * self.unit)), cv2.LINE_AA, SHIFT)

    def strokes(self, canvas: Array, segments: Array, widths: Array) -> None:
        """Draw many segments (K, 2, 2) of widths (K,) in units: as bright as they are thick, together where alike."""
        points = self.points(segments.reshape(-1, 2)).reshape(-1, 2, 2)
        pixels = np.maximum(1, np.round(widths * self.unit)).astype(int)
        values = np.clip(50 + 10000 * widths, 0, 255) // 24 * 24
        for pixel, value in set(zip(pixels.tolist(), values.tolist(), strict=True)):
            alike = (pixels == pixel) & (values == value)
            cv2.polylines(canvas, list(points[alike]), False, value, pixel, cv2.LINE_AA, SHIFT)

    def blur(self, image: Array, sigma: float) -> Array:
        """Gaussian blur with a standard deviation in units, at a resolution that suffices."""
        pixels = sigma * self.unit
        if pixels < 0.3:
            return image
        factor = max(1, int(pixels / 4))
        if factor == 1:
            return cv2.GaussianBlur(image, (0, 0), pixels)
        small = cv2.resize(
            image, (max(4, self.size[1] // factor), max(4, self.size[0] // factor)), interpolation=cv2.INTER_AREA
        )
        small = cv2.GaussianBlur(small, (0, 0), pixels * small.shape[1] / self.size[1])
        return cv2.resize(small, self.size[::-1], interpolation=cv2.INTER_LINEAR)

    def rounded_thickness(self, mask: Array, depth: float) -> Array:
        """Thickness of a rounded body from its outline: 0 at the rim, 1 from `depth` units inward."""
        inside = (mask > 0.5).astype(np.uint8)
        rim = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / (depth * self.unit)
        rounded: Array = np.sqrt(1 - (1 - np.clip(rim, 0, 1)) ** 2).astype(np.float32)
        return rounded


def smooth_curve(points: Sequence[tuple[float, float]], closed: bool = True) -> Array:
    """A curve through corner points, rounded three times by Chaikin's cutting; float (K, 2)."""
    curve: Array = _chaikin_weights(len(points), closed) @ np.array(points, float)
    return curve


@lru_cache(maxsize=64)
def _chaikin_weights(corners: int, closed: bool) -> Array:
    """float (K, corners): the share of each corner in each point of the rounded curve, which is the same for all."""
    shares = np.eye(corners)
    for _ in range(3):
        after = np.roll(shares, -1, 0) if closed else shares[1:]
        before = shares if closed else shares[:-1]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], 1).reshape(-1, corners)
        shares = cut if closed else np.vstack([shares[:1], cut, shares[-1:]])
    return shares


@dataclass(frozen=True)
class Body:
    """Outlines (K, 2) as (x, y) in widths, the patient's right on the left of the film."""

    top: float
    """y of the lung apices."""
    midline: float
    """x of the midline."""
    domes: tuple[float, float]
    """y of the right and left diaphragm."""
    half_width: float
    """Half the width of the chest, from the midline to the lateral lung border."""
    lungs: tuple[Array, Array]
    heart: Array
    mediastinum: Array
    aortic_knob: tuple[float, float, float]
    """Aortic knob: x, y, radius."""
    hila: tuple[tuple[float, float], tuple[float, float]]


def build_body(anatomy: Anatomy, heart_scale: float = 1.0, mediastinum_scale: float = 1.0) -> Body:
    """Outlines of a patient; `heart_scale` and `width_scale` enlarge the heart and the upper mediastinum."""
    rng = np.random.default_rng(anatomy.key)
    scale = 0.5 + 0.5 * anatomy.aspect  # taller films show a taller chest
    top = 0.085 * scale + rng.uniform(-0.02, 0.025)
    middle = 0.5 + 0.01 * rng.normal()
    half = 0.405 + 0.017 * rng.normal() - 0.012 * anatomy.female
    length = (0.58 + 0.13 * anatomy.inspiration - 0.06 * anatomy.portable - 0.04 * anatomy.habitus) * scale
    right = top + length
    domes = (right, right + 0.022 + 0.012 * rng.random())
    lungs = (
        _lung_outline(anatomy, -1, top, domes[0], middle, half),
        _lung_outline(anatomy, 1, top, domes[1], middle, half),
    )
    heart = _heart_outline(anatomy, rng, middle, half, domes, heart_scale)
    knob = (middle + 0.062 * mediastinum_scale + anatomy.rotation, top + 0.33 * length, 0.036 + 0.008 * rng.random())
    mediastinum = _mediastinum_outline(anatomy, middle, top, knob, domes, mediastinum_scale)
    level = top + 0.50 * length
    hila = ((middle - 0.095 + anatomy.rotation, level), (middle + 0.095 + anatomy.rotation, level - 0.018))
    return Body(top, middle, domes, half, lungs, heart, mediastinum, knob, hila)


def _lung_outline(a: Anatomy, sign: int, top: float, dome: float, middle: float, half: float) -> Array:
    """One lung: apex under the clavicle, lateral wall, costophrenic angle, dome, mediastinal border."""
    h = half * (1 + 0.015 * sign * a.asymmetry)

    def y(share: float) -> float:
        return top + share * (dome - top)

    inner, deep = 0.035, 0.075 + 0.02 * a.inspiration
    across = [
        (0.30, 0.0),
        (0.50, 0.03),
        (0.70, 0.16),
        (0.86, 0.36),
        (0.95, 0.60),
        (0.985, 0.85),
        (1.0, 1.0),
    ]
    outline = [(middle + sign * h * share, y(down)) for share, down in across]
    outline += [(middle + sign * h * 1.0, dome + deep), (middle + sign * h * 0.97, dome + deep)]
    outline += [
        (middle + sign * h * 0.84, dome + 0.035),
        (middle + sign * h * 0.62, dome),
        (middle + sign * h * 0.36, dome + 0.005),
    ]
    outline += [
        (middle + sign * (inner + 0.03), dome + 0.03),
        (middle + sign * inner, y(0.8)),
        (middle + sign * inner, y(0.35)),
    ]
    outline += [(middle + sign * (inner + 0.015), y(0.1))]
    return smooth_curve(outline)


def _heart_outline(
    a: Anatomy, rng: np.random.Generator, middle: float, half: float, domes: tuple[float, float], scale: float
) -> Array:
    """Right atrial border, left ventricle and apex; a normal heart is under half as wide as the chest."""
    ratio = (0.42 + 0.03 * rng.normal() + 0.04 * a.portable) * scale
    wide = ratio * 2 * half
    right, left = 0.33 * wide, 0.67 * wide
    base = domes[1] + 0.012
    tall = (0.27 + 0.01 * rng.normal()) * (0.55 + 0.45 * scale) + 0.02 * a.inspiration
    m = middle + a.rotation
    return smooth_curve(
        [
            (m - 0.45 * right, base - tall),
            (m - 0.85 * right, base - 0.72 * tall),
            (m - 1.0 * right, base - 0.42 * tall),
            (m - 0.92 * right, base - 0.1 * tall),
            (m - 0.4 * right, base + 0.02),
            (m + 0.5 * left, base + 0.015),
            (m + 0.93 * left, base - 0.02),
            (m + 1.02 * left, base - 0.2 * tall),
            (m + 0.86 * left, base - 0.48 * tall),
            (m + 0.55 * left, base - 0.82 * tall),
            (m + 0.2 * left, base - 1.08 * tall),
        ]
    )


def _mediastinum_outline(
    a: Anatomy, middle: float, top: float, knob: tuple[float, float, float], domes: tuple[float, float], scale: float
) -> Array:
    m, wide = middle + a.rotation, 0.052 * scale
    x, y, r = knob
    low = domes[0] + 0.02
    return smooth_curve(
        [
            (m - wide * 0.75, top - 0.06),
            (m - wide * 0.95, top + 0.1),
            (m - wide * 1.15, y + 0.08),
            (m - wide * 1.2, low),
            (m + wide * 1.25, low),
            (m + wide * 1.2, y + 0.14),
            (x + 0.3 * r, y + 1.7 * r),
            (x + r, y + 0.5 * r),
            (x + r, y - 0.5 * r),
            (x + 0.2 * r, y - 1.2 * r),
            (m + wide * 0.85, top + 0.04),
            (m + wide * 0.75, top - 0.06),
        ]
    )
