"""Simulated gaze: a search path over the radiograph that dwells on findings. Not a model of human readers."""

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
"""Search path: a region, and a share of its height from the top."""
IMAGE_WIDTH_DEGREES = 20.0
"""Degrees of visual angle of the width of a radiograph."""
REFERENCE_WIDTH = 2544
"""Width in pixels that a radiograph stands for, the most common one in Eye-Gaze-CXR."""


@dataclass(frozen=True, slots=True)
class GazeSimulator:
    """Parameters of a simulated gaze."""

    jitter: float = 0.03
    """Standard deviation of a fixation around its target, in widths of the image."""
    center_bias: float = 0.1
    """Shift of every fixation toward the center of the image, as a share of its distance from it."""
    dwell: int = 5
    """Mean number of fixations on a finding."""
    miss_rate: float = 0.05
    """Chance of neither dwelling on a finding nor mentioning it."""
    lag: float = 0.8
    """Seconds from the first fixation on a finding to its mention."""


DEFAULT_SIMULATOR = GazeSimulator()


def simulate_gaze(
    masks: Mapping[str, Array],
    findings: tuple[str, ...],
    key: tuple[int, ...],
    radiograph: str,
    reader: str,
    simulator: GazeSimulator = DEFAULT_SIMULATOR,
) -> Gaze:
    """Simulate the gaze of one reading.

    Parameters
    ----------
    masks : Mapping of str to (H, W) bool
        Regions and findings -> mask.
    findings : tuple of str
        Findings that are present.
    key : tuple of int
        Seed; the same key gives the same reading.
    radiograph : str
        Id of the radiograph.
    reader : str
        Name of the reader.
    simulator : GazeSimulator
        Parameters.

    Returns
    -------
    Gaze
        Fixations and phrases.
    """
    rng = np.random.default_rng(key)
    size = next(iter(masks.values())).shape
    path = [_region_point(masks[name], down) for name, down in SEARCH_PATH if masks[name].any()]
    stops: list[tuple[Array, str]] = [(point, "") for point in path]
    for finding in findings:
        if finding not in masks or not masks[finding].any() or rng.random() < simulator.miss_rate:
            continue
        deepest = _deepest_point(masks[finding])
        distances = [float(np.hypot(*(point - deepest))) for point in path]
        nearest = 1 + distances.index(min(distances))
        position = rng.integers(nearest, nearest + 2)  # a finding is detected while its surroundings are searched
        for _ in range(1 + rng.poisson(simulator.dwell - 1)):
            stops.insert(min(int(position), len(stops)), (_random_point(masks[finding], rng), finding))
    return _make_gaze(stops, rng, (int(size[0]), int(size[1])), radiograph, reader, simulator)


def _make_gaze(
    stops: list[tuple[Array, str]],
    rng: np.random.Generator,
    size: tuple[int, int],
    radiograph: str,
    reader: str,
    simulator: GazeSimulator,
) -> Gaze:
    """Make fixations at the stops of the path, and phrases that mention the findings among them."""
    center = np.array(size) / 2
    positions, begin, duration, clock, speech_end = [], [], [], 0.0, 0.0
    phrases: dict[str, Phrase] = {}
    for target, finding in stops:
        point = target + rng.normal(0, simulator.jitter * size[1], 2)
        positions.append(np.clip(point + simulator.center_bias * (center - point), 0, np.array(size) - 1e-3))
        length = float(np.clip(rng.lognormal(np.log(0.45 if finding else 0.22), 0.4), 0.08, 1.5))
        begin.append(clock)
        duration.append(length)
        if finding and finding not in phrases:
            start = max(speech_end, clock + simulator.lag)
            speech_end = start + 1.6
            phrases[finding] = Phrase(f"there is {finding.lower()}", start, speech_end)
        clock += length + float(rng.uniform(0.03, 0.06))
    start = max(speech_end, clock)
    dictation = (*phrases.values(), Phrase("no other acute abnormality", start, start + 1.5))
    pupil = np.where(rng.random(len(stops)) < 0.97, rng.normal(3.2, 0.2, len(stops)), np.nan)
    return Gaze.from_fixations(
        radiograph,
        reader,
        size,
        np.array(positions).reshape(-1, 2),
        np.array(begin),
        np.array(duration),
        size[1] / IMAGE_WIDTH_DEGREES,
        pupil=pupil,
        phrases=dictation,
        scale=size[1] / REFERENCE_WIDTH,
    )


def _region_point(mask: Array, down: float) -> Array:
    """Return the center of the row of a region at a share of its height, float (2,)."""
    rows = np.flatnonzero(mask.any(1))
    row = rows[min(len(rows) - 1, int(down * len(rows)))]
    return np.array([row + 0.5, np.flatnonzero(mask[row]).mean() + 0.5])


def _deepest_point(mask: Array) -> Array:
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    return np.array(np.unravel_index(int(depth.argmax()), depth.shape)) + 0.5


def _random_point(mask: Array, rng: np.random.Generator) -> Array:
    """Draw a pixel of a finding, float (2,)."""
    point: Array = np.argwhere(mask)[rng.integers(int(mask.sum()))] + 0.5
    return point
