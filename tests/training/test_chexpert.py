"""The recipe in miniature: policies, kept checkpoints, an ensemble per finding, resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline._cli.train import train_chexpert
from sightline.data import open_dataset
from sightline.errors import DataError, SightlineError
from sightline.methods.explain import explain
from sightline.models import open_model
from sightline.models.ensemble import open_model_or_ensemble
from sightline.models.losses import masked_loss, three_class_loss
from sightline.models.multiclass_heads import ThreeClassHead
from sightline.runs.run import Run
from sightline.training import chexpert

SMALL: dict[str, Any] = {
    "data": "phantom:60?size=48&uncertain=0.3&start=300",
    "arch": "small",
    "uncertainty_policies": ("ignore", "3-class"),
    "runs_per_policy": 1,
    "epochs": 2,
    "batch_size": 8,
    "lr": 3e-3,
    "validation_interval": 0.5,
    "checkpoints_per_run": 2,
    "checkpoints_per_finding": 3,
    "side": 32,
    "precision": "float32",
    "findings": "Cardiomegaly, Edema, Support Devices",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recipe") / "out"
    train_chexpert(out=out, **SMALL)
    return out


def test_the_best_checkpoints_of_each_run_are_kept(trained: Path) -> None:
    for name in ("ignore-0", "3-class-0"):
        info = Run.open(trained / name).info
        assert [row["epoch"] for row in info["history"]] == [0.5, 1, 1.5, 2]
        for row in info["history"]:
            decisive = [row["aurocs"][f] for f in ("Cardiomegaly", "Edema") if row["aurocs"][f] is not None]
            assert row["val_auroc"] == pytest.approx(np.mean(decisive))
        best = sorted(info["history"], key=lambda row: -row["val_auroc"])[:2]
        assert info["kept"] == [row["checkpoint"] for row in best]
        assert sorted(p.stem for p in (trained / name / "kept").glob("*.pt")) == sorted(info["kept"])
        one = open_model(str(trained / name / "kept" / f"{info['kept'][0]}.pt"))
        assert one.training_record is not None and one.training_record.val_auroc == best[0]["val_auroc"]
        assert isinstance(one.net, ThreeClassHead) == (name == "3-class-0")


def test_each_finding_takes_its_best_checkpoints(trained: Path) -> None:
    tasks = json.loads((trained / "final.json").read_text())["task2models"]
    assert list(tasks) == ["Cardiomegaly", "Edema", "Support Devices"]
    aurocs = {}
    for name in ("ignore-0", "3-class-0"):
        info = Run.open(trained / name).info
        kept = {row["checkpoint"]: row["aurocs"] for row in info["history"] if row["checkpoint"] in info["kept"]}
        aurocs |= {f"{name}/kept/{k}.pt": a for k, a in kept.items()}
    for finding, entries in tasks.items():
        wanted = sorted(aurocs, key=lambda path: (-aurocs[path][finding], path))[:3]
        assert [e["ckpt_path"] for e in entries] == wanted
        assert [e["is_3class"] for e in entries] == [path.startswith("3-class") for path in wanted]


@pytest.mark.parametrize("scale", ["raw", "equal"])
def test_the_ensemble_averages_probabilities_and_maps(trained: Path, scale: str) -> None:
    data = open_dataset("phantom:5?size=48")
    ensemble = open_model_or_ensemble(f"{trained / 'final.json'}?scale={scale}")
    run = explain(data, ensemble, ["grad-cam"], batch_size=2)
    tasks = json.loads((trained / "final.json").read_text())["task2models"]
    for finding in ensemble.findings:
        members = [open_model(str(trained / entry["ckpt_path"])) for entry in tasks[finding]]
        each = [explain(data, m, ["grad-cam"], findings=[finding], source_prefix="one") for m in members]
        for radiograph in data.radiographs:
            got = run.map(f"{ensemble.name}/grad-cam", radiograph.id, finding)
            parts = [one.map("one/grad-cam", radiograph.id, finding) for one in each]
            maps = [p.values for p in parts if p is not None]
            if scale == "equal":
                maps = [m / max(np.abs(m).max(), 1e-30) for m in maps]
            assert got is not None and len(maps) == 3
            assert np.allclose(got.values, np.mean(maps, axis=0), rtol=1e-3, atol=1e-6)
            assert got.probability == pytest.approx(np.mean([p.probability for p in parts if p is not None]), abs=1e-6)


def test_stopped_and_started_again_it_chooses_the_same(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = chexpert.fit, []

    def stops(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **options)

    monkeypatch.setattr(chexpert, "fit", stops)
    with pytest.raises(KeyboardInterrupt):
        train_chexpert(out=tmp_path / "again", **SMALL)
    train_chexpert(out=tmp_path / "again", **SMALL)
    assert (tmp_path / "again" / "final.json").read_text() == (trained / "final.json").read_text()


def test_three_classes_against_plain_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    triples = torch.randn((4, 6), generator=generator)
    labels = torch.tensor([[1, -1], [0, torch.nan], [torch.nan, torch.nan], [-1, 0]])
    wanted = [
        -torch.log_softmax(triples[i, 3 * f : 3 * f + 3], 0)[int(labels[i, f]) + 1]
        for i in range(4)
        for f in range(2)
        if not labels[i, f].isnan()
    ]
    assert torch.allclose(three_class_loss(triples, labels), torch.stack(wanted).mean())
    head = ThreeClassHead(torch.nn.Identity()).eval()
    pair = torch.softmax(triples.reshape(4, 2, 3)[..., 1:], -1)[..., 1]
    assert torch.allclose(head(triples).sigmoid(), pair)
    assert head.train()(triples).shape == (4, 6)
    assert float(masked_loss(head.eval()(triples), labels.clamp(min=0))) > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ('{"a": 1}', "must contain"),
        ('{"task2models": {}}', "names no checkpoint"),
        ('{"task2models": {"Edema": [{"is_3class": true}]}}', "an entry is"),
        ('{"task2models": {"Edema": [{"ckpt_path": "gone/a.pt"}]}}', "nor does a file of its last parts"),
        ('{"task2models": {}, "aggregation_method": "vote"}', "allowed: 'mean', 'max'"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "final.json").write_text(content)
    with pytest.raises(DataError, match=message):
        open_model_or_ensemble(str(tmp_path / "final.json"))


def test_a_list_of_foreign_checkpoints_needs_their_architecture(tmp_path: Path) -> None:
    from sightline.findings import CHEXPERT_FINDINGS

    outputs = [f"{f} {i}" for f in CHEXPERT_FINDINGS for i in range(3)]
    (tmp_path / "runs").mkdir()
    for name, findings in (("plain.pt", CHEXPERT_FINDINGS), ("three.pt", outputs)):
        state = open_model("small?side=32", findings).net.state_dict()
        torch.save({"state_dict": {f"model.module.{k}": v for k, v in state.items()}}, tmp_path / "runs" / name)
    entries = [
        {"ckpt_path": "/their/disk/runs/plain.pt", "is_3class": False},
        {"ckpt_path": "/x/runs/three.pt", "is_3class": True},
    ]
    lists = {"aggregation_method": "max", "task2models": {"Airspace Opacity": entries, "Edema": entries[:1]}}
    (tmp_path / "final.json").write_text(json.dumps(lists))
    with pytest.raises(DataError, match=r"add \?arch="):
        open_model_or_ensemble(str(tmp_path / "final.json"))
    with pytest.raises(SightlineError, match="no option"):
        open_model_or_ensemble(f"{tmp_path / 'final.json'}?width=3")
    ensemble = open_model_or_ensemble(f"{tmp_path / 'final.json'}?arch=small&side=32")
    assert ensemble.findings == ("Lung Opacity", "Edema")
    data = open_dataset("phantom:2?size=48")
    run = explain(data, ensemble, ["grad-cam"])
    members = [
        open_model(f"small:{tmp_path / 'runs/plain.pt'}?side=32", CHEXPERT_FINDINGS),
        open_model(f"three-class:small?side=32&checkpoint={tmp_path / 'runs/three.pt'}", CHEXPERT_FINDINGS),
    ]
    each = [explain(data, m, ["grad-cam"], findings=["Lung Opacity"], source_prefix="one") for m in members]
    for radiograph in data.radiographs:
        got = run.map(f"{ensemble.name}/grad-cam", radiograph.id, "Lung Opacity")
        said = [one.map("one/grad-cam", radiograph.id, "Lung Opacity") for one in each]
        assert got is not None
        assert got.probability == pytest.approx(max(s.probability for s in said if s is not None), abs=1e-6)


def test_policies_and_models_must_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="uncertainty_policies"):
        train_chexpert(out=tmp_path, **{**SMALL, "uncertainty_policies": ("maybe",)})
    sample = chexpert.SamplingConfig(uncertainty_policy="3-class")
    with pytest.raises(SightlineError, match="do not fit"):
        chexpert.fit(open_model("small?side=32", ["Edema"]), open_dataset("phantom:8"), tmp_path / "a", sampling=sample)
