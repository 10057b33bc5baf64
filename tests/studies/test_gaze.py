"""The gaze study end to end on the phantom and on written data sets, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import sightline as sl
from sightline.data.writers import write_dataset
from sightline.errors import DataError, UnknownNameError
from sightline.models import open_model
from sightline.models.checkpoint import save_checkpoint
from sightline.report import report
from sightline.runs.run import Run
from sightline.studies import gaze_models
from sightline.studies.gaze import gaze
from sightline.studies.gaze_models import GazeModels
from viewing import can_be_looked_at

DATA = "phantom:16?size=64"
METHODS = ("grad-cam", "gradient")
FINDINGS = ("Cardiomegaly", "Edema", "Pleural Effusion")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder, findings = tmp_path_factory.mktemp("models"), sl.open_dataset(DATA).findings
    specs = {
        "plain": "small?side=64",
        "taught": "gaze-supervised:small?supervised_map=decoder&side=64",
        "cam": "gaze-supervised:small?supervised_map=cam&side=64",
    }
    for number, (name, spec) in enumerate(specs.items()):
        save_checkpoint(open_model(spec, findings, seed=number), folder / f"{name}.pt")
    return {name: str(folder / f"{name}.pt") for name in specs}


def study(checkpoints: dict[str, str], out: Path, **other: object) -> Run:
    named = {
        "data": DATA,
        "model": checkpoints["plain"],
        "gaze_supervised": (checkpoints["taught"],),
        "shuffled_gaze": (checkpoints["cam"],),
        "methods": METHODS,
        "findings": ", ".join(FINDINGS),
        "max_radiographs": 8,
    }
    return gaze(**{**named, **other}, out=out)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(checkpoints: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("gaze") / "run"
    study(checkpoints, out, validation_data="phantom:16?size=64&start=500")
    yield out


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    return report(Run.open(finished)).read_text("utf-8")


def test_every_table_is_there(finished: Path) -> None:
    run = Run.open(finished)
    sources = set(run.table("estimates")["source"])
    wanted = {f"{model}/{m}" for model in ("small", "gaze-supervised", "shuffled-gaze") for m in METHODS}
    assert (
        wanted | {"gaze-supervised/intrinsic", "ceiling/the gaze itself", "control/center", "control/average-gaze"}
        <= sources
    )
    assert "shuffled-gaze/intrinsic" not in sources  # Grad-CAM under another name
    between = run.table("differences")
    pairs = set(zip(between["source"], between["versus"], strict=True))
    assert {
        ("gaze-supervised/grad-cam", "small/grad-cam"),
        ("gaze-supervised/grad-cam", "shuffled-gaze/grad-cam"),
    } <= pairs
    assert len(run.table("predictions")) == 3 * 16 * len(FINDINGS)
    assert {c["model"] for c in run.info["cutoffs"]} == {"small", "gaze-supervised", "shuffled-gaze"}
    assert run.info["gaze"]["fixations"] > 50 and run.info["pairs"][0] == ["gaze-supervised", "small"]
    assert set(run.table("correctness")["source"]) == wanted | {"gaze-supervised/intrinsic"}
    assert not run.table("region_distributions").empty and not run.table("discrimination").empty


def test_wrong_predictions_and_radiographs_without_a_finding_have_maps(finished: Path, page: str) -> None:
    run = Run.open(finished)
    cases, predictions = run.info["error_cases"], run.table("predictions")
    assert {"missed", "no finding"} & {case["kind"] for case in cases}
    labels = predictions.set_index(["model", "radiograph", "finding"])["label"]
    for case in cases:
        assert labels["small", case["radiograph"], case["finding"]] == (1 if case["kind"] == "missed" else 0)
        sources = {m.source for m in run.maps_for(case["radiograph"]) if m.finding == case["finding"]}
        assert {"small/grad-cam", "gaze-supervised/gradient"} <= sources
    assert "Confident errors of the network small" in page and (finished / "figures" / "error-panel.csv").is_file()


def test_the_same_command_continues_and_ends_with_the_same_tables(checkpoints: dict[str, str], finished: Path) -> None:
    before = {p.name: p.read_bytes() for p in sorted((finished / "tables").iterdir())}
    shutil.rmtree(finished / "parts" / "agreement" / "000000")
    shutil.rmtree(next((finished / "parts" / "predictions").rglob("000000")))
    study(checkpoints, finished, validation_data="phantom:16?size=64&start=500")
    after = {p.name: p.read_bytes() for p in sorted((finished / "tables").iterdir())}
    assert {n for n in before if before[n] != after.get(n)} == set()


def test_the_report_shows_it(finished: Path, page: str) -> None:
    for text in (
        "Agreement of maps with the gaze of the radiologist",
        "Agreement with gaze where the prediction is correct",
        "Most salient regions of maps and gaze",
        "Effect of training on gaze on accuracy",
        "Printed twice",
        "Grad-CAM and Layer conductance agree in 12 of 12 cells",
        "uniform window of 7 × 7",
    ):
        assert text in page, text
    names = {"panel", "gaze", "correctness", "regions"}
    assert names <= {p.stem for p in (finished / "figures").glob("*.svg")}


def test_one_protocol_has_the_same_sources_as_both(checkpoints: dict[str, str], finished: Path, tmp_path: Path) -> None:
    run = study(checkpoints, tmp_path / "run", protocol="published", gaze_supervised=(), shuffled_gaze=())
    own, both = (r.table("estimates") for r in (run, Run.open(finished)))
    both = both[(both["protocol"] == "published") & ~both["source"].str.startswith(("gaze-supervised", "shuffled"))]
    assert set(own["source"]) == set(both["source"]) and "control/average-gaze" in set(own["source"])


@pytest.mark.parametrize("layout", ["egd", "reflacx"])
def test_written_data_sets_serve_as_well(checkpoints: dict[str, str], tmp_path: Path, layout: str) -> None:
    write_dataset(sl.open_dataset("phantom:8?size=64"), layout, tmp_path / layout, progress=False)
    run = study(
        checkpoints,
        tmp_path / "run",
        data=f"{layout}:{tmp_path / layout}",
        methods=METHODS[:1],
        max_radiographs=4,
        gaze_supervised=(),
        shuffled_gaze=(),
    )
    assert "small/grad-cam" in set(run.table("estimates")["source"])
    assert ("control/lungs" in set(run.table("estimates")["source"])) == (layout == "egd")
    standings, wanted = run.table("most_salient_regions"), {"regions", "rectangles"} if layout == "egd" else set()
    assert set(standings["among"]) == set(run.table("region_distributions")["among"]) == wanted
    boxes = standings[standings["among"] == "rectangles"]
    assert boxes["region"].str.endswith(" Box").all() and len(boxes) == len(standings) / 2
    assert ("reader/gaze 2" in set(run.table("estimates")["source"])) == (layout == "reflacx")  # readers agree, or not
    assert report(run).is_file()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"data": "phantom:16?size=64&gazed=0"}, "0 of 16 radiographs have gaze"),
        ({"data": "phantom:1?size=64"}, "fewer than two patients"),
        ({"reader": "nobody"}, "no reader with gaze has that name"),
        ({"cutoff_rule": "best"}, "allowed: f1, youden"),
        ({"findings": "Rubbish"}, "Rubbish"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    checkpoints: dict[str, str], tmp_path: Path, other: dict[str, object], said: str
) -> None:
    with pytest.raises((DataError, UnknownNameError), match=said):
        study(checkpoints, tmp_path / "run", **other)


def test_networks_that_are_not_what_they_are_named_for(checkpoints: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="have the same weights"):
        study(checkpoints, tmp_path / "run", gaze_supervised=(checkpoints["plain"],))
    with pytest.raises(DataError, match="no model is named"):
        gaze(data=_folder(tmp_path), out=tmp_path / "other")
    with pytest.raises(DataError, match="has no gaze"):
        gaze(data=_without_gaze(tmp_path), out=tmp_path / "third")


def _folder(tmp_path: Path) -> str:
    write_dataset(sl.open_dataset("phantom:3?size=64"), "egd", tmp_path / "egd", progress=False)
    return f"egd:{tmp_path / 'egd'}"


def _without_gaze(tmp_path: Path) -> str:
    write_dataset(sl.open_dataset("phantom:3?size=64"), "rsna", tmp_path / "rsna", progress=False)
    return f"rsna:{tmp_path / 'rsna'}?finding=lung opacity"


def test_on_the_phantom_networks_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaze_models, "PHANTOM_TRAIN_DATA", "phantom:40?start=100000&size=64")
    monkeypatch.setattr(gaze_models, "GAZE_WEIGHTS", (1.0, 5.0))
    monkeypatch.setattr(gaze_models, "TRAINING_CONFIG", replace(gaze_models.TRAINING_CONFIG, epochs=1))
    team, told = gaze_models.train_on_phantom(tmp_path, 0, "cpu")
    assert [m.name for m in team.model_set] == ["labels", "gaze", "shuffled-gaze"]
    assert told["chosen"] in (1.0, 5.0) and set(told["weights"]) == {"1", "5"}
    assert all(m.training_record is not None for m in team.model_set)
    assert team.shuffled_gaze[0].training_record and team.shuffled_gaze[0].training_record.derived == (
        "gaze shuffled, seed 0",
    )
    assert team.pairs == (("gaze", "labels"), ("shuffled-gaze", "labels"), ("gaze", "shuffled-gaze"))
    assert len(list((tmp_path / "images").rglob("*.npy"))) >= 2  # one set of films, gaze twice
    with pytest.raises(DataError, match="learned from"):
        GazeModels(team.baseline).validate(sl.open_dataset(gaze_models.PHANTOM_TRAIN_DATA))


def test_its_run_can_be_looked_at(finished: Path) -> None:
    can_be_looked_at(finished)
