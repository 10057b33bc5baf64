"""LRP by the textbook's sums over contributions, written out; and what it must conserve."""

from __future__ import annotations

import pytest
import torch
from networks import batch, model
from torch import Tensor, nn

from sightline.errors import SightlineError
from sightline.methods import saliency
from sightline.models import Model, open_model, wrap

THREE = ["A", "B", "C"]


class Dense(nn.Module):
    """Three linear layers and ReLUs on the pixels themselves: small enough to write relevance out."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(27, 12, bias), nn.Linear(12, 8, bias), nn.Linear(8, 3, bias)])

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def dense(bias: bool) -> Model:
    torch.manual_seed(5)
    return wrap(Dense(bias), THREE, side=3, mean=0.3, std=0.4)


def written_out(net: Dense, x: Tensor, target: int, rule: str, gamma: float) -> Tensor:
    """Relevance of one image's pixels (27,): to each its share of what every output gets."""
    activations = [x.flatten()]
    for layer in net.layers[:-1]:
        activations.append(layer(activations[-1]).relu())
    relevance = torch.zeros(3)
    relevance[target] = net(x[None])[0, target]
    for layer, a in zip(reversed(net.layers), reversed(activations), strict=True):
        w, b = layer.weight, torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        parts = w * a  # (out, in)
        if rule == "gamma":
            parts, b = parts + gamma * parts.relu(), b + gamma * b.relu()
        elif rule == "alpha1-beta0":
            parts, b = parts.relu(), b.relu()
        total = parts.sum(1) + b
        total = torch.where(total.abs() < 1e-12, torch.ones_like(total), total)
        relevance = (parts / total[:, None] * relevance[:, None]).sum(0)
    return relevance


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rule", ["epsilon", "gamma", "alpha1-beta0"])
def test_it_is_the_sum_over_contributions(rule: str, bias: bool) -> None:
    m = dense(bias)
    x = torch.randn((2, 3, 3, 3), generator=torch.Generator().manual_seed(1))
    spec = f"lrp?rule={rule}&gamma=0.4&epsilon=1e-9"
    got = saliency(m, x, None, [spec])[spec]
    for n in range(2):
        for target in range(3):
            wanted = written_out(m.net, x[n], target, rule, 0.4).detach().reshape(3, 3, 3).sum(0)
            assert torch.allclose(got[n, target], wanted, atol=2e-4 * float(wanted.abs().max().clamp(min=1e-3)))


def test_with_relu_and_a_tiny_epsilon_it_is_input_times_gradient() -> None:
    m, x = model(), batch(2)
    got = saliency(m, x, None, ["lrp?rule=epsilon&epsilon=1e-9", "input-x-gradient"])
    a, b = got.values()
    assert torch.allclose(a, b, atol=1e-3 * float(b.abs().max()))


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "alpha1-beta0"])
def test_a_batch_norm_behind_a_convolution_is_part_of_it(rule: str) -> None:
    torch.manual_seed(2)
    conv, norm = nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    tail = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)]
    fused = nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
    x = batch(2)
    spec = f"lrp?rule={rule}&epsilon=1e-6"
    apart, one = (
        saliency(wrap(nn.Sequential(*head, *tail), THREE, side=24, mean=0.3, std=0.4), x, None, [spec])[spec]
        for head in ((conv, norm), (fused,))
    )
    assert torch.allclose(apart, one, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vgg11"])
@pytest.mark.parametrize("rule", ["epsilon", "gamma"])
def test_without_biases_relevance_is_conserved(name: str, rule: str) -> None:
    torch.manual_seed(0)
    m = open_model(f"torchvision:{name}?side=64", ["Edema", "Pneumonia"])
    with torch.no_grad():
        for key, parameter in m.net.named_parameters():
            if key.endswith("bias"):
                parameter.zero_()
    x = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(3))
    spec = f"lrp?rule={rule}&epsilon=1e-7"
    got = saliency(m, x, None, [spec])[spec].sum((2, 3))
    with torch.no_grad():
        logits = m.net.eval()(x)
    assert torch.allclose(got, logits, atol=0.02 * float(logits.abs().max()))


def test_rules_that_are_none() -> None:
    with pytest.raises(SightlineError, match="allowed: rule epsilon, gamma, alpha1-beta0"):
        saliency(model(), batch(1), None, ["lrp?rule=omega"])
