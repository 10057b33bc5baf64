"""XRAI by a plain greedy loop; paths that must add up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import LayerConductance
from networks import Flattened, batch, model
from torch import Tensor

from sightline.methods import BatchContext, saliency
from sightline.methods.path_methods import make_baseline
from sightline.methods.xrai import find_region_cells, rank_regions, segment_image


def greedily(attribution: np.ndarray, masks: np.ndarray) -> np.ndarray:
    out, free, left = np.zeros(attribution.size), np.ones(attribution.size, bool), list(range(len(masks)))
    while True:
        gains = {k: attribution.ravel()[masks[k] & free].mean() for k in left if (masks[k] & free).any()}
        if not gains:
            return out.reshape(attribution.shape)
        best = max(gains, key=lambda k: gains[k])
        out[masks[best] & free] = gains[best]
        free &= ~masks[best]
        left.remove(best)


@pytest.mark.parametrize("seed", range(5))
def test_regions_are_taken_greedily(seed: int) -> None:
    rng = np.random.default_rng(seed)
    attribution, masks = rng.normal(size=(12, 12)), rng.random((20, 144)) < 0.2
    masks[0] = True
    assert np.allclose(rank_regions(attribution, find_region_cells(masks)), greedily(attribution, masks), atol=1e-6)


def test_xrai_marks_the_region_that_counts() -> None:
    image = np.zeros((64, 64), np.float32)
    image[10:30, 10:30], image[40:60, 35:55] = 1, 0.6
    masks = segment_image(image)
    assert masks.any(0).all(), "every place belongs to a region"
    attribution = np.random.default_rng(0).normal(0, 0.05, image.shape)
    attribution[10:30, 10:30] += 1
    found = rank_regions(attribution, find_region_cells(masks))
    assert found[12:28, 12:28].min() > 2 * found[40:60, 35:55].max()
    got = saliency(model(), batch(1), None, ["xrai?nodes=4"])["xrai?nodes=4"]
    assert len(torch.unique(got[0, 0])) < 60, "regions, not pixels"


def gap(context: BatchContext, start: Tensor) -> Tensor:
    return context.scores - context.with_inputs(start).scores


def test_conductance_and_blurred_paths_add_up() -> None:
    m, x = model(Flattened()), batch(2)
    got = saliency(m, x, None, ["layer-conductance?nodes=200", "blur-ig?nodes=200"])
    with BatchContext(m, x) as context:
        wanted = gap(context, make_baseline(context, "black"))
        assert torch.allclose(
            got["layer-conductance?nodes=200"].sum((2, 3)), wanted, atol=2e-3 * float(wanted.abs().max())
        )
        from sightline.methods.path_methods import _blur

        wanted = gap(context, _blur(x, 0.15 * 24))
        assert torch.allclose(got["blur-ig?nodes=200"].sum((2, 3)), wanted, atol=2e-2 * float(wanted.abs().max()))


def test_conductance_is_captums() -> None:
    net = Flattened().eval()
    m, x = model(net), batch(2)
    got = saliency(m, x, None, ["layer-conductance?nodes=300"])["layer-conductance?nodes=300"]
    black = m.normalize(torch.zeros(1, 24, 24)).expand_as(x).contiguous()
    for target in (0, 2):
        peer = LayerConductance(net, net.relu).attribute(x, black, target=target, n_steps=300).sum(1).detach()
        assert torch.allclose(got[:, target], peer, atol=2e-2 * float(peer.abs().max()))
