"""Compute a frozen network with fewer passes over memory, for the gradients of many findings.

Half of a DenseNet's backward pass on a CPU is not convolution: batch norm and ReLU each read and write every
activation again, for every finding. With fixed statistics the two are one multiplication by a slope that the forward
pass knows. A convolution of one pixel is a matrix product, and channels in the last place in memory save the
reordering of convolution kernels. Calls are replaced while the network makes them, so it need not be rewritten.
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
"""Accepted difference of logits, as a share of the largest logit (at least 1)."""
GRADIENT_TOLERANCE = 0.01
"""Accepted distance of gradients, as a share of their length. Rounding decides on which side of zero the input of a
ReLU lies: plain float32 is as far from float64 (0.06 % on DenseNet-121, single pixels 1 %)."""
_BATCH_NORM_PARAMETERS = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_CONV_PARAMETERS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_RELU_FUNCTIONS = frozenset({"relu", "relu_"})


class _ScaleShift(torch.autograd.Function):
    """Compute x * scale + shift, with scale and shift (C, 1, 1)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return torch.addcmul(shift, x, scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] * ctx.saved_tensors[0], None, None


class _ScaleShiftRelu(torch.autograd.Function):
    """Compute the ReLU of the output of `_ScaleShift`, with one slope for both."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scaled: Tensor, scale: Tensor, inplace: bool) -> Tensor:
        value = scaled.clamp_min_(0) if inplace else scaled.clamp_min(0)
        ctx.save_for_backward(torch.ops.aten.threshold_backward(scale.expand_as(value), value, 0))  # scale where > 0
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0] * ctx.saved_tensors[0], None, None, None


class FastGradientMode(TorchFunctionMode):
    """Context of one forward pass of a frozen network on an input in `torch.channels_last`."""

    def __init__(self) -> None:
        super().__init__()
        # id of output -> output, version, input, scale
        self._batch_norm_outputs: dict[int, tuple[Tensor, int, Tensor, Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "batch_norm":
            call = dict(zip(_BATCH_NORM_PARAMETERS, args, strict=False)) | kwargs
            if _has_fixed_statistics(call):
                return self._scale_shift(call)
        elif name in _RELU_FUNCTIONS and args and id(args[0]) in self._batch_norm_outputs:
            normed, version, x, scale = self._batch_norm_outputs.pop(id(args[0]))
            if normed._version == version:  # else something was added to it in place, as in residual blocks
                inplace = name == "relu_" or bool(kwargs.get("inplace", args[1:] and args[1]))
                return _ScaleShiftRelu.apply(x, normed.detach(), scale, inplace)  # type: ignore[no-untyped-call]
        elif name == "conv2d":
            call = dict(zip(_CONV_PARAMETERS, args, strict=False)) | kwargs
            if _is_pointwise(call):
                x = call["input"].permute(0, 2, 3, 1)  # (N, h, w, C): no copy, channels lie last
                return F.linear(x, call["weight"].flatten(1), call.get("bias")).permute(0, 3, 1, 2)
        return func(*args, **kwargs)

    def _scale_shift(self, call: dict[str, Any]) -> Tensor:
        """Compute batch norm as x * scale + shift."""
        x, mean, var = call["input"], call["running_mean"], call["running_var"]
        scale = torch.rsqrt(var + call.get("eps", 1e-5))  # (C,)
        if call.get("weight") is not None:
            scale = scale * call["weight"]
        shift = -mean * scale if call.get("bias") is None else call["bias"] - mean * scale
        scale, shift = (t[:, None, None].to(x.dtype) for t in (scale, shift))
        out: Tensor = _ScaleShift.apply(x, scale, shift)  # type: ignore[no-untyped-call]
        self._batch_norm_outputs[id(out)] = (out, out._version, x, scale)
        return out


def _has_fixed_statistics(call: dict[str, Any]) -> bool:
    x = call["input"]
    return x.dim() == 4 and x.requires_grad and not call.get("training", False) and call["running_mean"] is not None


def _is_pointwise(call: dict[str, Any]) -> bool:
    """Return True for a convolution of one pixel and one group, without stride."""
    x, weight = call["input"], call["weight"]
    plain = all(v in (1, (1, 1)) for v in (call.get("stride", 1), call.get("dilation", 1)))
    unpadded = call.get("padding", 0) in (0, (0, 0))
    return x.dim() == 4 and tuple(weight.shape[2:]) == (1, 1) and plain and unpadded and call.get("groups", 1) == 1


def supports_fast_gradients(net: nn.Module, x: Tensor) -> bool:
    """Return True if `FastGradientMode` leaves logits and input gradients of a frozen network unchanged.

    Parameters
    ----------
    net
        Frozen network.
    x : (N, C, h, w) float32
        Inputs to compare on.

    Returns
    -------
    bool
        False also if the mode cannot compute the network.
    """

    def compute(fast: bool) -> tuple[Tensor, Tensor]:
        leaf = x.clone(memory_format=torch.channels_last if fast else torch.contiguous_format).requires_grad_()
        with (
            with_preferred_memory_format(net) if fast else nullcontext(),
            FastGradientMode() if fast else nullcontext(),
        ):
            logits = net(leaf)
            weights = torch.linspace(1, 2, logits.numel(), device=x.device).reshape(logits.shape)
            return logits.detach(), torch.autograd.grad((logits * weights).sum(), leaf)[0]

    try:
        logits, gradient = compute(False)
        fast_logits, fast_gradient = compute(True)
    except RuntimeError:  # no gradient, or tensors needed as they were, such as by a view across channels
        return False
    close = float((logits - fast_logits).abs().max()) <= LOGIT_TOLERANCE * (1 + float(logits.abs().max()))
    length = float(gradient.norm())
    return close and math.isfinite(length) and float((gradient - fast_gradient).norm()) <= GRADIENT_TOLERANCE * length
