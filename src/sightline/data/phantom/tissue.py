"""The healthy body as attenuation: what each tissue adds to the line integral behind each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sightline.core import Array
from sightline.data.phantom.body import Body, Film, smooth
from sightline.data.phantom.scene import Anatomy

SOFT, BONE, AIR = 0.2, 0.48, 0.155
"""Linear attenuation per cm at a chest X-ray's effective energy: water, bone with marrow, and what inflated lung
lacks against water (NIST attenuation tables at 60 to 70 keV, rounded)."""


@dataclass(frozen=True)
class Organs:
    """Where lungs, heart and mediastinum lie on a film."""

    lungs: tuple[Array, Array]
    """Share of lung depth behind each pixel, float32 (H, W) in [0, 1], right and left, before heart and mediastinum
    take their room."""
    heart: Array
    mediastinum: Array
    """Masks, float32 (H, W) in [0, 1]."""

    @classmethod
    def of(cls, film: Film, body: Body) -> Organs:
        right, left = (film.round_off(film.fill(outline), 0.12) for outline in body.lungs)
        return cls((right, left), film.fill(body.heart), film.fill(body.mediastinum))


@dataclass(frozen=True)
class Tissue:
    """Line integrals of attenuation, float32 (H, W)."""

    solid: Array
    """Everything but air-filled lung: body wall, bones, heart, great vessels."""
    vessels: Array
    """Vessels and bronchi inside the lungs, as attenuation to add."""


def healthy(film: Film, body: Body, organs: Organs, a: Anatomy) -> Tissue:
    """The attenuation of a patient without findings."""
    rng = np.random.default_rng((*a.key, 1))
    solid = _wall(film, body, a) + _bones(film, body, a, rng)
    center = 6.0 * film.blur(film.round_off(organs.mediastinum, 0.05), 0.006)
    solid += SOFT * film.blur(np.maximum(7.0 * film.round_off(organs.heart, 0.16), center), 0.004)
    solid += SOFT * 1.2 * _disk(film, body.knob[:2], body.knob[2]) - SOFT * 1.1 * _trachea(film, body)
    solid += SOFT * _below(film, body, a)
    return Tissue(solid, SOFT * _vessels(film, body, a, rng))


def _grid(film: Film) -> tuple[Array, Array]:
    """x and y of pixel centers in widths, turned with the patient: float32 (H, W) each."""
    rows, cols = np.mgrid[: film.size[0], : film.size[1]].astype(np.float32)
    half = film.size[0] / film.unit / 2
    x = ((cols + 0.5) / film.unit - 0.5 - np.float32(film.shift[0])) / np.float32(film.zoom)
    y = ((rows + 0.5) / film.unit - half - np.float32(film.shift[1])) / np.float32(film.zoom)
    c, s = np.float32(np.cos(film.tilt)), np.float32(np.sin(film.tilt))
    return c * x + s * y + 0.5, -s * x + c * y + np.float32(half)


def _wall(film: Film, body: Body, a: Anatomy) -> Array:
    """Soft tissue in front of and behind the lungs: chest wall, shoulders, arms, breasts; air beside the body."""
    x, y = _grid(film)
    m, top, low = body.middle, body.top, body.domes[0]
    down = np.clip((y - top + 0.06) / (low - top), -0.5, 2)
    half = body.half + 0.055 + 0.05 * a.habitus + 0.02 * np.clip(down, 0, 1)  # the body's side below the armpits
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
    return film.blur((SOFT * depth).astype(np.float32), 0.006)


def _bones(film: Film, body: Body, a: Anatomy, rng: np.random.Generator) -> Array:
    """Ribs behind and in front, clavicles, shoulder blades, spine: shells denser than their marrow."""
    back, front, rest = (np.zeros(film.size, np.uint8) for _ in range(3))
    pitch = (body.domes[0] - body.top) / 8.4
    for sign in (-1, 1):
        for rib in range(10):
            wobble = rng.normal(0, 0.004, 3)
            _tube(film, back, _back_rib(body, sign, rib, pitch, wobble), 0.021 + 0.002 * rng.random())
        for rib in range(1, 7):
            _tube(film, front, _front_rib(body, sign, rib, pitch, rng.normal(0, 0.004, 3)), 0.019, 0.6)
        y = body.top + 0.035 + 0.01 * sign * a.asymmetry
        m = body.middle
        clavicle = [
            (m + sign * 0.03, y + 0.035),
            (m + sign * 0.1, y + 0.02),
            (m + sign * 0.22, y - 0.025),
            (m + sign * 0.4, y - 0.045),
        ]
        _tube(film, rest, smooth(clavicle, closed=False), 0.03)
        blade = [
            (m + sign * 0.33, y + 0.02),
            (m + sign * 0.30, y + 0.2),
            (m + sign * 0.34, y + 0.33),
            (m + sign * 0.42, y + 0.12),
        ]
        cv2.polylines(rest, [film.points(smooth(blade))], True, 90, max(1, round(0.008 * film.unit)), cv2.LINE_AA, 4)
        head = [
            (m + sign * 0.43, y - 0.03),
            (m + sign * 0.5, y + 0.0),
            (m + sign * 0.5, y + 0.3),
            (m + sign * 0.445, y + 0.3),
        ]
        cv2.fillPoly(rest, [film.points(smooth(head))], 200, cv2.LINE_AA, 4)
    shadow = sum(
        (film.blur(c.astype(np.float32) / 255, 0.0018) * t for c, t in ((back, 1.15), (front, 0.75), (rest, 1.2)))
    )
    return (BONE - SOFT) * (shadow + _spine(film, body)).astype(np.float32)


def _tube(film: Film, canvas: Array, xy: Array, width: float, share: float = 1.0) -> None:
    """A bone: cortex at the rim, less in the middle."""
    film.stroke(canvas, xy, width, round(255 * share))
    if width * film.unit > 4:
        film.stroke(canvas, xy, width * 0.62, round(165 * share))


def _back_rib(body: Body, sign: int, rib: int, pitch: float, wobble: Array) -> Array:
    """From the spine outward and down, over the lateral wall."""
    y = body.top + 0.012 + rib * pitch * 0.93
    reach = body.half * min(1.02, 0.5 + 0.2 * rib) + 0.01
    m = body.middle
    return smooth(
        [
            (m + sign * 0.04, y + 0.01), (m + sign * 0.30 * reach, y - 0.012 + wobble[0]),
            (m + sign * 0.62 * reach, y + 0.022 + wobble[1]), (m + sign * 0.9 * reach, y + 0.085 + wobble[2]),
            (m + sign * 1.02 * reach, y + 0.15),
        ],
        closed=False,
    )  # fmt: skip


def _front_rib(body: Body, sign: int, rib: int, pitch: float, wobble: Array) -> Array:
    """From the lateral wall inward and down, ending where cartilage begins."""
    y = body.top + 0.06 + rib * pitch * 1.02
    reach = body.half * min(1.0, 0.62 + 0.16 * rib)
    m = body.middle
    return smooth(
        [
            (m + sign * 1.0 * reach, y - 0.02), (m + sign * 0.86 * reach, y + 0.045 + wobble[0]),
            (m + sign * 0.62 * reach, y + 0.095 + wobble[1]),
            (m + sign * (0.36 - 0.01 * rib) * reach, y + 0.115 + wobble[2]),
        ],
        closed=False,
    )  # fmt: skip


def _spine(film: Film, body: Body) -> Array:
    """Vertebral bodies with dense end plates, faint through the mediastinum."""
    canvas = np.zeros(film.size, np.uint8)
    bottom = film.size[0] / film.unit + 0.05
    step = 0.046
    for y in np.arange(-0.05, bottom, step):
        box = [
            (body.middle - 0.033, y),
            (body.middle + 0.033, y),
            (body.middle + 0.03, y + step * 0.8),
            (body.middle - 0.03, y + step * 0.8),
        ]
        cv2.fillPoly(canvas, [film.points(smooth(box))], 150, cv2.LINE_AA, 4)
        cv2.polylines(canvas, [film.points(smooth(box))], True, 220, max(1, round(0.006 * film.unit)), cv2.LINE_AA, 4)
    return 1.0 * film.blur(canvas.astype(np.float32) / 255, 0.003)


def _disk(film: Film, center: tuple[float, float], radius: float) -> Array:
    x, y = _grid(film)
    r2 = ((x - center[0]) ** 2 + (y - center[1]) ** 2) / radius**2
    return np.sqrt(np.clip(1 - r2, 0, 1)).astype(np.float32) * 2


def _trachea(film: Film, body: Body) -> Array:
    """Windpipe and main bronchi: air in the mediastinum."""
    canvas = np.zeros(film.size, np.uint8)
    split = (body.middle + 0.004, body.hila[0][1] - 0.075)
    film.stroke(canvas, np.array([(body.middle, -0.05), (body.middle + 0.004, body.top), split]), 0.032)
    for hilum in body.hila:
        film.stroke(canvas, smooth([split, hilum], closed=False), 0.019)
    return 1.7 * film.blur(canvas.astype(np.float32) / 255, 0.004)


def _below(film: Film, body: Body, a: Anatomy) -> Array:
    """Abdomen under the domes, with the stomach's gas bubble, in cm of extra water."""
    x, y = _grid(film)
    dome = np.where(x < body.middle, body.domes[0], body.domes[1])
    depth = np.clip((y - dome + 0.02) / 0.09, 0, 1) * (5.0 + 2.5 * a.habitus)
    depth *= np.clip((body.half + 0.045 - np.abs(x - body.middle)) / 0.04, 0, 1)
    cx, cy = body.middle + 0.17, body.domes[1] + 0.075
    gas = np.clip(1.0 - ((x - cx) / 0.075) ** 2 - ((y - cy) / 0.035) ** 2, 0, 1)
    return film.blur((depth - 6.0 * np.sqrt(gas) * (a.key[-1] % 3 > 0)).astype(np.float32), 0.004)


def _vessels(film: Film, body: Body, a: Anatomy, rng: np.random.Generator) -> Array:
    """Arteries and veins branching outward from the hila, thinner and fainter with every fork, in cm of water."""
    canvas = np.zeros(film.size, np.uint8)
    for sign, hilum in zip((-1, 1), body.hila, strict=True):
        angle = rng.normal(np.linspace(-1.35, 1.45, 9), 0.13)  # (K,) one trunk each
        at = np.tile(hilum, (angle.size, 1))
        width, length = np.full(angle.size, 0.018), rng.uniform(0.08, 0.12, angle.size)
        for _ in range(6):
            end = at + length[:, None] * np.stack([sign * np.cos(angle), np.sin(angle)], 1)  # (K, 2)
            film.strokes(canvas, np.stack([at, end], 1), width)
            turn = rng.uniform(0.1, 0.55, angle.size) * np.array([[-1], [1]])  # two branches each
            at, angle = np.tile(end, (2, 1)), (angle + turn).ravel()
            width = (width * np.array([[0.74], [0.68]]) * rng.uniform(0.85, 1.05, turn.shape)).ravel()
            length = (length * rng.uniform(0.6, 0.95, turn.shape)).ravel()
        film.stroke(canvas, np.array([hilum, (hilum[0] + sign * 0.012, hilum[1] + 0.05)]), 0.03, 230)
    return 1.5 * film.blur(canvas.astype(np.float32) / 255, 0.0018)
