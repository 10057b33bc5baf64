"""DeepLIFT: complete where a peer is not, equal to the peer where it is right, refused where it cannot be."""

from __future__ import annotations

import pytest
import torch
import torchvision
from captum.attr import DeepLift
from networks import Flattened, batch, model
from torch import Tensor, nn

from sightline.errors import SightlineError
from sightline.methods import BatchContext, run_method, saliency, target_indices
from sightline.models import Model, open_model, wrap

TWO = ["Edema", "Pneumonia"]
X = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))


def error(m: Model, x: Tensor, spec: str = "deeplift") -> float:
    with BatchContext(m, x, ids=["a", "b"][: len(x)]) as context:
        run_method(context, spec, target_indices(m, None))
        return float(context.diagnostics["deeplift/error"].abs().max())


def test_it_is_captums_where_captums_hooks_hold() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 12, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 6),
        nn.Tanh(),
        nn.Linear(6, 2),
    ).eval()
    m = wrap(net, TWO, side=64)
    got = saliency(m, X, None, ["deeplift"])["deeplift"]
    black = m.normalize(torch.zeros(1, 64, 64)).expand_as(X).contiguous()
    for target in (0, 1):
        with pytest.warns(UserWarning, match="hooks"):
            wanted = DeepLift(net).attribute(X.clone().requires_grad_(), black, target=target).sum(1).detach()
        assert torch.allclose(got[:, target], wanted, atol=2e-5 * float(wanted.abs().max()))


def test_densenet_is_complete_where_captum_misses_a_functional_relu() -> None:
    torch.manual_seed(0)
    net = torchvision.models.densenet121(num_classes=2).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, 0, 0.3)
    m = wrap(net, TWO, side=64)
    assert error(m, X) < 1e-3


@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "vgg11", "mobilenet_v2"])
def test_the_networks_people_use_are_complete(name: str) -> None:
    torch.manual_seed(0)
    side = 80 if name == "inception_v3" else 64
    m = open_model(f"torchvision:{name}?side={side}", TWO)
    x = torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(2))
    assert error(m, x) < 1e-2


def test_a_network_that_multiplies_is_refused_with_the_reason() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 6, 5, 2), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            a = self.conv(x)
            return self.out((a * a.sigmoid().mean((2, 3), keepdim=True) * 3 * a).mean((2, 3)))

    torch.manual_seed(0)
    m = wrap(Gate(), TWO, side=64)
    with pytest.raises(SightlineError, match=r"deeplift on gate refuses [1-4] of 4 maps: the map does not add up"):
        saliency(m, X, None, ["deeplift"])
    assert saliency(m, X, None, ["deeplift?check=false"])["deeplift?check=false"].shape == (2, 2, 64, 64)


def test_of_probability_and_over_baselines_it_is_complete() -> None:
    m, x = model(Flattened()), batch(2)
    for of in ("logit", "probability"):
        got = saliency(m, x, None, ["deeplift"], target_output=of)["deeplift"].sum((2, 3))  # type: ignore[arg-type]
        with BatchContext(m, x, target_output=of) as context:  # type: ignore[arg-type]
            black = context.with_inputs(m.normalize(torch.zeros(1, 24, 24)).expand_as(x).contiguous())
            assert torch.allclose(got, context.scores - black.scores, atol=1e-4)
    one, many = ("deepshap?samples=1&sigma=0", "deepshap?samples=4")
    got = saliency(m, x, None, ["deeplift", one, many], ids=["a", "b"])
    assert torch.allclose(got[one], got["deeplift"], atol=1e-6)
    assert not torch.allclose(got[many], got["deeplift"], atol=1e-6)
