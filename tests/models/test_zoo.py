from __future__ import annotations

import logging
import pickle
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from sightline.errors import DataError, SightlineError, UnknownNameError
from sightline.findings import CHEXPERT_FINDINGS, NIH_FINDINGS
from sightline.models import Model, TrainingRecord, open_model, state_hash, wrap
from sightline.models.architectures import _wrap_xrv
from sightline.models.checkpoint import save_checkpoint
from sightline.models.warnings import model_warnings, warn_about_models

FINDINGS = ("Cardiomegaly", "Edema", "Pleural Effusion")


@pytest.mark.parametrize(
    ("spec", "where", "shape"),
    [
        ("small?side=64", "mean", (96, 8, 8)),
        ("densenet121?side=64", "adaptive_avg_pool2d", (1024, 2, 2)),
        ("inception_v3?side=139", "adaptive_avg_pool2d", (2048, 3, 3)),
        ("timm:convnext_atto?side=64", "adaptive_avg_pool2d", (320, 2, 2)),
        ("vit_small_patch16_224?side=64", "blocks.11.norm1", (384, 4, 4)),
    ],
)
def test_entries_build_and_know_their_features(spec: str, where: str, shape: tuple[int, int, int]) -> None:
    model = open_model(spec, FINDINGS)
    assert model.feature_layer is not None
    assert (model.feature_layer.name, model.feature_layer.shape, model.findings) == (where, shape, FINDINGS)
    assert model.training_record is None
    assert open_model(model.arch, FINDINGS).feature_layer == model.feature_layer


def test_random_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = state_hash(open_model("small?side=32", FINDINGS, seed=1).net)
    state = torch.random.get_rng_state()
    assert state_hash(open_model("small?side=32", FINDINGS, seed=1).net) == first
    assert state_hash(open_model("small?side=32", FINDINGS, seed=2).net) != first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert open_model("small?side=32").findings == CHEXPERT_FINDINGS


def test_a_checkpoint_opens_alone_as_the_same_model(tmp_path: Path) -> None:
    record = TrainingRecord("phantom:10", 0.5, 3, 2, "abc", 0.8)
    model = replace(open_model("small?side=48&width=8", FINDINGS), name="mine", training_record=record, resize="pad")
    save_checkpoint(model, tmp_path / "best.pt")
    again = open_model(str(tmp_path / "best.pt"))
    for name in (
        "name",
        "findings",
        "side",
        "resize",
        "channels",
        "mean",
        "std",
        "feature_layer",
        "feature_module",
        "arch",
        "training_record",
    ):
        assert getattr(again, name) == getattr(model, name)
    assert state_hash(again.net) == state_hash(model.net)
    with pytest.raises(SightlineError, match="cannot be opened for Edema"):
        open_model(str(tmp_path / "best.pt"), ["Edema"])


@pytest.mark.parametrize(
    "spec", ["small?side=64&name=first", "{checkpoint}?name=first", "small:{checkpoint}?name=first"]
)
def test_every_spec_may_name_its_model(tmp_path: Path, spec: str) -> None:
    checkpoint = tmp_path / "best.pt"
    save_checkpoint(open_model("small?side=64", ["Edema"]), checkpoint)
    model = open_model(spec.format(checkpoint=checkpoint))
    assert model.name == "first"
    assert "name" not in model.arch


@pytest.mark.parametrize("name", ["", " ", "control/center", "reader/a"])
def test_a_name_that_tables_could_not_hold_is_refused(name: str) -> None:
    with pytest.raises(SightlineError, match="a word that is not empty"):
        open_model(f"small?name={name}")


def test_a_checkpoint_takes_no_option_but_its_name(tmp_path: Path) -> None:
    save_checkpoint(open_model("small?side=64", ["Edema"]), tmp_path / "best.pt")
    with pytest.raises(SightlineError, match="has no option side: a checkpoint states its own; allowed: name"):
        open_model(f"{tmp_path}/best.pt?side=32")


def test_weights_of_others_with_wrapper_prefixes(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = torchvision.models.resnet18(num_classes=3)
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "r.pth")
    model = open_model(f"torchvision:resnet18?side=64&checkpoint={tmp_path / 'r.pth'}", FINDINGS)
    assert state_hash(model.net) == state_hash(net)
    assert model.training_record is not None and "r.pth" in model.training_record.data


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(num_classes=5).state_dict(), tmp_path / "r.pth")
    with pytest.raises(DataError, match=r"fc.weight is \(5, 512\), not \(3, 512\)"):
        open_model(f"torchvision:resnet18?side=64&checkpoint={tmp_path / 'r.pth'}", FINDINGS)
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"conv1.weight is missing; .* and \d+ more"):
        open_model(f"torchvision:resnet18?side=64&checkpoint={tmp_path / 'a.pt'}", FINDINGS)
    with pytest.raises(DataError, match="state its architecture"):
        open_model(str(tmp_path / "a.pt"))


@pytest.mark.parametrize(
    ("options", "mean", "std"),
    [
        ("mean=0.5&std=0.25", (0.5,) * 3, (0.25,) * 3),
        ("mean=0.4|0.5|0.6", (0.4, 0.5, 0.6), None),
    ],
)
def test_normalization_is_an_option_of_every_entry(
    options: str, mean: tuple[float, ...], std: tuple[float, ...] | None, tmp_path: Path
) -> None:
    path = tmp_path / "r.pth"
    torch.save(torchvision.models.resnet18(num_classes=1).state_dict(), path)
    model = open_model(f"torchvision:resnet18?side=64&checkpoint={path}&{options}", ["Edema"])
    plain = open_model(f"torchvision:resnet18?side=64&checkpoint={path}", ["Edema"])
    assert model.mean == mean and model.std == (std or plain.std)
    assert model.assumed_settings == ("resize",) if std else ("resize", "std")
    gray = torch.full((1, 64, 64), 0.7)
    assert torch.allclose(model.normalize(gray)[0, :, 0, 0], (0.7 - torch.tensor(mean)) / torch.tensor(model.std))
    small = open_model("selfexplaining:small?side=64&kind=gate&mean=0.1", ["Edema"])
    assert small.mean == (0.1,) and small.std == (0.25,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("mean=half", "mean=half; allowed: a number, or one per channel"),
        ("mean=0.1|0.2", "2 values for 1 channels"),
        ("std=0", "deviations above 0"),
        ("mean=nan", "finite means"),
    ],
)
def test_a_normalization_that_is_none_is_refused(options: str, message: str) -> None:
    with pytest.raises(SightlineError, match=re.escape(message)):
        open_model(f"small?side=64&{options}", ["Edema"])


def test_plain_weights_of_fourteen_outputs_get_no_names_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "r.pth"
    torch.save(torchvision.models.resnet18(num_classes=14).state_dict(), path)
    spec = f"torchvision:resnet18?side=64&checkpoint={path}"
    with pytest.raises(DataError, match=r"does not state the findings of its outputs.*order.*findings=.*my_model:make"):
        open_model(spec)
    model = open_model(f"{spec}&findings={'|'.join(NIH_FINDINGS)}")
    assert model.findings == NIH_FINDINGS
    assert model.assumed_settings == ("resize", "mean", "std")
    assert model.training_record is not None and model.training_record.weights_hash == state_hash(model.net)
    warnings = model_warnings(model)
    assert len(warnings) == 1 and "findings=Atelectasis|Cardiomegaly" in warnings[0]
    assert "Assumed: resize=center-crop; mean=0.485|0.456|0.406" in warnings[0]
    assert open_model(spec, NIH_FINDINGS).findings == NIH_FINDINGS
    with pytest.raises(SightlineError, match="cannot be opened for Edema"):
        open_model(f"{spec}&findings={'|'.join(NIH_FINDINGS)}", ["Edema"])
    with pytest.raises(UnknownNameError, match="did you mean 'Pleural Effusion'"):
        open_model(f"{spec}&findings=Cardiomegaly|Efusion")
    with pytest.raises(DataError, match="was built for 2 findings"):
        open_model(f"{spec}&findings=Cardiomegaly|Edema")


def test_a_model_without_a_record_is_called_a_control(caplog: pytest.LogCaptureFixture) -> None:
    blank = open_model("small?side=32", FINDINGS)
    sentences = warn_about_models(
        [blank, replace(blank, training_record=TrainingRecord("there"), name="known"), replace(blank, arch="")]
    )
    assert [("training_record=TrainingRecord" in s, "checkpoint" in s) for s in sentences] == [
        (False, True),
        (True, False),
    ]
    assert all("counts as an untrained control" in s for s in sentences)
    assert caplog.record_tuples == [("sightline", logging.WARNING, s) for s in sentences]


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Malicious()}, tmp_path / "bad.pt")
    with pytest.raises(DataError, match="could run code"):
        open_model(str(tmp_path / "bad.pt"))
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(DataError, match="does not load as tensors"):
        open_model(str(tmp_path / "plain.pt"))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "bad.pt").read_bytes()[:50])
    with pytest.raises(DataError, match="does not load"):
        open_model(str(tmp_path / "cut.pt"))
    assert "code ran" not in capsys.readouterr().out


def test_a_function_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hospital_models.py").write_text(
        "from torch import nn\nfrom sightline.models import wrap\n"
        "def chest(side=32):\n"
        "    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))\n"
        "    return wrap(net, ['Edema'], side=side)\n"
        "def wrong():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert open_model("hospital_models:chest?side=40").side == 40
    with pytest.raises(SightlineError, match="returned int; it must return a Model"):
        open_model("hospital_models:wrong")
    with pytest.raises(UnknownNameError, match="names no function"):
        open_model("hospital_models:missing")
    sys.modules.pop("hospital_models")


USER_MODULE = """
import torch, torchvision
from sightline.models import wrap

def make(weights="ckpt.pt"):
    net = torchvision.models.resnet18(num_classes=1)
    net.load_state_dict(torch.load(weights, weights_only=True))
    return wrap(net, ["Edema"], side=64)
"""


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a user's module `user_module`, which is the current one and not on the Python path."""
    (tmp_path / "user_module.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield tmp_path
    sys.modules.pop("user_module", None)


def test_a_module_in_the_current_folder_is_imported(user_folder: Path) -> None:
    torch.save(torchvision.models.resnet18(num_classes=1).state_dict(), "ckpt.pt")
    assert open_model("user_module:make").findings == ("Edema",)


def test_a_module_that_is_nowhere_is_an_error_that_says_what_to_do(user_folder: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no missing_module.py in the current folder.*PYTHONPATH"):
        open_model("missing_module:make")
    with pytest.raises(UnknownNameError, match=r"no missing/module.py in the current folder"):
        open_model("missing.module:make")
    with pytest.raises(UnknownNameError, match="did you mean 'torchvision'"):
        open_model("torchvison:resnet18")


def test_what_a_function_of_the_users_own_raises_is_reported_with_its_line(user_folder: Path) -> None:
    line = rf"\({user_folder / 'user_module.py'}, line 7\)$"
    net = torchvision.models.resnet34(num_classes=1)
    torch.save(net.state_dict(), "other.pt")
    torch.save({"state_dict": net.state_dict()}, "wrapped.pt")
    for file in ("other.pt", "wrapped.pt"):
        with pytest.raises(
            SightlineError, match=r"user_module:make raised RuntimeError: .*ResNet: .*" + line
        ) as raised:
            open_model(f"user_module:make?weights={file}")
        assert len(str(raised.value)) < 500
    with pytest.raises(SightlineError, match=r"user_module:make raised FileNotFoundError: .*nowhere.pt.*" + line):
        open_model("user_module:make?weights=nowhere.pt")


def test_a_module_that_cannot_be_read_is_reported_with_its_line(user_folder: Path) -> None:
    (user_folder / "user_module.py").write_text("import torch\nimport not_installed_here\n")
    with pytest.raises(SightlineError, match=r"raised ModuleNotFoundError: .*not_installed_here.*line 2\)"):
        open_model("user_module:make")


def test_names_and_options_that_do_not_exist() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'densenet121'.*a checkpoint"):
        open_model("densnet121")
    with pytest.raises(SightlineError, match="has no option 'sid'; allowed: side, resize"):
        open_model("densenet121?sid=3")
    with pytest.raises(SightlineError, match="resize='crop'; allowed: stretch, center-crop, pad"):
        open_model("small?resize=crop")
    with pytest.raises(SightlineError, match="timm has no model 'resnet5'; near"):
        open_model("timm:resnet5")
    with pytest.raises(SightlineError, match="torchvision builds no classifier 'foo'"):
        open_model("torchvision:foo")
    with pytest.raises(DataError, match="is not a file"):
        open_model("densenet121:nowhere.pt")


def test_xrv_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchxrayvision", None)
    with pytest.raises(SightlineError, match=r"pip install 'sightline\[xrv\]'"):
        open_model("xrv:densenet121-res224-all")


class Calibrated(nn.Module):
    """Ends like torchxrayvision's: rescaled sigmoids, unless they are switched off; one output was never trained."""

    pathologies = ("Atelectasis", "", "Effusion")
    op_threshs: torch.Tensor | None = torch.tensor([0.5, float("nan"), 0.5])
    apply_sigmoid = True
    input_resolution = 32

    def __init__(self) -> None:
        super().__init__()
        self.features, self.classifier = nn.Conv2d(1, 4, 3, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.classifier(self.features(x).relu().mean((2, 3)))
        return out if self.op_threshs is None and not self.apply_sigmoid else out.sigmoid()


def test_xrv_gives_logits_of_trained_findings_in_the_packages_units() -> None:
    net = Calibrated()
    model: Model = _wrap_xrv(net, "w", None, "center-crop")
    assert model.findings == ("Atelectasis", "Pleural Effusion")
    assert model.training_record is not None
    x = model.normalize(torch.tensor([0.0, 1.0])[:, None, None].expand(2, 32, 32))
    assert (float(x.min()), float(x.max())) == (-1024, 1024)
    assert torch.equal(model.net(x), net(x)[:, [0, 2]])
    assert float(model.net(x).detach().abs().max()) > 1


def test_own_network_cannot_be_opened_by_its_checkpoint_alone(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    save_checkpoint(wrap(net, ["Edema"], side=16), tmp_path / "own.pt")
    with pytest.raises(DataError, match="network of your own"):
        open_model(str(tmp_path / "own.pt"))


@pytest.mark.parametrize("spec", ["{}", "small:{}", "three-class:small?checkpoint={}"])
def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path, spec: str) -> None:
    path = tmp_path / "old.pt"
    save_checkpoint(open_model("small?side=32", ["Edema"]), path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "format": "sightline-checkpoint-1"}, path)
    with pytest.raises(
        DataError, match=r"format 'sightline-checkpoint-1', .* 'sightline-checkpoint-2'; train it again"
    ):
        open_model(spec.format(path))
