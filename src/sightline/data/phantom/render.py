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
from sightline.data.phantom.tissue import AIR, SOFT, Organs, healthy

LUNG_DEPTH = 15.0
"""cm of lung behind the middle of each lung field."""
PHOTONS = 20000.0
"""Mean photons per pixel at a width of 512 behind nothing."""


@dataclass(frozen=True)
class Posed:
    """A patient before the detector: where everything lies on the film, before any X-ray."""

    film: Film
    body: Body
    organs: Organs
    changes: tuple[tuple[Lesion, Change], ...]
    """Of each finding but those of the heart and mediastinum, which are changes of the body."""


@lru_cache(maxsize=8)
def pose(scene: Scene, width: int) -> Posed:
    """The patient of a scene on a film whose width, its shorter side, has so many pixels."""
    film, body = Film.of(scene, width), _body(scene)
    organs = Organs.of(film, body)
    local = [lesion for lesion in scene.lesions if lesion.finding not in ("Cardiomegaly", "Enlarged Cardiomediastinum")]
    return Posed(film, body, organs, tuple((lesion, change(film, body, organs.lungs, lesion)) for lesion in local))


@lru_cache(maxsize=4)
def image(scene: Scene, width: int) -> Array:
    """The film itself: float32 (H, W) in [0, 1]; more = more radio-opaque."""
    posed = pose(scene, width)
    density = _expose(posed.film, _attenuation(posed, scene), scene)
    return _annotate(posed.film, _display(posed.film, density, scene), scene)


@lru_cache(maxsize=8)
def masks(scene: Scene, width: int) -> dict[str, Array]:
    """The footprint of everything on a film, without exposing it: finding, region or 'Shortcut' -> bool (H, W)."""
    posed = pose(scene, width)
    found: dict[str, Array] = {}
    for lesion, c in posed.changes:
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
        found["Shortcut"] = cv2.dilate(_shortcut(posed.film, scene), np.ones((3, 3), np.uint8)) > 127
    return {**found, **_regions(posed.film, posed.body, heart, central)}


def _severity(scene: Scene, finding: str) -> float:
    return max((lesion.severity for lesion in scene.lesions if lesion.finding == finding), default=-1.0)


def _body(scene: Scene) -> Body:
    heart, wide = _severity(scene, "Cardiomegaly"), _severity(scene, "Enlarged Cardiomediastinum")
    return build(scene.anatomy, 1.0 + (0.22 + 0.3 * heart) * (heart >= 0), 1.0 + (0.5 + 0.8 * wide) * (wide >= 0))


def _attenuation(posed: Posed, scene: Scene) -> Array:
    """Line integrals float32 (H, W)."""
    film, organs = posed.film, posed.organs
    tissue = healthy(film, posed.body, organs, scene.anatomy)
    depth = np.maximum(*organs.lungs)
    room = 1 - 0.62 * film.blur(organs.heart, 0.003) - 0.75 * film.blur(np.clip(organs.mediastinum, 0, 1), 0.003)
    air = LUNG_DEPTH * depth * np.clip(room, 0.08, 1) * (1 + 0.02 * clouds((*scene.anatomy.key, 9), film.size, 0.03, 3))
    vessels = tissue.vessels * (depth > 0)
    added = np.zeros(film.size, np.float32)
    for _, c in posed.changes:
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
    posed = pose(healthy_scene, 96)
    film, attenuation = posed.film, _attenuation(posed, healthy_scene)
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


def _regions(film: Film, body: Body, heart: Array, central: Array) -> dict[str, Array]:
    right, left = (film.fill(outline) > 0.5 for outline in body.lungs)
    solid = heart | central
    knob = np.zeros(film.size, np.uint8)
    at = tuple(int(v) for v in film.points(np.array([body.knob[:2]]))[0] // 16)
    cv2.circle(knob, at, max(1, round(body.knob[2] * film.unit)), 1, -1)
    return {"Right Lung": right & ~solid, "Left Lung": left & ~solid, "Mediastinum": solid, "Heart": heart,
            "Aortic Knob": knob > 0}  # fmt: skip


def _annotate(film: Film, image: Array, scene: Scene) -> Array:
    """The side marker every film has, and the shortcut if the scene has one; both lie far from any finding."""
    rng = np.random.default_rng((*scene.noise, 2))
    drawn = np.zeros(film.size, np.uint8)
    _text(film, drawn, "R", (0.035, 0.10 + 0.05 * rng.random()), 0.0016)
    if scene.artifact:
        drawn = np.maximum(drawn, _shortcut(film, scene))
    ink = film.blur(drawn.astype(np.float32) / 255, 0.0008)
    inked: Array = np.clip(image * (1 - ink) + 0.97 * ink, 0, 1)
    return inked


def _shortcut(film: Film, scene: Scene) -> Array:
    """The artifact of a scene as ink, uint8 (H, W)."""
    ink, bottom = np.zeros(film.size, np.uint8), film.size[0] / film.unit
    if scene.artifact == "marker":
        _text(film, ink, "L", (0.90, 0.09), 0.0026)
    elif scene.artifact == "text":
        _text(film, ink, "PORTABLE", (0.70, bottom - 0.03), 0.0013)
    else:
        drain = [(0.99, bottom - 0.28), (0.93, bottom - 0.2), (0.9, bottom - 0.05), (0.96, bottom + 0.02)]
        film.stroke(ink, smooth(drain, closed=False), 0.012)
    return ink


def _text(film: Film, canvas: Array, text: str, at: tuple[float, float], scale: float) -> None:
    place = (round(at[0] * film.unit), round(at[1] * film.unit))
    weight = max(1, round(0.006 * film.unit * scale / 0.0016))
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale * film.unit, 255, weight, cv2.LINE_AA)
