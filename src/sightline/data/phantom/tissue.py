"""Attenuation of the healthy body: the contribution of each tissue to the line integral behind each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sightline.core import Array
from sightline.data.phantom.body import Body, ImagePlane, smooth_curve
from sightline.data.phantom.scene import Anatomy

SOFT_TISSUE, BONE, AIR = 0.2, 0.48, 0.155
"""Linear attenuation per cm at a chest X-ray's effective energy: water, bone with marrow, and what inflated lung
lacks against water (NIST attenuation tables at 60 to 70 keV, rounded)."""


@dataclass(frozen=True)
class Organs:
    """Lungs, heart and mediastinum on the pixel grid."""

    lungs: tuple[Array, Array]
    """Share of lung depth behind each pixel, float32 (H, W) in [0, 1], right and left, before heart and mediastinum
    are subtracted."""
    heart: Array
    mediastinum: Array
    """Masks, float32 (H, W) in [0, 1]."""

    @classmethod
    def from_body(cls, plane: ImagePlane, body: Body) -> Organs:
        """Draw the organs of a body.

        Parameters
        ----------
        plane : ImagePlane
            Pixel grid.
        body : Body
            Outlines of the patient.

        Returns
        -------
        Organs
            The organs.
        """
        right, left = (plane.rounded_thickness(plane.fill(outline), 0.12) for outline in body.lungs)
        return cls((right, left), plane.fill(body.heart), plane.fill(body.mediastinum))


@dataclass(frozen=True)
class Tissue:
    """Line integrals of attenuation, float32 (H, W)."""

    solid: Array
    """Everything but air-filled lung: body wall, bones, heart, great vessels."""
    vessels: Array
    """Vessels and bronchi inside the lungs, as attenuation to add."""


def healthy_tissue(plane: ImagePlane, body: Body, organs: Organs, anatomy: Anatomy) -> Tissue:
    """Compute the attenuation of a patient without findings.

    Parameters
    ----------
    plane : ImagePlane
        Pixel grid.
    body : Body
        Outlines of the patient.
    organs : Organs
        Organs of the patient.
    anatomy : Anatomy
        The patient.

    Returns
    -------
    Tissue
        Line integrals.
    """
    rng = np.random.default_rng((*anatomy.key, 1))
    solid = _body_wall(plane, body, anatomy) + _bones(plane, body, anatomy, rng)
    center = 6.0 * plane.blur(plane.rounded_thickness(organs.mediastinum, 0.05), 0.006)
    solid += SOFT_TISSUE * plane.blur(np.maximum(7.0 * plane.rounded_thickness(organs.heart, 0.16), center), 0.004)
    solid += SOFT_TISSUE * 1.2 * _spherical_depth(
        plane, body.aortic_knob[:2], body.aortic_knob[2]
    ) - SOFT_TISSUE * 1.1 * _trachea(plane, body)
    solid += SOFT_TISSUE * _abdomen(plane, body, anatomy)
    return Tissue(solid, SOFT_TISSUE * _vessels(plane, body, anatomy, rng))


def _pixel_coordinates(plane: ImagePlane) -> tuple[Array, Array]:
    """X and y of pixel centers in widths, turned with the patient: float32 (H, W) each."""
    rows, cols = np.mgrid[: plane.size[0], : plane.size[1]].astype(np.float32)
    half = plane.size[0] / plane.unit / 2
    x = ((cols + 0.5) / plane.unit - 0.5 - np.float32(plane.shift[0])) / np.float32(plane.zoom)
    y = ((rows + 0.5) / plane.unit - half - np.float32(plane.shift[1])) / np.float32(plane.zoom)
    c, s = np.float32(np.cos(plane.tilt)), np.float32(np.sin(plane.tilt))
    return c * x + s * y + 0.5, -s * x + c * y + np.float32(half)


def _body_wall(plane: ImagePlane, body: Body, a: Anatomy) -> Array:
    """Soft tissue in front of and behind the lungs: chest wall, shoulders, arms, breasts; 0 outside the body."""
    x, y = _pixel_coordinates(plane)
    m, top, low = body.midline, body.top, body.domes[0]
    down = np.clip((y - top + 0.06) / (low - top), -0.5, 2)
    half = body.half_width + 0.055 + 0.05 * a.habitus + 0.02 * np.clip(down, 0, 1)  # the body's side below the armpits
    shoulder = np.clip((top + 0.16 - y) / 0.16, 0, 1)
    half = half + 0.25 * np.sqrt(shoulder) * np.clip((y - top + 0.16) / 0.12, 0, 1)
    neck = np.clip((top - 0.05 - y) / 0.07, 0, 1)
    half = half * (1 - neck) + 0.13 * neck
    across = np.clip(1 - np.abs((x - m) / half) ** 4, 0, 1)
    depth = (17 + 9 * a.habitus) * np.sqrt(across) * (1 - 0.25 * neck)
    depth += 4.0 * shoulder * np.clip((np.abs(x - m) - 0.3) / 0.1, 0, 1) * (across > 0)
    if a.female:
        for sign in (-1, 1):
            cx, cy = m + sign * 0.2, top + 0.62 * (low - top) + 0.05
            r2 = ((x - cx) / 0.15) ** 2 + ((y - cy) / (0.15 + 0.05 * a.habitus)) ** 2
            depth += (2.0 + 3 * a.habitus) * np.sqrt(np.clip(1 - r2, 0, 1))
    muscle = np.clip(1 - (((np.abs(x - m) - 0.3) / 0.13) ** 2 + ((y - top - 0.12) / 0.17) ** 2), 0, 1)
    depth += 1.6 * np.sqrt(muscle)
    return plane.blur((SOFT_TISSUE * depth).astype(np.float32), 0.006)


def _bones(plane: ImagePlane, body: Body, a: Anatomy, rng: np.random.Generator) -> Array:
    """Ribs behind and in front, clavicles, shoulder blades, spine: shells denser than their marrow."""
    back, front, rest = (np.zeros(plane.size, np.uint8) for _ in range(3))
    pitch = (body.domes[0] - body.top) / 8.4
    for sign in (-1, 1):
        for rib in range(10):
            wobble = rng.normal(0, 0.004, 3)
            _draw_tube(plane, back, _back_rib(body, sign, rib, pitch, wobble), 0.021 + 0.002 * rng.random())
        for rib in range(1, 7):
            _draw_tube(plane, front, _front_rib(body, sign, rib, pitch, rng.normal(0, 0.004, 3)), 0.019, 0.6)
        y = body.top + 0.035 + 0.01 * sign * a.asymmetry
        m = body.midline
        clavicle = [
            (m + sign * 0.03, y + 0.035),
            (m + sign * 0.1, y + 0.02),
            (m + sign * 0.22, y - 0.025),
            (m + sign * 0.4, y - 0.045),
        ]
        _draw_tube(plane, rest, smooth_curve(clavicle, closed=False), 0.03)
        blade = [
            (m + sign * 0.33, y + 0.02),
            (m + sign * 0.30, y + 0.2),
            (m + sign * 0.34, y + 0.33),
            (m + sign * 0.42, y + 0.12),
        ]
        cv2.polylines(
            rest, [plane.points(smooth_curve(blade))], True, 90, max(1, round(0.008 * plane.unit)), cv2.LINE_AA, 4
        )
        head = [
            (m + sign * 0.43, y - 0.03),
            (m + sign * 0.5, y + 0.0),
            (m + sign * 0.5, y + 0.3),
            (m + sign * 0.445, y + 0.3),
        ]
        cv2.fillPoly(rest, [plane.points(smooth_curve(head))], 200, cv2.LINE_AA, 4)
    shadow = sum(
        (plane.blur(c.astype(np.float32) / 255, 0.0018) * t for c, t in ((back, 1.15), (front, 0.75), (rest, 1.2)))
    )
    return (BONE - SOFT_TISSUE) * (shadow + _spine(plane, body)).astype(np.float32)


def _draw_tube(plane: ImagePlane, canvas: Array, xy: Array, width: float, share: float = 1.0) -> None:
    """Draw a bone: cortex at the rim, less in the middle."""
    plane.stroke(canvas, xy, width, round(255 * share))
    if width * plane.unit > 4:
        plane.stroke(canvas, xy, width * 0.62, round(165 * share))


def _back_rib(body: Body, sign: int, rib: int, pitch: float, wobble: Array) -> Array:
    """From the spine outward and down, over the lateral wall."""
    y = body.top + 0.012 + rib * pitch * 0.93
    reach = body.half_width * min(1.02, 0.5 + 0.2 * rib) + 0.01
    m = body.midline
    return smooth_curve(
        [
            (m + sign * 0.04, y + 0.01),
            (m + sign * 0.30 * reach, y - 0.012 + wobble[0]),
            (m + sign * 0.62 * reach, y + 0.022 + wobble[1]),
            (m + sign * 0.9 * reach, y + 0.085 + wobble[2]),
            (m + sign * 1.02 * reach, y + 0.15),
        ],
        closed=False,
    )


def _front_rib(body: Body, sign: int, rib: int, pitch: float, wobble: Array) -> Array:
    """From the lateral wall inward and down, ending where cartilage begins."""
    y = body.top + 0.06 + rib * pitch * 1.02
    reach = body.half_width * min(1.0, 0.62 + 0.16 * rib)
    m = body.midline
    return smooth_curve(
        [
            (m + sign * 1.0 * reach, y - 0.02),
            (m + sign * 0.86 * reach, y + 0.045 + wobble[0]),
            (m + sign * 0.62 * reach, y + 0.095 + wobble[1]),
            (m + sign * (0.36 - 0.01 * rib) * reach, y + 0.115 + wobble[2]),
        ],
        closed=False,
    )


def _spine(plane: ImagePlane, body: Body) -> Array:
    """Vertebral bodies with dense end plates, faint through the mediastinum."""
    canvas = np.zeros(plane.size, np.uint8)
    bottom = plane.size[0] / plane.unit + 0.05
    step = 0.046
    for y in np.arange(-0.05, bottom, step):
        box = [
            (body.midline - 0.033, y),
            (body.midline + 0.033, y),
            (body.midline + 0.03, y + step * 0.8),
            (body.midline - 0.03, y + step * 0.8),
        ]
        cv2.fillPoly(canvas, [plane.points(smooth_curve(box))], 150, cv2.LINE_AA, 4)
        cv2.polylines(
            canvas, [plane.points(smooth_curve(box))], True, 220, max(1, round(0.006 * plane.unit)), cv2.LINE_AA, 4
        )
    return 1.0 * plane.blur(canvas.astype(np.float32) / 255, 0.003)


def _spherical_depth(plane: ImagePlane, center: tuple[float, float], radius: float) -> Array:
    x, y = _pixel_coordinates(plane)
    r2 = ((x - center[0]) ** 2 + (y - center[1]) ** 2) / radius**2
    return np.sqrt(np.clip(1 - r2, 0, 1)).astype(np.float32) * 2


def _trachea(plane: ImagePlane, body: Body) -> Array:
    """Windpipe and main bronchi: air in the mediastinum."""
    canvas = np.zeros(plane.size, np.uint8)
    split = (body.midline + 0.004, body.hila[0][1] - 0.075)
    plane.stroke(canvas, np.array([(body.midline, -0.05), (body.midline + 0.004, body.top), split]), 0.032)
    for hilum in body.hila:
        plane.stroke(canvas, smooth_curve([split, hilum], closed=False), 0.019)
    return 1.7 * plane.blur(canvas.astype(np.float32) / 255, 0.004)


def _abdomen(plane: ImagePlane, body: Body, a: Anatomy) -> Array:
    """Abdomen under the domes, with the stomach's gas bubble, in cm of extra water."""
    x, y = _pixel_coordinates(plane)
    dome = np.where(x < body.midline, body.domes[0], body.domes[1])
    depth = np.clip((y - dome + 0.02) / 0.09, 0, 1) * (5.0 + 2.5 * a.habitus)
    depth *= np.clip((body.half_width + 0.045 - np.abs(x - body.midline)) / 0.04, 0, 1)
    cx, cy = body.midline + 0.17, body.domes[1] + 0.075
    gas = np.clip(1.0 - ((x - cx) / 0.075) ** 2 - ((y - cy) / 0.035) ** 2, 0, 1)
    return plane.blur((depth - 6.0 * np.sqrt(gas) * (a.key[-1] % 3 > 0)).astype(np.float32), 0.004)


def _vessels(plane: ImagePlane, body: Body, a: Anatomy, rng: np.random.Generator) -> Array:
    """Arteries and veins branching outward from the hila, thinner and fainter with every fork, in cm of water."""
    canvas = np.zeros(plane.size, np.uint8)
    for sign, hilum in zip((-1, 1), body.hila, strict=True):
        angle = rng.normal(np.linspace(-1.35, 1.45, 9), 0.13)  # (K,) one trunk each
        at = np.tile(hilum, (angle.size, 1))
        width, length = np.full(angle.size, 0.018), rng.uniform(0.08, 0.12, angle.size)
        for _ in range(6):
            end = at + length[:, None] * np.stack([sign * np.cos(angle), np.sin(angle)], 1)  # (K, 2)
            plane.strokes(canvas, np.stack([at, end], 1), width)
            turn = rng.uniform(0.1, 0.55, angle.size) * np.array([[-1], [1]])  # two branches each
            at, angle = np.tile(end, (2, 1)), (angle + turn).ravel()
            width = (width * np.array([[0.74], [0.68]]) * rng.uniform(0.85, 1.05, turn.shape)).ravel()
            length = (length * rng.uniform(0.6, 0.95, turn.shape)).ravel()
        plane.stroke(canvas, np.array([hilum, (hilum[0] + sign * 0.012, hilum[1] + 0.05)]), 0.03, 230)
    return 1.5 * plane.blur(canvas.astype(np.float32) / 255, 0.0018)
