"""The fast way to gradients gives those of the plain way, or is not taken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.methods import saliency
from sightline.models import Model, open_model, wrap

TWO = ["Edema", "Pneumonia"]


class Block(nn.Module):
    """Batch norms in every company: before a ReLU, before a sum in place, before nothing, and used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1, 2)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False), nn.BatchNorm2d(8)])
        for norm in self.norms:
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.running_mean)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.norms[0](self.convs[0](x)), inplace=True)
        second = self.norms[1](self.convs[1](first))
        second += first
        third = self.norms[2](self.convs[2](F.relu(second, True)))
        return self.out((F.relu(third) + third.sigmoid()).mean((2, 3)))


class Viewed(Block):
    """Asks for memory in the order of channels, which the fast way does not keep."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norms[0](self.convs[0](x)))
        return self.out(x.view(len(x), -1).unflatten(1, (8, -1)).mean(2))


def plain(m: Model, x: Tensor) -> Tensor:
    """float32 (N, F, h, w): gradients by nothing but autograd."""
    leaf = x.clone().requires_grad_()
    logits = m.net.eval()(leaf)
    return torch.stack([torch.autograd.grad(y.sum(), leaf, retain_graph=True)[0].sum(1) for y in logits.T], 1)


def far(m: Model, x: Tensor) -> float:
    found, wanted = saliency(m, x, None, ["gradient"])["gradient"], plain(m, x)
    return float((found - wanted).norm() / wanted.norm())


def batch(side: int) -> Tensor:
    return torch.randn((3, 3, side, side), generator=torch.Generator().manual_seed(0))


def test_batch_norms_in_every_company() -> None:
    torch.manual_seed(0)
    m = wrap(Block(), TWO, side=24)
    assert m.supports_fast_gradients
    assert far(m, batch(24)) < 1e-6


def test_a_network_that_cannot_is_computed_the_plain_way() -> None:
    torch.manual_seed(0)
    m = wrap(Viewed(), TWO, side=24)
    assert not m.supports_fast_gradients
    assert far(m, batch(24)) < 1e-6


def test_a_sum_in_place_mistaken_for_a_batch_norm_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of versions the fast way drops residual connections: the gate refuses it."""
    monkeypatch.setattr(Tensor, "_version", property(lambda self: 0), raising=False)
    torch.manual_seed(0)
    assert not wrap(Block(), TWO, side=24).supports_fast_gradients


@pytest.mark.parametrize(
    "spec",
    ["densenet121?side=64", "timm:resnet18?side=64", "inception_v3?side=107", "timm:mobilenetv3_small_100?side=64"],
)
def test_the_networks_people_use(spec: str) -> None:
    m = open_model(spec, TWO)
    assert m.supports_fast_gradients
    assert far(m, batch(m.side)) < 0.01
