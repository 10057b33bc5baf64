"""Agreement of maps in two precisions."""

from __future__ import annotations

import torch
from networks import batch, model, transformer

from sightline.methods import BatchContext, target_indices
from sightline.methods.inference import ExplainOptions
from sightline.methods.mixed_precision import bfloat16_correlations, min_correlation


def test_likeness_is_the_worst_correlation_and_two_flat_maps_agree() -> None:
    one = torch.rand((2, 3, 5, 5))
    assert min_correlation(one, one * 2 + 1) == 1
    other = one.clone()
    other[1, 2] = -other[1, 2]
    assert min_correlation(one, other) == -1
    one[0, 0] = 0
    assert min_correlation(one, one + 1) == 1
    assert min_correlation(one, torch.rand((2, 3, 5, 5))) <= 0.0


def test_methods_get_float32_whatever_the_arithmetic() -> None:
    m, x = model(), batch(2)
    with BatchContext(m, x, precision="bfloat16") as context, BatchContext(m, x) as plain:
        for get in (
            lambda q: q.logits,
            lambda q: q.features,
            lambda q: q.feature_gradient(1),
            lambda q: q.input_gradient(torch.tensor([0, 2])),
            lambda q: q.scores_without(3),
        ):
            rough, exact = get(context), get(plain)
            assert rough.dtype == torch.float32
            assert 0 < float((rough - exact).norm()) < 0.2 * float(exact.norm())


def test_a_method_that_refuses_has_nothing_to_gain() -> None:
    m = model()
    options = ExplainOptions(m.findings)
    specs = ["grad-cam", "attention-rollout", "center"]
    correlations = bfloat16_correlations(m, batch(2), ["a", "b"], specs, target_indices(m, None), options)
    assert correlations["grad-cam"] > 0.99
    assert correlations["attention-rollout"] == 0 and correlations["center"] == 1
    t = transformer()
    assert bfloat16_correlations(t, batch(1), ["a"], ["cam"], target_indices(t, None), options) == {"cam": 0.0}
