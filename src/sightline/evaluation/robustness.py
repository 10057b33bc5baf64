"""Robustness: changes of maps and logits under small changes of the image that should not matter.

The changes are such as another exposure or another detector would make. Yeh et al. 2019, arXiv:1901.09392 (sensitivity
of explanations); for radiographs Zhang et al. 2024, 10.1148/ryai.220221 (prediction and saliency should change
together).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import pyarrow as pa
import torch

from sightline._util.rng import DETECTOR_NOISE, keyed_rng
from sightline.core import NAN, Array, Case
from sightline.evaluation.sampling import case_task
from sightline.methods.inference import ExplainOptions, compute_logits, make_batch, maps_at_input_size
from sightline.metrics.similarity import rank_correlation
from sightline.models import Model
from sightline.runs.chunks import write_chunks
from sightline.runs.run import Run

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("method", "change", "radiograph", "patient", "finding")]
    + [(name, pa.float64()) for name in ("distance", "rank_correlation", "logit_change")]
)
"""distance, rank_correlation: see `map_stability`; logit_change: |change of the logit|."""

ImageChange = Callable[[Array, str], Array]
"""Function of an image, float32 (side, side) in [0, 1], and its id, which returns the changed image."""


def _noise(image: Array, name: str) -> Array:
    noisy: Array = image + 0.02 * keyed_rng(DETECTOR_NOISE, name).standard_normal(image.shape, np.float32)
    return noisy


def _blur(image: Array, name: str) -> Array:
    blurred: Array = cv2.GaussianBlur(image, (0, 0), image.shape[0] / 300)
    return blurred


def _shift(image: Array, name: str) -> Array:
    """Shift by a fiftieth of the side to the right and down; the border repeats."""
    shift = shift_in_pixels(image.shape[0])
    return np.pad(image, ((shift, 0), (shift, 0)), mode="edge")[: image.shape[0], : image.shape[1]]


def shift_in_pixels(side: int) -> int:
    """Return the distance of the change 'shift'.

    Parameters
    ----------
    side : int
        Height and width of the image, in pixels.

    Returns
    -------
    int
        Pixels, at least 1.
    """
    return max(1, side // 50)


CHANGES: dict[str, ImageChange] = {
    "noise": _noise,
    "blur": _blur,
    "more contrast": lambda image, name: (image - 0.5) * 1.1 + 0.5,
    "less contrast": lambda image, name: (image - 0.5) * 0.9 + 0.5,
    "shift": _shift,
}


def score_robustness(
    run: Run, model: Model, methods: Sequence[str], cases: Sequence[Case], options: ExplainOptions
) -> None:
    """Write the table robustness, rows of `SCHEMA`: every image is explained again after each small change.

    Parameters
    ----------
    run : Run
        The run that gets the table, locked by the caller.
    model : Model
        The model.
    methods : sequence of str
        Methods: 'NAME' or 'NAME?option=value'.
    cases : sequence of Case
        Cases to explain; their findings are among those of the options.
    options : ExplainOptions
        Options of explaining.
    """

    def compute_rows(part: Sequence[Case]) -> Iterator[tuple[object, ...]]:
        batch = make_batch(model, [case.radiograph for case in part])
        if batch is None:
            return
        columns = [model.index(finding) for finding in options.findings]
        maps = maps_at_input_size(model, batch.x, batch.ids, methods, options)
        logits = compute_logits(model, batch.x)[:, columns]
        for name, change in CHANGES.items():
            images = [change(image, i).clip(0, 1) for image, i in zip(batch.images, batch.ids, strict=True)]
            x = model.normalize(torch.from_numpy(np.stack(images).astype(np.float32))).to(model.device)
            changed_maps = maps_at_input_size(model, x, batch.ids, methods, options)
            changed_logits = compute_logits(model, x)[:, columns]
            for method in methods:
                for case in (c for c in part if c.radiograph.id in batch.ids):
                    cell = batch.ids.index(case.radiograph.id), options.findings.index(case.finding)
                    before, after = _align(maps[method][cell], changed_maps[method][cell], name)
                    case_key = (case.radiograph.id, case.radiograph.patient, case.finding)
                    logit_change = abs(changed_logits[cell] - logits[cell])
                    yield (method, name, *case_key, *map_stability(before, after), logit_change)

    write_chunks(run, "robustness", {"robustness": SCHEMA}, case_task("robustness", "changing", cases, compute_rows))


def map_stability(before: Array, after: Array) -> tuple[float, float]:
    """Compare the map of an image with that of the changed image.

    A map that is flat or not finite is not stable, though two flat maps are equal: failures lose.

    Parameters
    ----------
    before, after : ndarray, (h, w)
        The maps.

    Returns
    -------
    distance : float
        `relative_distance`; at least 1 where a map is flat or not finite.
    correlation : float
        Spearman's rank correlation; 0 where a map is flat or not finite.

    Examples
    --------
    >>> map_stability(np.array([[3.0, 4.0]]), np.array([[3.0, 4.0]])), map_stability(np.ones((1, 2)), np.ones((1, 2)))
    ((0.0, 1.0), (1.0, 0.0))
    """
    gap = relative_distance(before, after)
    if all(np.isfinite(m).all() and np.ptp(m) > 0 for m in (before, after)):
        return gap, float(rank_correlation(before, after))
    return float(np.fmax(1.0, gap)), 0.0


def relative_distance(before: Array, after: Array) -> float:
    """Return the norm of the difference of two maps, relative to that of the first.

    Parameters
    ----------
    before, after : ndarray
        Maps of the same shape.

    Returns
    -------
    float
        From 0; NaN if the first map is zero or one is not finite.

    Examples
    --------
    >>> relative_distance(np.array([3.0, 4.0]), np.array([3.0, 3.0]))
    0.2
    """
    size = float(np.linalg.norm(before))
    gap = float(np.linalg.norm(after - before))
    return gap / size if size > 0 and np.isfinite(gap) else NAN


def _align(before: Array, after: Array, change: str) -> tuple[Array, Array]:
    """Cut both maps (h, w) to the places that both of them show."""
    if change != "shift":
        return before, after
    shift = shift_in_pixels(before.shape[0])
    return before[:-shift, :-shift], after[shift:, shift:]
