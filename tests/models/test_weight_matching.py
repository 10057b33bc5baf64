"""The weights of a network are found in a checkpoint, however a training script saved them."""

from __future__ import annotations

import argparse
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sightline.errors import DataError
from sightline.models import open_model
from sightline.models.checkpoint import load_weights, split_part
from sightline.models.weight_matching import find_weights
from sightline.studies.initializations import load_backbone


def network() -> nn.Module:
    body = OrderedDict(conv=nn.Conv2d(1, 4, 3), norm=nn.BatchNorm2d(4), flat=nn.Flatten(), fc=nn.Linear(4, 2))
    return nn.Sequential(body)


torch.manual_seed(0)
TRUE = network().state_dict()
OTHER = {name: value + 1 for name, value in TRUE.items()}


def under(prefix: str, weights: dict[str, Tensor] = TRUE) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


SAVED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "plain": (TRUE, ()),
    "data parallel": (under("module."), ()),
    "compiled": (under("_orig_mod."), ()),
    "compiled, then parallel": (under("module._orig_mod."), ()),
    "a name of one's own": ({"state_dict": under("lung_net.")}, ()),
    "two names": ({"state_dict": under("learner.backbone.")}, ()),
    "sharded layer by layer": (
        {f"_fsdp_wrapped_module.{n.replace('.', '._fsdp_wrapped_module.')}": w for n, w in TRUE.items()},
        (),
    ),
    "a loss beside it": (
        {"state_dict": under("model.") | {"criterion.pos_weight": torch.ones(2)}},
        ("criterion.pos_weight",),
    ),
    "a loss beside it, without prefix": ({**TRUE, "loss.weight": torch.ones(2)}, ("loss.weight",)),
    "a metric beside it": ({**under("net."), "val_auroc.preds": torch.ones(3)}, ("val_auroc.preds",)),
    "any key": ({"my_weights": TRUE, "epoch": 3}, ()),
    "keys in keys": ({"checkpoint": {"model": under("module.")}, "optimizer": {"lr": 0.1}}, ()),
    "an average beside it": ({"ema_state": OTHER, "state_dict": TRUE}, ("ema_state",)),
    "an average with a prefix": ({**under("ema_model.", OTHER), **under("model.")}, ()),
    "options and numbers": ({"model": TRUE, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.83)}, ()),
    "half precision": ({name: w.half() if w.is_floating_point() else w for name, w in TRUE.items()}, ()),
    "a head after dropout": ({name.replace("fc.", "fc.1."): w for name, w in TRUE.items()}, ()),
}


@pytest.mark.parametrize("way", SAVED)
def test_however_it_was_saved(way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content, passed_over = SAVED[way]
    torch.save(content, tmp_path / "a.pt")
    net = network()
    with caplog.at_level(logging.WARNING, "sightline"):
        load_weights(net, tmp_path / "a.pt")
    for name, value in net.state_dict().items():
        assert torch.allclose(value.float(), TRUE[name].float(), atol=1e-3), name
        assert value.dtype == network().state_dict()[name].dtype
    assert all(name in caplog.text for name in passed_over)


def test_safetensors(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(TRUE, tmp_path / "a.safetensors")
    net = network()
    load_weights(net, tmp_path / "a.safetensors")
    assert torch.equal(net.state_dict()["fc.weight"], TRUE["fc.weight"])
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no file of safetensors"):
        load_weights(net, tmp_path / "b.safetensors")


def test_one_of_several_copies_is_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({**under("student."), **under("teacher.", OTHER)}, path)
    net = network()
    for part, weights in (("student", TRUE), ("teacher", OTHER)):
        load_weights(net, path.with_name(f"a.pt#{part}"))
        assert torch.equal(net.state_dict()["fc.weight"], weights["fc.weight"])
    with pytest.raises(DataError, match=r"no weights under 'nobody'; it has student, teacher"):
        load_weights(net, path.with_name("a.pt#nobody"))
    for content in ({**under("student."), **under("teacher.", OTHER)}, {"student": TRUE, "teacher": OTHER}):
        torch.save(content, path)
        with pytest.raises(
            DataError, match=r"copies of the network, under 'student[./]' and 'teacher[./]'; choose one"
        ):
            load_weights(net, path)
    torch.save({"model": TRUE, "state_dict": TRUE}, path)
    load_weights(net, path)


def test_a_file_may_have_the_sign_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "run#2.pt"
    torch.save(TRUE, path)
    assert split_part(path) == (path, "")
    assert split_part(tmp_path / "run#2.pt#ema") == (path, "ema")


def test_the_names_of_old_densenets_are_understood() -> None:
    names = [
        "features.denseblock1.denselayer1.norm1.weight",
        "features.denseblock1.denselayer1.conv2.weight",
        "classifier.bias",
    ]
    old = [
        n.replace("norm1", "norm.1").replace("conv2", "conv.2").replace("classifier.", "classifier.0.") for n in names
    ]
    content = {"state_dict": {f"module.densenet121.{name}": torch.ones(1) for name in old}}
    matched = find_weights(content, names)
    assert sorted(matched.weights) == sorted(names) and matched.place == "state_dict/module.densenet121."


def test_what_does_not_fit_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"state_dict": {**under("model."), "model.extra.weight": torch.ones(3)}}, path)
    with pytest.raises(DataError, match=r"under 'state_dict/model\.': extra\.weight is not part of the network"):
        load_weights(network(), path)
    torch.save({"encoder.block.weight": torch.ones(3)}, path)
    with pytest.raises(DataError, match=r"conv\.weight is missing"):
        load_weights(network(), path)


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_programs_are_no_weights(tmp_path: Path) -> None:
    torch.jit.script(network()).save(str(tmp_path / "a.pt"))  # type: ignore[no-untyped-call]
    with pytest.raises(DataError, match=r"TorchScript program .* sl\.wrap\(torch\.jit\.load"):
        load_weights(network(), tmp_path / "a.pt")


def test_initial_weights_may_be_one_of_several_copies(tmp_path: Path) -> None:
    blank = open_model("small?side=32&width=8", ["Edema"])
    weights = open_model("small?side=32&width=8", ["Edema"], seed=1).net.state_dict()
    path = tmp_path / "a.pt"
    torch.save({**under("teacher.", weights), **under("student.", {n: w + 1 for n, w in weights.items()})}, path)
    begun = load_backbone(f"{path}#teacher", blank).net.state_dict()
    shared = [name for name in weights if "head" not in name]
    assert shared and all(torch.equal(begun[name], weights[name]) for name in shared)
    with pytest.raises(DataError, match=r"checkpoint .*a\.pt: it has several copies"):
        load_backbone(str(path), blank)
