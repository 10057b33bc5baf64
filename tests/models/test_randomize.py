"""A network forgets block by block: which blocks, in which order, with which weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.core import SightlineError
from sightline.models import Model, open_model, state_hash, wrap
from sightline.models.randomize import ORDERS, blocks, by_layer, layers, stages

TWO = ["Edema", "Pneumonia"]


class Backwards(nn.Module):
    """Defines its layers in another order than it calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 2)
        self.second, self.first = nn.Conv2d(4, 4, 3), nn.Conv2d(3, 4, 3)
        self.never = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.second(F.relu(self.first(x)))).mean((2, 3)))


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return wrap(Backwards(), TWO, size=16)


def weights(m: Model) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in m.net.named_parameters()}


def test_layers_are_in_the_order_of_calls(model: Model) -> None:
    assert layers(model) == ["first", "second", "out"]
    assert [b.name for b in by_layer(model)] == ["out", "second", "first"]


@pytest.mark.parametrize(
    ("spec", "first", "last", "count"),
    [
        ("densenet121?side=64", "classifier", "features.conv0", 11),
        ("timm:resnet18?side=64", "fc", "conv1", 7),
        ("inception_v3?side=107", "fc", "Conv2d_1a_3x3", 17),
        ("small?side=64", "head", "stem.0", 7),
    ],
)
def test_blocks_of_the_networks_people_use(spec: str, first: str, last: str, count: int) -> None:
    found = blocks(open_model(spec, TWO))
    assert (found[0].name, found[-1].name, len(found)) == (first, last, count)
    assert sorted(name for b in found for name in b.layers) == sorted(layers(open_model(spec, TWO)))


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_drawn_at_each_stage(model: Model, order: str) -> None:
    before, drawn, original = weights(model), by_layer(model), state_hash(model.net)
    names = [b.name for b in drawn]
    steps = names[::-1] if order == "bottom-up" else names
    for step, (block, m) in enumerate(stages(model, drawn, order, seed=3)):
        name = block.name
        assert name == steps[step]
        new = {n.partition(".")[0] for n, w in weights(m).items() if not torch.equal(w, before[n])}
        assert new == ({name} if order == "independent" else set(steps[: step + 1]))
    assert state_hash(model.net) == original


def test_a_layer_gets_the_same_weights_in_every_order_and_others_with_another_seed(model: Model) -> None:
    drawn = by_layer(model)
    ends = [[weights(m) for _, m in stages(model, drawn, order, seed=3)][-1] for order in ("top-down", "bottom-up")]
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])
    other = [weights(m) for _, m in stages(model, drawn, seed=4)][-1]
    assert not torch.equal(other["out.weight"], ends[0]["out.weight"])
    state = torch.get_rng_state()
    list(stages(model, drawn))
    assert torch.equal(torch.get_rng_state(), state)


def test_statistics_of_batch_norm_are_forgotten_too() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    nn.init.normal_(net[1].running_mean)
    m = wrap(net, TWO, size=16)
    *_, (_, last) = stages(m, by_layer(m))
    assert (last.net[1].running_mean == 0).all() and (net[1].running_mean != 0).any()


def test_weights_that_cannot_be_drawn_and_orders_that_are_none(model: Model) -> None:
    class Scaled(Backwards):
        def __init__(self) -> None:
            super().__init__()
            self.scale = Scale()

        def forward(self, x: Tensor) -> Tensor:
            return self.scale(super().forward(x))

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.by

    with pytest.raises(SightlineError, match="scale hold weights but have no reset_parameters"):
        layers(wrap(Scaled(), TWO, size=16))
    with pytest.raises(SightlineError, match="allowed: top-down, bottom-up, independent"):
        list(stages(model, by_layer(model), "sideways"))  # type: ignore[arg-type]
