from __future__ import annotations

import torch

from sightline.models.small_resnet import SmallResNet


def test_size_and_grid() -> None:
    net = SmallResNet(10).eval()
    assert 80_000 < sum(p.numel() for p in net.parameters()) < 120_000
    x = torch.zeros(2, 1, 160, 160)
    assert net(x).shape == (2, 10)
    assert net.body(net.stem(x)).shape == (2, 96, 20, 20)
