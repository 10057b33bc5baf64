"""Layer-wise relevance propagation, as a gradient with other weights.

Where a layer passes relevance in proportion to its contributions, relevance is the input times a gradient: of the layer
itself (epsilon rule), or of the same layer with larger positive weights (gamma, alpha-beta), scaled so that what flows
in is what flows out. Written so, batch norm needs no folding (it scales the gradient on its way), and ReLUs count
wherever they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sightline.core import SightlineError
from sightline.methods import methods
from sightline.methods.pass_ import Pass

RULES = ("epsilon", "gamma", "alpha1-beta0")
_LINEAR: dict[str, Callable[..., Tensor]] = {"conv2d": F.conv2d, "linear": F.linear}
_CURVED = frozenset({"sigmoid", "tanh", "silu", "gelu", "softplus", "elu", "hardswish"})
"""Elementwise functions that are no ReLU: relevance passes them as it is, by the ratio of output to input."""


class _Rules(TorchFunctionMode):
    """Every convolution and linear layer a network calls passes gradients by the rule."""

    def __init__(self, rule: str, epsilon: float, gamma: float) -> None:
        super().__init__()
        self.rule, self.epsilon, self.gamma, self.count = rule, epsilon, gamma, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").lstrip("_").rstrip("_")
        if name in _LINEAR and args:
            self.count += 1
            return self._linear(_LINEAR[name], *args, **kwargs)
        out = func(*args, **kwargs)
        if name in _CURVED and args and isinstance(args[0], Tensor):
            return args[0] * _ratio(out, args[0])
        return out

    def _linear(self, layer: Callable[..., Tensor], x: Tensor, weight: Tensor, *rest: Any, **options: Any) -> Tensor:
        """The layer's own output, whose gradient is the rule's."""
        bias = rest[0] if rest else options.pop("bias", None)
        rest = rest[1:]
        z = layer(x, weight, bias, *rest, **options)
        if self.rule == "epsilon":
            return z * _ratio(z, z, self.epsilon)
        up, down = weight.clamp(min=0), weight.clamp(max=0)
        raised = None if bias is None else bias.clamp(min=0)
        if self.rule == "gamma":
            more = None if bias is None else bias + self.gamma * bias.clamp(min=0)
            other = layer(x, weight + self.gamma * up, more, *rest, **options)
        else:  # positive contributions alone: of positive inputs by positive weights, of negative by negative
            other = layer(x.clamp(min=0), up, raised, *rest, **options) + layer(
                x.clamp(max=0), down, None, *rest, **options
            )
        return other * _ratio(z, other, self.epsilon)


def _ratio(output: Tensor, part: Tensor, epsilon: float = 1e-9) -> Tensor:
    """output / part, kept away from 0 by a share of the largest part; no gradient passes it."""
    size = part.detach().abs().amax(tuple(range(1, part.dim())), keepdim=True)
    floor = (epsilon * size).clamp(min=1e-30)
    steady = part + torch.where(part >= 0, floor, -floor)
    return (output / steady).detach()


@methods(
    "lrp",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Bach et al. 2015, 10.1371/journal.pone.0130140; Montavon et al. 2019, 10.1007/978-3-030-28954-6_10",
)
def lrp(p: Pass, targets: Tensor, *, rule: str = "gamma", epsilon: float = 1e-3, gamma: float = 0.25) -> Tensor:
    """Relevance of pixels for a score, handed back layer by layer; float32 (N, T, side, side), signed.

    rule: 'epsilon' (contributions as they are; with ReLU and a tiny epsilon this is input-x-gradient), 'gamma'
    (positive ones count 1 + gamma times), or 'alpha1-beta0' (positive ones alone). epsilon: of the largest output of a
    layer. Relevance that flows into biases stays there: without biases a map sums to its logit.
    """
    if rule not in RULES or epsilon < 0 or gamma < 0:
        raise SightlineError(
            f"rule={rule}, epsilon={epsilon}, gamma={gamma}; allowed: rule {', '.join(RULES)}, the others from 0"
        )
    x = p.x.clone().requires_grad_()
    with _Rules(rule, epsilon, gamma) as mode:
        logits = p.model.net(x)
    if not mode.count:
        raise SightlineError(f"{p.model.name} calls no convolution and no linear layer; lrp has no rule for it")
    maps = []
    for place, target in enumerate(targets.tolist()):
        last = place == len(targets) - 1
        (gradient,) = torch.autograd.grad(logits[:, target].sum(), x, retain_graph=not last)
        maps.append((gradient * p.x).sum(1))
    found = torch.stack(maps, 1)
    if p.of == "probability":
        chosen = logits[:, targets].detach()
        found = found * (chosen.sigmoid() * (-chosen).sigmoid())[..., None, None]
    return found
