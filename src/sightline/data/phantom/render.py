"""From a scene to a film: Beer-Lambert, scatter, photon noise, and the display every viewer is used to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from sightline.core import Array
from sightline.data.phantom.body import Body, ImagePlane, build_body, smooth_curve
from sightline.data.phantom.disease import LesionEffect, lesion_effect
from sightline.data.phantom.scene import OPACITIES, Lesion, Scene
from sightline.data.phantom.texture import fractal_noise
from sightline.data.phantom.tissue import AIR, SOFT_TISSUE, Organs, healthy_tissue

LUNG_DEPTH = 15.0
"""cm of lung behind the middle of each lung field."""
PHOTONS = 20000.0
"""Mean photons per pixel at a width of 512 behind nothing."""


@dataclass(frozen=True)
class PosedPatient:
    """A patient before the detector: where everything lies on the film, before any X-ray."""

    plane: ImagePlane
    body: Body
    organs: Organs
    effects: tuple[tuple[Lesion, LesionEffect], ...]
    """Of each finding but those of the heart and mediastinum, which are changes of the body."""


@lru_cache(maxsize=8)
def pose(scene: Scene, width: int) -> PosedPatient:
    """The patient of a scene on a film whose width, its shorter side, has so many pixels."""
    film, body = ImagePlane.from_scene(scene, width), _build_body(scene)
    organs = Organs.from_body(film, body)
    local = [lesion for lesion in scene.lesions if lesion.finding not in ("Cardiomegaly", "Enlarged Cardiomediastinum")]
    return PosedPatient(
        film, body, organs, tuple((lesion, lesion_effect(film, body, organs.lungs, lesion)) for lesion in local)
    )


@lru_cache(maxsize=4)
def render_image(scene: Scene, width: int) -> Array:
    """The film itself: float32 (H, W) in [0, 1]; more = more radio-opaque."""
    posed = pose(scene, width)
    density = _expose(posed.plane, _attenuation(posed, scene), scene)
    return _draw_markers(posed.plane, _display(posed.plane, density, scene), scene)


@lru_cache(maxsize=8)
def render_masks(scene: Scene, width: int) -> dict[str, Array]:
    """The footprint of everything on a film, without exposing it: finding, region or 'Shortcut' -> bool (H, W)."""
    posed = pose(scene, width)
    found: dict[str, Array] = {}
    for lesion, c in posed.effects:
        found[lesion.finding] = c.mask | found[lesion.finding] if lesion.finding in found else c.mask
    heart, central = posed.organs.heart > 0.5, posed.organs.mediastinum > 0.5
    if "Cardiomegaly" in scene.findings:
        found["Cardiomegaly"] = heart
    if "Enlarged Cardiomediastinum" in scene.findings:
        found["Enlarged Cardiomediastinum"] = heart | central
    opacities = [found[f] for f in sorted(OPACITIES | {"Lung Opacity"}) if f in found]
    if opacities:
        found["Lung Opacity"] = np.logical_or.reduce(opacities)
    if scene.artifact:
        found["Shortcut"] = cv2.dilate(_draw_shortcut(posed.plane, scene), np.ones((3, 3), np.uint8)) > 127
    return {**found, **_region_masks(posed.plane, posed.body, heart, central)}


def _severity(scene: Scene, finding: str) -> float:
    return max((lesion.severity for lesion in scene.lesions if lesion.finding == finding), default=-1.0)


def _build_body(scene: Scene) -> Body:
    heart, wide = _severity(scene, "Cardiomegaly"), _severity(scene, "Enlarged Cardiomediastinum")
    return build_body(scene.anatomy, 1.0 + (0.22 + 0.3 * heart) * (heart >= 0), 1.0 + (0.5 + 0.8 * wide) * (wide >= 0))


def _attenuation(posed: PosedPatient, scene: Scene) -> Array:
    """Line integrals float32 (H, W)."""
    film, organs = posed.plane, posed.organs
    tissue = healthy_tissue(film, posed.body, organs, scene.anatomy)
    depth = np.maximum(*organs.lungs)
    room = 1 - 0.62 * film.blur(organs.heart, 0.003) - 0.75 * film.blur(np.clip(organs.mediastinum, 0, 1), 0.003)
    air = (
        LUNG_DEPTH
        * depth
        * np.clip(room, 0.08, 1)
        * (1 + 0.02 * fractal_noise((*scene.anatomy.key, 9), film.size, 0.03, 3))
    )
    vessels = tissue.vessels * (depth > 0)
    added = np.zeros(film.size, np.float32)
    for _, c in posed.effects:
        vessels = vessels * (1 - c.deflated)
        gained = np.minimum(SOFT_TISSUE * c.water, 1.15 * AIR * air)  # fluid takes the place of air and bulges a little
        air -= np.clip(gained, 0, None) / AIR
        added += np.clip(gained, None, 0) + c.metal
    total: Array = tissue.solid - AIR * air + vessels + added
    return total


def _expose(plane: ImagePlane, attenuation: Array, scene: Scene) -> Array:
    """What the detector reads, as the negative logarithm of the exposure: scatter and photon noise included."""
    primary = np.exp(-np.clip(attenuation, 0, 12))
    scatter = 0.30 + 0.15 * scene.anatomy.portable
    reading = (1 - scatter) * primary + scatter * plane.blur(primary, 0.05)
    photons = PHOTONS * (512 / plane.unit) ** 2 * 60  # a coarser pixel gathers more
    noise = np.random.default_rng(scene.noise_key).standard_normal(plane.size, np.float32)
    density: Array = -np.log(np.maximum(reading + noise * np.sqrt(reading / photons), 1e-6)).astype(np.float32)
    return density


def _enhance(plane: ImagePlane, density: Array, portable: bool) -> Array:
    """Multi-frequency processing: large differences are damped, fine structure is lifted."""
    soft = plane.blur(density, 0.0012 + 0.001 * portable)
    broad, middle = plane.blur(soft, 0.14), plane.blur(soft, 0.02)
    shown: Array = 0.55 * broad + (middle - broad) + 1.9 * (soft - middle)
    return shown


@lru_cache(maxsize=64)
def _display_window(healthy_scene: Scene) -> tuple[float, float]:
    """Densities shown as black and white, from a small film of the same patient without findings: a finding changes
    the film where it lies and nowhere else, at every resolution."""
    posed = pose(healthy_scene, 96)
    film, attenuation = posed.plane, _attenuation(posed, healthy_scene)
    shown = _enhance(film, _expose(film, attenuation, healthy_scene), healthy_scene.anatomy.portable)
    height, width = film.size
    low, high = np.quantile(
        shown[height // 10 : height - height // 8, width // 12 : width - width // 12], [0.015, 0.985]
    )
    return float(low), float(high)


def _display(plane: ImagePlane, density: Array, scene: Scene) -> Array:
    """Processing and a tone curve, as digital radiography shows a chest."""
    shown = _enhance(plane, density, scene.anatomy.portable)
    low, high = _display_window(replace(scene, lesions=(), artifact=""))
    rng = np.random.default_rng((*scene.noise_key, 1))
    tone = np.clip((shown - low) / (high - low) * rng.uniform(0.78, 0.92) + rng.uniform(0.05, 0.13), 0, 1.02)
    toned: Array = np.clip(tone ** rng.uniform(0.85, 1.2), 0, 1).astype(np.float32)
    return toned


def _region_masks(plane: ImagePlane, body: Body, heart: Array, central: Array) -> dict[str, Array]:
    right, left = (plane.fill(outline) > 0.5 for outline in body.lungs)
    solid = heart | central
    knob = np.zeros(plane.size, np.uint8)
    at = tuple(int(v) for v in plane.points(np.array([body.aortic_knob[:2]]))[0] // 16)
    cv2.circle(knob, at, max(1, round(body.aortic_knob[2] * plane.unit)), 1, -1)
    return {
        "Right Lung": right & ~solid,
        "Left Lung": left & ~solid,
        "Mediastinum": solid,
        "Heart": heart,
        "Aortic Knob": knob > 0,
    }


def _draw_markers(plane: ImagePlane, image: Array, scene: Scene) -> Array:
    """The side marker every film has, and the shortcut if the scene has one; both lie far from any finding."""
    rng = np.random.default_rng((*scene.noise_key, 2))
    drawn = np.zeros(plane.size, np.uint8)
    _draw_text(plane, drawn, "R", (0.035, 0.10 + 0.05 * rng.random()), 0.0016)
    if scene.artifact:
        drawn = np.maximum(drawn, _draw_shortcut(plane, scene))
    ink = plane.blur(drawn.astype(np.float32) / 255, 0.0008)
    inked: Array = np.clip(image * (1 - ink) + 0.97 * ink, 0, 1)
    return inked


def _draw_shortcut(plane: ImagePlane, scene: Scene) -> Array:
    """The artifact of a scene as ink, uint8 (H, W)."""
    ink, bottom = np.zeros(plane.size, np.uint8), plane.size[0] / plane.unit
    if scene.artifact == "marker":
        _draw_text(plane, ink, "L", (0.90, 0.09), 0.0026)
    elif scene.artifact == "text":
        _draw_text(plane, ink, "PORTABLE", (0.70, bottom - 0.03), 0.0013)
    else:
        drain = [(0.99, bottom - 0.28), (0.93, bottom - 0.2), (0.9, bottom - 0.05), (0.96, bottom + 0.02)]
        plane.stroke(ink, smooth_curve(drain, closed=False), 0.012)
    return ink


def _draw_text(plane: ImagePlane, canvas: Array, text: str, at: tuple[float, float], scale: float) -> None:
    place = (round(at[0] * plane.unit), round(at[1] * plane.unit))
    weight = max(1, round(0.006 * plane.unit * scale / 0.0016))
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale * plane.unit, 255, weight, cv2.LINE_AA)
