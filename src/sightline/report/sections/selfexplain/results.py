"""Sources of a self-explaining study in their order, and its tables."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from sightline.core import Source
from sightline.report.estimate import Estimate
from sightline.report.run_view import RunView
from sightline.stats.verdicts import patients_text

MAIN_METRIC, SIGNIFICANCE_LEVEL = "average-precision", 0.05


def intrinsic_source(view: RunView) -> str:
    """Return the source of the intrinsic map.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    str
        The source; empty if the run is no self-explaining study.
    """
    return (
        f"{view.info['self_explaining_model']}/intrinsic"
        if view.info.get("study") == "selfexplain" and "self_explaining_model" in view.info
        else ""
    )


def baseline_name(view: RunView) -> str:
    """Return the name of the backbone without saliency head.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    str
        The name.
    """
    return str(view.info.get("baseline_model", "baseline"))


def read_table(view: RunView, name: str) -> pd.DataFrame:
    """Read a table of a self-explaining study under the main protocol.

    Parameters
    ----------
    view : RunView
        The run.
    name : str
        Name of the table.

    Returns
    -------
    DataFrame
        Its rows; none if the run has no such table.
    """
    if not intrinsic_source(view) or not view.run.has_table(name):
        return pd.DataFrame()
    table = view.run.table(name)
    return table[table["protocol"] == view.protocol] if "protocol" in table else table


def ordered_sources(view: RunView) -> list[str]:
    """Return the sources in order: the intrinsic map, localizers, controls, then post-hoc maps, best first.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        The sources.
    """
    kinds = {"localizer": 1, "control": 2}
    sources = [s for s in view.sources if view.kind(s) != "reader"]
    return sorted(sources, key=lambda s: 0 if s == intrinsic_source(view) else kinds.get(Source.parse(s).kind, 3))


def localizers(view: RunView) -> list[str]:
    """Return the sources of networks that learned from annotations, best first.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        The sources.
    """
    return [s for s in ordered_sources(view) if Source.parse(s).kind == "localizer"]


def to_estimate(row: Mapping[Hashable, Any], mean: str = "mean", low: str = "low", high: str = "high") -> Estimate:
    """Convert a row to an estimate.

    Parameters
    ----------
    row : Mapping[Hashable, Any]
        Row of a table.
    mean : str
        Column of the mean.
    low : str
        Column of the lower end.
    high : str
        Column of the upper end.

    Returns
    -------
    Estimate
        The estimate; undefined if the row lacks the columns.
    """
    if mean not in row:
        return Estimate.undefined()
    reason = row.get("reason", "")
    return Estimate(
        row[mean],
        row[low],
        row[high],
        row.get("n", 0),
        row.get("patients", 0),
        reason=reason if isinstance(reason, str) else "",
    )


def loss_verdict_text(row: Mapping[Hashable, Any]) -> str:
    """Write the verdict on a loss of accuracy, with what it needs.

    Parameters
    ----------
    row : Mapping[Hashable, Any]
        Row of the table `noninferiority`.

    Returns
    -------
    str
        Such as 'undecided: about 120 patients would decide'.
    """
    if row["verdict"] == "undecided":
        return f"undecided: {patients_text(float(row['patients_needed']))} would decide"
    return f"{row['verdict']}: {row['reason']}" if row["verdict"] == "not estimable" else str(row["verdict"])
