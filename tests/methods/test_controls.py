from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import batch, model

from sightline.errors import SightlineError
from sightline.maps import controls
from sightline.methods import saliency


def test_methods_are_the_functions_that_scoring_uses() -> None:
    m, x = model(), batch(2)
    maps = saliency(m, x, ["Edema"], ["center?grid=7", "noise?grid=5", "edges"], ids=["a", "b"], seed=3)
    assert np.array_equal(maps["center?grid=7"][1, 0].numpy(), controls.center_map(7, 7))
    assert np.array_equal(maps["noise?grid=5"][1, 0].numpy(), controls.noise_map(3, "b", "Edema", height=5, width=5))
    assert np.array_equal(maps["edges"][1, 0].numpy(), controls.edge_map(x[1].mean(0).numpy()))


def test_noise_differs_by_seed_id_and_finding() -> None:
    m, x = model(), batch(2)
    first = saliency(m, x, None, ["noise"], ids=["a", "b"])["noise"].flatten(0, 1)
    assert len(first.unique(dim=0)) == 6
    assert not torch.equal(saliency(m, x, None, ["noise"], ids=["a", "b"], seed=1)["noise"].flatten(0, 1), first)


def test_average_mask_is_the_callers() -> None:
    m, x = model(), batch(2)
    given = torch.rand(2, 1, 4, 5)
    assert torch.equal(saliency(m, x, ["Edema"], ["average-mask"], prior=given)["average-mask"], given)
    asked: list[object] = []

    def prior(ids: tuple[str, ...], findings: tuple[str, ...]) -> torch.Tensor:
        asked.append((ids, findings))
        return given

    saliency(m, x, ["Edema"], ["average-mask"], prior=prior, ids=["a", "b"])
    assert asked == [(("a", "b"), ("Edema",))]
    with pytest.raises(SightlineError, match="average-mask returned"):
        saliency(m, x, None, ["average-mask"], prior=given)
