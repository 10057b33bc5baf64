"""Scenes: everything that determines one radiograph of one patient, drawn from (seed, index) alone.

Geometry is in units of the image's width: x from 0 (the patient's right) to 1, y from 0 (top) to the aspect ratio.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from sightline.findings import CHEXLOCALIZE_FINDINGS

Side = Literal["right", "left"]
PATIENT_BLOCK = 4
"""Of every four radiographs in a row, the first two are visits of one patient; the others each have their own."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Anatomy and position of one patient."""

    female: bool
    aspect: float
    """Height over width of the image, 1 to 1.25."""
    habitus: float
    """0 slender to 1 heavy."""
    tilt: float
    """Rotation in the plane, radians."""
    zoom: float
    """Size of the patient in the image, about 1."""
    shift: tuple[float, float]
    """Distance of the patient from the center of the image, (x, y) in widths."""
    rotation: float
    """Rotation about the long axis: sideways shift of the mediastinum, widths."""
    inspiration: float
    """0 shallow to 1 deep: height of the diaphragm."""
    portable: bool
    """True for AP at the bedside: larger heart, higher diaphragm, softer image."""
    asymmetry: float
    key: tuple[int, ...]
    """Seeds every detail that is drawn later (ribs, vessels)."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """One finding: severity, side, and the seed of its details."""

    finding: str
    severity: float
    """0 barely visible to 1 obvious."""
    side: Side
    key: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """Scene of one radiograph."""

    index: int
    patient: int
    visit: int
    anatomy: Anatomy
    lesions: tuple[Lesion, ...]
    artifact: str = ""
    """Artifact drawn on the image: 'marker', 'text' or 'drain'; empty for none."""
    noise_key: tuple[int, ...] = field(default=())

    @property
    def findings(self) -> frozenset[str]:
        """Findings with their parents (an enlarged heart enlarges the cardiomediastinum)."""
        names = {lesion.finding for lesion in self.lesions}
        names |= {"Enlarged Cardiomediastinum"} if "Cardiomegaly" in names else set()
        return frozenset(names | ({"Lung Opacity"} if names & OPACITIES else set()))

    def without_finding(self, finding: str) -> Scene:
        """Return the same patient, position and noise without a finding, and without the findings below it.

        Parameters
        ----------
        finding : str
            Finding to leave out.

        Returns
        -------
        Scene
            The counterfactual scene.
        """
        removed = {finding} | (OPACITIES if finding == "Lung Opacity" else set())
        removed |= {"Cardiomegaly"} if finding == "Enlarged Cardiomediastinum" else set()
        return replace(self, lesions=tuple(lesion for lesion in self.lesions if lesion.finding not in removed))


OPACITIES = frozenset({"Lung Lesion", "Edema", "Consolidation", "Atelectasis"})
"""Findings that are lung opacities; a scene may also have an opacity that is none of them."""


def draw_age(seed: int, patient: int) -> int:
    """Draw the age of a patient, which nothing in the image depends on.

    Parameters
    ----------
    seed : int
        Seed of the phantom.
    patient : int
        Number of the patient.

    Returns
    -------
    int
        Years, 18 to 95.
    """
    return round(float(np.clip(np.random.default_rng((seed, 13, patient)).normal(58, 17), 18, 95)))


def patient_and_visit(index: int) -> tuple[int, int]:
    """Return the patient and the visit of a radiograph.

    Parameters
    ----------
    index : int
        Index of the radiograph.

    Returns
    -------
    tuple of int
        (patient, visit).

    Examples
    --------
    >>> [patient_and_visit(i) for i in range(5)]
    [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)]
    """
    block, position = divmod(index, PATIENT_BLOCK)
    return (3 * block, position) if position < 2 else (3 * block + position - 1, 0)


def make_scene(seed: int, index: int) -> Scene:
    """Draw the scene of a radiograph, which the seed and the index determine.

    Parameters
    ----------
    seed : int
        Seed of the data set.
    index : int
        Index of the radiograph.

    Returns
    -------
    Scene
        The scene.
    """
    patient, visit = patient_and_visit(index)
    anatomy = _draw_anatomy(np.random.default_rng((seed, 1, patient)), (seed, 2, patient), visit)
    return Scene(index, patient, visit, anatomy, _draw_lesions(seed, patient, visit), noise_key=(seed, 4, index))


def _draw_anatomy(rng: np.random.Generator, key: tuple[int, ...], visit: int) -> Anatomy:
    body = Anatomy(
        female=bool(rng.random() < 0.45),
        aspect=float(rng.uniform(1.0, 1.25)),
        habitus=float(rng.beta(2, 2.5)),
        tilt=float(rng.normal(0, 0.025)),
        zoom=float(rng.uniform(0.86, 1.16)),
        shift=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.035))),
        rotation=float(rng.normal(0, 0.01)),
        inspiration=float(rng.beta(3, 2)),
        portable=bool(rng.random() < 0.35),
        asymmetry=float(rng.normal(0, 1)),
        key=key,
    )
    if visit:  # the same body, positioned and breathing otherwise
        return replace(
            body,
            tilt=float(rng.normal(0, 0.03)),
            zoom=float(body.zoom * rng.uniform(0.95, 1.05)),
            shift=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.035))),
            rotation=float(rng.normal(0, 0.01)),
            inspiration=float(rng.beta(3, 2)),
        )
    return body


def _draw_lesions(seed: int, patient: int, visit: int) -> tuple[Lesion, ...]:
    """Draw findings that occur together: heart failure comes with cardiomegaly, edema and effusions."""
    rng = np.random.default_rng((seed, 3, patient, visit))
    failure, infection, bedridden = rng.random(3) < (0.15, 0.2, 0.25)
    chance = {
        "Cardiomegaly": 0.6 if failure else 0.16,
        "Edema": 0.6 if failure else 0.1,
        "Pleural Effusion": 0.5 if failure else (0.3 if infection else 0.18),
        "Consolidation": 0.5 if infection else 0.12,
        "Lung Opacity": 0.25 if infection else 0.08,
        "Atelectasis": 0.35 if bedridden else 0.15,
        "Support Devices": 0.6 if bedridden else 0.18,
        "Pneumothorax": 0.22 if bedridden else 0.15,
        "Lung Lesion": 0.2,
        "Enlarged Cardiomediastinum": 0.12,
    }
    lesions = []
    for number, finding in enumerate(CHEXLOCALIZE_FINDINGS):
        present, severity, side = rng.random() < chance[finding], rng.beta(2.2, 1.2), rng.random()
        if present:
            lesions.append(
                Lesion(finding, float(severity), "right" if side < 0.5 else "left", (seed, 5, patient, visit, number))
            )
    return tuple(lesions)
