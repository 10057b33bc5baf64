"""Weights are randomized block by block: which blocks, in which order, with which weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline._util.rng import LAYER_WORDS, key_digest, key_word
from sightline.errors import SightlineError
from sightline.models import Model, open_model, state_hash, wrap
from sightline.models.weight_randomization import (
    RANDOMIZATION_ORDERS,
    find_blocks,
    find_layers,
    iterate_cascade,
    reinitialize,
    split_by_layer,
)

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
    return wrap(Backwards(), TWO, side=16)


def weights(m: Model) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in m.net.named_parameters()}


def test_layers_are_in_the_order_of_calls(model: Model) -> None:
    assert find_layers(model) == ["first", "second", "out"]
    assert [b.name for b in split_by_layer(model)] == ["out", "second", "first"]


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
    found = find_blocks(open_model(spec, TWO))
    assert (found[0].name, found[-1].name, len(found)) == (first, last, count)
    assert sorted(name for b in found for name in b.layers) == sorted(find_layers(open_model(spec, TWO)))


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        ("small?side=64", "61b55bf7"),
        ("unet?side=64", "b4039a9e"),
        ("retinanet?side=64", "d48646b0"),
        ("selfexplaining:small?side=64&kind=gate", "073e0493"),
    ],
)
def test_layers_of_our_networks_draw_by_paths_that_never_change(spec: str, paths: str) -> None:
    """A layer that is renamed keeps its word in `LAYER_WORDS`."""
    keys = sorted(key_word(name, LAYER_WORDS, ".") for name in find_layers(open_model(spec, TWO)))
    assert key_digest(*keys).hex()[:8] == paths


def test_a_layer_of_another_package_draws_by_its_own_path() -> None:
    """`LAYER_WORDS` are names of this package: a network of a user may have a `projection`, too."""

    def draw(name: str, ours: bool) -> torch.Tensor:
        net = nn.Sequential()
        net.add_module(name, nn.Linear(3, 2))
        if ours:
            net.__class__ = type("Ours", (nn.Sequential,), {"__module__": "sightline.models.some"})
        reinitialize(net, name, 0)
        return net.get_submodule(name).get_parameter("weight").detach()

    assert torch.equal(draw("head", ours=False), draw("projection", ours=True))
    assert not torch.equal(draw("projection", ours=False), draw("projection", ours=True))


@pytest.mark.parametrize("order", RANDOMIZATION_ORDERS)
def test_what_is_drawn_at_each_stage(model: Model, order: str) -> None:
    before, drawn, original = weights(model), split_by_layer(model), state_hash(model.net)
    names = [b.name for b in drawn]
    steps = names[::-1] if order == "bottom-up" else names
    for step, (block, m) in enumerate(iterate_cascade(model, drawn, order, seed=3)):
        name = block.name
        assert name == steps[step]
        new = {n.partition(".")[0] for n, w in weights(m).items() if not torch.equal(w, before[n])}
        assert new == ({name} if order == "independent" else set(steps[: step + 1]))
    assert state_hash(model.net) == original


def test_a_layer_gets_the_same_weights_in_every_order_and_others_with_another_seed(model: Model) -> None:
    drawn = split_by_layer(model)
    ends = [
        [weights(m) for _, m in iterate_cascade(model, drawn, order, seed=3)][-1] for order in ("top-down", "bottom-up")
    ]
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])
    other = [weights(m) for _, m in iterate_cascade(model, drawn, seed=4)][-1]
    assert not torch.equal(other["out.weight"], ends[0]["out.weight"])
    state = torch.get_rng_state()
    list(iterate_cascade(model, drawn))
    assert torch.equal(torch.get_rng_state(), state)


def test_statistics_of_batch_norm_are_forgotten_too() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    nn.init.normal_(net[1].running_mean)
    m = wrap(net, TWO, side=16)
    *_, (_, last) = iterate_cascade(m, split_by_layer(m))
    assert (last.net[1].running_mean == 0).all() and (net[1].running_mean != 0).any()


class Scaled(nn.Module):
    """Weights that no module initializes: of the network itself, of a layer, and one number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.attend = nn.Conv2d(3, 4, 3), nn.MultiheadAttention(4, 2, batch_first=True)
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.by = nn.Parameter(torch.tensor([2.0]))
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        words = self.conv(x).flatten(2).mT
        tokens = torch.cat([self.token.expand(len(x), -1, -1), words], 1)
        return self.by * self.out(self.attend(tokens, tokens, tokens)[0][:, 0])


def test_no_weight_in_use_is_left_out() -> None:
    """Neither a token of the network itself, nor a projection inside attention, which is never called as a module."""
    torch.manual_seed(0)
    m = wrap(Scaled(), TWO, side=16)
    assert find_layers(m) == ["", "conv", "attend", "attend.out_proj", "out"]
    assert [b.title for b in split_by_layer(m)] == ["out", "attend.out_proj", "attend", "conv", "own weights"]
    before = weights(m)
    *_, (_, last) = iterate_cascade(m, split_by_layer(m))
    same = {name for name, w in weights(last).items() if torch.equal(w, before[name])}
    assert same == {"by", "attend.in_proj_bias"}  # one number, and zeros, which have no deviation
    assert float(last.net.token.std().detach()) == pytest.approx(float(before["token"].std()), rel=1)


def test_vision_transformers_are_drawn_block_by_block() -> None:
    m = open_model("timm:vit_tiny_patch16_224?side=64", TWO)
    found = [b.title for b in find_blocks(m)]
    assert (found[0], found[-2:], len(found)) == ("head", ["patch_embed.proj", "own weights"], 16)
    before = weights(m)
    *_, (_, last) = iterate_cascade(m, find_blocks(m))
    moved = {name for name, w in weights(last).items() if not torch.equal(w, before[name])}
    assert {"cls_token", "pos_embed", "blocks.3.attn.qkv.weight", "head.weight"} <= moved


def test_orders_that_are_none(model: Model) -> None:
    with pytest.raises(SightlineError, match="allowed: top-down, bottom-up, independent"):
        list(iterate_cascade(model, split_by_layer(model), "sideways"))  # type: ignore[arg-type]
