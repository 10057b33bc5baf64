"""Methods: functions of a `BatchContext` that say, for each finding, which places of an image speak for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sightline._util.plugin_errors import wrap_plugin_errors
from sightline.errors import SightlineError
from sightline.methods.context import BatchContext, Precision, Prior, TargetOutput, is_out_of_memory
from sightline.methods.registry import MethodInfo, methods, parse_method
from sightline.models import Model

__all__ = [
    "BatchContext",
    "MethodInfo",
    "Precision",
    "Prior",
    "TargetOutput",
    "methods",
    "parse_method",
    "run_method",
    "saliency",
    "target_indices",
]


def target_indices(model: Model, targets: Sequence[str | int] | Tensor | None) -> Tensor:
    """Findings (names, aliases or places among the logits; None = all) -> int64 (T,) on the model's device.

    Errors: `UnknownNameError` for a finding the model has not, `SightlineError` for a repeated or an empty choice.
    """
    if targets is None:
        targets = range(len(model.findings))
    if isinstance(targets, str):
        raise SightlineError(f"targets is a list of findings, not the text {targets!r}; write [{targets!r}]")
    wanted = targets.tolist() if isinstance(targets, Tensor) else targets
    indices = [model.index(target) for target in wanted]
    if not indices or len(set(indices)) != len(indices):
        raise SightlineError(f"targets must be distinct findings, at least one; got {list(wanted)}")
    return torch.tensor(indices, dtype=torch.int64, device=model.device)


def run_method(context: BatchContext, spec: str, targets: Tensor) -> Tensor:
    """One method, 'NAME' or 'NAME?option=value', on an open pass -> float32 (N, T, h', w').

    Errors: as `parse_method`; `SightlineError` for a method that needs what the model or the caller does not give, or
    one
    that breaks its contract or raises anything else. Maps that a method does not answer for are NaN; `Pass.refusals`
    says which, and why. Maps that break a promise and were asked for all the same are in `Pass.axiom_violations`.
    """
    method, layer, options = parse_method(spec)
    name = method.name
    if method.info.needs == "prior" and context.prior is None:
        raise SightlineError(f"{name} needs maps known beforehand; give prior=Tensor (N, T, h, w) or a function")
    at = context.with_layer(layer)
    at.refusals = at.axiom_violations = None
    with wrap_plugin_errors(
        f"method {name}", passes_through=is_out_of_memory
    ):  # a batch too large is the pass's to tell
        maps = method.function(at, targets, **options)
    wanted = (context.x.shape[0], len(targets))
    if not isinstance(maps, Tensor) or maps.dim() != 4 or tuple(maps.shape[:2]) != wanted or 0 in maps.shape[2:]:
        got = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise SightlineError(f"method {name} returned {got}; it must return a tensor {wanted} + (h, w)")
    if maps.dtype != torch.float32:
        raise SightlineError(f"method {name} returned {maps.dtype}; it must return float32")
    context.refusals, context.axiom_violations = at.refusals, at.axiom_violations
    if context.refusals is not None:
        maps = maps.masked_fill(context.refused[0][..., None, None], torch.nan)
    return maps.detach()


def saliency(
    model: Model,
    x: Tensor,
    targets: Sequence[str | int] | Tensor | None,
    methods: Sequence[str],
    *,
    target_output: TargetOutput = "logit",
    ids: Sequence[str] | None = None,
    seed: int = 0,
    prior: Prior | None = None,
    background: Tensor | None = None,
) -> dict[str, Tensor]:
    """Maps of one batch by several methods, sharing one forward where they can.

    x: float32 (N, C, side, side) as `Model.prepare` gives it. targets: findings by name or place, None = all.
    names: methods, with options where wanted ('integrated-gradients?baseline=mean&nodes=32'). of: what is explained.
    ids, seed: key the random numbers of methods that draw any. prior: see `Prior`.
    background: prepared images (M, C, side, side) behind baseline=data.
    Returns {name: float32 (N, T, h', w')}, each in its method's own resolution, raw. The model is left as it was.
    Errors: as `run_method`, and `SightlineError` for a method that does not answer for one of the maps.

    >>> from torch import nn
    >>> from sightline.models import wrap
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    >>> model = wrap(net, ["Edema", "Cardiomegaly"], size=32)
    >>> maps = saliency(model, torch.rand(4, 3, 32, 32), ["Cardiomegaly"], ["grad-cam", "center"])
    >>> {name: tuple(m.shape) for name, m in maps.items()}
    {'grad-cam': (4, 1, 15, 15), 'center': (4, 1, 32, 32)}
    """
    if isinstance(methods, str):
        raise SightlineError(f"names is a list of methods, not the text {methods!r}; write [{methods!r}]")
    chosen = target_indices(model, targets)
    with BatchContext(
        model, x, ids=ids, seed=seed, target_output=target_output, prior=prior, background=background
    ) as p:
        maps = {}
        for name in methods:
            maps[name] = run_method(p, name, chosen)
            if p.refusals is not None:
                count, why = int(p.refusals[0].sum()), p.refusals[1]
                raise SightlineError(f"{name} on {model.name} refuses {count} of {p.refusals[0].numel()} maps: {why}")
        return maps


from sightline.methods import attention as _attention  # noqa: E402, F401  (registers on import)
from sightline.methods import cam as _cam  # noqa: E402, F401
from sightline.methods import controls as _controls  # noqa: E402, F401
from sightline.methods import deeplift as _deeplift  # noqa: E402, F401
from sightline.methods import gradient as _gradient  # noqa: E402, F401
from sightline.methods import guided_backprop as _rectified  # noqa: E402, F401
from sightline.methods import guided_ig as _guided_path  # noqa: E402, F401
from sightline.methods import intrinsic as _own  # noqa: E402, F401
from sightline.methods import lrp as _lrp  # noqa: E402, F401
from sightline.methods import path_methods as _path  # noqa: E402, F401
from sightline.methods import perturbation as _perturbation  # noqa: E402, F401
from sightline.methods import xrai as _regions  # noqa: E402, F401
