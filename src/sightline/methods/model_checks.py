"""Before a model is asked anything: does it hold still, and does every method keep on it what it promises."""

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
"""Range of an output over images, as a share of its size (at least 1), below which it answers none of them."""


@dataclass(frozen=True, slots=True)
class MethodCheck:
    """What a method gave on a model."""

    method: str
    is_usable: bool
    completeness_error: float
    """How far its maps sum past what they explain, as a share of it, at worst; NaN where it promises no sum."""
    seconds_per_image: float
    """Per image, with all findings."""
    reason: str
    """It does not serve, or not every map."""


def _compute_logits(model: Model, x: Tensor) -> Tensor:
    with BatchContext(model, x) as p:
        return p.logits


def _check_finite(model: Model, x: Tensor) -> str:
    bad = ~torch.isfinite(_compute_logits(model, x))  # (N, F)
    named = [f for f, wrong in zip(model.findings, bad.any(0).tolist(), strict=True) if wrong]
    return f"NaN or infinity for {', '.join(named)}" if named else ""


def _check_image_alone(model: Model, x: Tensor) -> str:
    together = _compute_logits(model, x)
    apart = torch.cat([_compute_logits(model, one[None]) for one in x])
    gap = float((together - apart).abs().max())
    allowed = LOGIT_TOLERANCE * (1 + float(together.abs().max()))
    return "" if gap <= allowed else f"logits differ by {gap:.2g}: batch statistics, or something random, is left on"


def _check_repeatable(model: Model, x: Tensor) -> str:
    return (
        ""
        if torch.equal(_compute_logits(model, x), _compute_logits(model, x))
        else "two calls differ: dropout or noise is left on"
    )


def _check_depends_on_image(model: Model, x: Tensor) -> str:
    logits = _compute_logits(model, x)
    spread = logits.amax(0) - logits.amin(0)  # (F,)
    still = spread <= _MIN_RELATIVE_RANGE * (1 + logits.abs().amax(0))
    named = [f for f, flat in zip(model.findings, still.tolist(), strict=True) if flat]
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
"""Law -> check of a model on images x (N, C, side, side): '' if it holds, else what was seen."""


def check_model(model: Model, x: Tensor) -> Iterator[LawResult]:
    """Every law of a model, on prepared images float32 (N, C, side, side), N from 2."""
    for law, check in MODEL_LAWS.items():
        try:
            detail = check(model, x)
        except SightlineError as error:
            detail = str(error)
        yield LawResult(law, not detail, detail)


def probe_methods(model: Model, x: Tensor, specs: Sequence[str] | None = None) -> Iterator[MethodCheck]:
    """What each method ('NAME?option=value'; None: all that need no maps known beforehand) gives on this model.

    x: prepared images float32 (N, C, side, side). Methods that promise a sum (Integrated Gradients, DeepLIFT, ...) are
    measured by it; logits under the rules of a method are compared with the model's own.
    """
    wanted = specs if specs is not None else [n for n, entry in methods.items() if entry.info.needs != "prior"]
    targets = torch.arange(len(model.findings), device=model.device)
    for spec in wanted:
        error, why, start = float("nan"), "", time.perf_counter()
        try:
            with BatchContext(model, x, ids=[str(i) for i in range(len(x))]) as p:
                maps = run_method(p, spec, targets)
                error = max(
                    (float(v.abs().max()) for k, v in p.diagnostics.items() if k.endswith("/error")), default=error
                )
            why = p.refusals.reason if p.refusals is not None else _describe_flat_maps(model, maps)
            serves = p.refusals is None or not bool(p.refusals.mask.all())
        except SightlineError as problem:
            serves, why = False, str(problem)
        yield MethodCheck(spec, serves, error, (time.perf_counter() - start) / len(x), why)


def _describe_flat_maps(model: Model, maps: Tensor) -> str:
    """Findings whose maps (N, T, h, w) are the same everywhere on every image."""
    flat = (maps.amax((2, 3)) == maps.amin((2, 3))).all(0).tolist()
    named = [f for f, empty in zip(model.findings, flat, strict=True) if empty]
    return f"flat on every image for {', '.join(named)}" if named else ""
