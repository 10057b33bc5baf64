"""Guided IG beside a plain re-implementation of algorithm 1 that walks one image and one finding at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import FINDINGS, SIDE, Flattened, batch, model

from sightline.core import Array
from sightline.errors import SightlineError
from sightline.methods import BatchContext, run_method, saliency, target_indices
from sightline.methods.path_methods import make_baseline
from sightline.models import Model


def plain(m: Model, x: Array, start: Array, target: int, nodes: int, fraction: float, distance: float) -> Array:
    """float64 (C, h, w) twice -> (h, w)."""

    def slope(at: Array) -> Array:
        leaf = torch.from_numpy(at[None].astype(np.float32)).requires_grad_()
        (found,) = torch.autograd.grad(m.net(leaf)[0, target], leaf)
        return found[0].double().numpy()

    here, attribution = start.copy(), np.zeros_like(x)
    way = x - start
    total = np.abs(way).sum()
    for step in range(nodes):
        true = slope(here)
        order = np.abs(true)
        share = (step + 1) / nodes
        low, high = start + max(share - distance, 0) * way, start + min(share + distance, 1) * way
        goal = total * (1 - share)
        gamma = np.inf
        while gamma > 1:
            before = here.copy()
            reached = np.divide(here - start, way, out=np.full_like(way, min(share + distance, 1)), where=way != 0)
            late = reached < max(share - distance, 0) - 1e-12
            here[late] = low[late]
            left = np.abs(x - here).sum()
            if left - goal < 1e-6 * total:
                attribution += (here - before) * true
                break
            order[np.abs(here - high) < 1e-12] = np.inf
            limit = np.quantile(order, fraction, method="lower")
            chosen = (order <= limit) & np.isfinite(order)
            room = (np.abs(here - high) * chosen).sum()
            gamma = (left - goal) / room if room > 0 else np.inf
            here[chosen] = here[chosen] + min(gamma, 1) * (high - here)[chosen]
            attribution += (here - before) * true
            if room == 0:
                break
    return attribution.sum(0)


@pytest.mark.parametrize(("fraction", "distance"), [(0.25, 0.02), (0.1, 0.3), (1.0, 0.0), (0.5, 1.0)])
def test_follows_the_published_algorithm(fraction: float, distance: float) -> None:
    torch.manual_seed(0)
    m, x = model(Flattened()), batch(2)
    spec = f"guided-ig?nodes=7&fraction={fraction}&distance={distance}"
    got = saliency(m, x, None, [spec])[spec].numpy()
    with BatchContext(m, x) as context:
        start = make_baseline(context, "black").double().numpy()
    for n in range(2):
        for t in range(3):
            wanted = plain(m, x[n].double().numpy(), start[n], t, 7, fraction, distance)
            assert np.abs(got[n, t] - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_path_held_to_the_straight_line_is_integrated_gradients() -> None:
    torch.manual_seed(0)
    m, x = model(Flattened()), batch(2)
    maps = saliency(m, x, None, ["guided-ig?distance=0&nodes=200", "integrated-gradients?nodes=64"])
    straight, wanted = maps.values()
    assert torch.allclose(straight, wanted, atol=0.02 * float(wanted.abs().max()))


def test_how_far_the_sum_misses_is_told() -> None:
    m, x = model(), batch(2)
    with BatchContext(m, x) as context:
        maps = run_method(context, "guided-ig?nodes=10", target_indices(m, None))
        wanted = context.scores - context.with_inputs(make_baseline(context, "black")).scores
        error = (maps.sum((2, 3)) - wanted) / wanted.abs()
        assert torch.allclose(context.diagnostics["guided-ig/error"], error, atol=1e-3)


def test_an_image_that_is_its_own_baseline_has_a_map_of_zeros() -> None:
    m = model()
    black = m.normalize(torch.zeros(1, SIDE, SIDE))
    assert bool((saliency(m, black, list(FINDINGS), ["guided-ig?nodes=3"])["guided-ig?nodes=3"] == 0).all())


@pytest.mark.parametrize("option", ["nodes=0", "fraction=0", "distance=2"])
def test_options_out_of_range(option: str) -> None:
    with pytest.raises(SightlineError, match="allowed: from 1, above 0 to 1, 0 to 1"):
        saliency(model(), batch(1), None, [f"guided-ig?{option}"])
