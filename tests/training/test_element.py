"""Training the element: on labels alone, on marks of a few films, on boxes; and what is told when maps collapse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sightline as sl
from sightline.errors import DataError
from sightline.metrics.boxes import fill_boxes
from sightline.models import open_model
from sightline.runs.run import Run
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit
from sightline.training.labels import limit_annotations
from sightline.training.mask_targets import UNKNOWN, rasterize_targets

DATA = "phantom:24?size=64"
RECIPE, SAMPLE = TrainingConfig(epochs=2, batch_size=4, augment=False), SamplingConfig(validation_fraction=0.2)


def test_labels_alone_train_it_and_a_kill_changes_nothing(tmp_path: Path) -> None:
    data = sl.open_dataset(DATA)
    start = open_model("selfexplaining:small?kind=gate&sparsity=0.1&variation=0.1&side=64", data.findings)
    whole = fit(start, data, tmp_path / "whole", RECIPE, SAMPLE)
    fit(start, data, tmp_path / "again", RECIPE, SAMPLE)
    opened = sl.open_model(str(tmp_path / "again" / "best.pt"))
    for a, b in zip(whole.net.state_dict().values(), opened.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert opened.arch == start.arch and opened.net.config == start.net.config
    assert not (tmp_path / "whole" / "parts" / "mask_targets").exists(), "labels alone need no targets"


def test_a_collapsed_gate_is_told_and_training_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = sl.open_dataset(DATA)
    start = open_model("selfexplaining:small?kind=gate&side=64", data.findings)
    with torch.no_grad():
        start.net.saliency_head.gate.weight.zero_()
        start.net.saliency_head.gate.bias.fill_(40)
    fit(start, data, tmp_path / "run", RECIPE, SAMPLE)
    info = Run.open(tmp_path / "run").info
    assert info["collapsed"] == "all ones" and [h["collapsed"] for h in info["history"]] == ["all ones"] * 2
    assert "maps all ones" in capsys.readouterr().err


def test_of_several_gates_the_collapsed_ones_are_named(tmp_path: Path) -> None:
    data = sl.open_dataset(DATA)
    start = open_model("selfexplaining:small?kind=gate&side=64", data.findings)
    with torch.no_grad():
        start.net.saliency_head.gate.weight[2:].zero_()
        start.net.saliency_head.gate.bias[2:].fill_(40)
        start.net.saliency_head.gate.weight[:2].mul_(20)
    fit(start, data, tmp_path / "run", RECIPE, SAMPLE)
    said = Run.open(tmp_path / "run").info["collapsed"]
    assert said == f"all ones ({', '.join(data.findings[2:])})"


def test_a_plain_network_has_no_maps_to_collapse(tmp_path: Path) -> None:
    data = sl.open_dataset(DATA)
    fit(open_model("small?side=64", data.findings), data, tmp_path / "run", RECIPE, SAMPLE)
    info = Run.open(tmp_path / "run").info
    assert "collapsed" not in info and "collapsed" not in info["history"][0]


def test_labels_of_one_class_only_are_refused_or_named(tmp_path: Path) -> None:
    data = sl.open_dataset(DATA)
    finding = data.findings[0]
    alike = tuple(replace(r, labels={**r.labels, finding: 1.0}) for r in data.radiographs)
    start = open_model("selfexplaining:small?kind=lse&side=64", [finding])
    with pytest.raises(DataError, match="labels of one class only"):
        fit(start, replace(data, radiographs=alike), tmp_path / "one", RECIPE, SAMPLE)
    start = open_model("selfexplaining:small?kind=lse&side=64", [finding, data.findings[1]])
    fit(start, replace(data, radiographs=alike), tmp_path / "two", RECIPE, SAMPLE)
    assert finding in Run.open(tmp_path / "two").info["one_class"]


def test_limited_annotations_are_nested_and_the_labels_stay() -> None:
    data = sl.open_dataset("phantom:60?size=64")

    def marked(films: int) -> set[str]:
        some = limit_annotations(data, films, 3)
        assert some.spec == data.spec and some.derived == (f"annotations of {films} radiographs, seed 3",)
        assert len(some.radiographs) == len(data.radiographs)
        return {
            r.id for r in some.radiographs for f in data.findings if some.annotation(r.id, f, data.reference_reader)
        }

    assert [len(marked(k)) for k in (0, 4, 9)] == [0, 4, 9] and marked(4) < marked(9)
    assert all(r.split in ("", "train") for r in data.radiographs if r.id in marked(9))
    with pytest.raises(DataError, match="allowed: 0 to"):
        limit_annotations(data, 1000, 3)


def test_what_it_learns_from_is_known_where_labels_or_marks_tell(tmp_path: Path) -> None:
    data = sl.open_dataset(DATA)
    some = limit_annotations(data, 3, 0)
    model = open_model("selfexplaining:small?supervision=masks&side=64", data.findings)
    planes = np.load(rasterize_targets(Run.start(tmp_path, "x", {}), model, some, list(data.radiographs), 1))
    for r, plane in zip(data.radiographs, planes, strict=True):
        for f, cells in zip(data.findings, plane, strict=True):
            if r.labels.get(f) == 0:
                assert (cells == 0).all()
            elif some.annotation(r.id, f, data.reference_reader) is None:
                assert (cells == UNKNOWN).all()
    whole = fit(model, some, tmp_path / "run", RECIPE, SAMPLE)
    assert whole.training_record is not None and whole.training_record.derived == (
        "annotations of 3 radiographs, seed 0",
    )


def test_boxes_are_those_around_the_pieces_also_beyond_the_image(tmp_path: Path) -> None:
    data = sl.open_dataset(DATA)
    targets = {}
    for supervision in ("masks", "boxes"):
        model = open_model(f"selfexplaining:small?supervision={supervision}&side=64", data.findings)
        targets[supervision] = np.load(
            rasterize_targets(Run.start(tmp_path / supervision, "x", {}), model, data, list(data.radiographs), 1)
        )
    known = targets["masks"] != UNKNOWN
    assert (targets["boxes"][known] >= targets["masks"][known]).all()
    assert (targets["boxes"] > targets["masks"]).any()
    r = next(r for r in data.radiographs if any(data.annotation(r.id, f, data.reference_reader) for f in data.findings))
    finding = next(f for f in data.findings if data.annotation(r.id, f, data.reference_reader))
    mark = data.annotation(r.id, finding, data.reference_reader)
    assert mark is not None
    beyond = replace(mark, kind="boxes", read=lambda: np.array([[-40.0, -40.0, 30.0, 4000.0]]))
    outside = replace(data, annotation=lambda *key: beyond if key[:2] == (r.id, finding) else None, radiographs=(r,))
    model = open_model("selfexplaining:small?supervision=boxes&side=64", data.findings)
    cells = np.load(rasterize_targets(Run.start(tmp_path / "beyond", "x", {}), model, outside, [r], 1))[0]
    plane = cells[data.findings.index(finding)]
    share = 30 / mark.size[0]
    assert plane[0].min() == 100 and plane[-1].max() == 0 and plane.mean() == pytest.approx(100 * share, abs=2)
    assert fill_boxes(np.eye(3, dtype=bool)).all()
