"""Initializations of a pre-training study, its tables, and the formats of its numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from sightline.core import Source
from sightline.report.estimate import Estimate
from sightline.report.run_view import RunView

LEARNING_MODE_LABELS = {
    "all": "Fine-tuning",
    "head": "Linear evaluation",
    "layers": "Fine-tuning, lower learning rate in lower layers",
}

IMAGE_TEXT_MODEL = "words"
"""Name of the image-text model among the sources of a run."""


def initializations(view: RunView) -> list[str]:
    """Return the initializations in the order of the study, the random one first.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Their names; none if the run is no pre-training study.
    """
    return list(view.info.get("initializations", ())) if view.info.get("study") == "pretraining" else []


def read_table(view: RunView, name: str) -> pd.DataFrame:
    """Read a table of a pre-training study.

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
    return view.run.table(name) if initializations(view) and view.run.has_table(name) else pd.DataFrame()


def format_difference(row: Mapping[Hashable, Any]) -> str:
    """Write a difference with its interval and sign.

    Parameters
    ----------
    row : Mapping[Hashable, Any]
        Row with mean, low and high.

    Returns
    -------
    str
        The text.
    """
    mean, low, high = (float(str(row[k])) for k in ("mean", "low", "high"))
    text = Estimate(mean, low, high, 0, 0).text(3)
    return f"+{text}" if mean > 0 else text


def format_share(fraction: object) -> str:
    """Write a share of the labels as a percentage.

    Parameters
    ----------
    fraction : object
        The share.

    Returns
    -------
    str
        The text.
    """
    return f"{100 * float(str(fraction)):g} %"


def format_signed(n: Estimate) -> str:
    """Write a number with its sign.

    Parameters
    ----------
    n : Estimate
        The number.

    Returns
    -------
    str
        The text.
    """
    return f"+{n.text(3)}" if n.mean > 0 else n.text(3)


def main_metric(view: RunView) -> str:
    """Return the metric that the sentences are about.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    str
        Its name.
    """
    return "pr-area" if "pr-area" in view.metrics else view.metrics[0]


def differences_to_random(view: RunView) -> Iterator[tuple[str, Estimate]]:
    """Yield each explained network and method with its difference from the random initialization in the main metric.

    Parameters
    ----------
    view : RunView
        The run.

    Yields
    ------
    tuple[str, Estimate]
        (initialization, share of the labels and method; difference averaged over findings).
    """
    explained = {row["model"]: row for row in view.info.get("explained_models", ())}
    base = {
        (r["fraction"], r["seed"]): name
        for name, r in explained.items()
        if r["initialization"] == initializations(view)[0]
    }
    sources = [s for s in dict.fromkeys(view.estimates["source"]) if Source.parse(s).model in explained]
    for source in sources:
        parsed = Source.parse(source)
        name, method = parsed.model, parsed.method
        row = explained[name]
        other = base.get((row["fraction"], row["seed"]))
        if other is None or other == name:
            continue
        number = view.difference(source, f"{other}/{method}", main_metric(view))
        if number.is_defined:
            yield f"{row['initialization']}, {format_share(row['fraction'])}, {view.label(method)}", number


def to_estimate(fact: Mapping[str, float]) -> Estimate:
    """Convert a row to an estimate without a sample size.

    Parameters
    ----------
    fact : Mapping[str, float]
        Row with mean, low and high.

    Returns
    -------
    Estimate
        The estimate.
    """
    return Estimate(fact["mean"], fact["low"], fact["high"], 0, 0)
