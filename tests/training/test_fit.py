from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from blobs import FINDINGS, blobs
from torch import nn
from torch.nn import functional as F
from train_blobs import train

from sightline.core import Dataset, Radiograph
from sightline.errors import DataError, RunError, SightlineError
from sightline.methods import saliency
from sightline.models import Model, open_model, state_hash
from sightline.models.losses import masked_loss
from sightline.runs.run import Run
from sightline.training import SamplingConfig, TrainingConfig, fit
from sightline.training.labels import make_label_matrix
from sightline.training.loop import load_state

BRIEF = TrainingConfig(epochs=1, batch_size=8)


def small(findings: tuple[str, ...] = FINDINGS) -> Model:
    return open_model("small?side=32&width=8", findings)


def history(out: Path) -> list[dict[str, float]]:
    return list(json.loads((out / "run.json").read_text("utf-8")).get("history", []))


def test_it_learns_and_its_checkpoint_opens_alone(tmp_path: Path) -> None:
    data, start = blobs(160), small()
    before = state_hash(start.net)
    model = fit(start, data, tmp_path / "run", TrainingConfig(epochs=6, batch_size=16, lr=5e-3))
    assert state_hash(start.net) == before
    assert model.training_record is not None and model.training_record.val_auroc is not None
    assert model.training_record.val_auroc > 0.9
    assert (model.training_record.data, model.training_record.seed, model.training_record.fraction) == (
        "blobs:160",
        0,
        1.0,
    )
    assert model.training_record.weights_hash == state_hash(model.net)
    again = open_model(str(tmp_path / "run" / "best.pt"))
    assert again.training_record == model.training_record and state_hash(again.net) == state_hash(model.net)
    best = max(history(tmp_path / "run"), key=lambda row: row["val_auroc"])
    assert best["val_auroc"] == model.training_record.val_auroc and best["epoch"] == model.training_record.epochs
    x = torch.stack([model.prepare(r.read())[0] for r in data.radiographs[:2]])
    assert float(saliency(model, x, None, ["grad-cam"])["grad-cam"].max()) > 0


def test_a_study_is_one_of_its_patient(tmp_path: Path) -> None:
    """Where every patient's study is called '1', validation is that of studies with names of their own."""
    data, found = blobs(64), []
    for name in ("1", ""):
        named = replace(data, radiographs=tuple(replace(r, study=name or r.patient) for r in data.radiographs))
        fit(small(), named, tmp_path / f"run{name}", TrainingConfig(epochs=2, batch_size=16))
        found.append([row["val_auroc"] for row in history(tmp_path / f"run{name}")])
    assert found[0] == found[1] and not any(np.isnan(found[0]))


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    data = blobs(64)
    weights = [
        state_hash(fit(small(), data, tmp_path / name, TrainingConfig(epochs=2, batch_size=16, seed=seed)).net)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert weights[0] == weights[1] != weights[2]


def test_a_state_of_another_format_is_not_continued(tmp_path: Path) -> None:
    for content in ({"done": 1}, {"format": 1, "done": 1}):
        torch.save(content, tmp_path / "last.pt")
        with pytest.raises(RunError, match=r"this state of a training states .*reads format 2; start the training"):
            load_state(tmp_path / "last.pt")


def test_killed_and_started_again_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    program = [sys.executable, str(Path(__file__).with_name("train_blobs.py")), str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.Popen(program, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / "last.pt").exists():
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = torch.load(tmp_path / "killed" / "last.pt", weights_only=True)["n_intervals"]
    assert done < 5, "the training was over before it could be killed"
    for name in ("killed", "whole"):
        train(str(tmp_path / name))
    ends = [torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("killed", "whole")]
    assert ends[0]["n_intervals"] == ends[1]["n_intervals"] == 5
    assert all(torch.equal(ends[0]["net"][key], ends[1]["net"][key]) for key in ends[1]["net"])
    assert ends[0]["history"] == ends[1]["history"]
    best = [open_model(str(tmp_path / name / "best.pt")) for name in ("killed", "whole")]
    assert best[0].training_record == best[1].training_record


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    data = blobs(32)
    fit(small(), data, tmp_path / "run", BRIEF)
    with pytest.raises(RunError, match="epochs was 1, now 2"):
        fit(small(), data, tmp_path / "run", replace(BRIEF, epochs=2))
    with pytest.raises(RunError, match="initial was"):
        fit(open_model("small?side=32&width=8", FINDINGS, seed=1), data, tmp_path / "run", BRIEF)


def test_options_stand_side_by_side_in_run_json(tmp_path: Path) -> None:
    """With the findings and the seed of the split written out; a folder of the same options goes on."""
    options = {
        "epochs": 1,
        "batch_size": 8,
        "lr": 3e-3,
        "weight_decay": 0.01,
        "schedule": "cosine",
        "seed": 3,
        "augment": False,
        "precision": "float32",
        "validation_interval": 1.0,
        "max_checkpoints": 0,
        "selection_findings": list(FINDINGS),
        "trainable": "all",
        "head_only_steps": 0,
        "layer_decay": 1.0,
        "patience": 0,
        "data": "blobs:32",
        "derived": [],
        "fraction": 0.5,
        "validation_fraction": 0.15,
        "uncertainty_policy": "ignore",
        "blank_policy": "ignore",
        "split_seed": 3,
        "stratified": False,
        "prevalence": None,
        "n_devices": 1,
        "model": "small",
        "initial": state_hash(small().net),
    }
    recipe, sample = replace(BRIEF, seed=3, augment=False), SamplingConfig(fraction=0.5)
    Run.start(tmp_path / "old", "fit", options)
    for name in ("old", "new"):
        fit(small(), blobs(32), tmp_path / name, recipe, sample)
    assert list(Run.open(tmp_path / "new").info["options"].items()) == list(options.items())
    assert len(history(tmp_path / "old")) == 1 and history(tmp_path / "old") == history(tmp_path / "new")


def changed(data: Dataset, index: int, **fields: object) -> Dataset:
    radiographs = list(data.radiographs)
    radiographs[index] = replace(radiographs[index], **fields)  # type: ignore[arg-type]
    return replace(data, radiographs=radiographs)


def test_an_unreadable_image_is_left_out_and_named(tmp_path: Path) -> None:
    def broken() -> np.ndarray:
        raise DataError("scan.png is truncated")

    fit(small(), changed(blobs(32), 3, read=broken), tmp_path / "run", BRIEF)
    facts = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert facts["unreadable"] == ["r3: scan.png is truncated"]


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    data = changed(changed(blobs(8), 2, split="train"), 3, split="val")
    with pytest.raises(DataError, match=r"patient 'p1' is in two splits: 'train' \(radiograph 'r2'\) and 'val'"):
        fit(small(), data, tmp_path / "run", replace(BRIEF, batch_size=4))


def test_wrong_labels_and_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'r1' has the label 0\.5 for 'Pneumothorax'"):
        fit(small(), changed(blobs(8), 1, labels={"Pneumothorax": 0.5}), tmp_path / "a", replace(BRIEF, batch_size=4))
    with pytest.raises(DataError, match="no training radiograph has a known label for 'Edema'"):
        fit(small((*FINDINGS, "Edema")), blobs(8), tmp_path / "b", replace(BRIEF, batch_size=4))
    with pytest.raises(SightlineError, match=r"'3-class' and 'small' do not fit; allowed: .*three-class:ARCH"):
        fit(small(), blobs(8), tmp_path / "c", sampling=SamplingConfig(uncertainty_policy="3-class"))


def test_training_on_uncertain_and_unknown_labels() -> None:
    given = [1.0, 0.0, -1.0, float("nan")]
    radiographs = [Radiograph(str(i), str(i), lambda: np.zeros(0), labels={"Edema": v}) for i, v in enumerate(given)]
    radiographs.append(Radiograph("4", "4", lambda: np.zeros(0)))
    nan = np.nan
    for policy, uncertain in (("ignore", nan), ("zeros", 0), ("ones", 1)):
        matrix = make_label_matrix(radiographs, ["Edema"], policy)  # type: ignore[arg-type]
        assert np.array_equal(matrix[:, 0], [1, 0, uncertain, nan, nan], equal_nan=True)


def test_the_loss_sees_known_labels_only() -> None:
    logits = torch.randn((3, 2), generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([[1, torch.nan], [0, 1], [torch.nan, torch.nan]])
    known = [(0, 0), (1, 0), (1, 1)]
    wanted = sum(F.binary_cross_entropy(logits[i].sigmoid(), labels[i]) for i in known) / 3
    loss = masked_loss(logits, labels)
    assert torch.allclose(loss, wanted)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[2].any() and not gradient[0, 1] and torch.isfinite(gradient).all()
    assert float(masked_loss(logits, torch.full((3, 2), torch.nan)).detach()) == 0


def test_a_network_that_diverges_says_so(tmp_path: Path) -> None:
    model = small()
    with torch.no_grad():
        model.net.head.bias.fill_(torch.inf)
    with pytest.raises(SightlineError, match="no longer finite"):
        fit(model, blobs(32), tmp_path / "run", BRIEF)


def test_logits_of_any_size_have_probabilities(tmp_path: Path) -> None:
    """Few batches leave a batch norm that makes logits of thousands; exp(1000) overflows."""
    model = small()
    with torch.no_grad():
        model.net.head.bias.copy_(torch.linspace(-2000, 2000, len(model.findings)))
    fit(model, blobs(32), tmp_path / "run", replace(BRIEF, lr=1e-9))
    assert all(0 <= h["val_auroc"] <= 1 for h in Run.open(tmp_path / "run").info["history"])


def test_dropout_is_keyed_by_the_seed_too(tmp_path: Path) -> None:
    from sightline.models import wrap

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 2)
    )
    model = wrap(net, FINDINGS, side=32, channels=1)
    hashes = []
    for name in "ab":
        torch.manual_seed(len(hashes))
        hashes.append(state_hash(fit(model, blobs(32), tmp_path / name, BRIEF).net))
    assert hashes[0] == hashes[1]


def test_a_training_at_another_prevalence_says_so(tmp_path: Path) -> None:
    sampling = SamplingConfig(prevalence=(FINDINGS[0], 0.25))
    model = fit(small(), blobs(80), tmp_path / "run", BRIEF, sampling)
    record = model.training_record
    assert record is not None
    measured = dict(record.prevalence)
    n_train = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["radiographs"][0]
    assert measured[FINDINGS[0]] == pytest.approx(0.25, abs=0.5 / n_train) and set(measured) <= set(FINDINGS)
    assert record.derived == (f"{FINDINGS[0]} in 0.25 of {n_train} training radiographs",)
    assert open_model(str(tmp_path / "run" / "best.pt")).training_record == record
    with pytest.raises(SightlineError, match="between 0 and 1"):
        SamplingConfig(prevalence=(FINDINGS[0], 1.0))
