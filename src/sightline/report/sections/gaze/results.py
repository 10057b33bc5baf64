"""The compared models and methods of a gaze study, and its tables."""

from __future__ import annotations

import pandas as pd

from sightline.core import Source
from sightline.report.run_view import RunView


def compared_models(view: RunView) -> list[str]:
    """Return the compared networks, the one trained on labels first.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Their names; none if the run is no gaze study.
    """
    return [m["name"] for m in view.info.get("models", ())] if view.info.get("study") == "gaze" else []


def compared_methods(view: RunView) -> list[str]:
    """Return the methods in the order of the options, with the intrinsic map last.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Their names.
    """
    sources = map(Source.parse, dict.fromkeys(view.estimates["source"]))
    return list(dict.fromkeys(source.method for source in sources if source.model in compared_models(view)))


def read_table(view: RunView, name: str) -> pd.DataFrame:
    """Read a table of a gaze study under the main protocol.

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
    if not compared_models(view) or not view.run.has_table(name):
        return pd.DataFrame()
    table = view.run.table(name)
    return table[table["protocol"] == view.protocol] if "protocol" in table else table
