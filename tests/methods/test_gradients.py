"""Gradients, noise and rectified backpropagation against Captum and plain autograd."""

from __future__ import annotations

import pytest
import torch
import torchvision
from captum.attr import Deconvolution, GuidedBackprop, GuidedGradCam, InputXGradient, NoiseTunnel, Occlusion, Saliency
from networks import Flattened, batch, model
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import SightlineError
from sightline.methods import BatchContext, saliency
from sightline.models import Model, wrap

TWO = ["Edema", "Pneumonia"]
X = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))


def resnet() -> Model:
    torch.manual_seed(0)
    return wrap(torchvision.models.resnet18(num_classes=2), TWO, side=64)


def close(got: Tensor, expected: Tensor, tolerance: float = 2e-5, scale: float = 0.0) -> bool:
    """Compare up to rounding at the scale given, or at that of the expected values where they are larger."""
    assert float(expected.abs().max()) > 0
    return torch.allclose(got, expected, rtol=0, atol=tolerance * max(float(expected.abs().max()), scale))


def simple() -> tuple[nn.Module, Model]:
    """No ReLU is used twice or works in place: what Captum's hooks need."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 6),
        nn.ReLU(),
        nn.Linear(6, 2),
    ).eval()
    return net, wrap(net, TWO, side=64)


def test_gradients_are_captums() -> None:
    m = resnet()
    got = saliency(m, X, None, ["gradient", "gradient?reduce=abs-max", "input-x-gradient"])
    for target in (0, 1):
        x = X.clone().requires_grad_()
        signed = Saliency(m.net.eval()).attribute(x, target=target, abs=False).detach()
        assert close(got["gradient"][:, target], signed.sum(1))
        assert close(got["gradient?reduce=abs-max"][:, target], signed.abs().amax(1))
        assert close(
            got["input-x-gradient"][:, target], InputXGradient(m.net).attribute(x, target=target).sum(1).detach()
        )


def test_of_probability_is_the_chain_rule() -> None:
    m = resnet()
    plain, probable = (
        saliency(m, X, None, ["gradient"], target_output=of)["gradient"] for of in ("logit", "probability")
    )
    with torch.no_grad():
        p = m.net.eval()(X).sigmoid()
    assert close(probable, plain * (p * (1 - p))[..., None, None])


@pytest.mark.parametrize("name", ["guided-backprop", "deconvnet"])
def test_rectified_backpropagation_is_captums(name: str) -> None:
    net, m = simple()
    got = saliency(m, X, None, [name])[name]
    peer = GuidedBackprop(net) if name == "guided-backprop" else Deconvolution(net)
    for target in (0, 1):
        with pytest.warns(UserWarning, match="backward hooks"):
            wanted = peer.attribute(X.clone().requires_grad_(), target=target)
        assert close(got[:, target], wanted.sum(1).detach())


def test_guided_grad_cam_is_captums() -> None:
    net, m = simple()
    got = saliency(m, X, None, ["guided-grad-cam"])["guided-grad-cam"]
    for target in (0, 1):
        with pytest.warns(UserWarning, match="backward hooks"):
            peer = GuidedGradCam(net, net[4]).attribute(
                X.clone().requires_grad_(), target=target, interpolate_mode="bilinear"
            )
        assert close(got[:, target], peer.sum(1).detach())


def test_a_functional_relu_in_place_follows_the_rule_too() -> None:
    m = model()
    guided, plain = (saliency(m, batch(2), None, [n])[n] for n in ("guided-backprop", "gradient"))
    assert not close(guided, plain)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(SightlineError, match="calls no ReLU"):
        saliency(wrap(net, TWO, side=64), X, None, ["guided-backprop"])


def test_noise_is_averaged_as_captums_tunnel_does() -> None:
    m = model(Flattened())
    x = batch(2)
    got = saliency(m, x, None, ["smoothgrad?samples=400", "smoothgrad-squared?samples=400", "vargrad?samples=400"])
    spread = (0.15 * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))).mean().item()
    for kind, name in (("smoothgrad", "smoothgrad"), ("smoothgrad_sq", "smoothgrad-squared"), ("vargrad", "vargrad")):
        torch.manual_seed(0)
        tunnel = NoiseTunnel(Saliency(m.net.eval()))
        wanted = tunnel.attribute(x, nt_type=kind, nt_samples=400, stdevs=spread, target=1, abs=False).sum(1).detach()
        ours = got[f"{name}?samples=400"][:, 1]
        correlation = torch.corrcoef(torch.stack([ours.flatten(), wanted.flatten()]))[0, 1]
        assert correlation > 0.95, (name, float(correlation))


def test_variance_is_mean_of_squares_less_square_of_mean() -> None:
    m, x = model(Flattened()), batch(2)
    with BatchContext(m, x, ids=["a", "b"], seed=4) as context:
        from sightline.methods.gradient import draw_noisy_copies

        found = torch.stack(
            [context.with_inputs(n).input_gradient(torch.arange(3)) for n in draw_noisy_copies(context, 6, 0.2)]
        )
    got = saliency(m, x, None, ["vargrad?samples=6&sigma=0.2"], ids=["a", "b"], seed=4)["vargrad?samples=6&sigma=0.2"]
    assert close(got, found.var(0, unbiased=False).sum(2), 1e-4)


def test_occlusion_equals_that_of_captum() -> None:
    m, x = model(), batch(2)
    with torch.no_grad():
        logit_scale = float(m.net.eval()(x).abs().max())  # a map is a difference of logits and has their rounding error
    for window, stride in ((8, 8), (8, 4), (7, 5)):
        spec = f"occlusion?window={window}&stride={stride}"
        got = saliency(m, x, None, [spec])[spec]
        black = m.normalize(torch.zeros(1, 24, 24))
        for target in (0, 2):
            peer = Occlusion(m.net.eval()).attribute(
                x, (3, window, window), strides=(3, stride, stride), baselines=black.expand_as(x), target=target
            )
            reach = (24 - window) // stride * stride + window if window != stride else 24
            ours = got[:, target, :reach, :reach][..., :stride, :stride]
            assert close(ours, peer[:, 0, :stride, :stride], scale=logit_scale), spec


def test_rise_finds_the_only_pixel_that_counts() -> None:
    class Corner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            nn.init.eye_(self.conv.weight[:, :, 0, 0])
            nn.init.zeros_(self.conv.bias)

        def forward(self, x: Tensor) -> Tensor:
            return F.adaptive_avg_pool2d(self.conv(x)[:, :, 2:8, 2:8], 1).flatten(1)

    m = wrap(Corner(), ["A", "B", "C"], side=24, mean=0.0, std=1.0)
    x = torch.ones(1, 3, 24, 24)
    got = saliency(m, x, None, ["rise?samples=400&grid=6"])["rise?samples=400&grid=6"][0, 0]
    assert got[2:8, 2:8].mean() > 1.15 * got[12:, 12:].mean()
    again = saliency(m, x, None, ["rise?samples=400&grid=6"], ids=["other"])["rise?samples=400&grid=6"][0, 0]
    assert torch.equal(got, again), "every image is asked the same questions"


def test_smooth_paths_stay_complete_on_average() -> None:
    m, x = model(Flattened()), batch(2)
    spec = "gradient-shap?samples=300"
    total = saliency(m, x, None, [spec], ids=["a", "b"])[spec].sum((2, 3))
    with torch.no_grad():
        black = m.normalize(torch.zeros(1, 24, 24)).expand_as(x)
        gap = m.net.eval()(x) - m.net(black)
    assert torch.allclose(total, gap, atol=0.25 * float(gap.abs().max()))
    quiet = "smooth-ig?sigma=0&samples=1&nodes=32"
    got = saliency(m, x, None, [quiet, "integrated-gradients?nodes=32"])
    assert close(got[quiet], got["integrated-gradients?nodes=32"])


@pytest.mark.parametrize("baseline", ["black", "mean", "blur", "random"])
def test_every_baseline_is_complete(baseline: str) -> None:
    from sightline.methods.path_methods import make_baseline

    m, x = model(Flattened()), batch(2)
    spec = f"integrated-gradients?baseline={baseline}&nodes=64"
    got = saliency(m, x, None, [spec], ids=["a", "b"], seed=1)[spec].sum((2, 3))
    with BatchContext(m, x, ids=["a", "b"], seed=1) as context:
        start = make_baseline(context, baseline)
        gap = context.scores - context.with_inputs(start).scores
    assert torch.allclose(got, gap, atol=3e-2 * float(gap.abs().max()))


@pytest.mark.parametrize(
    "spec", ["gradient?reduce=max", "smoothgrad?samples=0", "occlusion?window=0", "rise?keep=1.5", "smooth-ig?nodes=0"]
)
def test_options_that_cannot_be(spec: str) -> None:
    with pytest.raises(SightlineError, match="allowed"):
        saliency(model(), batch(1), None, [spec])
