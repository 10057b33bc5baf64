"""The checks of a model: each catches what breaks it, and methods are asked as a run would ask them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import FAST, Plain, batch, model, transformer
from torch import Tensor, nn

from sightline._cli.app import main
from sightline.methods.model_checks import MODEL_LAWS, check_model, probe_methods
from sightline.methods.registry import methods


def changed(forward: Callable[[Plain, Tensor], Tensor]) -> nn.Module:
    """A network that behaves while it is wrapped, and then does as `forward` says."""
    torch.manual_seed(0)
    net = Plain()
    net.wrapped = False
    plain = net.forward
    net.forward = lambda x: forward(net, plain(x)) if net.wrapped else plain(x)  # type: ignore[method-assign]
    return net


def counted(net: Plain, logits: Tensor) -> Tensor:
    net.norm.num_batches_tracked += 1
    return logits


BREAKERS: dict[str, Callable[[Plain, Tensor], Tensor]] = {
    "logits are finite": lambda net, y: y * torch.tensor([1.0, torch.nan, 1.0]),
    "an image alone gets the logits it gets among others": lambda net, y: y - y.mean(0),
    "the same call gives the same bits": lambda net, y: y + torch.rand(()),
    "every output depends on the image": lambda net, y: y * torch.tensor([1.0, 0.0, 1.0]),
    "use does not change the model": counted,
}


@pytest.mark.parametrize("law", MODEL_LAWS)
def test_every_law_catches_what_breaks_it(law: str) -> None:
    net = changed(BREAKERS[law])
    m = model(net)
    net.wrapped = True
    verdicts = {v.law: v for v in check_model(m, batch(3))}
    assert not verdicts[law].is_met
    if law in ("logits are finite", "every output depends on the image"):
        assert "Edema" in verdicts[law].detail and "Cardiomegaly" not in verdicts[law].detail


def test_a_sound_model_holds_and_every_method_serves_or_says_what_it_needs() -> None:
    m = model()
    assert all(v.is_met for v in check_model(m, batch(3)))
    specs = [FAST.get(n, n) for n, entry in methods.items() if entry.info.needs != "prior"]
    found = {s.method.partition("?")[0]: s for s in probe_methods(m, batch(2), specs)}
    assert {name for name, s in found.items() if not s.is_usable} == {"attention-rollout", "attention-relevance"}
    assert "plain vision transformer" in found["attention-rollout"].reason
    assert found["deeplift"].completeness_error < 1e-3 and found["layer-conductance"].completeness_error < 0.05
    assert found["gradient"].completeness_error != found["gradient"].completeness_error  # promises no sum
    assert [
        s.method for s in probe_methods(transformer(), batch(1), ["attention-rollout", "cam"]) if not s.is_usable
    ] == ["cam"]


def test_a_rule_that_changes_the_network_is_refused() -> None:
    """A call by the name of a ReLU that does more than a ReLU: with the rule it is another network."""

    class Shifted(Plain):
        def patch_embeddings(self, x: Tensor) -> Tensor:
            return torch.threshold(self.body(x), -0.5, -0.5)  # the rule would make it a ReLU at zero

    torch.manual_seed(0)
    (one,) = probe_methods(model(Shifted()), batch(2), ["guided-backprop"])
    assert not one.is_usable and "would explain another network" in one.reason


def test_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "check-model",
        "small?side=64",
        "--data",
        "phantom:4?size=64",
        "--max-radiographs",
        "2",
        "--methods",
        "grad-cam",
        "intrinsic",
    ]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "features are the input of" in out and "affine head" in out
    assert "grad-cam" in out and "REFUSED" in out
