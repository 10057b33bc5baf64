"""Use a network without changing it: evaluation mode, no parameter gradients, everything restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn


@contextmanager
def freeze(net: nn.Module) -> Iterator[nn.Module]:
    """Put a network into evaluation mode and stop the gradients of its parameters.

    Inside, gradients are recorded and computed in float32 even if the caller is in inference mode or under autocast.
    On leaving, the flags of each module and parameter are restored, whatever happened; `.grad` is never touched.

    Parameters
    ----------
    net
        Network that is frozen in place.

    Yields
    ------
    nn.Module
        The same network.
    """
    # A network that torch.jit.freeze folded has no training mode left
    modules = [(module, module.training) for module in net.modules() if hasattr(module, "training")]
    parameters = [(parameter, parameter.requires_grad) for parameter in net.parameters()]
    device = parameters[0][0].device.type if parameters else "cpu"
    try:
        for module, _ in modules:
            module.training = False
        for parameter, _ in parameters:
            parameter.requires_grad_(False)
        exact = nullcontext() if device == "cpu" else _disable_tf32()
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False), exact:
            yield net
    finally:
        for module, training in modules:
            module.training = training
        for parameter, requires_grad in parameters:
            parameter.requires_grad_(requires_grad)


def _tf32_switches() -> list[tuple[Any, str, object]]:
    """(backend, attribute, value without TF32) of everything that may round float32 to TF32.

    From torch 2.9 on each backend has `fp32_precision`; reading `allow_tf32` raises once a caller has set the new one.
    """
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if hasattr(getattr(cudnn, "conv", None), "fp32_precision"):
        return [(backend, "fp32_precision", "ieee") for backend in (cuda, cudnn.conv, cudnn.rnn)]  # type: ignore[attr-defined]
    return [(backend, "allow_tf32", False) for backend in (cuda, cudnn)]


@contextmanager
def _disable_tf32() -> Iterator[None]:
    """Multiply and convolve float32 numbers in float32: cuDNN keeps ten bits of them by default."""
    switches = _tf32_switches()
    saved = [(backend, name, getattr(backend, name)) for backend, name, _ in switches]
    try:
        for backend, name, value in switches:
            setattr(backend, name, value)
        yield
    finally:
        for backend, name, value in saved:
            setattr(backend, name, value)
