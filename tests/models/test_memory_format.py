"""Weights are laid out anew while they are borrowed, and are the same memory afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sightline.models.memory_format import preferred_memory_format, set_memory_format, with_preferred_memory_format
from sightline.models.small_resnet import SmallResNet


def test_what_would_be_written_beyond_its_end_stays_as_it_is() -> None:
    last, other = torch.channels_last, torch.contiguous_format
    wanted = {3: other, 7: other, 8: last, 16: last}
    assert {width: preferred_memory_format(SmallResNet(1, width)) for width in wanted} == wanted


def test_borrowed_weights_lie_channels_last_and_come_back() -> None:
    net = SmallResNet(2).eval()
    before = {name: (id(p), p.data_ptr(), p.stride()) for name, p in net.named_parameters()}
    x = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        plain = net(x)
        with with_preferred_memory_format(net):
            wide = [p for p in net.parameters() if p.dim() == 4 and p.shape[1] > 1]
            assert all(p.is_contiguous(memory_format=torch.channels_last) for p in wide)
            assert torch.allclose(net(x), plain, atol=1e-6)
    assert {name: (id(p), p.data_ptr(), p.stride()) for name, p in net.named_parameters()} == before


def test_an_error_and_a_borrowing_within_change_nothing() -> None:
    net = SmallResNet(2)
    before = [p.data_ptr() for p in net.parameters()]
    with pytest.raises(RuntimeError, match="inside"), with_preferred_memory_format(net):
        with with_preferred_memory_format(net):
            pass
        raise RuntimeError("inside")
    assert [p.data_ptr() for p in net.parameters()] == before


def test_weights_that_share_memory_share_it_afterwards() -> None:
    memory = torch.rand(16, 16, 3, 3)
    net = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3))
    for conv in net:
        conv.weight.data = memory
    with with_preferred_memory_format(net):
        pass
    memory.zero_()
    assert not any(conv.weight.any() for conv in net)


def test_laying_out_keeps_the_parameters_that_an_optimizer_holds() -> None:
    net = SmallResNet(2)
    held = list(net.parameters())
    set_memory_format(net, torch.channels_last)
    assert all(a is b for a, b in zip(held, net.parameters(), strict=True))
