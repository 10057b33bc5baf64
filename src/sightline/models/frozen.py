"""Borrow a network: evaluation mode, no parameter gradients, and everything as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn


@contextmanager
def freeze(net: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode and `requires_grad=False` for every parameter inside; the flags of each module and parameter
    come back on leaving, whatever happened. Gradients stored in `.grad` are never touched.

    Inside, gradients are recorded in float32 even if the caller is in inference mode or under autocast.
    """
    modules = [(module, module.training) for module in net.modules()]
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


@contextmanager
def _disable_tf32() -> Iterator[None]:
    """Products and convolutions of float32 numbers in float32: the default of cuDNN keeps ten bits of them."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
