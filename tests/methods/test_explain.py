"""Explaining: stored maps equal direct ones whatever the batch; what fails has a status, never a gap."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sightline as sl
from sightline.core import Dataset, Radiograph
from sightline.errors import DataError, SightlineError, UnknownNameError
from sightline.methods import explain, saliency
from sightline.methods.registry import methods
from sightline.models import Model, with_random_weights


def a_model(findings: tuple[str, ...] = ("Edema", "Mass")) -> Model:
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()]
    net = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, len(findings)))
    return sl.wrap(net, findings, side=32, resize="center-crop", channels=1, name="net")


METHODS = ["grad-cam", "grad-cam++", "integrated-gradients?nodes=3", "edges"]


@pytest.mark.parametrize("batch", [1, 5, 32])
def test_stored_maps_are_the_maps(toy_data: Dataset, batch: int, tmp_path: Path) -> None:
    model = a_model()
    run = sl.explain(toy_data, model, METHODS, out=tmp_path / "run", batch_size=batch)
    assert list(run.sources) == [f"net/{name}" for name in METHODS]
    for radiograph in toy_data.radiographs[::5]:
        x, frame = model.prepare(radiograph.read())
        direct = saliency(model, x[None], None, METHODS, ids=[radiograph.id])
        probability = torch.sigmoid(model.net(x[None]).detach())[0]
        for name in METHODS:
            for column, finding in enumerate(model.findings):
                m = run.map(f"net/{name}", radiograph.id, finding)
                assert m is not None
                assert m.frame == frame
                assert m.values == pytest.approx(direct[name][0, column].numpy(), rel=1e-3, abs=1e-6)
                assert m.probability == pytest.approx(float(probability[column]), abs=1e-6)


def no_room_for(count: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make the device fail on batches larger than `count`, as an accelerator does; returns the sizes of all batches."""
    plain, seen = nn.Conv2d.forward, []

    def forward(self: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        if self.in_channels == 1:
            seen.append(len(x))
            if len(x) > count:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
        return plain(self, x)

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    return seen


def test_a_batch_too_large_for_the_memory_is_halved(
    toy_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_model()
    wanted = sl.explain(toy_data, model, METHODS, out=tmp_path / "wanted")
    seen = no_room_for(3, monkeypatch)
    run = sl.explain(toy_data, model, METHODS, out=tmp_path / "run", batch_size=12)
    assert seen[:3] == [12, 6, 3] and set(seen[3:]) == {3}
    for one in toy_data.radiographs:
        for m, other in zip(run.maps_for(one.id), wanted.maps_for(one.id), strict=True):
            assert m.values == pytest.approx(other.values, rel=1e-3, abs=1e-6)


def test_an_image_that_does_not_fit_alone_is_a_named_error(
    toy_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = a_model()
    model.net.train()
    no_room_for(0, monkeypatch)
    with pytest.raises(SightlineError, match="ran out of memory with 1 images of 32 x 32"):
        sl.explain(toy_data, model, ["grad-cam"], out=tmp_path / "run")
    assert model.net.training and all(p.requires_grad for p in model.net.parameters())


def test_an_unreadable_image_is_a_status(toy_data: Dataset, tmp_path: Path) -> None:
    def fail() -> np.ndarray:
        raise DataError("toy3.png is cut short; copy it again")

    radiographs = tuple(replace(r, read=fail) if r.id == "toy3" else r for r in toy_data.radiographs)
    broken = replace(toy_data, radiographs=radiographs)
    run = sl.explain(broken, a_model(), ["grad-cam"], out=tmp_path / "run", batch_size=4)
    maps = list(run.maps_for("toy3"))
    assert [(m.status, m.reason) for m in maps] == [("unreadable", "toy3.png is cut short; copy it again")] * 2
    table = sl.score(run, broken, ["iou"])
    lost = table[table["radiograph"] == "toy3"]
    assert (lost["value"] == 0).all()
    assert set(lost["status"]) == {"unreadable"}


def test_a_method_that_raises_loses_its_maps_and_ends_no_run(toy_data: Dataset, tmp_path: Path) -> None:
    @methods("raising", needs="nothing", signed=False, class_agnostic=True, resolution="input", source="a test")
    def raising(context: object, targets: object) -> torch.Tensor:
        raise IndexError("past the end")

    try:
        run = sl.explain(toy_data, a_model(), ["raising", "edges"], out=tmp_path / "run")
        found = {(m.source, m.status) for r in toy_data.radiographs for m in run.maps_for(r.id)}
    finally:
        methods._entries.pop("raising")
    assert found == {("net/raising", "refused"), ("net/edges", "ok")}
    why = {m.reason for m in run.maps_for("toy0") if m.status == "refused"}
    assert len(why) == 1 and f"method raising raised IndexError: past the end ({__file__}" in why.pop()


def test_a_method_that_refuses_the_model_is_a_status(toy_data: Dataset, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 2))
    model = sl.wrap(net, ["Edema", "Mass"], side=32, channels=1, feature_module=None, name="flat")
    model = replace(model, feature_layer=None)
    run = sl.explain(toy_data, model, ["grad-cam", "edges"], out=tmp_path / "run")
    statuses = {m.source: m.status for m in run.maps_for("toy0")}
    assert statuses == {"flat/grad-cam": "refused", "flat/edges": "ok"}
    assert all(m.reason for m in run.maps_for("toy0") if m.status == "refused")


def test_a_network_gone_nan_is_told(toy_data: Dataset, tmp_path: Path) -> None:
    model = a_model()
    with torch.no_grad():
        next(model.net.parameters())[0] = torch.nan
    run = sl.explain(toy_data, model, ["grad-cam"], out=tmp_path / "run")
    assert {m.status for m in run.maps_for("toy0")} == {"non-finite"}


def test_again_does_nothing_twice_and_other_weights_are_refused(toy_data: Dataset, tmp_path: Path) -> None:
    run = sl.explain(toy_data, a_model(), ["grad-cam"], out=tmp_path / "run")
    part = next(run.path.glob("parts/maps-net/*/zarr.json"))
    before = part.stat().st_mtime_ns
    sl.explain(toy_data, a_model(), ["grad-cam"], out=tmp_path / "run")
    assert part.stat().st_mtime_ns == before
    with pytest.raises(sl.RunError, match="methods was"):
        sl.explain(toy_data, a_model(), ["grad-cam++"], out=tmp_path / "run")


def test_a_run_that_lost_parts_reads_and_makes_those_alone(
    toy_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are read ahead of their block: the films of a block are still its own."""
    monkeypatch.setattr(explain, "RADIOGRAPHS_PER_PART", 2)
    whole = sl.explain(toy_data, a_model(), METHODS, out=tmp_path / "run")
    before = [[m.values.copy() for m in whole.maps_for(r.id)] for r in toy_data.radiographs]
    parts = sorted(whole.path.glob("parts/maps-net/*"))
    for part in parts[1::2]:
        shutil.rmtree(part)
    lost = {r.id for i, r in enumerate(toy_data.radiographs) if i // 2 % 2}
    read = set[str]()

    def noted(r: Radiograph) -> Radiograph:
        return replace(r, read=lambda: read.add(r.id) or r.read())  # type: ignore[func-returns-value]

    watched = replace(toy_data, radiographs=tuple(map(noted, toy_data.radiographs)))
    again = sl.explain(watched, a_model(), METHODS, out=tmp_path / "run")
    assert read == lost
    for radiograph, maps in zip(toy_data.radiographs, before, strict=True):
        assert all(
            np.array_equal(m.values, values) for m, values in zip(again.maps_for(radiograph.id), maps, strict=True)
        )


def test_without_a_folder_maps_live_as_long_as_the_run(toy_data: Dataset) -> None:
    run = sl.explain(toy_data, a_model(), ["grad-cam"])
    path = run.path
    assert run.map("net/grad-cam", "toy0", "Edema") is not None
    del run
    assert not path.exists()


def test_findings_are_matched_by_name(toy_data: Dataset, tmp_path: Path) -> None:
    model = a_model(("Mass", "Hernia"))
    run = sl.explain(toy_data, model, ["grad-cam"], out=tmp_path / "run")
    assert run.sources == {"net/grad-cam": ("Mass",)}
    with pytest.raises(DataError, match="no output for Edema"):
        sl.explain(toy_data, model, ["grad-cam"], findings=["Edema"], out=tmp_path / "b")
    with pytest.raises(DataError, match="it has: Hernia, Nodule"):
        sl.explain(toy_data, a_model(("Hernia", "Nodule")), ["grad-cam"], out=tmp_path / "c")
    with pytest.raises(UnknownNameError, match="did you mean 'grad-cam'"):
        sl.explain(toy_data, model, ["grad-kam"], out=tmp_path / "d")


def test_an_untrained_copy_is_a_control(toy_data: Dataset, tmp_path: Path) -> None:
    model = a_model()
    run = sl.explain(
        toy_data, with_random_weights(model), ["grad-cam"], out=tmp_path / "run", source_prefix="control/untrained"
    )
    assert list(run.sources) == ["control/untrained/grad-cam"]
    assert set(sl.score(run, toy_data, ["iou"])["source_kind"]) == {"control"}


def test_a_map_that_breaks_its_axiom_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.methods import deeplift

    data = sl.open_dataset("phantom:6?size=48")
    model = sl.open_model("small?side=32", data.findings)
    whole = deeplift._attribute

    def misses(context: object, start: object, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps, error = whole(context, start, targets)  # type: ignore[arg-type]
        error = torch.zeros_like(error)
        error[[i for i, name in enumerate(context.ids) if name == data.radiographs[2].id], 1] = 0.3  # type: ignore[attr-defined]
        return maps, error

    monkeypatch.setattr(deeplift, "_attribute", misses)
    statuses = []
    for batch in (1, 4):
        run = sl.explain(data, model, ["deeplift"], batch_size=batch)
        found = {(r.id, m.finding): m for r in data.radiographs for m in run.maps_for(r.id)}
        refused = {key: m.reason for key, m in found.items() if m.status == "refused"}
        assert set(refused) == {(data.radiographs[2].id, data.findings[1])}
        assert "does not add up" in next(iter(refused.values()))
        statuses.append({key: m.status for key, m in found.items()})
    assert statuses[0] == statuses[1], "whoever shares its batch"


def test_a_map_that_breaks_its_axiom_and_is_wanted_all_the_same_says_so(toy_data: Dataset, tmp_path: Path) -> None:
    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.out((y * y).mean((2, 3)))  # DeepLIFT has no rule for products

    torch.manual_seed(0)
    model = sl.wrap(Squares(), ("Edema", "Mass"), side=32, channels=1, name="net")
    run = sl.explain(toy_data, model, ["deeplift", "deeplift?check=false"], out=tmp_path / "run")
    for m in run.maps_for("toy0"):
        if m.source == "net/deeplift":
            assert m.status == "refused" and "does not add up" in m.reason
        else:
            assert (
                m.status == "ok" and m.values.any() and m.reason.startswith("axiom violated: the map does not add up")
            )


def test_bfloat16_is_taken_where_maps_agree_and_the_run_says_where(toy_data: Dataset, tmp_path: Path) -> None:
    model, methods = a_model(), ["grad-cam", "deeplift", "gradient"]
    plain = sl.explain(toy_data, model, methods, out=tmp_path / "plain")
    run = sl.explain(toy_data, model, methods, out=tmp_path / "run", precision="bfloat16")
    (tried,) = run.info["precision"].values()
    assert tried["grad-cam"]["used"] == "bfloat16" and tried["grad-cam"]["agreement"] > 0.99
    assert tried["deeplift"] == {"agreement": 0.0, "used": "float32"}  # its rules change logits that were rounded
    used = {name: one["used"] for name, one in tried.items()}
    for radiograph in toy_data.radiographs:
        for m, other in zip(run.maps_for(radiograph.id), plain.maps_for(radiograph.id), strict=True):
            name = m.source.partition("/")[2]
            assert m.probability == other.probability
            assert (m.values == other.values).all() == (used[name] == "float32")
            assert np.corrcoef(m.values.ravel(), other.values.ravel())[0, 1] > 0.97 or (m.values == other.values).all()
    again = sl.explain(toy_data, model, methods, out=tmp_path / "run", precision="bfloat16")
    assert again.info["precision"] == run.info["precision"]


def test_a_baseline_of_the_data_is_drawn_by_id_whatever_the_order(toy_data: Dataset, tmp_path: Path) -> None:
    model, spec = a_model(), "integrated-gradients?baseline=data&nodes=4"
    run = sl.explain(toy_data, model, [spec], out=tmp_path / "run")
    turned = replace(toy_data, radiographs=toy_data.radiographs[::-1])
    other = sl.explain(turned, model, [spec], out=tmp_path / "other", batch_size=3)
    black = sl.explain(toy_data, model, ["integrated-gradients?nodes=4"], out=tmp_path / "black")
    for radiograph in toy_data.radiographs:
        for m, same, plain in zip(
            run.maps_for(radiograph.id), other.maps_for(radiograph.id), black.maps_for(radiograph.id), strict=True
        ):
            assert m.values == pytest.approx(same.values, rel=1e-3, abs=1e-6)
            assert m.values != pytest.approx(plain.values, rel=1e-3, abs=1e-6)
