"""Logging of a run to an MLflow server: options, means with intervals, figures and report, but no maps."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import DataError, SightlineError
from sightline.runs.provenance import command_line
from sightline.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

MAX_PARAM_LENGTH = 500
"""Characters of a parameter; old servers accept no more."""
BATCH_SIZE = 500
"""Scalars of one request; servers accept 1000."""
_SECRET_NAME = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
RUN_TAG = "sightline.run"
"""Tag with the identity of the run."""


def log_to_mlflow(
    run: Path, *, experiment: str = "sightline", uri: str = "", link: str = "", report: bool = True
) -> None:
    """Log a run to MLflow: options, estimates with their intervals and n, figures, the report and a link. No maps.

    Parameters
    ----------
    run
        Run folder. Logging it again updates the same MLflow run.
    experiment
        Name of the experiment, which is created if it does not exist.
    uri
        Address of the tracking server or store, for example sqlite:///mlflow.db; by default MLFLOW_TRACKING_URI.
    link
        Address at which the run can be viewed, for its description; by default the path of its report.
    report
        Send report.html, too, which shows example radiographs.

    Raises
    ------
    SightlineError
        If MLflow is missing, or the server refuses the run.
    """
    opened = Run.open(run)
    table = opened.table("estimates")
    params, tags = dict(run_parameters(opened)), _tags(opened, link)
    client = _connect(uri)
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

    try:
        id = _find_or_create_run(client, experiment, opened)
        now = int(time.time() * 1000)
        values = [Metric(name, value, now, 0) for name, value in estimate_scalars(table)]
        client.log_batch(
            id, params=[Param(k, v) for k, v in params.items()], tags=[RunTag(k, v) for k, v in tags.items()]
        )
        for start in range(0, len(values), BATCH_SIZE):
            client.log_batch(id, metrics=values[start : start + BATCH_SIZE])
        for file, folder in run_artifacts(opened, report):
            client.log_artifact(id, str(file), folder)
        client.set_terminated(id)
    except MlflowException as error:
        raise SightlineError(f"MLflow refused {run}: {_redact_urls(str(error))}") from error
    print(f"{len(values)} scalars of {run} in experiment {experiment!r}, run {id}")


def _connect(uri: str) -> MlflowClient:
    """Connect to a server or store; raise `SightlineError` if MLflow is missing or cannot open it."""
    if importlib.util.find_spec("mlflow") is None:
        raise DataError("runs are logged by MLflow, which is missing; pip install 'sightline[mlflow]'")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent to any other server
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return MlflowClient(uri or None)
    except (MlflowException, ImportError) as error:
        raise SightlineError(
            f"MLflow cannot open {_redact_urls(uri) or 'its default store'}: {_redact_urls(str(error))}"
        ) from error


def _find_or_create_run(client: MlflowClient, experiment: str, run: Run) -> str:
    """Return the id of the MLflow run of a run: the one logged before, or a new one."""
    known = client.get_experiment_by_name(experiment)
    experiment_id = known.experiment_id if known else client.create_experiment(experiment)
    identity = run_identity(run)
    logged = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{identity}'", max_results=1)
    if logged:
        return str(logged[0].info.run_id)
    name = str(run.info.get("title") or run.path.name)
    return str(client.create_run(experiment_id, run_name=name, tags={RUN_TAG: identity}).info.run_id)


def run_identity(run: Run) -> str:
    """Return the identity of a run, which does not depend on its folder: its start and the fingerprint of its data.

    Parameters
    ----------
    run : Run
        Run.

    Returns
    -------
    str
        Identity.
    """
    return f"{run.info.get('created', '')} {run.info.get('dataset', {}).get('fingerprint', '')[:16]}"


def run_parameters(run: Run) -> Iterator[tuple[str, str]]:
    """Yield the options and the data of a run, without options that may be secret and passwords in URLs.

    Parameters
    ----------
    run : Run
        Run.

    Yields
    ------
    name, value : str
        Parameter.
    """
    parameters: dict[str, Any] = {"study": run.info.get("study")}
    parameters |= dict(run.info.get("options", {}))
    data = run.info.get("dataset", {})
    parameters |= {f"dataset.{k}": data.get(k) for k in ("name", "title", "radiographs", "patients", "fingerprint")}
    parameters["protocols"] = list(run.info.get("protocols", {}))
    parameters |= {f"version.{k}": v for k, v in run.info.get("versions", {}).items()}
    for name, value in parameters.items():
        text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        if value not in (None, "") and not _SECRET_NAME.search(name):
            yield sanitize_name(name), _redact_urls(text)[:MAX_PARAM_LENGTH]


def estimate_scalars(estimates: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """Yield the estimates of a run as scalars.

    Their names are METRIC/SOURCE/FINDING, with /low, /high and /n, after the protocol where there are several. Sweeps
    of thresholds (NAME@BINARIZER) and undefined values are left out.

    Parameters
    ----------
    estimates : DataFrame
        Table `estimates` of a run.

    Yields
    ------
    name : str
        Name of the scalar.
    value : float
        Its value.
    """
    several = len(set(estimates["protocol"])) > 1
    counts: dict[str, int] = {}
    for row in estimates.to_dict("records"):
        if "@" in row["metric"]:
            continue
        parts = [row["protocol"]] * several + [row["metric"], row["source"], row["finding"]]
        name = sanitize_name("/".join(parts))
        counts[name] = counts.get(name, 0) + 1
        name += f" {counts[name]}" if counts[name] > 1 else ""
        for key, suffix in (("mean", ""), ("low", "/low"), ("high", "/high"), ("n", "/n")):
            if isinstance(row[key], float | int) and not math.isnan(row[key]):
                yield f"{name}{suffix}", float(row[key])


def run_artifacts(run: Run, report: bool) -> Iterator[tuple[Path, str | None]]:
    """Yield the files of a run that are sent: report, figures and estimates; example pictures only within the report.

    Parameters
    ----------
    run : Run
        Run.
    report : bool
        Whether the report is sent.

    Yields
    ------
    file : Path
        File.
    folder : str or None
        Folder below the artifacts.
    """
    if report and (run.path / "report.html").is_file():
        yield run.path / "report.html", None
    for file in sorted((run.path / "figures").glob("*")):
        if file.suffix in (".svg", ".csv", ".png") and not file.name.startswith(("example", "panel", "pictures")):
            yield file, "figures"
    yield run.path / "tables" / "estimates.csv", "tables"


def _tags(run: Run, link: str) -> Mapping[str, str]:
    location = link or str((run.path / "report.html").resolve())
    command = command_line(run.info.get("study", ""), run.info.get("options", {}), run.path)
    shown_link = f"[{location}]({location})" if link.startswith(("http://", "https://")) else f"`{location}`"
    has_secret = any(map(_SECRET_NAME.search, run.info.get("options", {})))
    note = f"Report: {shown_link}\n\n    {'' if has_secret else _redact_urls(command)}"
    return {"sightline.link": location, "mlflow.note.content": note}


def sanitize_name(text: str) -> str:
    """Replace the characters of a name that MLflow does not allow.

    Parameters
    ----------
    text : str
        Name.

    Returns
    -------
    str
        Name of at most 240 allowed characters.

    Examples
    --------
    >>> sanitize_name("iou/net/integrated-gradients?nodes=4/Pleural Effusion")
    'iou/net/integrated-gradients_nodes_4/Pleural Effusion'
    """
    return re.sub(r"[^\w\-. :/]", "_", text, flags=re.ASCII)[:240]


def _redact_urls(text: str) -> str:
    """Remove what precedes '@' in URLs."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)
