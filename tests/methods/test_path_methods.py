from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from networks import SIDE, Flattened, batch, model
from torch import Tensor, nn

from sightline._util.rng import BACKGROUND_IMAGE, keyed_rng
from sightline.errors import SightlineError
from sightline.methods import BatchContext, TargetOutput, run_method, saliency, target_indices
from sightline.methods.gradient import draw_noisy_copies
from sightline.models import Model, wrap


def run(m: Model, x: Tensor, spec: str, of: TargetOutput = "logit") -> tuple[Tensor, dict[str, Tensor]]:
    with BatchContext(m, x, target_output=of) as context:
        return run_method(context, spec, target_indices(m, None)), context.diagnostics


def smooth() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, 4), nn.Softplus(), nn.Conv2d(6, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 3)
    )


def test_it_is_captums_with_many_steps() -> None:
    m, x = model(smooth()), batch(2)
    black = m.normalize(torch.zeros(1, m.side, m.side))
    got, _ = run(m, x, "integrated-gradients?nodes=64")
    oracle = IntegratedGradients(m.net.eval())
    for target in range(3):
        wanted = oracle.attribute(x, black.expand_as(x), target=target, n_steps=400, method="riemann_middle").sum(1)
        assert torch.allclose(got[:, target], wanted.float(), atol=1e-3 * float(wanted.abs().max()))


@pytest.mark.parametrize("of", ["logit", "probability"])
@pytest.mark.parametrize("baseline", ["black", "mean"])
def test_completeness(of: TargetOutput, baseline: str) -> None:
    m, x = model(smooth()), batch(3)
    maps, notes = run(m, x, f"integrated-gradients?baseline={baseline}", of)
    start = m.normalize(torch.zeros(1, m.side, m.side)) if baseline == "black" else x.mean((2, 3), keepdim=True)
    with torch.no_grad():
        ends = [m.net(v.expand_as(x)) if of == "logit" else m.net(v.expand_as(x)).sigmoid() for v in (x, start)]
    wanted = ends[0] - ends[1]
    assert float(wanted.abs().min()) > 1e-3
    assert torch.allclose(maps.sum((2, 3)), wanted, rtol=0.011)
    assert float(notes["integrated-gradients/error"].abs().max()) <= 0.01
    assert set(notes["integrated-gradients/nodes"].unique().tolist()) <= {8, 16, 32, 64}


def pair_integrated_gradients(m: Model, x: Tensor, target: int, steps: int) -> Tensor:
    """IG as PAIR's package computes it, (N, C, h, w): nodes from the black baseline to the image, both included."""
    start = m.normalize(torch.zeros(1, m.side, m.side)).expand_as(x)
    total = torch.zeros_like(x)
    for share in torch.linspace(0, 1, steps):
        point = (start + share * (x - start)).requires_grad_()
        total += torch.autograd.grad(m.net.eval()(point)[:, target].sum(), point)[0]
    return total * (x - start) / steps


def test_published_integrated_gradients_sum_magnitudes_over_channels() -> None:
    m, x = model(smooth()), batch(2)
    signed, magnitudes = (
        run(m, x, f"integrated-gradients?nodes=10&rule=endpoints&reduce={r}")[0] for r in ("sum", "abs-sum")
    )
    for target in range(3):
        wanted = pair_integrated_gradients(m, x, target, 10)
        assert torch.allclose(signed[:, target], wanted.sum(1), atol=1e-5 * float(wanted.abs().max()))
        assert torch.allclose(magnitudes[:, target], wanted.abs().sum(1), atol=1e-5 * float(wanted.abs().max()))
    assert not torch.allclose(signed.abs(), magnitudes, rtol=0.1), "signs of channels differ"


def test_the_error_of_completeness_is_that_of_the_signed_sum() -> None:
    m, x = model(smooth()), batch(2)
    notes = [run(m, x, f"integrated-gradients?reduce={r}")[1] for r in ("sum", "abs-sum")]
    for key in ("integrated-gradients/error", "integrated-gradients/nodes"):
        assert torch.allclose(notes[0][key], notes[1][key], atol=1e-4)


def test_published_smooth_ig_averages_squares() -> None:
    m, x = model(smooth()), batch(2)
    spec = "smooth-ig?squared=true&samples=3&sigma=0.15&nodes=10&rule=endpoints"
    got, _ = run(m, x, spec)
    with BatchContext(m, x) as context:
        copies = list(draw_noisy_copies(context, 3, 0.15))
    for target in range(3):
        squares = [pair_integrated_gradients(m, copy, target, 10).square() for copy in copies]
        wanted = (sum(squares) / 3).sum(1)
        assert torch.allclose(got[:, target], wanted, atol=1e-5 * float(wanted.max()))


def test_published_guided_grad_cam_multiplies_normalized_magnitudes() -> None:
    m, x = model(), batch(2)
    specs = ("guided-grad-cam?reduce=abs-sum&normalized=true", "guided-backprop?reduce=abs-sum", "grad-cam")
    got, fine, coarse = (run(m, x, spec)[0] for spec in specs)
    coarse = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear", align_corners=False)
    for n, target in ((0, 0), (1, 2)):
        shown = []
        for values in (fine[n, target].numpy(), coarse[n, target].numpy()):
            low, top = values.min(), np.percentile(values, 99)
            shown.append(np.clip((values - low) / (top - low), 0, 1))
        np.testing.assert_allclose(got[n, target].numpy(), shown[0] * shown[1], atol=1e-5)


def test_each_map_takes_the_nodes_it_needs_whatever_is_beside_it() -> None:
    torch.manual_seed(3)
    m, x = model(Flattened()), batch(4) * torch.tensor([0.2, 1.0, 3.0, 6.0])[:, None, None, None]
    together, notes = run(m, x, "integrated-gradients")
    nodes = notes["integrated-gradients/nodes"]
    assert len(nodes.unique()) > 1, "the case is too easy to show anything"
    for i in range(4):
        alone, own = run(m, x[i : i + 1], "integrated-gradients")
        assert torch.equal(own["integrated-gradients/nodes"][0], nodes[i])
        assert torch.allclose(alone[0], together[i], atol=1e-5 * float(together[i].abs().max()))
        single = saliency(m, x[i : i + 1], [1], ["integrated-gradients"])["integrated-gradients"]
        assert torch.allclose(single[0, 0], together[i, 1], atol=1e-5 * float(together[i].abs().max()))


def test_a_linear_model_is_explained_by_one_node() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1))
    m = wrap(net, ["Edema"], side=8, mean=0, std=1)
    x = torch.rand(2, 3, 8, 8)
    maps, _ = run(m, x, "integrated-gradients?nodes=1")
    assert torch.allclose(maps[:, 0], (net[1].weight.detach().reshape(1, 3, 8, 8) * x).sum(1), atol=1e-6)


def test_a_network_that_never_converges_reports_its_error() -> None:
    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ((x * 40).round() / 40 + 0 * x).mean((1, 2, 3))[:, None]  # gradient 0 almost everywhere

    m = wrap(Steps(), ["Edema"], side=8, mean=0, std=1)
    maps, notes = run(m, torch.rand(2, 3, 8, 8), "integrated-gradients")
    assert float(maps.abs().max()) == 0
    assert notes["integrated-gradients/nodes"].unique().tolist() == [64]
    assert torch.allclose(notes["integrated-gradients/error"].abs(), torch.ones(2, 1))


def test_options_are_checked() -> None:
    m, x = model(smooth()), batch(1)
    with pytest.raises(SightlineError, match="baseline=white; allowed: black, zero, mean, blur, random, data"):
        run(m, x, "integrated-gradients?baseline=white")
    with pytest.raises(SightlineError, match="nodes=-1"):
        run(m, x, "integrated-gradients?nodes=-1")


def test_uniform_nodes_are_the_middles_of_equal_steps() -> None:
    m, x = model(), batch(2)
    got = saliency(m, x, None, ["integrated-gradients?nodes=5&rule=uniform&baseline=zero"])
    total = torch.zeros(2, 3, SIDE, SIDE)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        with BatchContext(m, x * share) as context:
            slope = context.input_gradient(torch.arange(3))
        total += (slope * x[:, None]).sum(2) / 5
    assert torch.allclose(next(iter(got.values())), total, atol=1e-5 * float(total.abs().max()))
    with pytest.raises(SightlineError, match="rule=simpson; allowed: gauss-legendre, uniform"):
        saliency(m, x, None, ["integrated-gradients?rule=simpson"])


def test_the_data_baseline_is_the_mean_of_the_background_or_one_of_it() -> None:
    m, x, others = model(), batch(2), batch(4, seed=9)
    spec = "integrated-gradients?baseline=data&nodes=32"
    maps = saliency(m, x, None, [spec], background=others)[spec]
    with BatchContext(m, x) as context:
        wanted = context.scores - context.with_inputs(others.mean(0, keepdim=True).expand_as(x).contiguous()).scores
    assert torch.allclose(maps.sum((2, 3)), wanted, atol=0.02 * float(wanted.abs().max()))
    spec = "gradient-shap?baseline=data&samples=3&sigma=0"
    maps = saliency(m, x, None, [spec], background=others, ids=["a", "b"], seed=2)[spec]
    total = torch.zeros_like(maps)
    with BatchContext(m, x, ids=["a", "b"], seed=2) as context:
        for draw in range(3):
            start = others[[int(keyed_rng(2, i, BACKGROUND_IMAGE, draw).integers(4)) for i in "ab"]]
            share = torch.special.ndtr(context.standard_normal(3 + draw)[:, :1, :1, :1])
            slope = context.with_inputs(start + share * (x - start)).input_gradient(torch.arange(3))
            total += (slope * (x - start)[:, None]).sum(2) / 3
    assert torch.allclose(maps, total, atol=1e-5 * float(total.abs().max()))
    with pytest.raises(SightlineError, match="needs other images; give background="):
        saliency(m, x, None, ["integrated-gradients?baseline=data"])
