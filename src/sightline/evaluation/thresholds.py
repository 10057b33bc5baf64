"""Thresholds and cutoffs chosen on other data, read back to be used here."""

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
from sightline.runs.provenance import describe_dataset
from sightline.runs.run import Run


def resolve_protocols(
    protocol: str, binarizer: str, smooth_window: float, map_thresholds: str, probability_cutoffs: str
) -> tuple[Protocol, ...]:
    """The protocols behind a name, with what a user chose instead; thresholds and cutoffs as `read_thresholds`.

    Of a run that was tuned under both protocols each takes its own. Errors: `UnknownNameError` for a binarizer that is
    none.
    """
    if binarizer:
        parse_binarizer(binarizer)
    found: list[Protocol] = []
    for one in get_protocols(protocol):
        found += adjust_protocols(
            (one,),
            binarizer=binarizer,
            smooth_window=smooth_window,
            map_thresholds=read_thresholds(map_thresholds, "threshold", one.name) if map_thresholds else None,
            probability_cutoffs=read_thresholds(probability_cutoffs, "cutoff", one.name)
            if probability_cutoffs
            else None,
        )
    return tuple(found)


def threshold_provenance(data: Dataset, map_thresholds: str, probability_cutoffs: str) -> dict[str, dict[str, Any]]:
    """Where thresholds and cutoffs come from, for run.json: option -> facts; empty where the protocol's own are used.

    'from': file or run folder; of a run also 'data', the spec that it was tuned on, 'patients' of `data`, and 'shared':
    how many of them it was tuned on. What a CSV was tuned on cannot be told.
    """
    given = {"map_thresholds": map_thresholds, "probability_cutoffs": probability_cutoffs}
    return {option: _describe_origin(spec.partition("?")[0], data) for option, spec in given.items() if spec}


def _describe_origin(path: str, data: Dataset) -> dict[str, Any]:
    if not Path(path).is_dir():
        return {"from": path}
    run, own = Run.open(path), describe_dataset(data)
    there: Mapping[str, Any] = run.info.get("dataset", {})
    spec, patients = str(there.get("spec", "")), {radiograph.patient for radiograph in data.radiographs}
    same = there.get("fingerprint") == own["fingerprint"]  # in another folder, perhaps
    learned = (
        set(run.table("pixel_counts", ["patient"])["patient"])
        if same or dataset_identity(spec) == dataset_identity(data.spec)
        else set()
    )
    return {"from": path, "data": spec, "patients": len(patients), "shared": len(patients & learned)}


def read_thresholds(spec: str, column: Literal["threshold", "cutoff"], protocol: str = "corrected") -> dict[str, float]:
    """Finding -> threshold of the map, or cutoff of the probability.

    spec: a run folder, whose table `tuned_thresholds` is read (FOLDER?source=NAME where it has several sources;
    tuned under `protocol`, or under the only one there is), or a CSV with the columns `threshold,task` or
    `prob_threshold,mIoU,task` of the public scripts.
    Errors: `DataError` for a file without these columns, a value that is no number, a finding given twice, or a run
    of several sources where none is named.
    """
    path, _, query = spec.partition("?")
    table = (
        _read_run(path, column, query.removeprefix("source="), protocol)
        if Path(path).is_dir()
        else _read_csv(path, column)
    )
    found: dict[str, float] = {}
    for row, (task, value) in enumerate(zip(table["task"], table["value"], strict=True), start=2):
        try:
            finding, number = canonical_name(str(task)), float(value)
        except ValueError as error:
            raise DataError(f"{path}, row {row}: {value!r} is not a number") from error
        if finding in found:
            raise DataError(f"{path}, row {row}: {finding!r} is given twice; keep one of them")
        if number == number:  # NaN: nothing to tune on
            found[finding] = number
    return found


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
