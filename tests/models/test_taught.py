"""Networks taught by gaze: their estimates, their loss, and that explaining them works as for any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import sightline as sl
from sightline.core import SightlineError
from sightline.methods import Pass, run_method, target_indices
from sightline.models import Model, open_model, state_hash
from sightline.models.losses import masked_loss
from sightline.models.taught import TEACHING
from sightline.training.fit import fit

FINDINGS = ["Edema", "Pneumonia", "Cardiomegaly"]
LABELS = torch.tensor([[1, 0, torch.nan], [0, 0, 0], [1, 1, 0], [0, 1, 1]])


def taught(by: str, arch: str = "small", weight: float = 1.0) -> Model:
    return open_model(f"gaze:{arch}?by={by}&weight={weight}&side=64", FINDINGS)


def marks(grid: int) -> torch.Tensor:
    found = torch.rand(4, 1, grid, grid, generator=torch.Generator().manual_seed(0))
    found[2] = torch.nan
    return found


@pytest.mark.parametrize("by", TEACHING)
@pytest.mark.parametrize("arch", ["small", "timm:resnet18", "densenet121", "timm:vit_tiny_patch16_224"])
def test_any_network_with_a_map_of_features_can_be_taught(by: str, arch: str) -> None:
    m = taught(by, arch)
    x = torch.randn(4, m.channels, 64, 64)
    m.net.train()
    loss = m.net.loss(m.net(x), LABELS, marks(m.net.grid))
    loss.backward()
    moved = [name for name, p in m.net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any(name.startswith("net.") for name in moved)
    assert any(name.startswith("look.") for name in moved) == (by != "cam")
    before = state_hash(m.net)
    with Pass(m, x) as p:
        maps = run_method(p, "own", target_indices(m, None))
        cams = run_method(p, "grad-cam", target_indices(m, None))
        assert maps.shape[:2] == cams.shape[:2] == (4, 3) and (maps >= 0).all() and (maps <= 1).all()
    assert state_hash(m.net) == before
    if by == "cam":
        peak = cams.amax((2, 3), keepdim=True)
        clear = (peak > 1e-4).expand_as(cams)  # rounding decides over smaller ones
        torch.testing.assert_close(maps[clear], (cams / peak)[clear], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("by", ["decoder", "gate"])
def test_the_loss_is_that_of_the_labels_and_of_images_with_gaze(by: str) -> None:
    m = taught(by, weight=7.0)
    m.net.train()
    outputs, looked = m.net(torch.randn(4, 1, 64, 64)), marks(m.net.grid)
    logits, maps = outputs[:, :3], outputs[:, 3:].reshape(4, m.net.grid, m.net.grid)
    errors = [F.mse_loss(maps[i], looked[i, 0]) for i in (0, 1, 3)]  # the third has no gaze
    wanted = masked_loss(logits, LABELS) + 7 * sum(errors) / 4
    torch.testing.assert_close(m.net.loss(outputs, LABELS, looked), wanted)


def test_grad_cam_is_taught_only_where_a_finding_is_there() -> None:
    m = taught("cam", weight=7.0)
    m.net.train()
    outputs, looked = m.net(torch.randn(4, 1, 64, 64)), marks(m.net.grid)
    logits, maps = outputs[:, :3], outputs[:, 3:].reshape(4, 3, m.net.grid, m.net.grid)
    errors = [F.mse_loss(maps[0, 0], looked[0, 0]), F.mse_loss(maps[3, 1:].mean(0), looked[3, 0])]
    wanted = masked_loss(logits, LABELS) + 7 * sum(errors) / 4  # the second shows nothing, the third has no gaze
    torch.testing.assert_close(m.net.loss(outputs, LABELS, looked), wanted)


def test_a_gate_moves_weight_and_does_not_dim() -> None:
    """An even gate changes no logit, whatever its height."""
    m = taught("gate")
    m.net.eval()
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        m.net.look[0].weight.zero_()
        torch.testing.assert_close(m.net(x), m.net.net(x))
        m.net.look[0].weight.normal_(0, 3)
        assert not torch.allclose(m.net(x), m.net.net(x), rtol=1e-3)


def test_a_checkpoint_knows_how_it_was_taught() -> None:
    m = taught("gate", weight=2.5)
    again = open_model(m.arch, m.findings)
    again.net.load_state_dict(m.net.state_dict())
    x = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(again.net.eval()(x), m.net.eval()(x))
    assert (again.net.by, again.net.weight) == ("gate", 2.5)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("gaze:small?by=magic", "allowed: by decoder, cam, gate"),
        ("gaze:small?weight=-1", "weight from 0"),
        ("gaze:unet?side=64", "no spatial features"),
    ],
)
def test_what_cannot_be_taught(spec: str, said: str) -> None:
    with pytest.raises(SightlineError, match=said):
        open_model(spec, FINDINGS)


def test_a_data_set_without_gaze_teaches_none(tmp_path: Path) -> None:
    data = sl.dataset("phantom:16?size=64&gazed=0")
    assert all(data.marks(r.id, "gaze", data.gaze_readers[0]) is None for r in data.radiographs)
    m = open_model("gaze:small?by=cam&side=64", data.findings)
    with pytest.raises(SightlineError, match="has no gaze"):
        fit(m, replace(data, gaze_readers=()), tmp_path / "run", epochs=1, batch=2)
