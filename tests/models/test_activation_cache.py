"""What is recalled changes no map, whatever a method does with the network, and saves the forwards it should."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sightline as sl
from sightline.methods import BatchContext, run_method, target_indices
from sightline.models import Model
from sightline.models.activation_cache import CachedBlock, record_activations
from sightline.models.weight_randomization import RANDOMIZATION_ORDERS, RandomizationOrder, find_blocks, iterate_cascade

METHODS = (
    "grad-cam",
    "hires-cam",
    "eigen-cam",
    "ablation-cam",
    "score-cam",
    "gradient",
    "guided-backprop",
    "occlusion?window=24&stride=24",
)

ERASURE = ("ablation-cam", "occlusion")


def maps(model: Model, x: Tensor, methods: tuple[str, ...]) -> dict[str, Tensor]:
    with BatchContext(model, x) as context:
        return {m: run_method(context, m, target_indices(model, None)) for m in methods}


def every_stage(model: Model, x: Tensor, order: RandomizationOrder, methods: tuple[str, ...], stride: int = 1) -> None:
    """Compare maps with and without the cache after the first stage and every `stride`-th one."""
    prefix, drawn = record_activations(model, x, [b.name for b in find_blocks(model)]), find_blocks(model)
    changed: list[str] = []
    for number, (block, stage) in enumerate(iterate_cascade(model, drawn, order)):
        changed = [*block.layers] if order == "independent" else [*changed, *block.layers]
        if number % stride:
            continue
        plain = maps(stage, x, methods)
        with torch.no_grad():
            logit_scale = float(stage.net.eval()(x).abs().max())
        with prefix.replay(stage.net, changed):
            again = maps(stage, x, methods)
        for method in methods:
            # maps of erasure are differences of logits and have their rounding error; others have that of their maximum
            scale = max(logit_scale if method.startswith(ERASURE) else 0.0, float(plain[method].abs().max()))
            torch.testing.assert_close(
                again[method], plain[method], rtol=1e-6, atol=1e-7 + 1e-5 * scale, msg=f"{block.name} {method}"
            )
        assert not any(isinstance(m, CachedBlock) for m in stage.net.modules())


@pytest.mark.parametrize("order", RANDOMIZATION_ORDERS)
def test_maps_are_those_of_the_whole_network(order: RandomizationOrder) -> None:
    model = sl.open_model("small?side=48&width=8", ["Edema", "Pneumothorax"])
    every_stage(model, torch.randn(2, 1, 48, 48), order, METHODS)


@pytest.mark.parametrize("arch", ["densenet121?side=64", "inception_v3?side=107", "timm:resnet18?side=64"])
def test_maps_of_networks_that_work_in_place(arch: str) -> None:
    model = sl.open_model(arch, ["Edema", "Pneumothorax"])
    every_stage(model, torch.randn(1, 3, model.side, model.side), "top-down", ("grad-cam", "gradient"), stride=5)


@pytest.mark.parametrize("order", ["top-down", "independent"])
def test_tokens_of_the_network_itself_change_everything(order: RandomizationOrder) -> None:
    model = sl.open_model("timm:vit_tiny_patch16_224?side=32", ["Edema"])
    every_stage(model, torch.randn(1, 3, 32, 32), order, ("gradient",), stride=3)


def test_only_what_changed_is_computed() -> None:
    model = sl.open_model("small?side=64", ["Edema"])
    x, calls = torch.randn(2, 1, 64, 64), []
    first, *_ = found = find_blocks(model)
    prefix = record_activations(model, x, [b.name for b in found])
    for module in (model.net.get_submodule(name) for name in prefix.calls):
        module.register_forward_hook(lambda m, i, o: calls.append(m))
    with torch.no_grad(), prefix.replay(model.net, first.layers):
        model.net(x)
        assert [m is model.net.get_submodule(first.name) for m in calls] == [True]
        model.net(x + 1)  # another input: nothing is known of it
    assert len(calls) == 1 + len(prefix.calls)


class Gated(nn.Module):
    """Pools within a block, as squeeze-and-excitation does, before the pooling that matters."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.body, self.head = Gate(), nn.Conv2d(4, 4, 3), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(self.gate(x)).relu()
        logits: Tensor = self.head(nn.functional.adaptive_avg_pool2d(features, 1).flatten(1))
        return logits


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y * nn.functional.adaptive_avg_pool2d(y, 1).sigmoid()


def test_pooling_within_blocks_does_not_move_the_cut() -> None:
    model = sl.wrap(Gated(), ["Edema"], side=32, channels=1)
    x = torch.randn(2, 1, 32, 32)
    prefix = record_activations(model, x, ["gate", "body", "head"])
    assert set(prefix.calls) == {"gate", "body", "head"} and prefix.calls["gate"].n_counted_calls == 1
    plain = maps(model, x, ("grad-cam",))["grad-cam"]
    with prefix.replay(model.net, ["body"]):
        assert torch.equal(maps(model, x, ("grad-cam",))["grad-cam"], plain)
    every_stage(model, x, "top-down", ("grad-cam",))


class Whole(nn.Module):
    """Everything that matters happens within one block."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = Body(), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(self.conv(x).relu(), 1).flatten(1)


def test_a_block_that_holds_the_cut_is_computed() -> None:
    model = sl.wrap(Whole(), ["Edema"], side=32, channels=1)
    x = torch.randn(2, 1, 32, 32)
    assert "body" not in record_activations(model, x, ["body", "head"]).calls
    every_stage(model, x, "top-down", ("grad-cam", "hires-cam"))


def test_a_layer_that_is_looked_at_stays() -> None:
    model = sl.open_model("small?side=64", ["Edema"])
    x = torch.randn(2, 1, 64, 64)
    names = [b.name for b in find_blocks(model)]
    assert "body.0" in record_activations(model, x, names).calls
    assert "body.0" not in record_activations(model, x, names, ["body.0.first"]).calls
