"""Verdicts of a trust study, criterion by criterion."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sightline.core import Source
from sightline.report.estimate import Estimate
from sightline.report.phrasing import sample_size
from sightline.report.run_view import RunView


def read_table(view: RunView, name: str, measure: str | None = "ssim") -> pd.DataFrame:
    """Read a table under the main protocol.

    Parameters
    ----------
    view : RunView
        The run.
    name : str
        Name of the table.
    measure : str or None
        Measure of the rows; all if None.

    Returns
    -------
    DataFrame
        Its rows; none if the run has no such table.
    """
    if not view.run.has_table(name):
        return pd.DataFrame()
    table = view.run.table(name)
    if "protocol" in table:
        table = table[table["protocol"] == view.protocol]
    return table if measure is None else table[table["measure"] == measure]


CRITERIA = {
    "repeatability": "Repeatable",
    "reproducibility": "Reproducible",
    "randomization": "Sensitive to the weights",
    "utility": "Useful",
}
"""Criterion -> property of a method that passes it: the four main results of the study, in their order."""

CRITERION_LABELS = {
    "repeatability": "Repeatable: similar after retraining",
    "reproducibility": "Reproducible: similar for another architecture",
    "randomization": "Sensitive to the weights: not similar after randomization",
    "label-randomization": "Sensitive to labels: not similar after training on shuffled labels",
    "utility": "Useful: minus the average mask",
    "learned": "Useful: minus the untrained network",
}
"""Criterion -> header of its column."""


def table_sample_size(table: pd.DataFrame) -> str:
    """Write the number of maps and patients behind the rows of a table.

    Parameters
    ----------
    table : DataFrame
        Rows of a table.

    Returns
    -------
    str
        The text.
    """
    return sample_size(Estimate(0, 0, 0, int(n), int(p)) for n, p in zip(table["n"], table["patients"], strict=True))


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """Number of methods that pass one criterion."""

    name: str
    meaning: str
    n_passed: int
    n_methods: int
    sample_size: str
    """Of how many maps and patients."""


def criterion_results(view: RunView) -> list[CriterionResult]:
    """Count the methods that pass each criterion; with several networks, a method must pass with all.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of CriterionResult
        One result for each criterion that was tested.
    """
    table, results = verdicts_without_controls(view), list[CriterionResult]()
    for criterion, name in CRITERIA.items():
        rows = table[table["criterion"] == criterion]
        if len(rows):
            methods = rows["method"].unique()
            means = CRITERION_LABELS[criterion].partition(": ")[2]
            results.append(
                CriterionResult(
                    name, means, len(methods_with_verdict(rows, "passes")), len(methods), table_sample_size(rows)
                )
            )
    return results


def methods_with_verdict(rows: pd.DataFrame, outcome: str) -> list[str]:
    """Return the methods all of whose rows have one verdict.

    Parameters
    ----------
    rows : DataFrame
        Rows of verdicts.
    outcome : str
        The verdict.

    Returns
    -------
    list of str
        Their names.
    """
    other = set(rows[rows["verdict"] != outcome]["method"])
    return [m for m in dict.fromkeys(rows["method"]) if m not in other]


def verdict_rows(view: RunView) -> pd.DataFrame:
    """Read the verdicts by the main measures, without networks trained on annotations.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    DataFrame
        Rows of the table `verdicts`.
    """
    table = read_table(view, "verdicts", None)
    if table.empty:
        return pd.DataFrame(columns=["criterion", "method", "verdict"])
    table = table[table["measure"].isin(["ssim", "average-precision"])]
    return table[[Source.parse(method).kind != "localizer" for method in table["method"]]]


def verdicts_without_controls(view: RunView) -> pd.DataFrame:
    """Read the same verdicts without the control methods, whose verdict is known.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    DataFrame
        Rows of the table `verdicts`.
    """
    table = verdict_rows(view)
    return table[~table["method"].isin(CONTROL_METHODS)]


CONTROL_METHODS = ("edges", "noise", "center", "average-mask")
