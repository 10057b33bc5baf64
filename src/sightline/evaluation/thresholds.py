"""Map thresholds and probability cutoffs that were tuned on other data: read, applied and traced."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from sightline.core import Dataset
from sightline.data.registry import dataset_identity
from sightline.errors import DataError
from sightline.findings import canonical_name
from sightline.metrics.binarization import parse_binarizer
from sightline.protocol import Protocol, adjust_protocols, get_protocols
from sightline.runs.run import Run


def resolve_protocols(
    protocol: str,
    binarizer: str = "",
    smooth_window: float = 0.0,
    map_thresholds: str = "",
    probability_cutoffs: str = "",
) -> tuple[Protocol, ...]:
    """Return the protocols of a name, with the settings that replace their own.

    If a run was tuned under both protocols, each takes its own thresholds.

    Parameters
    ----------
    protocol
        'published', 'corrected' or 'both'.
    binarizer
        Rule that turns maps into masks; that of the protocol if empty.
    smooth_window
        Side of a box filter: a share of the height if below 1, else pixels; 0 for none.
    map_thresholds, probability_cutoffs
        Files or run folders, as `read_thresholds` takes them; none if empty.

    Returns
    -------
    tuple of Protocol
        The protocols.

    Raises
    ------
    UnknownNameError
        For an unknown protocol or binarizer.
    DataError
        For a file that cannot be read, or a number out of range.
    """
    if binarizer:
        parse_binarizer(binarizer)
    protocols: list[Protocol] = []
    for default in get_protocols(protocol):
        protocols += adjust_protocols(
            (default,),
            binarizer=binarizer,
            smooth_window=smooth_window,
            map_thresholds=read_thresholds(map_thresholds, "threshold", default.name) if map_thresholds else None,
            probability_cutoffs=read_thresholds(probability_cutoffs, "cutoff", default.name)
            if probability_cutoffs
            else None,
        )
    return tuple(protocols)


def threshold_provenance(
    run: Run, data: Dataset, map_thresholds: str, probability_cutoffs: str
) -> dict[str, dict[str, Any]]:
    """Describe for run.json where thresholds and cutoffs come from.

    Parameters
    ----------
    run
        Run whose inputs are recorded.
    data
        Data set of the run.
    map_thresholds, probability_cutoffs
        Files or run folders; empty if the protocol's own are used.

    Returns
    -------
    dict
        Option -> 'from', the file or run folder; of a run also 'data', the spec of the data that it was tuned on,
        'patients', how many the data set has, and 'shared', how many of them it was tuned on. A CSV does not state
        what it was tuned on.
    """
    specs = {"map_thresholds": map_thresholds, "probability_cutoffs": probability_cutoffs}
    fingerprint = run.info["dataset"]["fingerprint"]
    return {
        option: _describe_origin(spec.partition("?")[0], data, fingerprint) for option, spec in specs.items() if spec
    }


def _describe_origin(path: str, data: Dataset, fingerprint: str) -> dict[str, Any]:
    """Describe the file or run folder of one option."""
    if not Path(path).is_dir():
        return {"from": path}
    run = Run.open(path)
    tuned_on: Mapping[str, Any] = run.info.get("dataset", {})
    spec, patients = str(tuned_on.get("spec", "")), {radiograph.patient for radiograph in data.radiographs}
    same = tuned_on.get("fingerprint") == fingerprint  # the same data may lie in another folder
    related = same or dataset_identity(spec) == dataset_identity(data.spec)
    tuned_patients = set(run.table("pixel_counts", ["patient"])["patient"]) if related else set()
    return {"from": path, "data": spec, "patients": len(patients), "shared": len(patients & tuned_patients)}


def read_thresholds(spec: str, column: Literal["threshold", "cutoff"], protocol: str = "corrected") -> dict[str, float]:
    """Read thresholds of maps or cutoffs of probabilities.

    Parameters
    ----------
    spec
        A run folder, whose table `tuned_thresholds` is read (FOLDER?source=NAME if it has several sources), or a CSV
        with the columns `threshold,task` or `prob_threshold,mIoU,task` of the public scripts.
    column
        'threshold' for maps, 'cutoff' for probabilities.
    protocol
        Protocol whose values are read, if the run was tuned under it.

    Returns
    -------
    dict
        Finding -> value in [0, 1).

    Raises
    ------
    DataError
        For a file without these columns, a value that is not a number, a finding that occurs twice, or a run of
        several sources of which none is named.
    """
    path, _, query = spec.partition("?")
    table = (
        _read_run(path, column, query.removeprefix("source="), protocol)
        if Path(path).is_dir()
        else _read_csv(path, column)
    )
    values: dict[str, float] = {}
    for row, (task, value) in enumerate(zip(table["task"], table["value"], strict=True), start=2):
        try:
            finding, number = canonical_name(str(task)), float(value)
        except ValueError as error:
            raise DataError(f"{path}, row {row}: {value!r} is not a number") from error
        if finding in values:
            raise DataError(f"{path}, row {row}: {finding!r} is given twice; keep one of them")
        if number == number:  # NaN: there was nothing to tune on
            values[finding] = number
    return values


def _read_run(path: str, column: str, source: str, protocol: str) -> pd.DataFrame:
    table = Run.open(path).table("tuned_thresholds")
    if protocol in set(table["protocol"]):
        table = table[table["protocol"] == protocol]
    names = list(dict.fromkeys(table["source"]))
    if source:
        table = table[table["source"] == source]
    if len(set(table["source"])) != 1:
        raise DataError(f"{path} tuned several sources ({', '.join(names)}); name one as {path}?source=NAME")
    return table.rename(columns={"finding": "task", column: "value"})


def _read_csv(path: str, column: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    value = {"threshold": "threshold", "cutoff": "prob_threshold"}[column]
    if not {value, "task"} <= set(table.columns):
        raise DataError(f"{path} has the columns {', '.join(table.columns)}; needed: {value}, task")
    return table.rename(columns={value: "value"})
