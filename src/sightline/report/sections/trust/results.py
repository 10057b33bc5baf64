"""Verdicts of a trust study, criterion by criterion."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sightline.core import Source
from sightline.report.phrasing import sample_size
from sightline.report.run_view import Estimate, RunView


def read_table(view: RunView, name: str, measure: str | None = "ssim") -> pd.DataFrame:
    """Rows of a table under the report's protocol; none where the run has no such table."""
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
"""Criterion -> what a method is called that passes: the four answers of the study, in their order."""

CRITERION_LABELS = {
    "repeatability": "Repeatable: trained again",
    "reproducibility": "Reproducible: other architecture",
    "randomization": "Sensitive to the weights: forgets with them",
    "label-randomization": "Sensitive to labels: trained on shuffled ones",
    "utility": "Useful: less average mask",
    "learned": "Useful: less the untrained",
}
"""Criterion -> head of its column."""


def table_sample_size(table: pd.DataFrame) -> str:
    """How many maps, of how many patients, the rows of a table tell of; fewer where some are flat."""
    return sample_size(Estimate(0, 0, 0, int(n), int(p)) for n, p in zip(table["n"], table["patients"], strict=True))


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """What the methods got on one question."""

    name: str
    meaning: str
    n_passed: int
    n_methods: int
    sample_size: str
    """Of how many maps and patients."""


def criterion_results(view: RunView) -> list[CriterionResult]:
    """How many methods passed each of `CRITERIA` that was asked; of several networks, all must say so."""
    table, made = verdicts_without_controls(view), list[CriterionResult]()
    for criterion, name in CRITERIA.items():
        rows = table[table["criterion"] == criterion]
        if len(rows):
            methods = rows["method"].unique()
            means = CRITERION_LABELS[criterion].partition(": ")[2]
            made.append(
                CriterionResult(
                    name, means, len(methods_with_verdict(rows, "passes")), len(methods), table_sample_size(rows)
                )
            )
    return made


def methods_with_verdict(rows: pd.DataFrame, outcome: str) -> list[str]:
    """Methods whose every row has this verdict."""
    other = set(rows[rows["verdict"] != outcome]["method"])
    return [m for m in dict.fromkeys(rows["method"]) if m not in other]


def verdict_rows(view: RunView) -> pd.DataFrame:
    """Verdicts by the leading measures, without networks trained on marks."""
    table = read_table(view, "verdicts", None)
    if table.empty:
        return pd.DataFrame(columns=["criterion", "method", "verdict"])
    table = table[table["measure"].isin(["ssim", "average-precision"])]
    return table[[Source.parse(method).kind != "localizer" for method in table["method"]]]


def verdicts_without_controls(view: RunView) -> pd.DataFrame:
    """The same without the methods whose answer is known."""
    table = verdict_rows(view)
    return table[~table["method"].isin(CONTROL_METHODS)]


CONTROL_METHODS = ("edges", "noise", "center", "average-mask")
