"""Checks of a model before it is explained: it is deterministic, and every method meets its axioms on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.methods import run_method
from sightline.methods.context import BatchContext
from sightline.methods.method_checks import LawResult
from sightline.methods.registry import methods
from sightline.models import Model, state_hash
from sightline.models.fast_gradients import LOGIT_TOLERANCE

_MIN_RELATIVE_RANGE = 1e-6
"""Smallest range of an output over images, as a share of its size (at least 1), that depends on the image."""


@dataclass(frozen=True, slots=True)
class MethodCheck:
    """Result of running a method on a model."""

    method: str
    """The method, with its options."""
    is_usable: bool
    """True if it gives at least one map."""
    completeness_error: float
    """Largest error of the sum of a map, as a share of the difference it explains; NaN for methods without a sum."""
    seconds_per_image: float
    """Seconds per image, with all findings."""
    reason: str
    """Reason why it gives no map, or not every map; '' if it gives all."""


def _compute_logits(model: Model, x: Tensor) -> Tensor:
    with BatchContext(model, x) as context:
        return context.logits


def _check_finite(model: Model, x: Tensor) -> str:
    bad = ~torch.isfinite(_compute_logits(model, x))  # (N, F)
    named = [f for f, wrong in zip(model.findings, bad.any(0).tolist(), strict=True) if wrong]
    return f"NaN or infinity for {', '.join(named)}" if named else ""


def _check_image_alone(model: Model, x: Tensor) -> str:
    together = _compute_logits(model, x)
    alone = torch.cat([_compute_logits(model, image[None]) for image in x])
    gap = float((together - alone).abs().max())
    allowed = LOGIT_TOLERANCE * (1 + float(together.abs().max()))
    return "" if gap <= allowed else f"logits differ by {gap:.2g}: batch statistics, or something random, is left on"


def _check_repeatable(model: Model, x: Tensor) -> str:
    is_same = torch.equal(_compute_logits(model, x), _compute_logits(model, x))
    return "" if is_same else "two calls differ: dropout or noise is left on"


def _check_depends_on_image(model: Model, x: Tensor) -> str:
    logits = _compute_logits(model, x)
    ranges = logits.amax(0) - logits.amin(0)  # (F,)
    is_constant = ranges <= _MIN_RELATIVE_RANGE * (1 + logits.abs().amax(0))
    named = [f for f, constant in zip(model.findings, is_constant.tolist(), strict=True) if constant]
    return f"the same for every image: {', '.join(named)} (not trained for, or not calibrated)" if named else ""


def _check_unchanged(model: Model, x: Tensor) -> str:
    before = state_hash(model.net)
    _compute_logits(model, x)
    return "" if state_hash(model.net) == before else "weights or buffers change when the model is used"


MODEL_LAWS: dict[str, Callable[[Model, Tensor], str]] = {
    "logits are finite": _check_finite,
    "an image alone gets the logits it gets among others": _check_image_alone,
    "the same call gives the same bits": _check_repeatable,
    "every output depends on the image": _check_depends_on_image,
    "use does not change the model": _check_unchanged,
}
"""Law -> check of a model on images (N, C, side, side), which returns '' if the law holds, else how it is broken."""


def check_model(model: Model, x: Tensor) -> Iterator[LawResult]:
    """Check every law of models.

    Parameters
    ----------
    model : Model
        The model.
    x : Tensor, (N, C, side, side) float32
        Prepared images, at least two.

    Yields
    ------
    LawResult
    """
    for law, check in MODEL_LAWS.items():
        try:
            detail = check(model, x)
        except SightlineError as error:
            detail = str(error)
        yield LawResult(law, not detail, detail)


def probe_methods(model: Model, x: Tensor, specs: Sequence[str] | None = None) -> Iterator[MethodCheck]:
    """Run methods on a model, and measure which can be used.

    Methods whose maps have to add up (integrated gradients, DeepLIFT, ...) are measured by their sums; logits under the
    rules of a method are compared with the model's own.

    Parameters
    ----------
    model : Model
        The model.
    x : Tensor, (N, C, side, side) float32
        Prepared images.
    specs : sequence of str, optional
        Methods: 'NAME' or 'NAME?option=value'; by default all that need no prior.

    Yields
    ------
    MethodCheck
    """
    if specs is None:
        specs = [name for name, entry in methods.items() if entry.info.needs != "prior"]
    targets = torch.arange(len(model.findings), device=model.device)
    for spec in specs:
        error, reason, start = float("nan"), "", time.perf_counter()
        try:
            with BatchContext(model, x, ids=[str(i) for i in range(len(x))]) as context:
                maps = run_method(context, spec, targets)
                errors = [float(v.abs().max()) for k, v in context.diagnostics.items() if k.endswith("/error")]
                error = max(errors, default=error)
            refusals = context.refusals
            reason = refusals.reason if refusals is not None else _describe_flat_maps(model, maps)
            is_usable = refusals is None or not bool(refusals.mask.all())
        except SightlineError as problem:
            is_usable, reason = False, str(problem)
        yield MethodCheck(spec, is_usable, error, (time.perf_counter() - start) / len(x), reason)


def _describe_flat_maps(model: Model, maps: Tensor) -> str:
    """Name the findings whose maps (N, T, h, w) are flat on every image."""
    flat = (maps.amax((2, 3)) == maps.amin((2, 3))).all(0).tolist()
    named = [f for f, is_flat in zip(model.findings, flat, strict=True) if is_flat]
    return f"flat on every image for {', '.join(named)}" if named else ""
