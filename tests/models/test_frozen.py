"""A frozen network computes in float32, and everything is restored afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sightline.models.frozen import _disable_tf32, freeze


def test_flags_are_restored_after_an_error() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    net[0].weight.requires_grad_(False)
    with pytest.raises(RuntimeError), freeze(net):
        assert not any(m.training for m in net.modules()) and not any(p.requires_grad for p in net.parameters())
        raise RuntimeError
    assert all(m.training for m in net.modules())
    assert [p.requires_grad for p in net.parameters()] == [False, True]


def test_tf32_is_off_inside_and_as_it_was_afterwards() -> None:
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if not hasattr(getattr(cudnn, "conv", None), "fp32_precision"):
        pytest.skip("this torch has allow_tf32 only")
    before = cuda.fp32_precision
    cuda.fp32_precision = "tf32"  # from here on reading allow_tf32 raises
    backends = (cuda, cudnn.conv, cudnn.rnn)
    try:
        values = [backend.fp32_precision for backend in backends]
        with _disable_tf32():
            assert [backend.fp32_precision for backend in backends] == ["ieee"] * 3
        assert [backend.fp32_precision for backend in backends] == values and values[0] == "tf32"
    finally:
        cuda.fp32_precision = before
