"""Scores on other data, by which the sources are chosen that a report leads with.

Whoever chooses the best of several sources and tests it on the same radiographs finds it better than it is. Chosen on
validation data and tested once, it has an ordinary score and an ordinary interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sightline.core import Dataset
from sightline.data.registry import dataset_identity
from sightline.errors import DataError
from sightline.evaluation.score_rows import ScoringOptions
from sightline.runs.run import Run
from sightline.stats.estimates import AVERAGE

SELECTION_FOLDER = "selection"
"""Folder, below that of a run, of the run that scored its sources on the selection data."""
_COLUMNS = ("protocol", "metric", "source", "source_kind", "finding", "mean", "low", "high", "n", "patients")


def is_run(spec: str) -> bool:
    """Return True if a text names the folder of a run, and not a data set.

    Parameters
    ----------
    spec
        Folder of a run, or spec of a data set.

    Returns
    -------
    bool
        True if the folder has a run.json.
    """
    return bool(spec) and (Path(spec) / "run.json").is_file()


def read_selection(
    run: Run, tested: tuple[Run, Dataset], candidates: Sequence[str], options: ScoringOptions
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the scores by which sources are chosen, and refuse those that could not choose among them.

    Parameters
    ----------
    run
        Run that scored the same sources on other radiographs.
    tested
        Run that tests the chosen sources, and its data set.
    candidates
        Sources to choose from.
    options
        Options by which the data set is scored: protocols, findings and metrics.

    Returns
    -------
    table : pandas.DataFrame
        Rows of `estimates`, averaged over findings: columns protocol, metric, source, source_kind, finding, mean, low,
        high, n, patients.
    origin : dict
        For run.json: 'from', the folder of the run; 'data', what it scored; its 'radiographs' and 'patients'.

    Raises
    ------
    DataError
        If the run lacks a candidate, a protocol or a metric, scored other findings, or scored patients of the data set.
    """
    _require_other_patients(run, *tested)
    _require_same_findings(run, options.findings)
    table = run.table("estimates", _COLUMNS)
    table = table[table["finding"] == AVERAGE].reset_index(drop=True)
    protocols = [protocol.name for protocol in options.protocols]
    for column, kind, names in (
        ("source", "source", candidates),
        ("protocol", "protocol", protocols),
        ("metric", "metric", options.metrics),
    ):
        missing = [name for name in names if name not in set(table[column])]
        if missing:
            raise DataError(
                f"{run.path} cannot choose the best source: it has no score of the {kind} {', '.join(missing)}, only "
                f"of {', '.join(dict.fromkeys(table[column]))}; score the selection data with the same options"
            )
    known: dict[str, Any] = dict(run.info.get("dataset", {}))
    origin = {"from": str(run.path), "data": known.get("spec", "")}
    return table, origin | {name: known.get(name) for name in ("radiographs", "patients")}


def _require_other_patients(run: Run, tested: Run, data: Dataset) -> None:
    """Refuse a run that scored patients of the data on which the chosen source is tested."""
    known, other = run.info.get("dataset", {}), tested.info["dataset"]
    is_same = known.get("fingerprint") == other["fingerprint"]  # the same data may lie in another folder
    if not is_same and dataset_identity(str(known.get("spec", ""))) != dataset_identity(data.spec):
        return
    patients = {radiograph.patient for radiograph in data.radiographs}
    shared = patients & set(run.table("scores", ["patient"])["patient"])
    if shared:
        raise DataError(
            f"{run.path} scored {len(shared)} of the {len(patients)} patients of {data.spec}, such as {min(shared)}; "
            "the best source is chosen on other patients than those it is tested on, as "
            f"--select-on {data.name}:…?split=val"
        )


def _require_same_findings(run: Run, findings: Sequence[str]) -> None:
    """Refuse a run whose averages are over other findings."""
    scored = run.info.get("findings")
    if scored is not None and set(scored) != set(findings):
        raise DataError(
            f"{run.path} scored the findings {', '.join(scored)}, and this run scores {', '.join(findings)}; averages "
            "over different findings cannot be compared: name the same ones with --findings"
        )
