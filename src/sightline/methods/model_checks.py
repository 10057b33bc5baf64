"""Before a model is asked anything: does it hold still, and does every method keep on it what it promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.errors import SightlineError
from sightline.methods import run_method
from sightline.methods.context import Pass
from sightline.methods.method_checks import Verdict
from sightline.methods.registry import methods
from sightline.models import Model, state_hash
from sightline.models.fast_gradients import SAME_LOGITS

_CONSTANT = 1e-6
"""Range of an output over images, as a share of its size (at least 1), below which it answers none of them."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a method gave on a model."""

    method: str
    serves: bool
    error: float
    """How far its maps sum past what they explain, as a share of it, at worst; NaN where it promises no sum."""
    seconds: float
    """Per image, with all findings."""
    why: str
    """It does not serve, or not every map."""


def _logits(model: Model, x: Tensor) -> Tensor:
    with Pass(model, x) as p:
        return p.logits


def _finite(model: Model, x: Tensor) -> str:
    bad = ~torch.isfinite(_logits(model, x))  # (N, F)
    named = [f for f, wrong in zip(model.findings, bad.any(0).tolist(), strict=True) if wrong]
    return f"NaN or infinity for {', '.join(named)}" if named else ""


def _alone(model: Model, x: Tensor) -> str:
    together = _logits(model, x)
    apart = torch.cat([_logits(model, one[None]) for one in x])
    gap = float((together - apart).abs().max())
    allowed = SAME_LOGITS * (1 + float(together.abs().max()))
    return "" if gap <= allowed else f"logits differ by {gap:.2g}: batch statistics, or something random, is left on"


def _repeats(model: Model, x: Tensor) -> str:
    return "" if torch.equal(_logits(model, x), _logits(model, x)) else "two calls differ: dropout or noise is left on"


def _answers(model: Model, x: Tensor) -> str:
    logits = _logits(model, x)
    spread = logits.amax(0) - logits.amin(0)  # (F,)
    still = spread <= _CONSTANT * (1 + logits.abs().amax(0))
    named = [f for f, flat in zip(model.findings, still.tolist(), strict=True) if flat]
    return f"the same for every image: {', '.join(named)} (not trained for, or not calibrated)" if named else ""


def _unchanged(model: Model, x: Tensor) -> str:
    before = state_hash(model.net)
    _logits(model, x)
    return "" if state_hash(model.net) == before else "weights or buffers change when the model is used"


MODEL_LAWS: dict[str, Callable[[Model, Tensor], str]] = {
    "logits are finite": _finite,
    "an image alone gets the logits it gets among others": _alone,
    "the same call gives the same bits": _repeats,
    "every output depends on the image": _answers,
    "use does not change the model": _unchanged,
}
"""Law -> check of a model on images x (N, C, side, side): '' if it holds, else what was seen."""


def check_model(model: Model, x: Tensor) -> Iterator[Verdict]:
    """Every law of a model, on prepared images float32 (N, C, side, side), N from 2."""
    for law, check in MODEL_LAWS.items():
        try:
            detail = check(model, x)
        except SightlineError as error:
            detail = str(error)
        yield Verdict(law, not detail, detail)


def services(model: Model, x: Tensor, specs: Sequence[str] | None = None) -> Iterator[Service]:
    """What each method ('NAME?option=value'; None: all that need no maps known beforehand) gives on this model.

    x: prepared images float32 (N, C, side, side). Methods that promise a sum (Integrated Gradients, DeepLIFT, ...) are
    measured by it; logits under the rules of a method are compared with the model's own.
    """
    wanted = specs if specs is not None else [n for n, entry in methods.items() if entry.facts.needs != "prior"]
    targets = torch.arange(len(model.findings), device=model.device)
    for spec in wanted:
        error, why, start = float("nan"), "", time.perf_counter()
        try:
            with Pass(model, x, ids=[str(i) for i in range(len(x))]) as p:
                maps = run_method(p, spec, targets)
                error = max((float(v.abs().max()) for k, v in p.notes.items() if k.endswith("/error")), default=error)
            why = p.refused[1] if p.refused is not None else _flat(model, maps)
            serves = p.refused is None or not bool(p.refused[0].all())
        except SightlineError as problem:
            serves, why = False, str(problem)
        yield Service(spec, serves, error, (time.perf_counter() - start) / len(x), why)


def _flat(model: Model, maps: Tensor) -> str:
    """Findings whose maps (N, T, h, w) are the same everywhere on every image."""
    flat = (maps.amax((2, 3)) == maps.amin((2, 3))).all(0).tolist()
    named = [f for f, empty in zip(model.findings, flat, strict=True) if empty]
    return f"flat on every image for {', '.join(named)}" if named else ""
