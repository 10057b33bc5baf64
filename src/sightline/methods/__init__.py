"""Saliency methods: functions of a batch that return, for each finding, a map of the evidence for it in the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sightline._util.plugin_errors import wrap_plugin_errors
from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.registry import MethodInfo, methods, parse_method
from sightline.methods.types import MapFlags, Prior, TargetOutput, is_out_of_memory
from sightline.models import Model
from sightline.models.precision import Precision

__all__ = [
    "BatchContext",
    "MapFlags",
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
    """Return the indices of findings among the logits of a model.

    Parameters
    ----------
    model : Model
        The model that has the findings.
    targets : sequence of str or int, Tensor of int, or None
        Findings: names, aliases or indices; None for all of the model.

    Returns
    -------
    Tensor, (T,) int64
        On the model's device.

    Raises
    ------
    UnknownNameError
        If the model has no such finding.
    SightlineError
        If `targets` is empty, repeats a finding or is a single text.
    """
    if targets is None:
        targets = range(len(model.findings))
    if isinstance(targets, str):
        raise SightlineError(f"targets is a list of findings, not the text {targets!r}; write [{targets!r}]")
    findings = targets.tolist() if isinstance(targets, Tensor) else targets
    indices = [model.index(finding) for finding in findings]
    if not indices or len(set(indices)) != len(indices):
        raise SightlineError(f"targets must be distinct findings, at least one; got {list(findings)}")
    return torch.tensor(indices, dtype=torch.int64, device=model.device)


def run_method(context: BatchContext, spec: str, targets: Tensor) -> Tensor:
    """Run one method in an open context.

    Parameters
    ----------
    context : BatchContext
        One model on one batch of N images, inside its `with` block. Its `refusals` and `axiom_violations` are then
        those of this call.
    spec : str
        The method: 'NAME' or 'NAME?option=value'.
    targets : Tensor, (T,) int64
        Indices of the findings among the logits, as `target_indices` returns them.

    Returns
    -------
    Tensor, (N, T, h', w') float32
        Raw maps in the method's own resolution; NaN for maps in `context.refusals`.

    Raises
    ------
    UnknownNameError
        If no method has the name.
    SightlineError
        If the method has no such option, if it needs what the model or the caller does not give, or if it breaks its
        contract or raises any other error.
    """
    method, layer, options = parse_method(spec)
    name = method.name
    if method.info.needs == "prior" and context.prior is None:
        raise SightlineError(f"{name} needs maps known beforehand; give prior=Tensor (N, T, h, w) or a function")
    layer_context = context.with_layer(layer)
    layer_context.refusals = layer_context.axiom_violations = None
    # The context itself reports a batch that is too large
    with wrap_plugin_errors(f"method {name}", passes_through=is_out_of_memory):
        maps = method.function(layer_context, targets, **options)
    expected = (context.x.shape[0], len(targets))
    if not isinstance(maps, Tensor) or maps.dim() != 4 or tuple(maps.shape[:2]) != expected or 0 in maps.shape[2:]:
        got = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise SightlineError(f"method {name} returned {got}; it must return a tensor {expected} + (h, w)")
    if maps.dtype != torch.float32:
        raise SightlineError(f"method {name} returned {maps.dtype}; it must return float32")
    context.refusals, context.axiom_violations = layer_context.refusals, layer_context.axiom_violations
    if context.refusals is not None:
        maps = maps.masked_fill(context.refusals.mask[..., None, None], torch.nan)
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
    """Compute maps of one batch by several methods, which share one forward where they can.

    The model is left as it was.

    Parameters
    ----------
    model : Model
        The model that is explained.
    x : Tensor, (N, C, side, side) float32
        Images as `Model.prepare` returns them.
    targets : sequence of str or int, Tensor of int, or None
        Findings: names, aliases or indices; None for all of the model.
    methods : sequence of str
        Methods, with options after '?', as in 'integrated-gradients?baseline=mean&nodes=32'.
    target_output : {'logit', 'probability'}
        Output that is explained.
    ids : sequence of str, optional
        Ids of the images, which key the random numbers of methods that draw any; '' each by default.
    seed : int
        Seed of these random numbers.
    prior : Prior, optional
        Maps that are known beforehand, for methods that need them.
    background : Tensor, (M, C, side, side) float32, optional
        Other prepared images, for methods with baseline=data.

    Returns
    -------
    dict of str to Tensor, (N, T, h', w') float32
        Method to its raw maps, each in the method's own resolution.

    Raises
    ------
    UnknownNameError
        If no method or finding has such a name.
    SightlineError
        If a method cannot run on the model, or refuses one of the maps.

    Examples
    --------
    >>> from torch import nn
    >>> from sightline.models import wrap
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    >>> model = wrap(net, ["Edema", "Cardiomegaly"], side=32)
    >>> maps = saliency(model, torch.rand(4, 3, 32, 32), ["Cardiomegaly"], ["grad-cam", "center"])
    >>> {name: tuple(m.shape) for name, m in maps.items()}
    {'grad-cam': (4, 1, 15, 15), 'center': (4, 1, 32, 32)}
    """
    if isinstance(methods, str):
        raise SightlineError(f"methods is a list of methods, not the text {methods!r}; write [{methods!r}]")
    indices = target_indices(model, targets)
    with BatchContext(
        model, x, ids=ids, seed=seed, target_output=target_output, prior=prior, background=background
    ) as context:
        maps = {}
        for name in methods:
            maps[name] = run_method(context, name, indices)
            if (refusals := context.refusals) is not None:
                count, total = int(refusals.mask.sum()), refusals.mask.numel()
                raise SightlineError(f"{name} on {model.name} refuses {count} of {total} maps: {refusals.reason}")
        return maps


from sightline.methods import attention as _attention  # noqa: E402, F401  (registers on import)
from sightline.methods import cam as _cam  # noqa: E402, F401
from sightline.methods import controls as _controls  # noqa: E402, F401
from sightline.methods import deeplift as _deeplift  # noqa: E402, F401
from sightline.methods import gradient as _gradient  # noqa: E402, F401
from sightline.methods import guided_backprop as _guided_backprop  # noqa: E402, F401
from sightline.methods import guided_ig as _guided_ig  # noqa: E402, F401
from sightline.methods import intrinsic as _intrinsic  # noqa: E402, F401
from sightline.methods import lrp as _lrp  # noqa: E402, F401
from sightline.methods import path_methods as _path_methods  # noqa: E402, F401
from sightline.methods import perturbation as _perturbation  # noqa: E402, F401
from sightline.methods import xrai as _xrai  # noqa: E402, F401
