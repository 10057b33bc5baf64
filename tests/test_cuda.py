"""On an accelerator the same comes out as on a processor. Skipped where there is none."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sightline as sl
from sightline.core import Dataset
from sightline.methods import BatchContext, run_method, target_indices
from sightline.methods.inference import ExplainOptions
from sightline.methods.mixed_precision import bfloat16_correlations, min_correlation
from sightline.methods.registry import methods
from sightline.models import Model, open_model, state_hash
from sightline.training.config import TrainingConfig
from sightline.training.contrastive import CONTRASTIVE_CONFIG, pretrain
from sightline.training.contrastive_pairs import PairWith
from sightline.training.fit import fit

sys.path.append(str(Path(__file__).parent / "methods"))
from networks import FAST, batch, model_for

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
FINDINGS = ("Cardiomegaly", "Edema", "Pleural Effusion")


def moved(model: Model) -> Model:
    model.net.to("cuda")
    return replace(model)  # forgets what it found out about itself on the processor


def prior(ids: tuple[str, ...], findings: tuple[str, ...]) -> torch.Tensor:
    return torch.rand((1, len(findings), 6, 6), generator=torch.Generator().manual_seed(3)).expand(len(ids), -1, -1, -1)


def maps_of(model: Model, spec: str, x: torch.Tensor) -> torch.Tensor:
    with BatchContext(
        model, x.to(model.device), ids=[f"r{i}" for i in range(len(x))], prior=prior, background=x
    ) as context:
        return run_method(context, spec, target_indices(model, None)).cpu()


@pytest.mark.parametrize("name", sorted(methods))
def test_maps_of_every_method_are_those_of_a_processor(name: str) -> None:
    model, x, spec = model_for(methods[name].info.needs), batch(3), FAST.get(name, name)
    here = maps_of(model, spec, x)
    assert min_correlation(maps_of(moved(model), spec, x), here) > 0.999


@pytest.mark.parametrize("arch", ["densenet121", "torchvision:resnet50"])
@pytest.mark.parametrize("spec", ["grad-cam", "gradient", "integrated-gradients?nodes=4"])
def test_deep_networks_are_computed_in_float32(arch: str, spec: str) -> None:
    """By default cuDNN convolves in TF32, ten bits of mantissa: gradients of deep networks would drift."""
    model = open_model(f"{arch}?side=128", FINDINGS, seed=1)
    x = torch.randn((2, model.channels, 128, 128), generator=torch.Generator().manual_seed(1))
    here = maps_of(model, spec, x)
    assert torch.backends.cudnn.allow_tf32
    assert min_correlation(maps_of(moved(model), spec, x), here) > 0.999
    assert torch.backends.cudnn.allow_tf32, "the caller's setting comes back"


def test_maps_do_not_depend_on_the_batch() -> None:
    model = moved(open_model("densenet121?side=96", FINDINGS, seed=1))
    x = torch.randn((5, model.channels, 96, 96), generator=torch.Generator().manual_seed(1))
    for spec in ("grad-cam", "gradient"):
        together = maps_of(model, spec, x)
        assert min_correlation(torch.cat([maps_of(model, spec, one[None]) for one in x]), together) > 0.9999


def test_a_study_explains_there_what_it_explains_here(toy_data: Dataset, tmp_path: Path) -> None:
    model = open_model("small?side=64", toy_data.findings, seed=2)
    names = ["grad-cam", "integrated-gradients?nodes=4", "smoothgrad?samples=3"]
    here = sl.explain(toy_data, model, names, out=tmp_path / "here")
    there = sl.explain(toy_data, moved(model), names, out=tmp_path / "there")
    for radiograph in toy_data.radiographs:
        for one, other in zip(here.maps_for(radiograph.id), there.maps_for(radiograph.id), strict=True):
            assert (one.source, one.finding, one.status, one.frame) == (
                other.source,
                other.finding,
                other.status,
                other.frame,
            )
            assert other.probability == pytest.approx(one.probability, abs=1e-5)
            assert np.corrcoef(one.values.ravel(), other.values.ravel())[0, 1] > 0.999


def test_a_batch_that_does_not_fit_is_halved(toy_data: Dataset, tmp_path: Path) -> None:
    model = moved(open_model("densenet121?side=256", toy_data.findings, seed=2))
    calm = sl.explain(toy_data, model, ["gradient"], out=tmp_path / "calm", batch_size=2)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1.2e9) / total)
    try:
        tight = sl.explain(toy_data, model, ["gradient"], out=tmp_path / "tight", batch_size=12)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for one, other in zip(calm.maps_for("toy3"), tight.maps_for("toy3"), strict=True):
        assert other.status == "ok"
        assert np.corrcoef(one.values.ravel(), other.values.ravel())[0, 1] > 0.999


def test_bfloat16_is_gated_there_too() -> None:
    model = moved(open_model("densenet121?side=96", FINDINGS, seed=1))
    x = torch.randn((2, model.channels, 96, 96), generator=torch.Generator().manual_seed(1)).cuda()
    correlations = bfloat16_correlations(
        model, x, ["a", "b"], ["grad-cam", "gradient"], target_indices(model, None), ExplainOptions(model.findings)
    )
    assert set(correlations) == {"grad-cam", "gradient"}
    assert all(-1 <= value <= 1 for value in correlations.values())


@pytest.mark.parametrize(
    "spec", ["small?side=64", "unet?side=64", "retinanet?side=64", "gaze-supervised:small?side=64&supervised_map=cam"]
)
def test_networks_learn_there_and_answer_here(spec: str, tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:32?size=64")
    start = open_model(spec, data.findings, seed=1)
    before = state_hash(start.net)
    trained = fit(moved(start), data, tmp_path / "run", TrainingConfig(epochs=1, batch_size=8, seed=1))
    assert trained.device.type == "cuda" and state_hash(trained.net) != before
    again = open_model(str(tmp_path / "run" / "best.pt"))
    x, _ = again.prepare(data.radiographs[0].read())
    again.net.eval()
    trained.net.eval()
    with torch.no_grad():
        here, there = again.net(x[None]), trained.net(x[None].cuda()).cpu()
    torch.testing.assert_close(here, there, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("by", ["reports", "images"])
def test_pre_training_runs_there(by: PairWith, tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:40?size=64")
    start = moved(open_model("small?side=64&width=8", data.findings))
    pretrain(start, data, tmp_path / "run", replace(CONTRASTIVE_CONFIG, epochs=1, batch_size=8), pair_with=by)
    history = sl.Run.open(tmp_path / "run").info["history"]
    assert np.isfinite(history[-1]["loss"])
