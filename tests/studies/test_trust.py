"""The trust study end to end on the phantom: the tests of maps are tested with maps whose answer is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline.casework import cases
from sightline.core import DataError, Dataset
from sightline.data import dataset
from sightline.models import open_model
from sightline.models.checkpoint import save_checkpoint
from sightline.store import Run
from sightline.studies.trust import trust

DATA = "phantom:16?size=96"
METHODS = ("grad-cam", "guided-backprop", "edges", "noise")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three networks that differ: two of one architecture, one wider."""
    folder, findings = tmp_path_factory.mktemp("models"), dataset(DATA).findings
    made = []
    for number, spec in enumerate(("small?side=64", "small?side=64", "small?side=64&width=8")):
        save_checkpoint(open_model(spec, findings, seed=number), folder / f"{number}.pt")
        made.append(str(folder / f"{number}.pt"))
    return made


@pytest.fixture(scope="module")
def finished(checkpoints: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trust") / "run"
    first, again, other = checkpoints
    trust(data=DATA, model=first, replicates=(again,), others=(other,), methods=METHODS, images=8,
          orders=("top-down", "independent"), out=out)  # fmt: skip
    return out


def digest(run: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((run / "tables").iterdir())}


def final(run: Path, criterion: str, method: str, measure: str = "ssim") -> dict[str, object]:
    table = Run.open(run).table("verdicts")
    rows = table[(table["criterion"] == criterion) & (table["method"] == method) & (table["measure"] == measure)]
    (row,) = rows[rows["protocol"] == "corrected"].to_dict("records")
    return row


def test_edges_do_not_need_the_network_and_come_back_whatever_is_trained(finished: Path) -> None:
    row = final(finished, "randomization", "edges")
    assert row["level"] == pytest.approx(1) and row["verdict"] == "fails"
    assert final(finished, "repeatability", "edges")["level"] == pytest.approx(1)


def test_noise_forgets_at_once_and_never_comes_back(finished: Path) -> None:
    for criterion in ("randomization", "repeatability", "reproducibility"):
        row = final(finished, criterion, "noise", "rank")
        assert abs(row["level"]) < 0.05 and abs(row["chance"]) < 0.05
    assert final(finished, "repeatability", "noise")["verdict"] != "passes"  # no more alike than two patients' noise


def test_guided_backpropagation_recovers_the_image_more_than_the_decision(finished: Path) -> None:
    levels = Run.open(finished).table("levels").query("protocol == 'corrected' and measure == 'ssim' and step == 1")
    head = levels[levels["order"] == "top-down"].set_index("method")["mean"]
    assert head["guided-backprop"] > head["grad-cam"] + 0.2  # new logits change it little: Adebayo et al. 2018


def test_every_stage_order_and_criterion_is_there(finished: Path) -> None:
    run = Run.open(finished)
    similarity = run.table("similarity")
    assert set(similarity["kind"]) == {"pair", "repeatability", "reproducibility", "randomization"}
    forgot = similarity[similarity["kind"] == "randomization"]
    assert list(dict.fromkeys(forgot[forgot["order"] == "top-down"]["versus"])) == run.info["stages"]
    assert set(forgot["order"]) == {"top-down", "independent"} and forgot["radiograph"].nunique() == 8
    assert set(run.table("verdicts")["criterion"]) >= {"utility", "randomization", "repeatability", "reproducibility"}
    assert similarity["value"].between(-1, 1).all()


def test_continued_gives_the_same_bytes_and_the_report_shows_it(finished: Path, checkpoints: list[str]) -> None:
    from sightline.report import report

    before = digest(finished)
    for part in sorted((finished / "parts" / "similarity" / "randomizing").iterdir())[1:]:
        part.unlink()
    first, again, other = checkpoints
    trust(data=DATA, model=first, replicates=(again,), others=(other,), methods=METHODS, images=8,
          orders=("top-down", "independent"), out=finished)  # fmt: skip
    assert digest(finished) == before
    page = report(Run.open(finished)).read_text()
    assert "May the maps be trusted?" in page and (finished / "figures" / "cascade.svg").exists()


def test_copies_and_strangers_are_no_replicates(checkpoints: list[str], tmp_path: Path) -> None:
    first, _, other = checkpoints
    with pytest.raises(DataError, match="a network does not repeat itself by being copied"):
        trust(data=DATA, model=first, replicates=(first,), methods=("grad-cam",), out=tmp_path / "a")
    with pytest.raises(DataError, match="name it in --others"):
        trust(data=DATA, model=first, replicates=(other,), methods=("grad-cam",), out=tmp_path / "b")
    (tmp_path / "films" / "images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "films" / "images" / "a.png"), np.zeros((64, 64), np.uint8))
    with pytest.raises(DataError, match="no model is named"):
        trust(data=f"folder:{tmp_path / 'films'}", out=tmp_path / "c")


def test_cases_are_drawn_by_id_whatever_the_order(toy_data: Dataset) -> None:
    from dataclasses import replace

    chosen = cases(toy_data, ["Edema", "Mass"], 4, seed=0)
    turned = cases(replace(toy_data, radiographs=toy_data.radiographs[::-1]), ["Edema", "Mass"], 4, seed=0)
    assert [(c.radiograph.id, c.finding) for c in chosen] == [(c.radiograph.id, c.finding) for c in turned]
    assert len({c.radiograph.id for c in chosen}) == 4
    assert all(c.radiograph.labels[c.finding] == 1 for c in chosen)
