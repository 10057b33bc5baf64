from __future__ import annotations

import gc

import pytest
import torch
from networks import Flattened, batch, model
from torch.nn import functional as F

from sightline.errors import SightlineError
from sightline.methods import BatchContext


def test_logits_features_and_gradients_are_those_of_the_whole_network() -> None:
    torch.manual_seed(0)
    m, x = model(Flattened()), batch(2)
    net = m.net.eval()
    a = net.relu(net.conv(x)).detach().requires_grad_()
    logits = net.out(F.softplus(net.hidden(a.flatten(1))))
    with BatchContext(m, x) as context:
        assert torch.allclose(context.logits, logits)
        assert torch.equal(context.features, net.relu(net.conv(x)))
        for target in range(3):
            (wanted,) = torch.autograd.grad(logits[:, target].sum(), a, retain_graph=True)
            assert torch.allclose(context.feature_gradient(target), wanted)
        assert torch.allclose(context.probabilities, logits.sigmoid())


def test_input_gradient_equals_autograd() -> None:
    m, x = model(), batch(2)
    targets = torch.tensor([2, 0])
    for of in ("logit", "probability"):
        leaf = x.clone().requires_grad_()
        out = m.net.eval()(leaf)
        out = out if of == "logit" else out.sigmoid()
        with BatchContext(m, x, target_output=of) as context:  # type: ignore[arg-type]
            got = context.input_gradient(targets)
        for place, target in enumerate(targets.tolist()):
            (wanted,) = torch.autograd.grad(out[:, target].sum(), leaf, retain_graph=True)
            assert torch.allclose(got[:, place], wanted, atol=1e-7)


def test_what_was_handed_out_stays_when_the_batch_changes() -> None:
    m, x = model(), batch(2)
    with BatchContext(m, x) as context:
        features = context.features
        kept = features.clone()
        other = context.with_inputs(x * 2)
        assert other.ids == context.ids and not torch.equal(other.features, features)
        assert torch.allclose(context.select(torch.tensor([1])).features[0], features[1], atol=1e-6)
        assert torch.equal(features, kept)


def test_a_pass_computes_inside_its_block_only() -> None:
    m = model()
    context = BatchContext(m, batch(1))
    with pytest.raises(SightlineError, match="inside its `with` block"):
        _ = context.logits
    with context:
        inner = context.with_inputs(batch(1))
    for late in (context, inner):
        with pytest.raises(SightlineError, match="inside its `with` block"):
            late.input_gradient(torch.tensor([0]))


def test_wrong_input_is_refused() -> None:
    m = model()
    for bad in (batch(1)[0], batch(1)[:, :1], batch(1)[..., :-1], batch(1).double()):
        with pytest.raises(SightlineError, match=r"takes float32 \(N, 3, 24, 24\), not"):
            BatchContext(m, bad)
    with pytest.raises(SightlineError, match="target_output='odds'; allowed"):
        BatchContext(m, batch(1), target_output="odds")  # type: ignore[arg-type]


def test_many_batches_leave_no_tensor_behind() -> None:
    m, x = model(), batch(2)

    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    def once() -> None:
        with BatchContext(m, x) as context:
            context.feature_gradient(0)
            context.input_gradient(torch.tensor([0]))

    once()
    before = alive()
    for _ in range(30):
        once()
    assert alive() <= before
