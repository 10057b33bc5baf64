"""A run in MLflow: numbers with intervals, figures and report arrive in a real store; secrets and maps do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sightline as sl
from sightline._cli.app import main
from sightline.report import report
from sightline.runs.export.mlflow import estimate_scalars, run_artifacts, run_parameters, sanitize_name
from sightline.runs.manifest import RunManifest
from sightline.runs.run import Run

pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def told(png_run: Run) -> Run:
    """A run with a report, and options that must not be passed on."""
    with png_run.lock():
        report(png_run)
    options = {
        **png_run.info["options"],
        "api_key": "hunter2",
        "url": "https://me:hunter2@models.example/v1",
        "seed": 0,
    }
    return Run(png_run.path, RunManifest(png_run.path, {**png_run.info, "options": options}))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for an SQLite store and its artifacts, as the working directory."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.mark.filterwarnings("ignore")  # SQLAlchemy and MLflow warn of each other
def test_a_run_arrives_in_a_store(png_run: sl.Run, told: Run, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{store}/store.db"
    words = ["mlflow", str(png_run.path), "--experiment", "chest", "--uri", uri, "--link", "https://example.org/run"]
    assert main(words) == 0
    assert main(words) == 0  # goes on in the same run
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("chest").experiment_id])
    estimates = png_run.table("estimates").set_index(["metric", "source", "finding"])
    row = estimates.loc[("iou", "net/grad-cam", "average")]
    assert np.isnan(row["low"]) and not any(name.endswith(("/low", "/high")) for name in run.data.metrics)
    for key, name in (("mean", ""), ("n", "/n")):
        assert run.data.metrics[f"iou/net/grad-cam/average{name}"] == pytest.approx(row[key])
    assert run.data.params["study"] == "localization" and run.data.params["dataset.patients"] == "3"
    assert run.data.tags["sightline.link"] == "https://example.org/run"
    assert "[https://example.org/run](https://example.org/run)" in run.data.tags["mlflow.note.content"]
    assert run.info.status == "FINISHED" and run.info.run_name == "A run to export"
    sent = {f.path for folder in (None, "figures", "tables") for f in client.list_artifacts(run.info.run_id, folder)}
    assert {"report.html", "figures", "tables", "tables/estimates.csv"} <= sent
    assert any(name.endswith(".svg") for name in sent) and not any("example" in name for name in sent)
    assert "in experiment 'chest'" in capsys.readouterr().out


def test_secrets_stay(told: Run) -> None:
    known = dict(run_parameters(told))
    assert known["url"] == "https://***@models.example/v1" and known["seed"] == "0"
    assert "hunter2" not in str(known) and "api_key" not in known


def test_no_maps_and_no_report_where_it_is_not_wanted(told: Run) -> None:
    sent = [file.relative_to(told.path).as_posix() for file, _ in run_artifacts(told, report=False)]
    assert "report.html" not in sent and "tables/estimates.csv" in sent
    assert not [name for name in sent if name.startswith("parts") or "example" in name]


def test_names_that_would_fall_together_stay_apart() -> None:
    row = {
        "protocol": "corrected",
        "metric": "iou",
        "finding": "average",
        "mean": 0.5,
        "low": None,
        "high": None,
        "n": 3,
    }
    table = pd.DataFrame([{**row, "source": "net/cam?a=1"}, {**row, "source": "net/cam?a+1"}])
    names = [name for name, _ in estimate_scalars(table)]
    assert names == [
        "iou/net/cam_a_1/average",
        "iou/net/cam_a_1/average/n",
        "iou/net/cam_a_1/average 2",
        "iou/net/cam_a_1/average 2/n",
    ]
    assert sanitize_name("naïve++") == "na_ve__"


def test_a_store_that_cannot_be_opened_is_told(png_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mlflow", str(png_run.path), "--uri", "nonsense://me:hunter2@nowhere"]) == 1
    said = capsys.readouterr().err
    assert "MLflow cannot open nonsense://***@nowhere" in said and "hunter2" not in said
