"""Layer-wise relevance propagation, computed as a gradient with modified slopes.

Where a layer passes relevance in proportion to its contributions, relevance is the input times a gradient: of the layer
itself (epsilon rule), or of the same layer with larger positive contributions (gamma, alpha-beta), scaled so that the
relevance that enters a layer equals that which leaves it. ReLUs then count wherever they are called. A batch norm right
behind a convolution is folded into it; one that stands alone, as in DenseNets, is a linear layer of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.registry import methods

RULES = ("epsilon", "gamma", "alpha1-beta0")
_LINEAR_FUNCTIONS: dict[str, Callable[..., Tensor]] = {"conv2d": F.conv2d, "linear": F.linear}
_BATCH_NORM_PARAMETERS = ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_SMOOTH_ACTIVATIONS = frozenset({"sigmoid", "tanh", "silu", "gelu", "softplus", "elu", "hardswish"})
"""Elementwise functions other than ReLU, which relevance passes unchanged: by the ratio of output to input."""


@dataclass(frozen=True, slots=True)
class _LinearCall:
    """One call of a linear layer."""

    layer: Callable[..., Tensor]
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    extra_args: tuple[Any, ...]
    options: dict[str, Any]

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.layer(x, weight, bias, *self.extra_args, **self.options)

    def fold_batch_norm(
        self, mean: Tensor, var: Tensor, gain: Tensor | None, shift: Tensor | None, eps: float
    ) -> _LinearCall:
        """Return the call with a batch norm behind it as part of its weights."""
        scale = (1.0 if gain is None else gain) / torch.sqrt(var + eps)  # (outputs,)
        bias = (0.0 if self.bias is None else self.bias) - mean
        weight = self.weight * scale.reshape(-1, *(1,) * (self.weight.dim() - 1))
        return replace(self, weight=weight, bias=bias * scale + (0.0 if shift is None else shift))


class _LrpMode(TorchFunctionMode):
    """A mode in which every convolution and linear layer that a network calls passes gradients by the rule."""

    def __init__(self, rule: str, epsilon: float, gamma: float) -> None:
        super().__init__()
        self.rule, self.epsilon, self.gamma, self.n_linear_calls = rule, epsilon, gamma, 0
        self.last_convolution: tuple[Tensor, _LinearCall] | None = None
        """The output of the last convolution, in case a batch norm comes next."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").lstrip("_").rstrip("_")
        if name in _LINEAR_FUNCTIONS and args:
            self.n_linear_calls += 1
            return self._call_linear(_LINEAR_FUNCTIONS[name], *args, **kwargs)
        if name == "batch_norm" and self.last_convolution is not None and args[0] is self.last_convolution[0]:
            given = dict(zip(_BATCH_NORM_PARAMETERS, args[1:], strict=False)) | kwargs
            mean, var, gain, shift = (given.get(k) for k in ("running_mean", "running_var", "weight", "bias"))
            return self._apply_rule(
                self.last_convolution[1].fold_batch_norm(mean, var, gain, shift, given.get("eps", 1e-5))
            )
        out = func(*args, **kwargs)
        if name in _SMOOTH_ACTIVATIONS and args and isinstance(args[0], Tensor):
            return args[0] * _stabilized_ratio(out, args[0])
        return out

    def _call_linear(
        self, layer: Callable[..., Tensor], x: Tensor, weight: Tensor, *rest: Any, **options: Any
    ) -> Tensor:
        bias = rest[0] if rest else options.pop("bias", None)
        call = _LinearCall(layer, x, weight, bias, rest[1:], options)
        out = self._apply_rule(call)
        self.last_convolution = (out, call)
        return out

    def _apply_rule(self, call: _LinearCall) -> Tensor:
        """Return the output of the layer with the gradient of the rule."""
        z = call.apply(call.x, call.weight, call.bias)
        if self.rule == "epsilon":
            return _replace_gradient(z, z * _stabilized_ratio(z, z, self.epsilon))
        bias = None if call.bias is None else call.bias.clamp(min=0)
        up, down = call.weight.clamp(min=0), call.weight.clamp(max=0)
        positive = call.apply(call.x.clamp(min=0), up, bias) + call.apply(call.x.clamp(max=0), down, None)
        modified = z + self.gamma * positive if self.rule == "gamma" else positive
        return _replace_gradient(z, modified * _stabilized_ratio(z, modified, self.epsilon))


def _replace_gradient(value: Tensor, gradient_source: Tensor) -> Tensor:
    """Return a value with the gradient of another: stabilizers must not add up to other logits."""
    return gradient_source + (value - gradient_source).detach()


def _stabilized_ratio(output: Tensor, part: Tensor, epsilon: float = 1e-9) -> Tensor:
    """Return output / part, with parts kept away from 0 by a share of the largest, without gradient."""
    size = part.detach().abs().amax(tuple(range(1, part.dim())), keepdim=True)
    floor = (epsilon * size).clamp(min=1e-30)
    stabilized = part + torch.where(part >= 0, floor, -floor)
    return (output / stabilized).detach()


@methods(
    "lrp",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Bach et al. 2015, 10.1371/journal.pone.0130140; Montavon et al. 2019, 10.1007/978-3-030-28954-6_10",
)
def lrp(
    context: BatchContext, targets: Tensor, *, rule: str = "gamma", epsilon: float = 1e-3, gamma: float = 0.25
) -> Tensor:
    """Propagate the score back as relevance, layer by layer, to the pixels; float32 (N, T, side, side), signed.

    Relevance that enters biases stays there: without biases a map sums to its logit.

    Parameters
    ----------
    rule : {'epsilon', 'gamma', 'alpha1-beta0'}
        Contributions as they are (with ReLU and a tiny epsilon this is input-x-gradient), with positive ones
        multiplied by 1 + gamma, or positive ones alone.
    epsilon : float
        Stabilizer of ratios, as a share of the largest output of a layer, from 0.
    gamma : float
        Extra weight of positive contributions, from 0.
    """
    if rule not in RULES or epsilon < 0 or gamma < 0:
        raise SightlineError(
            f"rule={rule}, epsilon={epsilon}, gamma={gamma}; allowed: rule {', '.join(RULES)}, the others from 0"
        )
    rules = _LrpMode(rule, epsilon, gamma)
    gradients = context.input_gradient(targets, rules)
    if not rules.n_linear_calls:
        raise SightlineError(f"{context.model.name} calls no convolution and no linear layer; lrp has no rule for it")
    return torch.einsum("ntchw,nchw->nthw", gradients, context.x)
