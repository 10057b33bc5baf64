"""Verdicts of a trust study, criterion by criterion."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import reduce

import pandas as pd

from sightline.core import Source
from sightline.report.estimate import Estimate
from sightline.report.phrasing import sample_size
from sightline.report.run_view import RunView
from sightline.stats.verdicts import Outcome, Verdict


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


_CELL_WIDTH = 30
"""Characters in a line of a verdict."""
MAIN_MEASURES = ("ssim", "average-precision")
"""Measures by which methods are judged in the tables and sentences that lead the report."""

CRITERIA = {
    "repeatability": "Repeats more than chance",
    "repeatability-ceiling": "Repeatable",
    "reproducibility": "Reproduced more than chance",
    "reproducibility-ceiling": "Reproducible",
    "randomization": "Sensitive to the weights",
    "label-randomization": "Sensitive to the labels",
    "utility": "Better than the average mask",
    "learned": "Better than the untrained network",
    "ceiling": "As good as networks trained on annotations",
}
"""Criterion -> claim about a method, in the order of the report."""

CRITERION_MEANINGS = {
    "repeatability": "similar after retraining, compared with maps of two patients",
    "repeatability-ceiling": "as similar after retraining as networks trained on annotations",
    "reproducibility": "similar for another architecture, compared with maps of two patients",
    "reproducibility-ceiling": "as similar for another architecture as networks trained on annotations",
    "randomization": "no more similar than maps of two patients after weight randomization",
    "label-randomization": "no more similar than maps of two patients after training on shuffled labels",
    "utility": "localization minus that of the average annotation of other patients",
    "learned": "localization minus that of the same method on the untrained network",
    "ceiling": "localization minus that of the best network trained on annotations",
}
"""Criterion -> comparison behind the claim."""

TILES = ("repeatability", "repeatability-ceiling", "reproducibility-ceiling", "randomization", "utility")
"""Criteria whose results lead the report."""


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
    """Verdicts of all methods on one criterion."""

    criterion: str
    """Criterion."""
    verdicts: dict[str, Verdict]
    """Method -> verdict; with several networks or stages, the claim must hold for each."""
    rows: pd.DataFrame
    """Rows of the table `verdicts` behind them."""

    @property
    def name(self) -> str:
        """Claim, such as 'Repeatable'."""
        return CRITERIA[self.criterion]

    def methods(self, outcome: Outcome) -> list[str]:
        """Return the methods with one outcome.

        Parameters
        ----------
        outcome : str
            The outcome.

        Returns
        -------
        list of str
            Their names.
        """
        return [method for method, verdict in self.verdicts.items() if verdict.outcome == outcome]

    def counts(self) -> str:
        """Write how many methods have each outcome other than 'shown'.

        Returns
        -------
        str
            Such as '1 shown absent, 2 undecided'; empty if the claim is shown for all.
        """
        outcomes: tuple[Outcome, ...] = ("shown absent", "undecided", "not estimable")
        return ", ".join(f"{len(m)} {outcome}" for outcome in outcomes if (m := self.methods(outcome)))


def criterion_results(rows: pd.DataFrame) -> list[CriterionResult]:
    """Combine the verdicts of each method and criterion.

    Parameters
    ----------
    rows : DataFrame
        Rows of `verdict_rows` or `verdicts_without_controls`.

    Returns
    -------
    list of CriterionResult
        One result for each criterion that was tested.
    """
    results = []
    for criterion in CRITERIA:
        part = rows[rows["criterion"] == criterion]
        by_method = {
            str(method): reduce(Verdict.combine, map(Verdict.from_columns, of_method.to_dict("records")))
            for method, of_method in part.groupby("method", sort=False)
        }
        if by_method:
            results.append(CriterionResult(criterion, by_method, part))
    return results


def verdict_rows(view: RunView) -> pd.DataFrame:
    """Read the verdicts by the main measures, without networks trained on annotations.

    Of several networks trained on annotations, methods are compared with the best in average precision.

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
    table = table[table["measure"].isin(MAIN_MEASURES)]
    best = table[table["criterion"] == "ceiling"].groupby("method")["mean"].transform("min")
    table = table[(table["criterion"] != "ceiling") | (table["mean"] == best.reindex(table.index))]
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


def format_difference(mean: float, low: float, high: float, digits: int = 2) -> str:
    """Write a difference with its sign and interval.

    Parameters
    ----------
    mean, low, high : float
        The difference and its interval.
    digits : int
        Number of decimals.

    Returns
    -------
    str
        Such as '+0.07 [0.03, 0.11]'.
    """
    text = Estimate(mean, low, high, 0, 0).text(digits)
    return f"+{text}" if mean > 0.5 * 10**-digits else text


def wrap_cell(text: str) -> list[str]:
    """Break the text of a verdict into lines that fit into a cell.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    list of str
        Its lines.
    """
    return textwrap.wrap(text, _CELL_WIDTH)
