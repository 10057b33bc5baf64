"""Simulated gaze: a search of the film, dwelling on what is found. Never to be taken for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from sightline.core import Array
from sightline.data.gaze import Gaze, Phrase

SEARCH_PATH = (
    ("Right Lung", 0.2),
    ("Right Lung", 0.5),
    ("Right Lung", 0.85),
    ("Mediastinum", 0.5),
    ("Heart", 0.5),
    ("Left Lung", 0.85),
    ("Left Lung", 0.5),
    ("Left Lung", 0.2),
    ("Aortic Knob", 0.5),
)
"""Places of the search: a region, and how far down it."""
IMAGE_WIDTH_DEGREES = 20.0
"""Degrees of visual angle that the width of a film takes."""
REFERENCE_WIDTH = 2544
"""Pixels of the width that a film stands for, as those of Eye-Gaze-CXR mostly have."""


@dataclass(frozen=True, slots=True)
class GazeSimulator:
    """How a simulated reader looks."""

    jitter: float = 0.03
    """Standard deviation of a fixation around what it is meant for, in widths of the film."""
    center_bias: float = 0.1
    """How far every fixation is drawn to the middle of the film, as a share of its distance."""
    dwell: int = 5
    """Mean number of fixations on a finding."""
    miss_rate: float = 0.05
    """Chance of not dwelling on a finding, nor speaking of it."""
    lag: float = 0.8
    """Seconds from first looking at a finding to naming it."""


DEFAULT_SIMULATOR = GazeSimulator()


def simulate_gaze(
    masks: Mapping[str, Array],
    findings: tuple[str, ...],
    key: tuple[int, ...],
    radiograph: str,
    reader: str,
    simulator: GazeSimulator = DEFAULT_SIMULATOR,
) -> Gaze:
    """One reading of a film whose regions and findings lie in `masks`; the same key gives the same reading."""
    rng = np.random.default_rng(key)
    size = next(iter(masks.values())).shape
    meant = [_region_point(masks[name], down) for name, down in SEARCH_PATH if masks[name].any()]
    stops: list[tuple[Array, str]] = [(place, "") for place in meant]
    for finding in findings:
        if finding not in masks or not masks[finding].any() or rng.random() < simulator.miss_rate:
            continue
        near = 1 + min(range(len(meant)), key=lambda i: float(np.hypot(*(meant[i] - _deepest_point(masks[finding])))))
        at = rng.integers(near, near + 2)  # found while its surroundings are searched
        for _ in range(1 + rng.poisson(simulator.dwell - 1)):
            stops.insert(min(int(at), len(stops)), (_random_point(masks[finding], rng), finding))
    return _make_gaze(stops, rng, (int(size[0]), int(size[1])), radiograph, reader, simulator)


def _make_gaze(
    stops: list[tuple[Array, str]],
    rng: np.random.Generator,
    size: tuple[int, int],
    radiograph: str,
    reader: str,
    simulator: GazeSimulator,
) -> Gaze:
    """Fixations one after the other, and what is said of the findings among them."""
    middle = np.array(size) / 2
    places, begin, duration, clock, spoken = [], [], [], 0.0, 0.0
    phrases: dict[str, Phrase] = {}
    for place, finding in stops:
        shaken = place + rng.normal(0, simulator.jitter * size[1], 2)
        places.append(np.clip(shaken + simulator.center_bias * (middle - shaken), 0, np.array(size) - 1e-3))
        length = float(np.clip(rng.lognormal(np.log(0.45 if finding else 0.22), 0.4), 0.08, 1.5))
        begin.append(clock)
        duration.append(length)
        if finding and finding not in phrases:
            start = max(spoken, clock + simulator.lag)
            spoken = start + 1.6
            phrases[finding] = Phrase(f"there is {finding.lower()}", start, spoken)
        clock += length + float(rng.uniform(0.03, 0.06))
    said = (*phrases.values(), Phrase("no other acute abnormality", max(spoken, clock), max(spoken, clock) + 1.5))
    pupil = np.where(rng.random(len(stops)) < 0.97, rng.normal(3.2, 0.2, len(stops)), np.nan)
    return Gaze.from_fixations(
        radiograph,
        reader,
        size,
        np.array(places).reshape(-1, 2),
        np.array(begin),
        np.array(duration),
        size[1] / IMAGE_WIDTH_DEGREES,
        pupil=pupil,
        phrases=said,
        scale=size[1] / REFERENCE_WIDTH,
    )


def _region_point(mask: Array, down: float) -> Array:
    """The middle of a region's row at the share `down` of its height, float (2,)."""
    rows = np.flatnonzero(mask.any(1))
    row = rows[min(len(rows) - 1, int(down * len(rows)))]
    return np.array([row + 0.5, np.flatnonzero(mask[row]).mean() + 0.5])


def _deepest_point(mask: Array) -> Array:
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    return np.array(np.unravel_index(int(depth.argmax()), depth.shape)) + 0.5


def _random_point(mask: Array, rng: np.random.Generator) -> Array:
    """Any place of a finding."""
    places: Array = np.argwhere(mask)[rng.integers(int(mask.sum()))] + 0.5
    return places
