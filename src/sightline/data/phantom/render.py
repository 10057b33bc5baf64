"""Rendering of a scene: Beer-Lambert law, scatter, photon noise, and the processing of digital radiography."""

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
"""Depth in cm of the lung behind the center of each lung field."""
PHOTONS = 20000.0
"""Mean photons per pixel at a width of 512 without attenuation."""


@dataclass(frozen=True)
class PosedPatient:
    """Patient positioned at the detector: the location of everything in the image, without its pixels."""

    plane: ImagePlane
    body: Body
    organs: Organs
    effects: tuple[tuple[Lesion, LesionEffect], ...]
    """Findings with their effects, but those of the heart and mediastinum, which are changes of the body."""


@lru_cache(maxsize=8)
def pose(scene: Scene, width: int) -> PosedPatient:
    """Position the patient of a scene at the detector.

    Parameters
    ----------
    scene : Scene
        The scene.
    width : int
        Pixels of the width of the image, its shorter side.

    Returns
    -------
    PosedPatient
        Body, organs and effects of the findings.
    """
    plane, body = ImagePlane.from_scene(scene, width), _build_body(scene)
    organs = Organs.from_body(plane, body)
    local = [lesion for lesion in scene.lesions if lesion.finding not in ("Cardiomegaly", "Enlarged Cardiomediastinum")]
    effects = tuple((lesion, lesion_effect(plane, body, organs.lungs, lesion)) for lesion in local)
    return PosedPatient(plane, body, organs, effects)


@lru_cache(maxsize=4)
def render_image(scene: Scene, width: int) -> Array:
    """Render the image of a scene.

    Parameters
    ----------
    scene : Scene
        The scene.
    width : int
        Pixels of the width of the image, its shorter side.

    Returns
    -------
    (H, W) float32
        Image in [0, 1]; higher is more radio-opaque.
    """
    posed = pose(scene, width)
    density = _expose(posed.plane, _attenuation(posed, scene), scene)
    return _draw_markers(posed.plane, _display(posed.plane, density, scene), scene)


@lru_cache(maxsize=8)
def render_masks(scene: Scene, width: int) -> dict[str, Array]:
    """Draw the masks of findings, regions and the artifact of a scene, without rendering its image.

    Parameters
    ----------
    scene : Scene
        The scene.
    width : int
        Pixels of the width of the image, its shorter side.

    Returns
    -------
    dict of str to (H, W) bool
        Finding, region or 'Shortcut' -> mask.
    """
    posed = pose(scene, width)
    masks: dict[str, Array] = {}
    for lesion, c in posed.effects:
        masks[lesion.finding] = c.mask | masks[lesion.finding] if lesion.finding in masks else c.mask
    heart, central = posed.organs.heart > 0.5, posed.organs.mediastinum > 0.5
    if "Cardiomegaly" in scene.findings:
        masks["Cardiomegaly"] = heart
    if "Enlarged Cardiomediastinum" in scene.findings:
        masks["Enlarged Cardiomediastinum"] = heart | central
    opacities = [masks[f] for f in sorted(OPACITIES | {"Lung Opacity"}) if f in masks]
    if opacities:
        masks["Lung Opacity"] = np.logical_or.reduce(opacities)
    if scene.artifact:
        masks["Shortcut"] = cv2.dilate(_draw_shortcut(posed.plane, scene), np.ones((3, 3), np.uint8)) > 127
    return {**masks, **_region_masks(posed.plane, posed.body, heart, central)}


def _severity(scene: Scene, finding: str) -> float:
    return max((lesion.severity for lesion in scene.lesions if lesion.finding == finding), default=-1.0)


def _build_body(scene: Scene) -> Body:
    heart, wide = _severity(scene, "Cardiomegaly"), _severity(scene, "Enlarged Cardiomediastinum")
    return build_body(scene.anatomy, 1.0 + (0.22 + 0.3 * heart) * (heart >= 0), 1.0 + (0.5 + 0.8 * wide) * (wide >= 0))


def _attenuation(posed: PosedPatient, scene: Scene) -> Array:
    """Compute line integrals of the attenuation, float32 (H, W)."""
    plane, organs = posed.plane, posed.organs
    tissue = healthy_tissue(plane, posed.body, organs, scene.anatomy)
    depth = np.maximum(*organs.lungs)
    room = 1 - 0.62 * plane.blur(organs.heart, 0.003) - 0.75 * plane.blur(np.clip(organs.mediastinum, 0, 1), 0.003)
    air = (
        LUNG_DEPTH
        * depth
        * np.clip(room, 0.08, 1)
        * (1 + 0.02 * fractal_noise((*scene.anatomy.key, 9), plane.size, 0.03, 3))
    )
    vessels = tissue.vessels * (depth > 0)
    added = np.zeros(plane.size, np.float32)
    for _, c in posed.effects:
        vessels = vessels * (1 - c.deflated)
        gained = np.minimum(SOFT_TISSUE * c.water, 1.15 * AIR * air)  # fluid takes the place of air and bulges a little
        air -= np.clip(gained, 0, None) / AIR
        added += np.clip(gained, None, 0) + c.metal
    total: Array = tissue.solid - AIR * air + vessels + added
    return total


def _expose(plane: ImagePlane, attenuation: Array, scene: Scene) -> Array:
    """Compute the negative logarithm of the exposure of the detector, with scatter and photon noise."""
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
    enhanced: Array = 0.55 * broad + (middle - broad) + 1.9 * (soft - middle)
    return enhanced


@lru_cache(maxsize=64)
def _display_window(healthy_scene: Scene) -> tuple[float, float]:
    """Return the densities of black and white.

    They come from a small image of the patient without findings, so that a finding changes the image where it lies
    and nowhere else, at every resolution.
    """
    posed = pose(healthy_scene, 96)
    plane, attenuation = posed.plane, _attenuation(posed, healthy_scene)
    enhanced = _enhance(plane, _expose(plane, attenuation, healthy_scene), healthy_scene.anatomy.portable)
    height, width = plane.size
    low, high = np.quantile(
        enhanced[height // 10 : height - height // 8, width // 12 : width - width // 12], [0.015, 0.985]
    )
    return float(low), float(high)


def _display(plane: ImagePlane, density: Array, scene: Scene) -> Array:
    """Apply the processing and the tone curve of digital radiography of the chest."""
    enhanced = _enhance(plane, density, scene.anatomy.portable)
    low, high = _display_window(replace(scene, lesions=(), artifact=""))
    rng = np.random.default_rng((*scene.noise_key, 1))
    tone = np.clip((enhanced - low) / (high - low) * rng.uniform(0.78, 0.92) + rng.uniform(0.05, 0.13), 0, 1.02)
    toned: Array = np.clip(tone ** rng.uniform(0.85, 1.2), 0, 1).astype(np.float32)
    return toned


def _region_masks(plane: ImagePlane, body: Body, heart: Array, central: Array) -> dict[str, Array]:
    right, left = (plane.fill(outline) > 0.5 for outline in body.lungs)
    solid = heart | central
    knob = np.zeros(plane.size, np.uint8)
    center = tuple(int(v) for v in plane.points(np.array([body.aortic_knob[:2]]))[0] // 16)
    cv2.circle(knob, center, max(1, round(body.aortic_knob[2] * plane.unit)), 1, -1)
    return {
        "Right Lung": right & ~solid,
        "Left Lung": left & ~solid,
        "Mediastinum": solid,
        "Heart": heart,
        "Aortic Knob": knob > 0,
    }


def _draw_markers(plane: ImagePlane, image: Array, scene: Scene) -> Array:
    """Draw the side marker that every radiograph has, and the artifact of the scene; both lie far from any finding."""
    rng = np.random.default_rng((*scene.noise_key, 2))
    drawn = np.zeros(plane.size, np.uint8)
    _draw_text(plane, drawn, "R", (0.035, 0.10 + 0.05 * rng.random()), 0.0016)
    if scene.artifact:
        drawn = np.maximum(drawn, _draw_shortcut(plane, scene))
    ink = plane.blur(drawn.astype(np.float32) / 255, 0.0008)
    inked: Array = np.clip(image * (1 - ink) + 0.97 * ink, 0, 1)
    return inked


def _draw_shortcut(plane: ImagePlane, scene: Scene) -> Array:
    """Draw the artifact of a scene, uint8 (H, W)."""
    ink, bottom = np.zeros(plane.size, np.uint8), plane.size[0] / plane.unit
    if scene.artifact == "marker":
        _draw_text(plane, ink, "L", (0.90, 0.09), 0.0026)
    elif scene.artifact == "text":
        _draw_text(plane, ink, "PORTABLE", (0.70, bottom - 0.03), 0.0013)
    else:
        drain = [(0.99, bottom - 0.28), (0.93, bottom - 0.2), (0.9, bottom - 0.05), (0.96, bottom + 0.02)]
        plane.stroke(ink, smooth_curve(drain, closed=False), 0.012)
    return ink


def _draw_text(plane: ImagePlane, canvas: Array, text: str, position: tuple[float, float], scale: float) -> None:
    origin = (round(position[0] * plane.unit), round(position[1] * plane.unit))
    weight = max(1, round(0.006 * plane.unit * scale / 0.0016))
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale * plane.unit, 255, weight, cv2.LINE_AA)
