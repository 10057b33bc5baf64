"""What is asked of a network comes out alike however its memory is laid out, and of any network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sightline as sl
from sightline.errors import SightlineError, UnknownNameError
from sightline.methods import BatchContext
from sightline.methods.inference import (
    ExplainOptions,
    MethodResult,
    compute_logits,
    explain_batches,
    maps_at_input_size,
    preprocess,
    sample_background,
)
from sightline.methods.types import BatchMemoryError
from sightline.models import Model, open_model, wrap


class Flat(nn.Module):
    """Like many networks at hand: `view` wants memory in the order of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 8, 3, 2, 1), nn.Linear(8 * 12 * 12, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.conv(x).relu().view(len(x), -1))
        return found


class Forward(Flat):
    """Knows no gradients, as a network behind a compiled runtime."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


def test_a_network_without_gradients_is_asked_all_the_same() -> None:
    model = wrap(Forward(), ("Edema", "Pneumonia"), side=24, channels=1)
    assert not model.supports_fast_gradients
    assert compute_logits(model, torch.rand(2, 1, 24, 24)).shape == (2, 2)


@pytest.mark.parametrize("swift", [True, False])
def test_logits_are_those_of_the_plain_network(swift: bool) -> None:
    torch.manual_seed(0)
    findings = ("Edema", "Pneumonia")
    model = open_model("small?side=24", findings) if swift else wrap(Flat(), findings, side=24, channels=1)
    assert model.supports_fast_gradients == swift
    x = torch.rand(20, 1, 24, 24)
    with torch.no_grad():
        wanted = model.net.eval()(x).double().numpy()
    assert compute_logits(model, x) == pytest.approx(wanted, abs=1e-5)


FINDINGS = ("Edema", "Mass", "Pneumonia")
IDS = ("a", "b", "c", "d", "e")
METHODS = ("grad-cam", "gradient", "noise", "integrated-gradients?baseline=data&nodes=2", "gradient-shap?baseline=data")


def of_five(side: int = 24) -> tuple[Model, torch.Tensor]:
    torch.manual_seed(0)
    model = open_model(f"small?side={side}&width=8", FINDINGS)
    return model, torch.randn(5, 1, side, side)


def others() -> np.ndarray:
    return np.random.default_rng(0).random((4, 24, 24), np.float32)


def room_for(count: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a pass over more than `count` images fail as an accelerator does; returns the sizes of all passes."""
    plain, seen = BatchContext.__enter__, []

    def enter(self: BatchContext) -> BatchContext:
        opened = plain(self)
        seen.append(len(self.x))
        if len(self.x) > count:
            error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
            self.__exit__(type(error), error, None)
        return opened

    monkeypatch.setattr(BatchContext, "__enter__", enter)
    return seen


def test_maps_are_the_same_in_any_batch_of_any_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = of_five()
    wanted = maps_at_input_size(model, x, IDS, METHODS, ExplainOptions(FINDINGS, background=others()))
    assert set(wanted) == set(METHODS) and all(np.isfinite(maps).all() for maps in wanted.values())
    seen = room_for(3, monkeypatch)
    for batch, sizes in ((5, [5, 2, 2, 1]), (2, [2, 2, 1]), (1, [1] * 5)):
        for findings in (FINDINGS, ("Pneumonia", "Edema")):
            seen.clear()
            maps = maps_at_input_size(
                model, x, IDS, METHODS, ExplainOptions(findings, batch_size=batch, background=others())
            )
            assert seen == sizes
            for method in METHODS:
                same = wanted[method][:, [FINDINGS.index(f) for f in findings]]
                np.testing.assert_allclose(maps[method], same, rtol=1e-3, atol=1e-5 * np.abs(same).max())


def test_an_image_that_does_not_fit_alone_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = of_five()
    room_for(0, monkeypatch)
    with pytest.raises(BatchMemoryError, match="ran out of memory with 1 images"):
        maps_at_input_size(model, x, IDS, METHODS, ExplainOptions(FINDINGS))


def test_what_does_not_exist_is_no_refusal() -> None:
    model, x = of_five()
    with pytest.raises(UnknownNameError, match="grad-cam"):
        maps_at_input_size(model, x, IDS, ("gard-cam",), ExplainOptions(FINDINGS))
    with pytest.raises(SightlineError, match="nods"):
        maps_at_input_size(model, x, IDS, ("integrated-gradients?nods=3",), ExplainOptions(FINDINGS))
    with pytest.raises(SightlineError, match="batch=0; allowed: from 1"):
        ExplainOptions(FINDINGS, batch_size=0)


def test_a_method_that_refuses_the_model_says_why_and_has_no_maps() -> None:
    model, x = of_five()
    (told,) = (
        some.results
        for some in explain_batches(model, x, IDS, ("attention-rollout", "edges"), ExplainOptions(FINDINGS))
    )
    assert told["attention-rollout"].maps is None and "transformer" in told["attention-rollout"].reason
    assert isinstance(told["edges"], MethodResult) and told["edges"].maps is not None and not told["edges"].reason
    maps = maps_at_input_size(model, x, IDS, ("attention-rollout", "edges"), ExplainOptions(FINDINGS[:2]))
    assert maps["attention-rollout"].shape == maps["edges"].shape == (5, 2, 24, 24)
    assert np.isnan(maps["attention-rollout"]).all() and np.isfinite(maps["edges"]).all()


def test_a_finding_costs_its_own_backwards_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = of_five()
    assert model.supports_fast_gradients
    plain, calls = torch.autograd.grad, []
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: calls.append(1) or plain(*a, **k))
    for findings in (FINDINGS[1:2], FINDINGS):
        calls.clear()
        maps_at_input_size(model, x, IDS, ("gradient",), ExplainOptions(findings))
        assert len(calls) == len(findings)


def test_the_background_is_drawn_by_id_where_a_method_compares_with_it() -> None:
    data = sl.open_dataset("phantom:12?size=48")
    model = open_model("small?side=24&width=8", data.findings)
    assert sample_background(data, model, ("grad-cam", "integrated-gradients"), 0) is None
    drawn = sample_background(data, model, METHODS, 0)
    turned = sample_background(replace(data, radiographs=data.radiographs[::-1]), model, METHODS, 0)
    assert drawn is not None and turned is not None and drawn.shape == (8, 24, 24)
    np.testing.assert_array_equal(drawn, turned)
    every = [preprocess(r, model).image for r in data.radiographs]
    assert all(any(np.array_equal(one, image) for image in every if image is not None) for one in drawn)
