"""Selection of the methods that may be computed in bfloat16: those whose maps agree with float32 on the images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.methods import run_method
from sightline.methods.inference import ExplainOptions, open_context
from sightline.models import Model
from sightline.models.precision import Precision

MIN_CORRELATION = 0.99
"""Pearson correlation with the float32 map that every map of the trial has to reach."""


def min_correlation(maps: Tensor, other_maps: Tensor) -> float:
    """Return the smallest Pearson correlation between the maps of two sets.

    Parameters
    ----------
    maps, other_maps : Tensor, (N, T, h, w)
        The maps. Two flat maps correlate with 1, a flat map with any other with 0.

    Returns
    -------
    float
        In [-1, 1], rounded to six digits.

    Examples
    --------
    >>> min_correlation(torch.eye(4)[None, None], torch.eye(4)[None, None] * 3 + 1)
    1.0
    """
    a, b = (m.flatten(2).double() - m.double().mean((2, 3))[..., None] for m in (maps, other_maps))
    norms = a.norm(dim=2) * b.norm(dim=2)  # (N, T)
    correlation = torch.where(norms > 0, (a * b).sum(2) / norms.clamp(min=1e-300), 0.0)
    both_flat = (a.norm(dim=2) == 0) & (b.norm(dim=2) == 0)
    return round(float(torch.where(both_flat, 1.0, correlation).min()), 6)


def bfloat16_correlations(
    model: Model, x: Tensor, ids: Sequence[str], methods: Iterable[str], targets: Tensor, options: ExplainOptions
) -> dict[str, float]:
    """Compare the maps of each method in bfloat16 with those in float32.

    Parameters
    ----------
    model : Model
        The model.
    x : Tensor, (N, C, side, side) float32
        Normalized images on the model's device.
    ids : sequence of str
        Ids of the radiographs.
    methods : iterable of str
        Methods: 'NAME' or 'NAME?option=value'.
    targets : Tensor, (T,) int64
        Indices of the findings among the logits.
    options : ExplainOptions
        Options of explaining; its findings do not count here.

    Returns
    -------
    dict of str to float
        Method to `min_correlation`; 0 for a method that refuses in either precision.
    """

    def compute(method: str, precision: Precision) -> Tensor:
        with open_context(model, x, ids, options, precision) as context:
            maps = run_method(context, method, targets)
            if context.refusals is not None:
                raise SightlineError(context.refusals.reason)
            return maps

    correlations = {}
    for method in methods:
        try:
            correlations[method] = min_correlation(compute(method, "float32"), compute(method, "bfloat16"))
        except SightlineError:
            correlations[method] = 0.0
    return correlations
