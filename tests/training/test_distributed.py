"""Several processes train one network: here two on CPU, by Lightning Fabric."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sightline.errors import SightlineError
from sightline.models import open_model
from sightline.runs.run import Run
from sightline.training import distributed
from sightline.training.config import TrainingConfig
from sightline.training.fit import fit

sys.path.insert(0, str(Path(__file__).parent))

from blobs import blobs
from pretrain_phantom import pretrain_phantom
from train_blobs import train


def run_two_processes(program: str, out: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name(program)), str(out), "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric")
    train(str(tmp_path / "1"))
    run_two_processes("train_blobs.py", tmp_path / "2")
    one, two = (torch.load(tmp_path / d / "last.pt", weights_only=True) for d in ("1", "2"))
    assert [row["epoch"] for row in two["history"]] == [row["epoch"] for row in one["history"]]
    assert two["history"][-1]["val_auroc"] > 0.7 and two["history"][-1]["loss"] < two["history"][0]["loss"]
    gap = torch.cat([(one["net"][k].float() - two["net"][k].float()).abs().flatten() for k in one["net"]])
    assert float(gap.max()) > 0  # batch norm sees half of a batch: alike, not equal
    best = open_model(str(tmp_path / "2" / "best.pt"))
    assert best.training_record is not None and best.training_record.val_auroc is not None


def test_two_processes_pre_train_one_pair_and_see_each_others_films(tmp_path: Path) -> None:
    """Half a batch each would have a loss near log 6; with the other's films as negatives it begins near log 12."""
    pytest.importorskip("lightning_fabric")
    pretrain_phantom(str(tmp_path / "1"), 1)
    run_two_processes("pretrain_phantom.py", tmp_path / "2")
    one, two = (Run.open(tmp_path / d).info["history"] for d in ("1", "2"))
    assert len(two) == len(one) == 2
    assert two[0]["loss"] > 2.2 and two[0]["loss"] == pytest.approx(one[0]["loss"], abs=0.25)
    assert open_model(f"contrastive:{tmp_path / '2' / 'joint.pt'}").training_record is not None


def test_several_devices_without_fabric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SightlineError, match=r"pip install 'sightline\[fabric\]'"):
        fit(
            open_model("small?side=32&width=8", blobs(8).findings),
            blobs(8),
            tmp_path,
            TrainingConfig(epochs=1, batch_size=4),
            n_devices=2,
        )
