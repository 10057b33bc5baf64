"""Networks trained on marks: shapes, losses that fall, and maps that lie where marks were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sightline as sl
from sightline.errors import DataError, SightlineError
from sightline.training.config import SamplingConfig, TrainingConfig
from sightline.training.fit import fit

KINDS = ("unet", "retinanet")


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_maps(kind: str) -> None:
    model = sl.open_model(f"{kind}?side=64", ["Edema", "Pneumothorax", "Fracture"])
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert model.net.eval()(x).shape == (2, 3)
    got = sl.saliency(model, x, ["Pneumothorax"], ["intrinsic"])["intrinsic"]
    assert got.shape == (2, 1, 16, 16)
    assert got.min() >= 0 and got.max() <= 1


def test_a_unet_begins_where_marks_are_rare() -> None:
    model = sl.open_model("unet?side=64", ["Edema", "Pneumothorax"], seed=1)
    places = sl.saliency(model, torch.randn(4, 1, 64, 64), None, ["intrinsic"])["intrinsic"]
    assert 0.003 < places.median() < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_a_square_that_always_marks_is_found(kind: str) -> None:
    torch.manual_seed(0)
    model = sl.open_model(f"{kind}?side=64&width=8", ["Edema", "Pneumothorax"])
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.net.parameters(), 3e-3)

    def batch(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, marks = torch.randn(n, 1, 64, 64) * 0.1, torch.zeros(n, 2, 16, 16)
        for i, (row, col) in enumerate(rng.integers(0, 11, (n, 2))):
            x[i, 0, 4 * row : 4 * row + 20, 4 * col : 4 * col + 20] += 2
            marks[i, 0, row : row + 5, col : col + 5] = 1
        return x, marks

    model.net.train()
    losses = []
    for _ in range(80):
        x, marks = batch(8)
        loss = model.net.loss(model.net(x), torch.zeros(8, 2), marks)  # type: ignore[operator]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    x, marks = batch(4)
    got = sl.saliency(model, x, None, ["intrinsic"])["intrinsic"]
    inside = (got[:, 0] * marks[:, 0]).sum((1, 2)) / marks[:, 0].sum((1, 2))
    outside = (got[:, 0] * (1 - marks[:, 0])).sum((1, 2)) / (1 - marks[:, 0]).sum((1, 2))
    assert (inside > outside + 0.3).all()


def test_unknown_places_teach_nothing() -> None:
    net = sl.open_model("unet?side=64", ["Edema", "Pneumothorax"]).net
    outputs = torch.randn(2, 2, 16, 16, requires_grad=True)
    marks = torch.zeros(2, 2, 16, 16)
    marks[:, 1] = torch.nan
    net.loss(outputs, torch.zeros(2, 2), marks).backward()  # type: ignore[operator]
    assert outputs.grad is not None
    assert (outputs.grad[:, 1] == 0).all()
    assert (outputs.grad[:, 0] != 0).all()


def test_boxes_surround_the_connected_parts_of_marks() -> None:
    net = sl.open_model("retinanet?side=64", ["Edema", "Pneumothorax"]).net
    marks = torch.zeros(2, 16, 16)
    marks[1, 2:5, 3:9], marks[1, 10, 10], marks[0, 0, 0] = 1, 0.7, 0.2
    found = net._boxes(marks)  # type: ignore[operator]
    assert found["boxes"].tolist() == [[12, 8, 36, 20], [40, 40, 44, 44]]
    assert found["labels"].tolist() == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_fit_learns_from_marks_and_opens_again(kind: str, tmp_path: Path) -> None:
    data = sl.open_dataset("phantom:16?size=64")
    model = sl.open_model(f"{kind}?side=64&width=8", data.findings, seed=1)
    done = fit(
        model, data, tmp_path / "run", TrainingConfig(epochs=1, batch_size=4), SamplingConfig(validation_fraction=0.25)
    )
    again = sl.open_model(str(tmp_path / "run/best.pt"))
    x = torch.randn(1, 1, 64, 64)
    assert torch.equal(*(sl.saliency(m, x, None, ["intrinsic"])["intrinsic"] for m in (done, again)))
    marks = np.load(next((tmp_path / "run/parts/mask_targets").glob("*/mask_targets.npy")))
    film = next(r for r in data.radiographs if r.split == "train" and r.labels["Cardiomegaly"] == 1)
    trained = [r.id for r in data.radiographs if r.split == "train"]
    place = data.findings.index("Cardiomegaly")
    mark = data.annotation(film.id, "Cardiomegaly", "truth")
    assert mark is not None
    assert marks[trained.index(film.id), place].mean() == pytest.approx(100 * mark.read().mean(), abs=0.5)


def test_what_cannot_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match="multiples of 32"):
        sl.open_model("unet?side=100")
    data = sl.open_dataset("phantom:8?size=64")
    model = sl.open_model("unet?side=64&width=8", ["Fracture"])
    with pytest.raises(DataError, match=r"marks none of Fracture|no training radiograph has a known label"):
        fit(model, data, tmp_path / "run", TrainingConfig(epochs=1, batch_size=4))
