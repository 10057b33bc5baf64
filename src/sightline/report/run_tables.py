"""Tables of a run as a report reads them: the needed columns of each, and empty tables where a run has none."""

from __future__ import annotations

import pandas as pd

from sightline.runs.run import Run

_CASE = ("protocol", "source", "radiograph", "patient", "finding")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "scores": (*_CASE, "metric", "value", "status", "probability", "area"),
    "maps": ("source", "radiograph", "finding", "status", "reason", "annotated"),
    "estimates": ("protocol", "metric", "source", "finding", "mean", "low", "high", "n", "patients"),
    "differences": ("protocol", "metric", "finding", "source", "versus", "mean", "low", "high", "n", "patients"),
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
        "low",
        "high",
        "n",
        "patients",
        "detectable",
    ),
    "slices": ("protocol", "slice", "metric", "source", "finding", "mean", "low", "high", "n", "patients"),
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
    "shapes": ("protocol", "radiograph", "finding", "instances", "size", "elongation", "irrectangularity"),
}
"""Table -> the columns that a report reads."""


def read_columns(run: Run, name: str, metric: str = "") -> pd.DataFrame:
    """Read the columns of a table that a report needs.

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
    return run.table(name, _COLUMNS[name], where=("metric", metric) if metric else None)
