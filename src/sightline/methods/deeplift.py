"""DeepLIFT: contributions to the difference from a baseline, propagated back through the network; complete or refused.

Rules replace the calls themselves (`torch.overrides`), so that a ReLU counts whether it is a module or a function,
works in place or is used twice. Hooks on modules miss some of them silently: on torchvision's DenseNets the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sightline.methods.context import BatchContext
from sightline.methods.gradient import draw_noisy_copies
from sightline.methods.path_methods import make_baseline
from sightline.methods.registry import methods
from sightline.methods.types import MapFlags

COMPLETENESS_TOLERANCE = 0.01
"""Accepted error of completeness, as a share of the difference the map has to explain."""
_MIN_DIFFERENCE = 1e-6
"""Smallest difference, as a share of the largest, that the rule divides by; below it the slope is the gradient."""
_ELEMENTWISE_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "relu_": torch.relu,
    "sigmoid": torch.sigmoid,
    "sigmoid_": torch.sigmoid,
    "tanh": torch.tanh,
    "tanh_": torch.tanh,
    "silu": F.silu,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "hardtanh": F.hardtanh,
    "hardswish": F.hardswish,
    "relu6": F.relu6,
}


class _Rescale(torch.autograd.Function):
    """An elementwise function of images and baselines (2 N, ...) whose slope is that of the line between the two."""

    @staticmethod
    def forward(ctx: Any, both: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        out = function(both)
        x, start = both.chunk(2)
        step = x - start
        flat = step.abs() <= _MIN_DIFFERENCE * step.abs().amax()
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(function(leaf).sum(), leaf)
        y, base = out.chunk(2)
        ctx.save_for_backward(torch.where(flat, slope, (y - base) / torch.where(flat, 1.0, step)))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        contribution = gradients[0].chunk(2)[0] * slope
        return torch.cat([contribution, torch.zeros_like(contribution)]), None


class _MaxPool(torch.autograd.Function):
    """Maximum pooling of images and baselines (2 N, C, h, w) that gives the difference of the maxima to their places.

    Lundberg and Lee's rule (arXiv:1705.07874, as in their code): the rise from the baseline's maximum to the larger of
    the two goes to the place of the image's maximum, the rest to the place of the baseline's.
    """

    @staticmethod
    def forward(ctx: Any, both: Tensor, options: tuple[Any, ...]) -> Tensor:
        out, index = F.max_pool2d(both, *options, return_indices=True)
        ctx.save_for_backward(both, out, index)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        both, out, index = ctx.saved_tensors
        (x, start), (y, base), (x_index, start_index) = both.chunk(2), out.chunk(2), index.chunk(2)
        gradient, larger = gradients[0].chunk(2)[0], torch.maximum(y, base)
        received = torch.zeros_like(x).flatten(2)
        received.scatter_add_(2, x_index.flatten(2), (gradient * (larger - base)).flatten(2))
        received.scatter_add_(2, start_index.flatten(2), (gradient * (y - larger)).flatten(2))
        plain = torch.zeros_like(received).scatter_add_(2, x_index.flatten(2), gradient.flatten(2))
        step = (x - start).flatten(2)
        flat = step.abs() <= _MIN_DIFFERENCE * step.abs().amax()
        contribution = torch.where(flat, plain, received / torch.where(flat, 1.0, step)).reshape(x.shape)
        return torch.cat([contribution, torch.zeros_like(contribution)]), None


class _DeepLiftMode(TorchFunctionMode):
    """A mode in which every nonlinear call of a network follows its rule."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").lstrip("_")
        tensor = args[0] if args and isinstance(args[0], Tensor) else None
        if tensor is None or not tensor.requires_grad:
            return func(*args, **kwargs)
        if name in _ELEMENTWISE_FUNCTIONS:
            rest = {k: v for k, v in kwargs.items() if k != "inplace"}
            plain = _ELEMENTWISE_FUNCTIONS[name]
            extra = () if name in ("relu", "relu_", "silu", "relu6") else args[1:]
            return _Rescale.apply(tensor, lambda t: plain(t, *extra, **rest))  # type: ignore[no-untyped-call]
        if name == "max_pool2d":
            return _MaxPool.apply(tensor, _pooling_options(args[1:], kwargs))  # type: ignore[no-untyped-call]
        return func(*args, **kwargs)


def _pooling_options(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Return kernel, stride, padding, dilation, ceil_mode."""
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    kernel = given["kernel_size"]
    rest = given.get("padding", 0), given.get("dilation", 1), given.get("ceil_mode", False)
    return kernel, given.get("stride") or kernel, *rest


def _attribute(context: BatchContext, start: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps (N, T, h, w), summed over channels, and the relative error (N, T) of their sums.

    A quarter of the images at a time: with their baselines and what the rules keep they fill the memory of one step.
    """
    parts = torch.arange(context.x.shape[0], device=context.x.device).chunk(4)
    maps, errors = zip(*(_attribute_rows(context, rows, start[rows], targets) for rows in parts), strict=True)
    return torch.cat(maps), torch.cat(errors)


def _attribute_rows(context: BatchContext, rows: Tensor, start: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return `_attribute` of the images at `rows`, int64 (M,), with baselines `start` (M, C, h, w)."""
    x, count = context.x[rows], len(rows)
    both = torch.cat([x, start]).requires_grad_()
    with _DeepLiftMode():
        logits = context.model.net(both)  # (2 M, F)
        scores = logits if context.target_output == "logit" else logits.sigmoid()
    context.check_logits(logits[:count], rows)
    difference = (scores[:count] - scores[count:]).detach()[:, targets]  # (M, T)
    maps = []
    for column, target in enumerate(targets.tolist()):
        is_last = column == len(targets) - 1
        (slope,) = torch.autograd.grad(scores[:count, target].sum(), both, retain_graph=not is_last)
        maps.append((slope[:count] * (x - start)).sum(1))
    stacked = torch.stack(maps, 1)
    error = (stacked.double().sum((2, 3)).float() - difference) / difference.abs().clamp(min=1e-3)
    return stacked, error


def _flag_incomplete(context: BatchContext, error: Tensor, check: bool) -> None:
    """Refuse the maps whose sums have a relative error (N, T) above the tolerance, or report them without `check`."""
    incomplete = error.abs() > COMPLETENESS_TOLERANCE
    if not bool(incomplete.any()):
        return
    flags = MapFlags(
        incomplete,
        f"the map does not add up to the difference it explains (it misses up to {float(error.abs().max()):.1%}): a "
        "nonlinear step of the network has no rule (products, softmax); use integrated-gradients, or check=false",
    )
    if check:
        context.refusals = flags
    else:
        context.axiom_violations = flags


@methods(
    "deeplift",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Shrikumar et al. 2017, arXiv:1704.02685 (rescale rule)",
)
def deeplift(context: BatchContext, targets: Tensor, *, baseline: str = "black", check: bool = True) -> Tensor:
    """Compute the contributions of pixels to the difference from a baseline; float32 (N, T, side, side), signed.

    A map sums to score(image) - score(baseline). A map that does not is refused: the network then multiplies
    activations or has a nonlinearity without a rule. `context.diagnostics` gets 'deeplift/error': the sum minus the
    difference, as a share of the difference.

    Parameters
    ----------
    baseline : str
        Image that the path starts from, as `make_baseline` names it.
    check : bool
        False to get maps that do not add up, too; the context then reports them as axiom violations.
    """
    maps, error = _attribute(context, make_baseline(context, baseline), targets)
    context.diagnostics["deeplift/error"] = error
    _flag_incomplete(context, error, check)
    return maps


@methods(
    "deepshap",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Lundberg and Lee 2017, arXiv:1705.07874",
)
def deepshap(
    context: BatchContext, targets: Tensor, *, samples: int = 8, sigma: float = 0.1, check: bool = True
) -> Tensor:
    """Average DeepLIFT over baselines of black with noise; float32 (N, T, side, side), signed.

    A map sums to the score minus the mean score of the baselines.

    Parameters
    ----------
    samples : int
        Baselines, from 1.
    sigma : float
        Standard deviation of their noise, as a share of the image's range; keyed by (seed, id, draw).
    check : bool
        False to get maps that do not add up, too; the context then reports them as axiom violations.
    """
    black = make_baseline(context, "black")
    total = context.x.new_zeros((context.x.shape[0], len(targets), *context.x.shape[2:]))
    largest_error = torch.zeros_like(total[:, :, 0, 0])
    for x in draw_noisy_copies(context, samples, sigma):
        maps, error = _attribute(context, black + (x - context.x), targets)
        total, largest_error = total + maps, torch.maximum(largest_error, error.abs())
    _flag_incomplete(context, largest_error, check)
    return total / samples
