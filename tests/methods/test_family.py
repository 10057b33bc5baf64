"""Class activation maps against their formulas, other people's code, and each other."""

from __future__ import annotations

import pytest
import torch
import torchvision
from networks import Flattened, batch, model
from torch import Tensor
from torch.nn import functional as F

from sightline.errors import SightlineError
from sightline.methods import BatchContext, saliency
from sightline.models import open_model, wrap

X = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))


def close(got: Tensor, expected: Tensor, tolerance: float = 2e-5, scale: float = 0.0) -> bool:
    """Compare up to rounding at the scale given, or at that of the expected values where they are larger."""
    assert float(expected.abs().max()) > 0
    return torch.allclose(got, expected, atol=tolerance * max(float(expected.abs().max()), scale))


def parts(net: Flattened, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Features and gradients of a head that keeps places apart, by plain autograd."""
    features = F.relu(net.conv(x)).detach().requires_grad_()
    logits = net.out(F.softplus(net.hidden(features.flatten(1))))
    (gradient,) = torch.autograd.grad(logits[:, target].sum(), features)
    return features.detach(), gradient


def test_formulas_on_a_head_that_keeps_places_apart() -> None:
    torch.manual_seed(3)
    net, x = Flattened().eval(), batch(2)
    got = saliency(model(net), x, None, ["hires-cam", "layer-cam", "xgrad-cam", "ablation-cam"])
    for target in range(3):
        a, g = parts(net, x, target)
        wanted = {
            "hires-cam": (a * g).sum(1).relu(),
            "layer-cam": (a * g.relu()).sum(1).relu(),
            "xgrad-cam": torch.einsum("nk,nkhw->nhw", (a * g).sum((2, 3)) / (a.sum((2, 3)) + 1e-12), a).relu(),
        }
        score = net(x)[:, target].detach()
        falls = []
        for k in range(a.shape[1]):
            without = a.clone()
            without[:, k] = 0
            falls.append(score - net.out(F.softplus(net.hidden(without.flatten(1))))[:, target].detach())
        wanted["ablation-cam"] = torch.einsum("kn,nkhw->nhw", torch.stack(falls), a).relu()
        # weights of ablation-cam are differences of logits and have their rounding error
        ablation_scale = float(score.abs().max() * a.sum(1).max())
        for name, maps in wanted.items():
            assert close(got[name][:, target], maps, scale=ablation_scale if name == "ablation-cam" else 0.0), name


def test_one_linear_layer_behind_an_average_makes_them_one_map() -> None:
    m, x = model(), batch(2)
    got = saliency(m, x, None, ["cam", "grad-cam", "hires-cam", "xgrad-cam"])
    cells = 144
    with torch.no_grad():
        features = F.relu(m.net.eval().body(x))
    assert close(got["cam"], torch.einsum("tk,nkhw->nthw", m.net.out.weight.detach(), features))
    assert close(got["grad-cam"] * cells, got["cam"].relu())
    assert close(got["hires-cam"] * cells, got["cam"].relu())
    assert close(got["xgrad-cam"] * cells, got["cam"].relu(), 1e-4)


def test_ablation_needs_no_forward_where_the_head_is_affine() -> None:
    m, x = model(), batch(2)
    got = saliency(m, x, None, ["ablation-cam"])["ablation-cam"]
    with BatchContext(m, x) as context:
        scores, features = context.scores, context.features
        drops = torch.stack([scores - context.scores_without(k) for k in range(features.shape[1])], 2)
        scale = float(scores.abs().max() * features.sum(1).max())  # differences of logits, with their rounding error
        assert close(got, torch.einsum("ntk,nkhw->nthw", drops, features).relu(), scale=scale)
    assert m.has_affine_head and not model(Flattened()).has_affine_head


def test_cam_is_refused_where_its_weights_do_not_exist() -> None:
    with pytest.raises(SightlineError, match="cam needs logits behind a global average pooling"):
        saliency(model(Flattened()), batch(1), None, ["cam"])
    with pytest.raises(SightlineError, match="cam needs"):
        saliency(model(), batch(1), None, ["cam"], target_output="probability")


def test_eigen_cam_is_the_first_singular_direction() -> None:
    m, x = model(), batch(2)
    got = saliency(m, x, None, ["eigen-cam"])["eigen-cam"]
    with torch.no_grad():
        features = F.relu(m.net.eval().body(x))
    for n in range(2):
        flat = features[n].flatten(1)  # (K, cells), never negative: neither is its first direction
        _, s, v = torch.linalg.svd(flat.double())
        wanted = (s[0] * v[0]).abs().float().reshape(features.shape[2:])
        assert close(got[n, 0], wanted) and torch.equal(got[n, 0], got[n, 2])


def test_score_cam_is_its_formula() -> None:
    m, x = model(), batch(2)
    got = saliency(m, x, None, ["score-cam"])["score-cam"]
    with torch.no_grad():
        net = m.net.eval()
        a = F.relu(net.body(x))
        black = m.normalize(torch.zeros(1, 24, 24))
        scores = []
        for k in range(a.shape[1]):
            span = a[:, k : k + 1].amax((2, 3), keepdim=True) - a[:, k : k + 1].amin((2, 3), keepdim=True)
            mask = (a[:, k : k + 1] - a[:, k : k + 1].amin((2, 3), keepdim=True)) / span.clamp(min=1e-12)
            mask = F.interpolate(mask, (24, 24), mode="bilinear", align_corners=False)
            scores.append(net(black + mask * (x - black)))
        weights = torch.stack(scores, 2).softmax(2)
        assert close(got, torch.einsum("ntk,nkhw->nthw", weights, a).relu())
    few = saliency(m, x, None, ["score-cam?channels=3"])["score-cam?channels=3"]
    assert few.shape == got.shape and not close(few, got)


def test_the_family_runs_on_the_networks_people_use() -> None:
    names = ["grad-cam", "grad-cam++", "hires-cam", "layer-cam", "xgrad-cam", "eigen-cam", "ablation-cam", "cam"]
    torch.manual_seed(0)
    for m in (
        open_model("densenet121?side=64", ["Edema", "Pneumonia"]),
        wrap(torchvision.models.resnet18(num_classes=2), ["Edema", "Pneumonia"], side=64),
    ):
        got = saliency(m, X, None, names)
        assert close(got["hires-cam"], got["grad-cam"]), "the same map behind an average and one linear layer"
        assert all(torch.isfinite(maps).all() for maps in got.values())
    vit = open_model("vit_small_patch16_224?side=64", ["Edema", "Pneumonia"])
    got = saliency(vit, X, None, names[:-2])
    assert {tuple(maps.shape) for maps in got.values()} == {(2, 2, 4, 4)}
