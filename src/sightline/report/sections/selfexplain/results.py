"""Sources of a self-explaining study in their order, and its tables."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from sightline.core import Source
from sightline.report.run_view import Estimate, RunView

MAIN_METRIC, SIGNIFICANCE_LEVEL = "average-precision", 0.05


def intrinsic_source(view: RunView) -> str:
    """The source of the element's map; '' for another study."""
    return (
        f"{view.info['self_explaining_model']}/intrinsic"
        if view.info.get("study") == "selfexplain" and "self_explaining_model" in view.info
        else ""
    )


def read_table(view: RunView, name: str) -> pd.DataFrame:
    """A table of this study under the report's protocol; empty where there is none."""
    if not intrinsic_source(view) or not view.run.has_table(name):
        return pd.DataFrame()
    table = view.run.table(name)
    return table[table["protocol"] == view.protocol] if "protocol" in table else table


def ordered_sources(view: RunView) -> list[str]:
    """Sources: the element, what learned from marks, the priors, then post-hoc maps, best first."""
    kinds = {"localizer": 1, "control": 2}
    some = [s for s in view.sources if view.kind(s) != "reader"]
    return sorted(some, key=lambda s: 0 if s == intrinsic_source(view) else kinds.get(Source.parse(s).kind, 3))


def localizers(view: RunView) -> list[str]:
    """Return the sources of networks that learned from annotations, best first."""
    return [s for s in ordered_sources(view) if Source.parse(s).kind == "localizer"]


def to_estimate(row: Mapping[Hashable, Any], mean: str = "mean", low: str = "low", high: str = "high") -> Estimate:
    if mean not in row:
        return Estimate.undefined()
    return Estimate(row[mean], row[low], row[high], row.get("n", 0), row.get("patients", 0))
