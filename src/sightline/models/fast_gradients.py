"""The same network computed with fewer passes over memory, for the gradients of many findings.

Half of a DenseNet's backward on a processor is not convolution: batch norm and ReLU each read and write every
activation again, for every finding. With statistics that stand still the two are one multiplication by a slope known
from the forward. A convolution of one pixel is a matrix product, and channels laid last spare the reordering that
convolution kernels do. Decided at the calls a network makes, so that it need not be rewritten.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sightline.models.memory_format import with_preferred_memory_format

LOGIT_TOLERANCE = 1e-5
"""Difference, as a share of the largest logit (at least 1), up to which two ways to compute logits are one."""
GRADIENT_TOLERANCE = 0.01
"""Accepted distance of gradients, as a share of their length. Rounding decides on which side of zero a ReLU's input
lies: plain float32 is as far from float64 (0.06 % on DenseNet-121, single pixels 1 %)."""
_BATCH_NORM_PARAMETERS = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_CONV_PARAMETERS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_RELU_FUNCTIONS = frozenset({"relu", "relu_"})


class _ScaleShift(torch.autograd.Function):
    """x * scale + shift, scale and shift (C, 1, 1)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return torch.addcmul(shift, x, scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] * ctx.saved_tensors[0], None, None


class _ScaleShiftRelu(torch.autograd.Function):
    """The ReLU of what `_ScaleShift` made of x: one slope for both."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scaled: Tensor, scale: Tensor, inplace: bool) -> Tensor:
        value = scaled.clamp_min_(0) if inplace else scaled.clamp_min(0)
        ctx.save_for_backward(torch.ops.aten.threshold_backward(scale.expand_as(value), value, 0))  # scale where > 0
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0] * ctx.saved_tensors[0], None, None, None


class FastGradientMode(TorchFunctionMode):
    """Entered for one forward of a frozen network on an input in `torch.channels_last`."""

    def __init__(self) -> None:
        super().__init__()
        self._batch_norm_outputs: dict[
            int, tuple[Tensor, int, Tensor, Tensor]
        ] = {}  # id of output -> it, version, input, scale

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "batch_norm":
            given = dict(zip(_BATCH_NORM_PARAMETERS, args, strict=False)) | kwargs
            if _has_fixed_statistics(given):
                return self._scale_shift(given)
        elif name in _RELU_FUNCTIONS and args and id(args[0]) in self._batch_norm_outputs:
            normed, version, x, scale = self._batch_norm_outputs.pop(id(args[0]))
            if normed._version == version:  # else something was added to it in place, as in residual blocks
                inplace = name == "relu_" or bool(kwargs.get("inplace", args[1:] and args[1]))
                return _ScaleShiftRelu.apply(x, normed.detach(), scale, inplace)  # type: ignore[no-untyped-call]
        elif name == "conv2d":
            given = dict(zip(_CONV_PARAMETERS, args, strict=False)) | kwargs
            if _is_pointwise(given):
                x = given["input"].permute(0, 2, 3, 1)  # (N, h, w, C): no copy, channels lie last
                return F.linear(x, given["weight"].flatten(1), given.get("bias")).permute(0, 3, 1, 2)
        return func(*args, **kwargs)

    def _scale_shift(self, given: dict[str, Any]) -> Tensor:
        """Batch norm: x * scale + shift."""
        x, mean, var = given["input"], given["running_mean"], given["running_var"]
        scale = torch.rsqrt(var + given.get("eps", 1e-5))  # (C,)
        if given.get("weight") is not None:
            scale = scale * given["weight"]
        shift = -mean * scale if given.get("bias") is None else given["bias"] - mean * scale
        scale, shift = (t[:, None, None].to(x.dtype) for t in (scale, shift))
        out: Tensor = _ScaleShift.apply(x, scale, shift)  # type: ignore[no-untyped-call]
        self._batch_norm_outputs[id(out)] = (out, out._version, x, scale)
        return out


def _has_fixed_statistics(given: dict[str, Any]) -> bool:
    x = given["input"]
    return x.dim() == 4 and x.requires_grad and not given.get("training", False) and given["running_mean"] is not None


def _is_pointwise(given: dict[str, Any]) -> bool:
    """A convolution of one pixel and one group that skips none."""
    x, weight = given["input"], given["weight"]
    plain = all(v in (1, (1, 1)) for v in (given.get("stride", 1), given.get("dilation", 1)))
    unpadded = given.get("padding", 0) in (0, (0, 0))
    return x.dim() == 4 and tuple(weight.shape[2:]) == (1, 1) and plain and unpadded and given.get("groups", 1) == 1


def supports_fast_gradients(net: nn.Module, x: Tensor) -> bool:
    """Whether `FastGradientMode` leaves logits and input gradients of a frozen network as they are, on images x (N,
    C, h, w)."""

    def computed(fast: bool) -> tuple[Tensor, Tensor]:
        leaf = x.clone(memory_format=torch.channels_last if fast else torch.contiguous_format).requires_grad_()
        with (
            with_preferred_memory_format(net) if fast else nullcontext(),
            FastGradientMode() if fast else nullcontext(),
        ):
            logits = net(leaf)
            weights = torch.linspace(1, 2, logits.numel(), device=x.device).reshape(logits.shape)
            return logits.detach(), torch.autograd.grad((logits * weights).sum(), leaf)[0]

    try:
        logits, gradient = computed(False)
        other, found = computed(True)
    except RuntimeError:  # no gradient, or tensors needed as they were, such as by a view across channels
        return False
    close = float((logits - other).abs().max()) <= LOGIT_TOLERANCE * (1 + float(logits.abs().max()))
    length = float(gradient.norm())
    return close and math.isfinite(length) and float((gradient - found).norm()) <= GRADIENT_TOLERANCE * length
