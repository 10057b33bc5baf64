"""Outlines of the healthy body: lungs, heart and mediastinum of one patient, on the pixel grid of an image."""

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
    """Pixel grid of an image, and the position of the patient on it."""

    size: Size
    tilt: float
    zoom: float
    shift: tuple[float, float]

    @classmethod
    def from_scene(cls, scene: Scene, width: int) -> ImagePlane:
        """Create for a scene.

        Parameters
        ----------
        scene : Scene
            The scene.
        width : int
            Pixels of the width of the image, its shorter side.

        Returns
        -------
        ImagePlane
            The grid.
        """
        anatomy = scene.anatomy
        return cls((round(width * anatomy.aspect), width), anatomy.tilt, anatomy.zoom, anatomy.shift)

    @property
    def unit(self) -> int:
        """Pixels per unit of length: the width of the image."""
        return self.size[1]

    def points(self, xy: Array) -> Array:
        """Convert points to drawing coordinates, rotated, scaled and moved with the patient.

        Parameters
        ----------
        xy : (K, 2) float64
            (x, y) in widths.

        Returns
        -------
        (K, 2) int32
            Pixels with `SHIFT` fractional bits.
        """
        center = np.array([0.5, self.size[0] / self.unit / 2])
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        turned = self.zoom * (np.asarray(xy, float) - center) @ np.array([[c, s], [-s, c]]) + center + self.shift
        fixed: Array = np.round((turned * self.unit - 0.5) * 2**SHIFT).astype(np.int32)
        return fixed

    def fill(self, xy: Array) -> Array:
        """Fill an outline, antialiased.

        Parameters
        ----------
        xy : (K, 2) float64
            (x, y) in widths.

        Returns
        -------
        (H, W) float32
            0 to 1.
        """
        canvas = np.zeros(self.size, np.uint8)
        cv2.fillPoly(canvas, [self.points(xy)], 255, cv2.LINE_AA, SHIFT)
        return canvas.astype(np.float32) / 255

    def stroke(self, canvas: Array, xy: Array, width: float, value: int = 255) -> None:
        """Draw a line.

        Parameters
        ----------
        canvas : (H, W) uint8
            Image to draw on.
        xy : (K, 2) float64
            (x, y) in widths.
        width : float
            Width of the line, in widths of the image.
        value : int
            Value of its pixels.
        """
        cv2.polylines(canvas, [self.points(xy)], False, value, max(1, round(width * self.unit)), cv2.LINE_AA, SHIFT)

    def strokes(self, canvas: Array, segments: Array, widths: Array) -> None:
        """Draw many segments, those of the same width and value together; thicker ones are brighter.

        Parameters
        ----------
        canvas : (H, W) uint8
            Image to draw on.
        segments : (K, 2, 2) float64
            Two points (x, y) each, in widths.
        widths : (K,) float64
            Widths of the lines, in widths of the image.
        """
        points = self.points(segments.reshape(-1, 2)).reshape(-1, 2, 2)
        pixels = np.maximum(1, np.round(widths * self.unit)).astype(int)
        values = np.clip(50 + 10000 * widths, 0, 255) // 24 * 24
        for pixel, value in set(zip(pixels.tolist(), values.tolist(), strict=True)):
            alike = (pixels == pixel) & (values == value)
            cv2.polylines(canvas, list(points[alike]), False, value, pixel, cv2.LINE_AA, SHIFT)

    def blur(self, image: Array, sigma: float) -> Array:
        """Blur with a Gaussian, at a resolution that suffices.

        Parameters
        ----------
        image : (H, W) float32
            Image.
        sigma : float
            Standard deviation in widths of the image.

        Returns
        -------
        (H, W) float32
            Blurred image.
        """
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
        """Compute the thickness of a rounded body from its outline.

        Parameters
        ----------
        mask : (H, W) float32
            Body where above 0.5.
        depth : float
            Distance from the outline, in widths, from which on the thickness is full.

        Returns
        -------
        (H, W) float32
            0 at the outline to 1.
        """
        inside = (mask > 0.5).astype(np.uint8)
        rim = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / (depth * self.unit)
        rounded: Array = np.sqrt(1 - (1 - np.clip(rim, 0, 1)) ** 2).astype(np.float32)
        return rounded


def smooth_curve(points: Sequence[tuple[float, float]], closed: bool = True) -> Array:
    """Round a polygon or polyline by three steps of Chaikin's corner cutting.

    Parameters
    ----------
    points : sequence of (float, float)
        Corners.
    closed : bool
        True for a polygon.

    Returns
    -------
    (K, 2) float64
        Points of the curve.
    """
    curve: Array = _chaikin_weights(len(points), closed) @ np.array(points, float)
    return curve


@lru_cache(maxsize=64)
def _chaikin_weights(corners: int, closed: bool) -> Array:
    """Float (K, corners): the share of each corner in each point of the rounded curve, which is the same for all."""
    shares = np.eye(corners)
    for _ in range(3):
        after = np.roll(shares, -1, 0) if closed else shares[1:]
        before = shares if closed else shares[:-1]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], 1).reshape(-1, corners)
        shares = cut if closed else np.vstack([shares[:1], cut, shares[-1:]])
    return shares


@dataclass(frozen=True)
class Body:
    """Outlines (K, 2) as (x, y) in widths, the patient's right on the left of the image."""

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
    """Build the outlines of a patient.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    heart_scale : float
        Enlargement of the heart, 1 for none.
    mediastinum_scale : float
        Enlargement of the upper mediastinum, 1 for none.

    Returns
    -------
    Body
        The outlines.
    """
    rng = np.random.default_rng(anatomy.key)
    scale = 0.5 + 0.5 * anatomy.aspect  # taller images have a taller chest
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
