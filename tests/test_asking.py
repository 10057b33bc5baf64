"""What is asked of a network comes out alike however its memory is laid out, and of any network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sightline.asking import logits
from sightline.models import open_model, wrap


class Flat(nn.Module):
    """Like many networks at hand: `view` wants memory in the order of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 8, 3, 2, 1), nn.Linear(8 * 12 * 12, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.conv(x).relu().view(len(x), -1))
        return found


class Forward(Flat):
    """Knows no gradients, as a network behind a compiled runtime."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


def test_a_network_without_gradients_is_asked_all_the_same() -> None:
    model = wrap(Forward(), ("Edema", "Pneumonia"), size=24, channels=1)
    assert not model.is_swift
    assert logits(model, torch.rand(2, 1, 24, 24)).shape == (2, 2)


@pytest.mark.parametrize("swift", [True, False])
def test_logits_are_those_of_the_plain_network(swift: bool) -> None:
    torch.manual_seed(0)
    findings = ("Edema", "Pneumonia")
    model = open_model("small?side=24", findings) if swift else wrap(Flat(), findings, size=24, channels=1)
    assert model.is_swift == swift
    x = torch.rand(20, 1, 24, 24)
    with torch.no_grad():
        wanted = model.net.eval()(x).double().numpy()
    assert logits(model, x) == pytest.approx(wanted, abs=1e-5)
