"""Training on gaze: what is learned from, what is shuffled, and that mixed batches train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sightline as sl
from sightline._cli.train import train_gaze
from sightline.data.gaze import ALL_GAZE
from sightline.errors import SightlineError
from sightline.models import open_model
from sightline.models.checkpoint import save_checkpoint
from sightline.runs.run import Run
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit
from sightline.training.labels import shuffle_gaze
from sightline.training.mask_targets import UNKNOWN, rasterize_targets
from sightline.training.schedule import STOP_AFTER, count_plateaus, learning_rate
from sightline.training.validation import cross_entropy

DATA = "phantom:16?size=64&gazed=0.6"


def planes(tmp: Path, data: sl.Dataset, spec: str = "gaze-supervised:small?supervised_map=cam&side=64") -> np.ndarray:
    model = open_model(spec, data.findings)
    return np.load(rasterize_targets(Run.start(tmp, "x", {}), model, data, list(data.radiographs), 1))


def test_a_plane_is_the_density_in_percent_of_its_peak(tmp_path: Path) -> None:
    data = sl.open_dataset(DATA)
    found = planes(tmp_path, data)
    assert found.shape == (16, 1, 8, 8) and found.dtype == np.int8
    for r, plane in zip(data.radiographs, found[:, 0], strict=True):
        mark = data.annotation(r.id, ALL_GAZE, data.gaze_readers[0])
        if mark is None:
            assert (plane == UNKNOWN).all()
            continue
        gaze = mark.read()
        counts, *_ = np.histogram2d(
            *(gaze.positions / np.array(gaze.size) * 8).T, bins=8, range=[[0, 8]] * 2, weights=gaze.duration
        )
        assert plane.max() == 100 and plane.min() >= 0
        assert np.corrcoef(plane.ravel(), counts.ravel())[0, 1] > 0.6


def test_a_plane_lies_in_the_frame_of_the_model(tmp_path: Path) -> None:
    """A center crop sees the middle of what a stretch sees."""
    data = sl.open_dataset("phantom:2?size=64")
    whole = planes(tmp_path / "stretch", data)
    cropped = planes(tmp_path / "crop", data, "gaze-supervised:timm:resnet18?supervised_map=cam&side=256")
    size = data.radiographs[0].size
    assert size is not None and size[0] > size[1]
    rows = (np.arange(8) + 0.5) / 8 * size[0]
    cut = (size[0] - size[1]) / 2
    inner = whole[0, 0, (rows > cut) & (rows < size[0] - cut)]
    assert abs(inner.mean(0).argmax() - cropped[0, 0].mean(0).argmax()) <= 1


def test_shuffled_gaze_is_another_patients(tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:20?size=64")
    other = shuffle_gaze(data, 3)
    assert other.spec == data.spec and other.derived == ("gaze shuffled, seed 3",)
    assert shuffle_gaze(other, 4).derived == ("gaze shuffled, seed 3", "gaze shuffled, seed 4")
    owner = {}
    for r in data.radiographs:
        gaze = data.annotation(r.id, ALL_GAZE, data.gaze_readers[0]).read()
        owner[gaze.begin.tobytes()] = r.patient
    for r in other.radiographs:
        mark = other.annotation(r.id, ALL_GAZE, other.gaze_readers[0])
        assert mark.radiograph == r.id and owner[mark.read().begin.tobytes()] != r.patient
    assert [r.labels for r in other.radiographs] == [r.labels for r in data.radiographs]
    finding = data.findings[0]
    marks = [d.annotation(data.radiographs[0].id, finding, data.reference_reader) for d in (data, other)]
    assert (marks[0] is None) == (marks[1] is None)


@pytest.mark.parametrize("by", ["decoder", "cam", "gate"])
def test_mixed_batches_train_and_continue_alike(tmp_path: Path, by: str) -> None:
    data = sl.open_dataset(DATA)
    start = open_model(f"gaze-supervised:small?supervised_map={by}&weight=5&side=64", data.findings)
    recipe, sample = TrainingConfig(epochs=2, batch_size=4, seed=1), SamplingConfig(validation_fraction=0.2)
    whole = fit(start, data, tmp_path / "whole", recipe, sample)
    again = fit(start, data, tmp_path / "again", recipe, sample)
    for a, b in zip(whole.net.state_dict().values(), again.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    opened = sl.open_model(str(tmp_path / "whole" / "best.pt"))
    assert opened.net.config.kind == by and opened.arch == start.arch
    losses = [h["loss"] for h in Run.open(tmp_path / "whole").info["history"]]
    assert all(np.isfinite(losses))


def test_teaching_moves_the_estimate_towards_gaze(tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:24?size=64")
    start = open_model("gaze-supervised:small?supervised_map=decoder&weight=50&side=64", data.findings)
    done = fit(start, data, tmp_path / "run", TrainingConfig(epochs=12, batch_size=4, augment=False, lr=1e-2))
    truth = torch.from_numpy(planes(tmp_path / "marks", data, start.arch)[:, 0] / 100).float()
    x = torch.stack([start.prepare(r.read())[0] for r in data.radiographs])
    errors = [float(((replace(m).net.eval().maps(x)[:, 0] - truth) ** 2).mean()) for m in (start, done)]
    assert errors[1] < 0.5 * errors[0]


def test_the_rate_is_halved_on_plateaus_and_the_training_ends_on_a_long_one(tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:40?size=64")
    start = open_model("small?side=64&width=4", data.findings)
    recipe = TrainingConfig(
        epochs=60, batch_size=8, lr=1e-9, schedule="plateau", augment=False
    )  # batch norm alone moves the loss
    fit(start, data, tmp_path / "run", recipe)
    history = Run.open(tmp_path / "run").info["history"]
    losses = [h["val_loss"] for h in history]
    assert count_plateaus(losses)[1] == STOP_AFTER and len(losses) < 60
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + STOP_AFTER
    recipe = TrainingConfig(schedule="plateau", lr=0.8)
    assert [learning_rate(recipe, 0.5, k) for k in range(3)] == [0.8, 0.4, 0.2]


def test_the_validation_loss_is_the_cross_entropy_of_known_labels() -> None:
    p = np.array([[0.9, 0.2], [0.4, 0.5]])
    labels = np.array([[1, np.nan], [0, -1]])
    assert cross_entropy(p, labels) == pytest.approx(-(np.log(0.9) + np.log(0.6)) / 2)
    assert np.isnan(cross_entropy(p, np.full((2, 2), np.nan)))


def test_the_weight_with_the_best_validation_is_kept_beside_its_control(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From weights that were trained before, in a file that may go afterwards."""
    start = open_model("small?side=64", sl.open_dataset(DATA).findings, seed=3)
    save_checkpoint(start, tmp_path / "start.pt")
    asked = {
        "data": "phantom:30?size=64",
        "out": tmp_path / "run",
        "model": f"small:{tmp_path / 'start.pt'}?side=64",
        "gaze_weights": (2.0, 5.0, 2.0),
        "epochs": 1,
        "batch_size": 8,
    }
    train_gaze(**asked)  # type: ignore[arg-type]
    (tmp_path / "start.pt").unlink()
    aurocs = {
        w: sl.open_model(str(tmp_path / "run" / f"weight-{w}" / "best.pt")).training_record.val_auroc for w in (2, 5)
    }
    best = max(aurocs, key=lambda w: aurocs[w])
    kept, control = (sl.open_model(str(tmp_path / "run" / at / "best.pt")) for at in (".", "shuffled"))
    assert (
        kept.net.config.weight == control.net.config.weight == best and kept.training_record.val_auroc == aurocs[best]
    )
    assert control.training_record.derived == ("gaze shuffled, seed 0",) and kept.training_record.derived == ()
    assert control.training_record.data == kept.training_record.data == asked["data"]
    assert f"weight {best}; mean validation AUROC by weight 2: {aurocs[2]:.3f}, 5: {aurocs[5]:.3f}" in (
        capsys.readouterr().out
    )
    with pytest.raises(SightlineError, match="give at least one, all above 0"):
        train_gaze(**(asked | {"gaze_weights": (0.0,)}))  # type: ignore[arg-type]
