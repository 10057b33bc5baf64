"""The checks for authors: our own methods pass them, and each law catches what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from networks import FAST
from torch import Tensor

from sightline._cli.app import main
from sightline.methods import BatchContext
from sightline.methods.method_checks import LAWS, check_method
from sightline.methods.registry import methods


@pytest.mark.parametrize("name", sorted(methods))
def test_our_own_methods_hold(name: str) -> None:
    for verdict in check_method(FAST.get(name, name)):
        assert verdict.is_met, (verdict.law, verdict.detail)


@pytest.fixture
def register() -> Iterator[Callable[[Callable[[BatchContext, Tensor], Tensor]], str]]:
    def add(function: Callable[[BatchContext, Tensor], Tensor]) -> str:
        methods("mine", needs="nothing", signed=False, class_agnostic=False, resolution="input", source="a test")(
            function
        )
        return "mine"

    yield add
    methods._entries.pop("mine", None)


def blank(context: BatchContext, targets: Tensor) -> Tensor:
    return context.x.abs().mean(1, keepdim=True).expand(-1, len(targets), -1, -1).clone()


KEPT: list[Tensor] = []


def remembers(context: BatchContext, t: Tensor) -> Tensor:
    KEPT.append(blank(context, t))
    return KEPT[-1]


def places(context: BatchContext) -> Tensor:
    return torch.arange(1, len(context.x) + 1)[:, None, None, None]


def meddles(context: BatchContext, t: Tensor) -> Tensor:
    with torch.no_grad():
        context.model.net.out.bias.add_(1)
    return blank(context, t)


BREAKERS = {
    "maps are as the method is registered": lambda context, t: blank(context, t) - 1,
    "an image alone gets the map it gets among others": lambda context, t: blank(context, t) / context.x.abs().mean(),
    "the order of images does not matter": lambda context, t: (
        blank(context, t) * torch.arange(1, len(context.x) + 1)[:, None, None, None]
    ),
    "findings together equal findings alone": lambda context, t: blank(context, t) * len(t),
    "the same call gives the same bits": lambda context, t: blank(context, t) * torch.rand(()),
    "the model is left as it was": meddles,
    "memory does not grow from call to call": remembers,
}


@pytest.mark.parametrize("law", LAWS)
def test_every_law_catches_what_breaks_it(law: str, register: Callable[..., str]) -> None:
    verdicts = {v.law: v for v in check_method(register(BREAKERS[law]))}
    assert not verdicts[law].is_met and verdicts[law].detail
    KEPT.clear()


def test_a_method_that_raises_breaks_the_laws_with_its_line(register: Callable[..., str]) -> None:
    def raises(context: BatchContext, t: Tensor) -> Tensor:
        return {}["nothing"]

    for verdict in check_method(register(raises)):
        assert not verdict.is_met
        assert "method mine raised KeyError" in verdict.detail and __file__ in verdict.detail


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], register: object) -> None:
    (tmp_path / "my.py").write_text(
        "from sightline.methods import methods\n"
        "@methods('mine', needs='nothing', signed=False, class_agnostic=False, resolution='input', source='me')\n"
        "def mine(context, targets):\n"
        "    '''Brightness.'''\n"
        "    return context.x.abs().mean(1, keepdim=True).expand(-1, len(targets), -1, -1) * len(context.x)\n"
    )
    assert main(["check-method", str(tmp_path / "my.py")]) == 1
    assert "BROKEN" in capsys.readouterr().out
    assert main(["check-method", "grad-cam"]) == 0
    (tmp_path / "none.py").write_text("")
    assert main(["check-method", str(tmp_path / "none.py")]) == 1
    assert "registers no method" in capsys.readouterr().err
