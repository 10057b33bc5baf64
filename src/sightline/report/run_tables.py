"""Tables of a run as a report reads them: the needed columns, and the intervals that hold for the source it calls best.

A table that a run does not have is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from sightline.runs.run import Run

_CASE = ("protocol", "source", "radiograph", "patient", "finding")
_COMPARISON = ("protocol", "metric", "source", "versus", "finding", "mean", "low", "high", "p_holm", "n", "patients")
_SIMULTANEOUS = ("simultaneous_low", "simultaneous_high")
"""Columns of intervals that a table may lack: a report then prints those of each source by itself, and says so."""
_OPTIONAL = (*_SIMULTANEOUS, "reason")
"""Columns that a table of another program may lack."""
_ENDS = ("low", "high", *_SIMULTANEOUS)
_COLUMNS: dict[str, tuple[str, ...]] = {
    "scores": (*_CASE, "metric", "value", "status", "probability", "area"),
    "maps": ("source", "radiograph", "finding", "status", "reason", "annotated"),
    "estimates": ("protocol", "metric", "source", "finding", "mean", *_ENDS, "n", "patients", "reason"),
    "differences": (
        "protocol",
        "metric",
        "finding",
        "source",
        "versus",
        "mean",
        *_ENDS,
        "p",
        "n",
        "patients",
        "reason",
    ),
    "selection": ("protocol", "metric", "source", "mean", "n", "patients"),
    "comparisons": (*_COMPARISON, "trainings", "scope", "reason"),
    "comparisons_over_trainings": (*_COMPARISON, "trainings", "scope", "reason"),
    "estimates_over_trainings": (
        "protocol",
        "metric",
        "source",
        "finding",
        "mean",
        "low",
        "high",
        "n",
        "patients",
        "trainings",
        "spread",
        "scope",
        "reason",
    ),
    "auroc_over_trainings": (
        "model",
        "versus",
        "finding",
        "mean",
        "low",
        "high",
        "p",
        "spread",
        "trainings",
        "n",
        "patients",
        "scope",
        "reason",
    ),
    "similarity_over_trainings": (
        "protocol",
        "measure",
        "method",
        "mean",
        "low",
        "high",
        "n",
        "patients",
        "trainings",
        "spread",
        "scope",
        "reason",
    ),
    "ranks": ("protocol", "metric", "finding", "source", "rank", "low", "high", "sources"),
    "classification": ("model", "finding", "metric", "mean", "low", "high", "n", "positives", "patients"),
    "status": ("source", "status", "annotated", "maps"),
    "best_sources": ("protocol", "metric", "source"),
    "percentage_decrease": (
        "protocol",
        "metric",
        "source",
        "finding",
        "human",
        "model",
        "decrease",
        *_ENDS,
        "n",
        "patients",
        "detectable",
    ),
    "slices": ("protocol", "slice", "metric", "source", "finding", "mean", *_ENDS, "n", "patients"),
    "finding_correlations": ("protocol", "source", "metric", "factor", "rho", "low", "high", "findings"),
    "regressions": ("protocol", "source", "feature", "slope", "low", "high", "n", "patients", "stars", "outcome"),
    "confidence_regressions": (
        "protocol",
        "source",
        "finding",
        "metric",
        "slice",
        "slope",
        "low",
        "high",
        "n",
        "stars",
        "rho",
        "rho_low",
        "rho_high",
        "rho_stars",
    ),
    "tuned_thresholds": ("protocol", "source", "finding", "threshold", "iou", "n", "cutoff", "cutoff_iou", "cutoff_n"),
    "subgroups": (
        "protocol",
        "metric",
        "source",
        "attribute",
        "group",
        "finding",
        "mean",
        "low",
        "high",
        "n",
        "patients",
        "findings",
        "versus",
        "difference",
        "difference_low",
        "difference_high",
        "p_holm",
        "reason",
    ),
    "network_selection": (
        "protocol",
        "metric",
        "method",
        "model",
        "mean",
        "low",
        "high",
        "n",
        "patients",
        "findings",
        "chosen",
    ),
    "metric_suitability": (
        "protocol",
        "finding",
        "metric",
        "rank_stability",
        "sources",
        "n",
        "patients",
        "reader",
        "control",
        "reader_wins",
        "reader_wins_low",
        "reader_wins_high",
        "reader_n",
        "reader_patients",
        "reason",
    ),
    "metric_agreement": ("protocol", "finding", "metric", "versus", "rank_agreement", "case_agreement"),
    "shapes": ("protocol", "radiograph", "finding", "instances", "size", "elongation", "irrectangularity"),
}
"""Table -> the columns that a report reads."""


def read_columns(run: Run, name: str, metric: str = "") -> pd.DataFrame:
    """Read the columns of a table that a report needs, with the intervals of `choose_intervals`.

    Parameters
    ----------
    run : Run
        The run.
    name : str
        Name of the table.
    metric : str
        Metric of the rows; all rows by default.

    Returns
    -------
    DataFrame
        The rows; an empty table with the same columns if the run has no such table.
    """
    if not run.has_table(name):
        return pd.DataFrame(columns=list(_COLUMNS[name]))
    known = pq.read_schema(run.path / "tables" / f"{name}.parquet").names
    columns = [column for column in _COLUMNS[name] if column in known or column not in _OPTIONAL]
    return choose_intervals(run.table(name, columns, where=("metric", metric) if metric else None), run.info)


def was_selected_elsewhere(info: Mapping[str, Any]) -> bool:
    """Return True if the best source of each kind was chosen by its scores on other data.

    Parameters
    ----------
    info : mapping of str to Any
        Content of run.json.

    Returns
    -------
    bool
        True for a run with `--select-on`.
    """
    return "selection" in info


def choose_intervals(table: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    """Replace the interval of each source by the one that holds for all sources of its kind together.

    A report names the best of them. The intervals stay those of each source by itself where the best was chosen on
    other data, and under a protocol with the published definitions, which do not adjust for the choice.

    Parameters
    ----------
    table : DataFrame
        Table with the columns protocol, low and high.
    info : mapping of str to Any
        Content of run.json.

    Returns
    -------
    DataFrame
        The table with the low and high to report.
    """
    if was_selected_elsewhere(info) or "simultaneous_low" not in table:
        return table
    known = info.get("protocols", {})
    published = [name for name, fields in known.items() if fields.get("definitions") == "published"]
    keeps = table["protocol"].isin(published)
    ends = {end: table[end].where(keeps, table[f"simultaneous_{end}"]) for end in ("low", "high")}
    return table.assign(**ends)
