"""The element: its maps, how labels, annotations, boxes and gaze train it, and that it works on any backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sightline as sl
from sightline.errors import SightlineError
from sightline.findings import CHEXPERT_FINDINGS
from sightline.methods import BatchContext, run_method, target_indices
from sightline.models import Model, open_model, state_hash
from sightline.models.losses import mask_loss, masked_loss
from sightline.models.pooling import POOLS
from sightline.models.trainable_saliency import SaliencyHeadConfig, TrainableSaliency
from sightline.models.wrapped_architectures import SUPERVISED_MAPS
from sightline.training.config import TrainingConfig
from sightline.training.fit import fit

FINDINGS = ["Edema", "Pneumonia", "Cardiomegaly"]
LABELS = torch.tensor([[1, 0, torch.nan], [0, 0, 0], [1, 1, 0], [0, 1, 1]])


def taught(by: str, arch: str = "small", weight: float = 1.0) -> Model:
    return open_model(f"gaze-supervised:{arch}?supervised_map={by}&weight={weight}&side=64", FINDINGS)


def marks(grid: int) -> torch.Tensor:
    found = torch.rand(4, 1, grid, grid, generator=torch.Generator().manual_seed(0))
    found[2] = torch.nan
    return found


@pytest.mark.parametrize("by", SUPERVISED_MAPS)
@pytest.mark.parametrize("arch", ["small", "timm:resnet18", "densenet121", "timm:vit_tiny_patch16_224"])
def test_any_network_with_a_map_of_features_can_be_taught(by: str, arch: str) -> None:
    m = taught(by, arch)
    x = torch.randn(4, m.channels, 64, 64)
    m.net.train()
    loss = m.net.loss(m.net(x), LABELS, marks(m.net.grid))
    loss.backward()
    moved = [name for name, p in m.net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any(name.startswith("net.") for name in moved)
    assert any(name.startswith("saliency_head.") for name in moved) == (by != "cam")
    before = state_hash(m.net)
    with BatchContext(m, x) as context:
        maps = run_method(context, "intrinsic", target_indices(m, None))
        cams = run_method(context, "grad-cam", target_indices(m, None))
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
    x[:, :, :32] *= 10  # the upper half is unlike the lower

    def lower(_: nn.Module, __: object, gate: Tensor) -> Tensor:
        return torch.linspace(-8, 8, gate[0].numel()).reshape(gate[:1].shape).expand_as(gate)

    with torch.no_grad():
        m.net.saliency_head.gate.weight.zero_()
        torch.testing.assert_close(m.net(x), m.net.net(x))
        m.net.saliency_head.gate.register_forward_hook(lower)
        assert not torch.allclose(m.net(x), m.net.net(x), rtol=0.05)


def test_a_checkpoint_knows_how_it_was_taught() -> None:
    m = taught("gate", weight=2.5)
    again = open_model(m.arch, m.findings)
    again.net.load_state_dict(m.net.state_dict())
    x = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(again.net.eval()(x), m.net.eval()(x))
    assert (again.net.config.kind, again.net.config.weight) == ("gate", 2.5)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("gaze-supervised:small?supervised_map=magic", "allowed: supervised_map decoder, cam, gate"),
        ("gaze-supervised:small?weight=-1", "weight from 0"),
        ("gaze-supervised:unet?side=64", "no spatial features"),
    ],
)
def test_what_cannot_be_taught(spec: str, said: str) -> None:
    with pytest.raises(SightlineError, match=said):
        open_model(spec, FINDINGS)


def test_a_data_set_without_gaze_teaches_none(tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:16?size=64&gazed=0")
    assert all(data.annotation(r.id, "gaze", data.gaze_readers[0]) is None for r in data.radiographs)
    m = open_model("gaze-supervised:small?supervised_map=cam&side=64", data.findings)
    with pytest.raises(SightlineError, match="has no gaze"):
        fit(m, replace(data, gaze_readers=()), tmp_path / "run", TrainingConfig(epochs=1, batch_size=2))


ELEMENTS = (
    "kind=gate",
    "kind=gate&maps_per=image",
    "kind=lse",
    "kind=noisy-or",
    "kind=pcam",
    "kind=wildcat",
    "kind=mask",
)


def element(options: str, arch: str = "small", side: int = 64, findings: list[str] = FINDINGS) -> Model:
    return open_model(f"selfexplaining:{arch}?{options}&side={side}", findings)


def planes(grid: int, count: int = 3) -> torch.Tensor:
    """Marks of four images: nothing known of the third, and of one finding of the second."""
    found = (torch.rand(4, count, grid, grid, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    found[2], found[1, 0] = torch.nan, torch.nan
    return found


BACKBONES = ("densenet121", "timm:resnet18", "inception_v3", "timm:vit_tiny_patch16_224")


@pytest.mark.parametrize(
    ("options", "arch"),
    [
        *((options, "small") for options in ELEMENTS),
        # those that pool differ in how they pool alone, whatever the backbone
        *((options, arch) for options in ("kind=gate", "kind=lse", "kind=mask") for arch in BACKBONES),
    ],
)
def test_logits_and_maps_come_of_one_forward_on_any_backbone(options: str, arch: str) -> None:
    m = element(options, arch, 96 if arch == "inception_v3" else 64)
    x = torch.randn(2, m.channels, m.side, m.side)
    with BatchContext(m, x) as context:
        maps = run_method(context, "intrinsic", target_indices(m, None))
        calls = []
        handle = m.net.net.register_forward_hook(lambda *_: calls.append(1))
        assert torch.equal(run_method(context, "intrinsic", target_indices(m, None)), maps) and not calls, (
            "nothing runs again"
        )
        handle.remove()
        cams = run_method(context, "grad-cam", target_indices(m, None)) if m.feature_layer else maps
    assert maps.shape == (2, 3, m.net.grid, m.net.grid) and float(maps.min()) >= 0 and float(maps.max()) <= 1
    assert cams.shape[:2] == (2, 3) and torch.isfinite(cams).all()
    with torch.no_grad():
        m.net.eval()
        torch.testing.assert_close(m.net.maps(x), maps, rtol=1e-4, atol=1e-5)
    m.net.train()
    marks = planes(m.net.grid)
    m.net.loss(m.net(torch.randn(4, m.channels, m.side, m.side)), LABELS, marks).backward()
    moved = {n for n, w in m.net.named_parameters() if w.grad is not None and w.grad.abs().sum() > 0}
    assert any(n.startswith("net.") for n in moved) and any(n.startswith("saliency_head.") for n in moved)


@pytest.mark.parametrize("side", [64, 100, 160])
@pytest.mark.parametrize("count", [1, 2, 14])
def test_any_resolution_and_number_of_findings(side: int, count: int) -> None:
    m = element("kind=gate", side=side, findings=list(CHEXPERT_FINDINGS[:count]))
    with torch.no_grad():
        assert m.net.eval()(torch.randn(1, 1, side, side)).shape == (1, count)
        assert m.net.maps(torch.randn(1, 1, side, side)).shape == (1, count, m.net.grid, m.net.grid)


def test_a_gate_of_each_finding_pools_what_it_points_at() -> None:
    m = element("kind=gate")
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        logits, maps = m.net.eval()(x), m.net.maps(x)
        features = m.net.net.body(m.net.net.stem(x))
        evidence = m.net.saliency_head.evidence(features)
        wanted = torch.zeros(2, 3)
        for n in range(2):
            for f in range(3):
                total = sum(float(evidence[n, f, r, c] * maps[n, f, r, c]) for r in range(8) for c in range(8))
                wanted[n, f] = total / float(maps[n, f].sum())
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)


def test_pools_are_their_definitions() -> None:
    evidence = torch.randn(2, 3, 30, dtype=torch.float64)
    p = evidence.sigmoid()
    none = (1 - p).prod(2)
    torch.testing.assert_close(POOLS["noisy-or"](evidence), torch.log1p(-none) - torch.log(none))
    torch.testing.assert_close(POOLS["lse"](evidence), ((5 * evidence).exp().mean(2)).log() / 5)
    torch.testing.assert_close(POOLS["pcam"](evidence), (evidence * p).sum(2) / p.sum(2))
    ordered = evidence.sort(2).values
    torch.testing.assert_close(POOLS["wildcat"](evidence), ordered[:, :, -6:].mean(2) + 0.7 * ordered[:, :, :6].mean(2))
    assert torch.isfinite(POOLS["noisy-or"](torch.full((1, 1, 400), 60.0))).all()
    assert torch.isfinite(POOLS["noisy-or"](torch.full((1, 1, 400), -60.0))).all()


def test_a_mask_reads_the_image_again_behind_it() -> None:
    m = element("kind=mask")
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        m.net.eval()
        m.net.saliency_head.gate.weight.zero_()
        m.net.saliency_head.gate.bias.fill_(50)
        torch.testing.assert_close(m.net(x), m.net.net(x), rtol=1e-4, atol=1e-5)
        m.net.saliency_head.gate.bias.fill_(-50)
        flat = x.mean((2, 3), keepdim=True).expand_as(x)
        torch.testing.assert_close(m.net(x), m.net.net(flat), rtol=1e-4, atol=1e-5)


def test_sparsity_is_a_share_of_the_peak_and_variation_that_of_steps() -> None:
    m = element("kind=pcam&sparsity=2&variation=3")
    m.net.train()
    maps = torch.rand(4, 3, m.net.grid, m.net.grid)
    outputs = torch.cat([torch.zeros(4, 3), maps.flatten(1)], 1)
    share = maps / maps.amax((2, 3), keepdim=True)
    steps = ((share[:, :, 1:] - share[:, :, :-1]).abs().mean() + (share[..., 1:] - share[..., :-1]).abs().mean()) / 2
    wanted = masked_loss(torch.zeros(4, 3), LABELS) + 2 * share.mean() + 3 * steps
    torch.testing.assert_close(m.net.loss(outputs, LABELS), wanted)
    dimmed = torch.cat([torch.zeros(4, 3), 0.1 * maps.flatten(1)], 1)
    torch.testing.assert_close(m.net.loss(dimmed, LABELS), wanted)


@pytest.mark.parametrize("per", ["finding", "image"])
def test_images_without_marks_add_their_labels_alone(per: str) -> None:
    m = element(f"kind=gate&maps_per={per}&supervision=masks&weight=5")
    m.net.train()
    marks = planes(m.net.grid)
    outputs = m.net(torch.randn(4, 1, 64, 64)).detach()
    maps = outputs[:, 3:].reshape(4, -1, m.net.grid, m.net.grid)
    labels = masked_loss(outputs[:, :3], LABELS)
    assert float(m.net.loss(outputs, LABELS, marks)) > float(labels)
    truth = marks if per == "finding" else marks.amax(1, keepdim=True)
    wanted = labels + 5 * mask_loss(torch.logit(maps, eps=1e-5), truth)
    torch.testing.assert_close(m.net.loss(outputs, LABELS, marks), wanted)
    torch.testing.assert_close(m.net.loss(outputs, LABELS, marks * torch.nan), labels)


def test_a_regression_learns_where_its_value_comes_from() -> None:
    """The number of bright squares: the gate opens where they are."""
    torch.manual_seed(0)
    m = element("kind=gate&task=regression&sparsity=0.3&width=8", findings=["Edema"])
    optimizer = torch.optim.AdamW(m.net.parameters(), lr=5e-3)
    draw = torch.Generator().manual_seed(1)

    def images(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x, where = 0.1 * torch.randn(n, 1, 64, 64, generator=draw), torch.zeros(n, 64, 64)
        size = torch.rand(n, generator=draw) * 3
        for i in range(n):
            top, left = torch.randint(4, 44, (2,), generator=draw).tolist()
            x[i, 0, top : top + 16, left : left + 16] += size[i]
            where[i, top : top + 16, left : left + 16] = 1
        return x, size[:, None], where

    m.net.train()
    for _ in range(150):
        x, size, _ = images(16)
        loss = m.net.loss(m.net(x), size)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    m.net.eval()
    x, size, where = images(40)
    with torch.no_grad():
        error = (m.net(x) - size).abs().mean()
        maps = F.interpolate(m.net.maps(x), (64, 64), mode="bilinear")[:, 0]
    assert float(error) < 0.4 * float((size - size.mean()).abs().mean())
    bright = (size[:, 0] > 0.5).nonzero()[:, 0]
    inside = sum(float((maps[i] * where[i]).sum() / where[i].sum()) for i in bright) / len(bright)
    outside = sum(float((maps[i] * (1 - where[i])).sum() / (1 - where[i]).sum()) for i in bright) / len(bright)
    assert inside > 1.5 * outside


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("kind=magic", "kind=magic; allowed: gate, lse"),
        ("kind=gate&sparsity=-1", "sparsity=-1.0; allowed: from 0"),
        ("kind=mask&maps_per=finding", "no map of each finding"),
        ("kind=lse&maps_per=image", "no map of each image"),
        ("kind=noisy-or&task=regression", "no map in \\[0, 1\\] without probabilities"),
        ("supervision=hearsay", "supervision=hearsay; allowed: labels, masks, boxes, gaze"),
        ("maps_per=pixel", "maps_per=pixel; allowed: finding, image"),
    ],
)
def test_elements_that_cannot_be(options: str, said: str) -> None:
    with pytest.raises(SightlineError, match=said):
        element(options)


def test_a_backbone_without_a_spatial_map_is_refused() -> None:
    with pytest.raises(SightlineError, match="has no spatial features"):
        element("kind=gate", "unet")
    m = element("kind=gate")
    for shape in ((96, 1, 1), (96, 8, 5)):
        with pytest.raises(SightlineError, match="a square map of at least 2 × 2 is needed"):
            TrainableSaliency(m.net.net, replace(m.net.feature_layer, shape=shape), 3, SaliencyHeadConfig())


def test_the_wrapped_spec_opens_again_with_everything() -> None:
    m = element("kind=gate&sparsity=0.25&supervision=boxes&weight=3&width=12")
    again = open_model(m.arch, m.findings)
    assert again.net.config == m.net.config and again.arch == m.arch
    again.net.load_state_dict(m.net.state_dict())
