"""Initializations of a pre-training study, its tables, and the formats of its numbers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from sightline.core import Source
from sightline.report.run_view import Estimate, RunView

LEARNING_MODE_LABELS = {"all": "Fine-tuning", "head": "Linear evaluation", "layers": "Fine-tuning, slower below"}

IMAGE_TEXT_MODEL = "words"
"""The contrastive pair, asked in words, among the sources of a run."""


def initializations(view: RunView) -> list[str]:
    """Beginnings in the order of the study, at random first; none of another study."""
    return list(view.info.get("initializations", ())) if view.info.get("study") == "pretraining" else []


def read_table(view: RunView, name: str) -> pd.DataFrame:
    return view.run.table(name) if initializations(view) and view.run.has_table(name) else pd.DataFrame()


def format_difference(row: Mapping[Hashable, Any]) -> str:
    mean, low, high = (float(str(row[k])) for k in ("mean", "low", "high"))
    text = Estimate(mean, low, high, 0, 0).text(3)
    return f"+{text}" if mean > 0 else text


def format_share(fraction: object) -> str:
    return f"{100 * float(str(fraction)):g} %"


def format_signed(n: Estimate) -> str:
    return f"+{n.text(3)}" if n.mean > 0 else n.text(3)


def main_metric(view: RunView) -> str:
    return "pr-area" if "pr-area" in view.metrics else view.metrics[0]


def differences_to_random(view: RunView) -> Iterator[tuple[str, Estimate]]:
    """(what, difference to the beginning at random) of the leading metric, averaged over findings."""
    shown = {row["model"]: row for row in view.info.get("explained_models", ())}
    base = {
        (r["fraction"], r["seed"]): name for name, r in shown.items() if r["initialization"] == initializations(view)[0]
    }
    sources = [s for s in dict.fromkeys(view.estimates["source"]) if Source.parse(s).model in shown]
    for source in sources:
        parsed = Source.parse(source)
        name, method = parsed.model, parsed.method
        row = shown[name]
        other = base.get((row["fraction"], row["seed"]))
        if other is None or other == name:
            continue
        number = view.difference(source, f"{other}/{method}", main_metric(view))
        if number.is_defined:
            yield f"{row['initialization']}, {format_share(row['fraction'])}, {view.label(method)}", number


def to_estimate(fact: Mapping[str, float]) -> Estimate:
    return Estimate(fact["mean"], fact["low"], fact["high"], 0, 0)
