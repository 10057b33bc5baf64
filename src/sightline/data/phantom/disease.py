"""Effects of findings on the image: attenuation added to the body or air taken from it, and the mask."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sightline.core import Array
from sightline.data.phantom.body import Body, ImagePlane, smooth_curve
from sightline.data.phantom.scene import Lesion
from sightline.data.phantom.texture import fractal_noise


@dataclass(frozen=True)
class LesionEffect:
    """Effect of one lesion on the line integrals."""

    water: Array
    """float32 (H, W): cm of water inside the lung (negative: none)."""
    deflated: Array
    """float32 (H, W) in [0, 1]: share of the lung whose vessels are absent (pleural air) or hidden (fluid)."""
    metal: Array
    """float32 (H, W): attenuation of foreign bodies, anywhere."""
    mask: Array
    """bool (H, W): mask of the finding."""


def lesion_effect(plane: ImagePlane, body: Body, lungs: tuple[Array, Array], lesion: Lesion) -> LesionEffect:
    """Compute the effect of a lesion; cardiac and mediastinal enlargement are changes of the body instead.

    Parameters
    ----------
    plane : ImagePlane
        Pixel grid.
    body : Body
        Outlines of the patient.
    lungs : tuple of (H, W) float32
        Share of lung depth behind each pixel, right and left.
    lesion : Lesion
        The finding.

    Returns
    -------
    LesionEffect
        Its effect.
    """
    rng = np.random.default_rng(lesion.key)
    zero = np.zeros(plane.size, np.float32)
    make = _MAKERS[lesion.finding]
    water, deflated, metal, mask = make(plane, body, lungs, lesion, rng, zero)
    return LesionEffect(water, deflated, metal, mask)


EffectArrays = tuple[Array, Array, Array, Array]


def _lung_side(lesion: Lesion) -> tuple[int, int]:
    """Return (index of the lung, sign of x) of the side; the patient's right is on the left of the image."""
    return (0, -1) if lesion.side == "right" else (1, 1)


def _gaussian_blob(plane: ImagePlane, center: tuple[float, float], radius: tuple[float, float]) -> Array:
    """exp(-r²) around a center, float32 (H, W)."""
    rows, cols = np.ogrid[: plane.size[0], : plane.size[1]]
    (px, py) = plane.points(np.array([center]))[0] / 16
    r2 = ((cols - px) / (radius[0] * plane.unit)) ** 2 + ((rows - py) / (radius[1] * plane.unit)) ** 2
    blob: Array = np.exp(-r2).astype(np.float32)
    return blob


def _random_lung_point(body: Body, sign: int, rng: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    """Draw a point inside a lung, between two shares of its height."""
    dome = body.domes[0 if sign < 0 else 1]
    down = rng.uniform(low, high)
    reach = body.half_width * (0.55 + 0.42 * min(1, down * 1.4))
    return body.midline + sign * rng.uniform(0.32, 0.85) * reach, body.top + down * (dome - body.top)


def _nodules(
    plane: ImagePlane, body: Body, lungs: tuple[Array, Array], lesion: Lesion, rng: np.random.Generator, zero: Array
) -> EffectArrays:
    water, mask = zero.copy(), np.zeros(plane.size, bool)
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        lung_index, sign = _lung_side(lesion) if rng.random() < 0.7 else (0, -1)
        x, y = _random_lung_point(body, sign, rng, 0.15, 0.9)
        radius = 0.018 + 0.05 * lesion.severity * rng.uniform(0.5, 1.1)
        angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        ragged = radius * (1 + 0.16 * rng.normal(size=14))
        outline = smooth_curve(list(zip(x + ragged * np.cos(angles), y + ragged * np.sin(angles), strict=True)))
        shape = plane.fill(outline) * (lungs[lung_index] > 0)
        water += (1.6 + 2.2 * lesion.severity) * plane.blur(plane.rounded_thickness(shape, radius), 0.003)
        mask |= shape > 0.5
    return water, zero, zero, mask


def _cloudy_opacity(
    plane: ImagePlane,
    lung: Array,
    lesion: Lesion,
    center: tuple[float, float],
    radius: tuple[float, float],
    depth: float,
) -> tuple[Array, Array]:
    """(cm of water, mask) of a cloudy opacity with soft, ragged edges inside a lung."""
    rough = fractal_noise((*lesion.key, 7), plane.size, 0.18)
    field = _gaussian_blob(plane, center, radius) * (1 + 0.35 * rough)
    soft = np.clip((field - 0.3) / 0.35, 0, 1) * (lung > 0)
    return depth * plane.blur(soft, 0.005) * np.sqrt(np.clip(lung, 0, 1)), soft > 0.35


def _consolidation(
    plane: ImagePlane, body: Body, lungs: tuple[Array, Array], lesion: Lesion, rng: np.random.Generator, zero: Array
) -> EffectArrays:
    lung_index, sign = _lung_side(lesion)
    center = _random_lung_point(body, sign, rng, 0.3, 0.9)
    size = 0.075 + 0.085 * lesion.severity
    water, mask = _cloudy_opacity(
        plane, lungs[lung_index], lesion, center, (size, size * rng.uniform(0.8, 1.3)), 3.0 + 3.0 * lesion.severity
    )
    return water, zero, zero, mask


def _opacity(
    plane: ImagePlane, body: Body, lungs: tuple[Array, Array], lesion: Lesion, rng: np.random.Generator, zero: Array
) -> EffectArrays:
    water, mask = zero.copy(), np.zeros(plane.size, bool)
    for _ in range(int(rng.integers(1, 4))):
        lung_index = int(rng.random() < 0.5)
        center = _random_lung_point(body, 2 * lung_index - 1, rng, 0.25, 0.95)
        size = 0.06 + 0.05 * lesion.severity
        w, where = _cloudy_opacity(plane, lungs[lung_index], lesion, center, (size, size), 1.8 + 2.2 * lesion.severity)
        water, mask = np.maximum(water, w), mask | where
    return water, zero, zero, mask


def _edema(
    plane: ImagePlane, body: Body, lungs: tuple[Array, Array], lesion: Lesion, rng: np.random.Generator, zero: Array
) -> EffectArrays:
    """Haze spreading from both hila, with thickened lines: the bat's wings."""
    water, mask = zero.copy(), np.zeros(plane.size, bool)
    rough = fractal_noise((*lesion.key, 7), plane.size, 0.12)
    lines = np.abs(fractal_noise((*lesion.key, 8), plane.size, 0.05, 3))
    for lung, hilum, sign in zip(lungs, body.hila, (-1, 1), strict=True):
        reach = 0.10 + 0.07 * lesion.severity
        field = _gaussian_blob(plane, (hilum[0] + sign * 0.05, hilum[1] + 0.07), (reach, 1.5 * reach)) * (
            1 + 0.3 * rough
        )
        soft = np.clip((field - 0.2) / 0.5, 0, 1) * (lung > 0)
        water += soft * (1.3 + 2.6 * lesion.severity) * (1 + 0.25 * (1 - lines)) * np.sqrt(lung)
        mask |= soft > 0.3
    return water, zero, zero, mask


def _atelectasis(
    plane: ImagePlane, body: Body, lungs: tuple[Array, Array], lesion: Lesion, rng: np.random.Generator, zero: Array
) -> EffectArrays:
    """Bands of collapsed lung above the diaphragm, on one or both sides."""
    canvas = np.zeros(plane.size, np.uint8)
    sides = (0, 1) if rng.random() < 0.4 else (_lung_side(lesion)[0],)
    for lung_index in sides:
        sign, dome = 2 * lung_index - 1, body.domes[lung_index]
        for _ in range(int(rng.integers(1, 4))):
            y = dome - rng.uniform(0.0, 0.11)
            start = body.midline + sign * rng.uniform(0.09, 0.15)
            length, slope = rng.uniform(0.1, 0.19), rng.uniform(-0.05, 0.07)
            band = smooth_curve(
                [(start, y), (start + sign * length / 2, y + slope / 2 - 0.006), (start + sign * length, y + slope)],
                closed=False,
            )
            plane.stroke(canvas, band, 0.012 + 0.026 * lesion.severity * rng.uniform(0.6, 1))
    bands = plane.blur(canvas.astype(np.float32) / 255, 0.003) * (np.maximum(*lungs) > 0)
    return (1.6 + 2.4 * lesion.severity) * bands, zero, zero, bands > 0.4


def _pneumothorax(
    plane: ImagePlane, body: Body, lungs: tuple[Array, Array], lesion: Lesion, rng: np.random.Generator, zero: Array
) -> EffectArrays:
    """Air between chest wall and lung: a lucent rim without vessels outside a thin pleural line."""
    lung_index, sign = _lung_side(lesion)
    outline = body.lungs[lung_index]
    root = np.array([body.midline + sign * 0.1, body.top + 0.62 * (body.domes[lung_index] - body.top)])
    share = 0.93 - 0.33 * lesion.severity
    up = np.clip((root[1] + 0.12 - outline[:, 1]) / 0.35, 0, 1)[:, None]  # air rises: the apex empties first
    inner = root + (outline - root) * (1 - (1 - share) * (0.25 + 0.75 * up))
    lung, left = lungs[lung_index] > 0, plane.fill(inner) > 0.5
    gap = lung & ~left
    line = np.zeros(plane.size, np.uint8)
    cv2.polylines(line, [plane.points(inner)], True, 255, max(1, round(0.0035 * plane.unit)), cv2.LINE_AA, 4)
    edge = plane.blur(line.astype(np.float32) / 255, 0.001) * lung
    collapse = (lung & left) * (0.5 + 0.6 * lesion.severity)
    water = (
        0.8 * edge + plane.blur(collapse.astype(np.float32), 0.003) - 1.4 * plane.blur(gap.astype(np.float32), 0.002)
    )
    return water, plane.blur(gap.astype(np.float32), 0.0015), zero, gap


def _effusion(
    plane: ImagePlane, body: Body, lungs: tuple[Array, Array], lesion: Lesion, rng: np.random.Generator, zero: Array
) -> EffectArrays:
    """Fluid in the base, climbing the lateral wall as a meniscus; on both sides sometimes."""
    water, mask = zero.copy(), np.zeros(plane.size, bool)
    sides = [_lung_side(lesion)] + (
        [(1 - _lung_side(lesion)[0], -_lung_side(lesion)[1])] if rng.random() < 0.35 else []
    )
    for lung_index, sign in sides:
        height = 0.04 + 0.2 * lesion.severity * rng.uniform(0.6, 1)
        dome, m, h = body.domes[lung_index], body.midline, body.half_width
        level = dome + 0.05 - height
        region = smooth_curve(
            [
                (m + sign * 0.03, dome + 0.14),
                (m + sign * 0.03, dome + 0.02 - 0.45 * height),
                (m + sign * 0.4 * h, level + 0.3 * height),
                (m + sign * 0.7 * h, level + 0.12 * height),
                (m + sign * 0.9 * h, level - 0.03),
                (m + sign * 1.02 * h, level - 0.16),
                (m + sign * 1.15 * h, level - 0.18),
                (m + sign * 1.15 * h, dome + 0.14),
            ]
        )
        fluid = plane.fill(region) * (lungs[lung_index] > 0)
        water += (4.0 + 3.0 * lesion.severity) * plane.blur(fluid, 0.006)
        mask |= fluid > 0.5
    return water, plane.blur(mask.astype(np.float32), 0.004) * 0.8, zero, mask


def _devices(
    plane: ImagePlane, body: Body, lungs: tuple[Array, Array], lesion: Lesion, rng: np.random.Generator, zero: Array
) -> EffectArrays:
    """Tubes, lines, leads and generators; more of them in sicker patients."""
    thin, thick = np.zeros(plane.size, np.uint8), np.zeros(plane.size, np.uint8)
    m, top = body.midline, body.top
    kinds = rng.permutation(["tracheal tube", "central line", "pacemaker", "gastric tube"])[
        : 1 + int(3 * lesion.severity * rng.random())
    ]
    for kind in kinds:
        if kind == "tracheal tube":
            plane.stroke(thick, np.array([(m, -0.05), (m + 0.004, body.hila[0][1] - 0.1)]), 0.007)
        elif kind == "gastric tube":
            path = [
                (m + 0.008, -0.05),
                (m + 0.012, top + 0.25),
                (m + 0.02, body.domes[1]),
                (m + 0.1, body.domes[1] + 0.08),
                (m + 0.16, body.domes[1] + 0.1),
            ]
            plane.stroke(thick, smooth_curve(path, closed=False), 0.006)
        elif kind == "central line":
            path = [
                (m - 0.24, top - 0.02),
                (m - 0.14, top + 0.035),
                (m - 0.06, top + 0.07),
                (m - 0.055, body.hila[0][1] + 0.02),
            ]
            plane.stroke(thin, smooth_curve(path, closed=False), 0.0045)
        else:
            x, y = m + 0.27, top + 0.13
            box = [(x - 0.045, y - 0.04), (x + 0.045, y - 0.04), (x + 0.05, y + 0.035), (x - 0.04, y + 0.045)]
            cv2.fillPoly(thick, [plane.points(smooth_curve(box))], 255, cv2.LINE_AA, 4)
            lead = [
                (x - 0.03, y - 0.03),
                (m + 0.1, top + 0.05),
                (m - 0.045, top + 0.15),
                (m - 0.03, body.domes[0] - 0.1),
                (m + 0.1, body.domes[1] - 0.03),
            ]
            plane.stroke(thin, smooth_curve(lead, closed=False), 0.0045)
    drawn = np.maximum(thin, thick)
    reach = max(3, round(0.008 * plane.unit) | 1)
    metal = 0.75 * thin.astype(np.float32) / 255 + 0.95 * thick.astype(np.float32) / 255
    return zero, zero, metal, cv2.dilate(drawn, np.ones((reach, reach), np.uint8)) > 127


_MAKERS = {
    "Lung Lesion": _nodules,
    "Consolidation": _consolidation,
    "Lung Opacity": _opacity,
    "Edema": _edema,
    "Atelectasis": _atelectasis,
    "Pneumothorax": _pneumothorax,
    "Pleural Effusion": _effusion,
    "Support Devices": _devices,
}
