"""The README's Python example runs as printed, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from sightline._cli.app import app
from sightline.models import open_model
from sightline.models.torchvision_compat import define_missing_operators

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    exec(compile(code[1], "README.md", "exec"), {})
    assert "small/grad-cam" in capsys.readouterr().out


def test_its_plain_checkpoint_opens_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = re.search(r'check-model "(.*?)"', README)
    assert spec is not None
    monkeypatch.chdir(tmp_path)
    define_missing_operators()
    import torchvision

    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), "ckpt.pt")
    model = open_model(spec[1])
    assert model.findings == ("Cardiomegaly", "Pleural Effusion", "Atelectasis")
    assert (model.side, model.resize, model.assumed_settings) == (224, "stretch", ("mean", "std"))


def test_its_commands_exist() -> None:
    words = set(re.findall(r"sightline ([\w-]+)", README)) - {"as"}
    assert words
    for word in words:
        assert word in app, word


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README + (ROOT / "CONTRIBUTING.md").read_text()):
        assert link.startswith("https://") or (ROOT / link).exists(), link
