"""Grad-CAM and Grad-CAM++ against other people's code, closed forms and the papers' own formulas."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from captum.attr import LayerGradCam
from networks import Flattened, Plain, batch, model
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import SightlineError
from sightline.methods import BatchContext, saliency
from sightline.models import Model, open_model, wrap

X = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
TWO = ["Edema", "Pneumonia"]


def close(got: Tensor, wanted: Tensor) -> bool:
    assert float(wanted.abs().max()) > 0
    return torch.allclose(got, wanted, atol=2e-5 * float(wanted.abs().max()))


def captum_maps(net: nn.Module, layer: nn.Module, x: Tensor) -> Tensor:
    net.eval()
    cam = LayerGradCam(net, layer)
    return torch.cat([cam.attribute(x, target=t, relu_attributions=True).detach() for t in (0, 1)], 1)


def test_grad_cam_is_captums_where_no_relu_works_in_place() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    )
    got = saliency(wrap(net, TWO, side=64), X, None, ["grad-cam"])["grad-cam"]
    assert close(got, captum_maps(net, net[4], X))


def test_grad_cam_is_captums_on_resnet() -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=2)
    got = saliency(wrap(net, TWO, side=64), X, None, ["grad-cam"])["grad-cam"]
    assert close(got, captum_maps(net, net.layer4, X))


def test_grad_cam_is_captums_on_inception_v4() -> None:
    torch.manual_seed(0)
    net = timm.create_model("inception_v4", num_classes=2)
    nn.init.normal_(net.last_linear.weight)  # as initialized, every weight of these two findings gives an empty map
    x = torch.randn((1, 3, 107, 107), generator=torch.Generator().manual_seed(0))
    got = saliency(wrap(net, TWO, side=107), x, None, ["grad-cam"])["grad-cam"]
    assert close(got, captum_maps(net, net.features[-1], x))


def test_grad_cam_is_the_class_activation_map_of_a_densenet_with_its_in_place_relu() -> None:
    torch.manual_seed(0)
    net = torchvision.models.densenet121(num_classes=2)
    got = saliency(wrap(net, TWO, side=64), X, None, ["grad-cam"])["grad-cam"]
    with torch.no_grad():
        features = F.relu(net.eval().features(X))
    cells = features.shape[2] * features.shape[3]
    cam = torch.einsum("tk,nkhw->nthw", net.classifier.weight.detach(), features) / cells
    assert close(got, cam.relu())
    pre_relu = torch.einsum("tk,nkhw->nthw", net.classifier.weight.detach(), net.features(X).detach()) / cells
    assert not close(got, pre_relu.relu())


def test_grad_cam_of_a_transformer_by_hand() -> None:
    m = open_model("vit_small_patch16_224?side=64", TWO)
    got = saliency(m, X, None, ["grad-cam"])["grad-cam"]
    kept: list[Tensor] = []
    norm = m.net.eval().blocks[-1].norm1
    handle = norm.register_forward_hook(lambda module, args, output: kept.append(output))
    logits = m.net(X)
    handle.remove()
    for target in (0, 1):
        (gradient,) = torch.autograd.grad(logits[:, target].sum(), kept[0], retain_graph=True)
        for image in range(2):
            weights = gradient[image, 1:].mean(0)  # (D,): the class token is no place
            tokens = (kept[0][image, 1:] @ weights).relu().reshape(4, 4)
            assert close(got[image, target], tokens.detach())


def slow_plus_plus(m: Model, features: Tensor, head: nn.Module, target: int) -> Tensor:
    """One image, float64, cell by cell, equations 10 and 19 of arXiv:1710.11063 with Y = exp(S)."""
    leaf = features.double().requires_grad_()
    score = head(leaf[None])[0, target]
    (g,) = torch.autograd.grad(score, leaf)
    y = score.detach().exp()
    channels, height, width = features.shape
    cam = torch.zeros(height, width, dtype=torch.float64)
    for k in range(channels):
        weight = torch.zeros((), dtype=torch.float64)
        total = features[k].double().sum()
        for i in range(height):
            for j in range(width):
                second, third = y * g[k, i, j] ** 2, y * g[k, i, j] ** 3
                bottom = 2 * second + total * third
                alpha = second / bottom if bottom != 0 else torch.zeros(())
                weight += alpha * (y * g[k, i, j]).clamp(min=0)
        cam += weight * features[k].double()
    return cam.relu() / y  # the factor that `grad-cam++` leaves out


@pytest.mark.parametrize("kind", [Plain, Flattened])
def test_grad_cam_plus_plus_follows_the_paper(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    net = kind()
    m, x = model(net), batch(2)
    got = saliency(m, x, None, ["grad-cam++"])["grad-cam++"]
    double = kind().double()
    double.load_state_dict(net.state_dict())
    net.eval()
    with torch.no_grad():
        if isinstance(net, Flattened):
            features = net.relu(net.conv(x))
        else:
            assert isinstance(net, Plain)
            features = F.relu(net.body(x))

    class Head(nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            if isinstance(double, Flattened):
                return double.out(F.softplus(double.hidden(a.flatten(1))))
            return double.out(a.mean((2, 3)))

    for image in range(2):
        for target in range(3):
            wanted = slow_plus_plus(m, features[image], Head(), target).float()
            assert close(got[image, target], wanted)


@pytest.mark.parametrize("name", ["grad-cam", "integrated-gradients?nodes=4"])
def test_probability_is_the_logit_scaled_by_its_slope(name: str) -> None:
    """Exact for Grad-CAM, which is linear in the gradient at one point; integrated gradients differ along the path."""
    m, x = model(), batch(3)
    logit, probability = (saliency(m, x, None, [name], target_output=of)[name] for of in ("logit", "probability"))
    p = m.net.eval()(x).sigmoid().detach()
    scaled = logit * (p * (1 - p))[:, :, None, None]
    assert close(probability, scaled) == (name == "grad-cam")


def test_a_confident_model_keeps_the_map_of_its_probability() -> None:
    m, x = model(), batch(2)
    with torch.no_grad():
        m.net.out.bias += 30  # 1 - sigmoid(30) is 0 in float32
    p = saliency(m, x, None, ["grad-cam"], target_output="probability")["grad-cam"]
    logit = saliency(m, x, None, ["grad-cam"])["grad-cam"]
    top = logit.amax((2, 3), keepdim=True)
    assert float(top.max()) > 0 and bool(((p.amax((2, 3), keepdim=True) > 0) == (top > 0)).all())
    assert torch.allclose(p * top, logit * p.amax((2, 3), keepdim=True), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["grad-cam", "grad-cam++", "layer-cam", "eigen-cam", "layer-conductance?nodes=4"])
def test_a_layer_by_name_is_the_model_wrapped_there(name: str) -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=2)
    m = wrap(net, TWO, side=64)
    spec = name + ("&" if "?" in name else "?") + "layer=layer3"
    got = saliency(m, X, None, [spec, name])
    assert got[spec].shape[2:] == (4, 4) and got[name].shape[2:] == (2, 2)
    assert torch.equal(got[spec], saliency(wrap(net, TWO, side=64, feature_module="layer3"), X, None, [name])[name])


def test_where_the_map_is_taken_on_a_densenet_before_and_after_its_last_relu() -> None:
    """A module's output is what leaves it: before a functional ReLU, and not what that makes of it in place."""
    torch.manual_seed(0)
    net = torchvision.models.densenet121(num_classes=2)
    m = wrap(net, TWO, side=64)
    net.eval()
    with torch.no_grad():
        before = net.features.denseblock4(net.features[:-2](X))
        normed = net.features.norm5(before)
    for layer, wanted in {"": normed.relu(), "features.norm5": normed, "features.denseblock4": before}.items():
        with BatchContext(m, X) as context:
            assert torch.allclose(context.with_layer(layer).features, wanted, atol=1e-5 * float(wanted.abs().max()))


def test_a_layer_that_is_none_names_what_there_is() -> None:
    m = wrap(torchvision.models.resnet18(num_classes=2), TWO, side=64)
    with pytest.raises(SightlineError, match="'layer9' is no module of the network; it has layer"):
        saliency(m, X, None, ["grad-cam?layer=layer9"])
    with pytest.raises(SightlineError, match="has no option 'depth'; allowed: layer"):
        saliency(m, X, None, ["grad-cam?depth=3"])
    with pytest.raises(SightlineError, match="has no option 'layer'"):
        saliency(m, X, None, ["gradient?layer=layer3"])
