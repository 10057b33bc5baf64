"""Weights are drawn anew wherever they are stored, and what keeps its trained weights is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import utils
from torch.nn.utils import parametrizations, parametrize, prune

from sightline.errors import SightlineError
from sightline.models import Model, with_random_weights, wrap
from sightline.models.initialization import copy_network, reset_parameters
from sightline.models.weight_randomization import find_layers, iterate_cascade, split_by_layer

Change = Callable[[nn.Module], nn.Module]


class Network(nn.Module):
    """Two convolutions, something between them, and a linear layer; each passes through `change`."""

    def __init__(self, change: Change, between: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.between = change(nn.Conv2d(1, 8, 3, 2, 1)), between
        self.second, self.head = change(nn.Conv2d(8, 16, 3, 2, 1)), change(nn.Linear(16, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.between(self.first(x)))))
        out: Tensor = self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return out


class Frozen(nn.Module):
    """Batch normalization whose statistics and weights are buffers, as detection networks have it."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(8, generator=generator) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        w, b, mean, var = (getattr(self, n)[:, None, None] for n in ("weight", "bias", "running_mean", "running_var"))
        out: Tensor = (x - mean) / (var + 1e-5).sqrt() * w + b
        return out


class InBuffers(nn.Module):
    """Convolution whose kernel is no parameter."""

    def __init__(self, attribute: bool = False) -> None:
        super().__init__()
        kernel = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(1))
        if attribute:
            self.kernel = kernel
        else:
            self.register_buffer("kernel", kernel)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.kernel, padding=1)


class Doubled(nn.Module):
    """Parametrization without an inverse."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.tanh(x)


def doubled(module: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(module, "weight", Doubled())


def pruned(module: nn.Module) -> nn.Module:
    prune.l1_unstructured(module, "weight", 0.3)  # type: ignore[no-untyped-call]
    return module


def trained_statistics(affine: bool) -> nn.Module:
    norm = nn.BatchNorm2d(8, affine=affine)
    norm(torch.randn(16, 8, 4, 4, generator=torch.Generator().manual_seed(2)) * 3 + 1)
    return norm


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*deprecated:FutureWarning", "ignore:.*deprecated", "ignore:torch.quantize_per"
)

CHANGES: dict[str, tuple[Change, nn.Module]] = {
    "nothing": (nn.Identity(), nn.Identity()),
    "weight norm by a hook": (utils.weight_norm, nn.Identity()),
    "spectral norm by a hook": (utils.spectral_norm, nn.Identity()),
    "weight norm": (parametrizations.weight_norm, nn.Identity()),
    "spectral norm": (parametrizations.spectral_norm, nn.Identity()),
    "orthogonal": (parametrizations.orthogonal, nn.Identity()),
    "without an inverse": (doubled, nn.Identity()),
    "pruned": (pruned, nn.Identity()),
    "frozen batch norm": (nn.Identity(), Frozen()),
    "statistics alone": (nn.Identity(), trained_statistics(affine=False)),
    "batch norm": (nn.Identity(), trained_statistics(affine=True)),
    "weights in buffers": (nn.Identity(), InBuffers()),
    "weights in attributes": (nn.Identity(), InBuffers(attribute=True)),
}


def model(change: str) -> Model:
    return wrap(Network(*CHANGES[change]), ["Edema", "Mass"], 32, channels=1, name="mine")


def outputs(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What every layer gives for the same input, whatever the layers before it give."""
    sizes = {
        "first": x,
        "between": torch.ones(2, 8, 16, 16),
        "second": torch.ones(2, 8, 16, 16),
        "head": torch.ones(2, 16),
    }
    with torch.no_grad():
        layers = dict(net.eval().named_modules())
        return {name: layers[name](value) for name, value in sizes.items()}


@pytest.mark.parametrize("change", CHANGES)
def test_every_layer_of_the_control_is_another(change: str) -> None:
    m, x = model(change), torch.rand(2, 1, 32, 32)
    before = outputs(m.net, x)
    layers = find_layers(m)
    *_, (_, end) = iterate_cascade(m, split_by_layer(m))
    for net in (with_random_weights(m).net, end.net):
        for name, output in outputs(net, x).items():
            assert output.isfinite().all()
            if not isinstance(m.net.get_submodule(name), nn.Identity):
                assert not torch.allclose(output, before[name], rtol=1e-3), name
    again = outputs(m.net, x)
    assert all(torch.equal(again[name], value) for name, value in before.items())
    assert [name for name in layers if "parametrizations" in name] == []
    assert not any(buffer.requires_grad for buffer in m.net.buffers())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("change", CHANGES)
def test_weights_are_drawn_at_the_scale_of_an_initialization(change: str) -> None:
    m, x = model(change), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        for _ in range(20 if "spectral" in change else 0):
            m.net.train()(x)  # spectral norms settle
        trained, drawn = (net.eval()(x) for net in (m.net, with_random_weights(m).net))
    assert 1e-3 < float(drawn.abs().mean() / trained.abs().mean()) < 1e3


def test_as_many_weights_are_pruned_but_others() -> None:
    net = model("pruned").net
    control = with_random_weights(model("pruned")).net
    before, after = (dict(n.named_buffers())["second.weight_mask"] for n in (net, control))
    assert before.sum() == after.sum() and not torch.equal(before, after)


def test_masks_filters_and_normalizations_are_no_weights() -> None:
    module = nn.Module()
    for name, values in {
        "mask": [0.0, -100.0] * 16,
        "filter": [1.0, 2.0, 1.0] * 8,
        "mean": [0.485, 0.456, 0.406],
    }.items():
        module.register_buffer(name, torch.tensor(values))
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    reset_parameters(module)
    assert all(torch.equal(before[name], buffer) for name, buffer in module.named_buffers())


def test_a_method_that_needs_arguments_is_not_called() -> None:
    class Own(nn.Linear):
        def reset_parameters(self, scale: float = 0.0) -> None:
            if not scale:
                raise TypeError("scale is missing")

    with torch.random.fork_rng(devices=[]):
        layer = Own.__new__(Own)
        nn.Module.__init__(layer)
        layer.weight = nn.Parameter(torch.randn(2, 4))
        before = layer.weight.clone()
        reset_parameters(layer)
    assert not torch.equal(layer.weight, before)


def test_what_was_never_trained_may_stay() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    with_random_weights(wrap(net, ["Edema"], 16, channels=1))


def quantized() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    changed: nn.Module = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})  # type: ignore[no-untyped-call]
    return changed


def scripted() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    changed: nn.Module = torch.jit.freeze(torch.jit.script(net.eval()))
    return changed


class Hidden(nn.Module):
    """Holds its weights where no tool can find them."""

    def __init__(self) -> None:
        super().__init__()
        self.held = [torch.randn(2, 16)]

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x, 4).flatten(1) @ self.held[0].T


@pytest.mark.parametrize("make", [quantized, scripted, Hidden])
def test_weights_that_cannot_be_drawn_are_refused(make: Callable[[], nn.Module]) -> None:
    m = wrap(make(), ["Edema", "Mass"], 16, channels=1, name="mine")
    with pytest.raises(SightlineError, match="weights of mine cannot be drawn anew"):
        with_random_weights(m)
    with pytest.raises(SightlineError, match="weights of mine cannot be drawn anew"):
        list(iterate_cascade(m, split_by_layer(m)))


def test_computed_weights_are_copied_without_their_history() -> None:
    net = model("weight norm by a hook").net
    net(torch.rand(1, 1, 32, 32))  # records the history of the computed weights
    copy = copy_network(net)
    assert torch.equal(copy(torch.ones(1, 1, 32, 32)), net(torch.ones(1, 1, 32, 32)))
