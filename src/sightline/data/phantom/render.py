"""From a scene to a film: Beer-Lambert, scatter, photon noise, and the display every viewer is used to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from sightline.core import Array
from sightline.data.phantom.body import Body, Film, build, smooth
from sightline.data.phantom.disease import Change, change
from sightline.data.phantom.scene import OPACITIES, Lesion, Scene
from sightline.data.phantom.texture import clouds
from sightline.data.phantom.tissue import AIR, SOFT, Tissue, healthy

LUNG_DEPTH = 15.0
"""cm of lung behind the middle of each lung field."""
PHOTONS = 20000.0
"""Mean photons per pixel at a width of 512 behind nothing."""


@dataclass(frozen=True)
class Rendered:
    """One film and the footprint of everything on it."""

    image: Array
    """float32 (H, W) in [0, 1]; more = more radio-opaque."""
    masks: dict[str, Array]
    """finding or region -> bool (H, W)."""


def _severity(scene: Scene, finding: str) -> float:
    return max((lesion.severity for lesion in scene.lesions if lesion.finding == finding), default=-1.0)


def _body(scene: Scene) -> Body:
    heart, wide = _severity(scene, "Cardiomegaly"), _severity(scene, "Enlarged Cardiomediastinum")
    return build(scene.anatomy, 1.0 + (0.22 + 0.3 * heart) * (heart >= 0), 1.0 + (0.5 + 0.8 * wide) * (wide >= 0))


def _changes(film: Film, body: Body, tissue: Tissue, scene: Scene) -> list[tuple[Lesion, Change]]:
    local = [lesion for lesion in scene.lesions if lesion.finding not in ("Cardiomegaly", "Enlarged Cardiomediastinum")]
    return [(lesion, change(film, body, tissue.lungs, lesion)) for lesion in local]


@lru_cache(maxsize=4)
def render(scene: Scene, width: int) -> Rendered:
    """The film of a scene whose width, its shorter side, has so many pixels."""
    film, body = Film.of(scene, width), _body(scene)
    tissue = healthy(film, body, scene.anatomy)
    changes = _changes(film, body, tissue, scene)
    attenuation = _attenuation(film, tissue, scene, [c for _, c in changes])
    image = _display(film, _expose(film, attenuation, scene), scene)
    masks = _masks(film, body, tissue, scene, changes)
    return Rendered(_annotate(film, image, scene, masks), masks)


def _attenuation(film: Film, tissue: Tissue, scene: Scene, changes: list[Change]) -> Array:
    """Line integrals float32 (H, W)."""
    depth = np.maximum(*tissue.lungs)
    room = 1 - 0.62 * film.blur(tissue.heart, 0.003) - 0.75 * film.blur(np.clip(tissue.mediastinum, 0, 1), 0.003)
    air = LUNG_DEPTH * depth * np.clip(room, 0.08, 1) * (1 + 0.02 * clouds((*scene.anatomy.key, 9), film.size, 0.03, 3))
    vessels = tissue.vessels * (depth > 0)
    added = np.zeros(film.size, np.float32)
    for c in changes:
        vessels = vessels * (1 - c.deflated)
        gained = np.minimum(SOFT * c.water, 1.15 * AIR * air)  # fluid takes the place of air and bulges a little
        air -= np.clip(gained, 0, None) / AIR
        added += np.clip(gained, None, 0) + c.metal
    total: Array = tissue.solid - AIR * air + vessels + added
    return total


def _expose(film: Film, attenuation: Array, scene: Scene) -> Array:
    """What the detector reads, as the negative logarithm of the exposure: scatter and photon noise included."""
    primary = np.exp(-np.clip(attenuation, 0, 12))
    scatter = 0.30 + 0.15 * scene.anatomy.portable
    reading = (1 - scatter) * primary + scatter * film.blur(primary, 0.05)
    photons = PHOTONS * (512 / film.unit) ** 2 * 60  # a coarser pixel gathers more
    noise = np.random.default_rng(scene.noise).standard_normal(film.size, np.float32)
    density: Array = -np.log(np.maximum(reading + noise * np.sqrt(reading / photons), 1e-6)).astype(np.float32)
    return density


def _processed(film: Film, density: Array, portable: bool) -> Array:
    """Multi-frequency processing: large differences are damped, fine structure is lifted."""
    soft = film.blur(density, 0.0012 + 0.001 * portable)
    broad, middle = film.blur(soft, 0.14), film.blur(soft, 0.02)
    shown: Array = 0.55 * broad + (middle - broad) + 1.9 * (soft - middle)
    return shown


@lru_cache(maxsize=64)
def _window(healthy_scene: Scene) -> tuple[float, float]:
    """Densities shown as black and white, from a small film of the same patient without findings: a finding changes
    the film where it lies and nowhere else, at every resolution."""
    film, body = Film.of(healthy_scene, 96), build(healthy_scene.anatomy)
    attenuation = _attenuation(film, healthy(film, body, healthy_scene.anatomy), healthy_scene, [])
    shown = _processed(film, _expose(film, attenuation, healthy_scene), healthy_scene.anatomy.portable)
    height, width = film.size
    low, high = np.quantile(
        shown[height // 10 : height - height // 8, width // 12 : width - width // 12], [0.015, 0.985]
    )
    return float(low), float(high)


def _display(film: Film, density: Array, scene: Scene) -> Array:
    """Processing and a tone curve, as digital radiography shows a chest."""
    shown = _processed(film, density, scene.anatomy.portable)
    low, high = _window(replace(scene, lesions=(), artifact=""))
    rng = np.random.default_rng((*scene.noise, 1))
    tone = np.clip((shown - low) / (high - low) * rng.uniform(0.78, 0.92) + rng.uniform(0.05, 0.13), 0, 1.02)
    toned: Array = np.clip(tone ** rng.uniform(0.85, 1.2), 0, 1).astype(np.float32)
    return toned


def _masks(
    film: Film, body: Body, tissue: Tissue, scene: Scene, changes: list[tuple[Lesion, Change]]
) -> dict[str, Array]:
    masks: dict[str, Array] = {}
    for lesion, c in changes:
        masks[lesion.finding] = c.mask | masks[lesion.finding] if lesion.finding in masks else c.mask
    heart, central = tissue.heart > 0.5, tissue.mediastinum > 0.5
    if "Cardiomegaly" in scene.findings:
        masks["Cardiomegaly"] = heart
    if "Enlarged Cardiomediastinum" in scene.findings:
        masks["Enlarged Cardiomediastinum"] = heart | central
    opacities = [masks[f] for f in sorted(OPACITIES | {"Lung Opacity"}) if f in masks]
    if opacities:
        masks["Lung Opacity"] = np.logical_or.reduce(opacities)
    right, left = (film.fill(outline) > 0.5 for outline in body.lungs)
    solid = heart | central
    knob = np.zeros(film.size, np.uint8)
    cv2.circle(
        knob,
        tuple(int(v) for v in film.points(np.array([body.knob[:2]]))[0] // 16),
        max(1, round(body.knob[2] * film.unit)),
        1,
        -1,
    )
    regions = {
        "Right Lung": right & ~solid,
        "Left Lung": left & ~solid,
        "Mediastinum": solid,
        "Heart": heart,
        "Aortic Knob": knob > 0,
    }
    return {**masks, **regions}


def _annotate(film: Film, image: Array, scene: Scene, masks: dict[str, Array]) -> Array:
    """The side marker every film has, and the shortcut if the scene has one; both lie far from any finding."""
    rng = np.random.default_rng((*scene.noise, 2))
    drawn = np.zeros(film.size, np.uint8)
    _text(film, drawn, "R", (0.035, 0.10 + 0.05 * rng.random()), 0.0016)
    if scene.artifact:
        extra = np.zeros(film.size, np.uint8)
        if scene.artifact == "marker":
            _text(film, extra, "L", (0.90, 0.09), 0.0026)
        elif scene.artifact == "text":
            _text(film, extra, "PORTABLE", (0.70, film.size[0] / film.unit - 0.03), 0.0013)
        else:
            start = film.size[0] / film.unit
            film.stroke(
                extra,
                smooth(
                    [(0.99, start - 0.28), (0.93, start - 0.2), (0.9, start - 0.05), (0.96, start + 0.02)], closed=False
                ),
                0.012,
            )
        masks["Shortcut"] = cv2.dilate(extra, np.ones((3, 3), np.uint8)) > 127
        drawn = np.maximum(drawn, extra)
    ink = film.blur(drawn.astype(np.float32) / 255, 0.0008)
    inked: Array = np.clip(image * (1 - ink) + 0.97 * ink, 0, 1)
    return inked


def _text(film: Film, canvas: Array, text: str, at: tuple[float, float], scale: float) -> None:
    place = (round(at[0] * film.unit), round(at[1] * film.unit))
    weight = max(1, round(0.006 * film.unit * scale / 0.0016))
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale * film.unit, 255, weight, cv2.LINE_AA)
