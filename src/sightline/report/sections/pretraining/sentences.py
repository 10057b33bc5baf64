"""Sentences that summarize a pre-training study."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from sightline.report.estimate import AVERAGE
from sightline.report.phrasing import count_noun, sample_size
from sightline.report.run_view import RunView
from sightline.report.sections.pretraining.results import (
    LEARNING_MODE_LABELS,
    differences_to_random,
    format_difference,
    format_share,
    format_signed,
    initializations,
    main_metric,
    read_table,
)
from sightline.report.titles import metric_title


def summary_sentences(view: RunView) -> list[str]:
    """Summarize a pre-training study.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Sentences; none if the run has no tables of one.
    """
    return [*_accuracy_sentences(view), *_map_sentences(view)]


def _accuracy_sentences(view: RunView) -> Iterator[str]:
    table = read_table(view, "learning_curve_differences")
    if table.empty:
        return
    base = initializations(view)[0]
    others = table[table["initialization"] != base]
    for (init, mode), part in others.groupby(["initialization", "learning_mode"], sort=False):
        by_key = {(row["fraction"], row["versus"]): row for row in part.to_dict("records")}
        smallest, largest = min(part["fraction"]), max(part["fraction"])
        first, last = by_key.get((smallest, base)), by_key.get((largest, base))
        if first is None or last is None:
            continue
        counts = sample_size((a.estimate for a in view.aurocs if a.finding != AVERAGE), "radiograph")
        yield (
            f"{LEARNING_MODE_LABELS[str(mode)]} from the initialization {init!r} changes the AUROC, compared with the "
            f"initialization {base!r}, by {format_difference(first)} with {format_share(smallest)} of the labels and "
            f"by {format_difference(last)} with {format_share(largest)}{f' ({counts})' if counts else ''}."
        )
        interaction = by_key.get((smallest, f"gain at {largest:g}"))
        if interaction is not None:
            yield _interaction_sentence(interaction, smallest, largest)


def _interaction_sentence(row: Mapping[Hashable, Any], smallest: float, largest: float) -> str:
    """Whether the gain depends on the share of the labels."""
    first, second = format_share(smallest), format_share(largest)
    difference = f"(difference of the changes {format_difference(row)})"
    if row["low"] > 0 or row["high"] < 0:
        size = "larger" if row["low"] > 0 else "smaller"
        return f"This change is {size} with {first} of the labels than with {second} {difference}."
    return f"This change does not clearly differ between {first} and {second} of the labels {difference}."


def _map_sentences(view: RunView) -> Iterator[str]:
    rows = list(differences_to_random(view))
    if not rows:
        return
    better = [row for row in rows if row[1].low > 0]
    worse = [row for row in rows if row[1].high < 0]
    text = (
        f"In {metric_title(main_metric(view))}, maps score higher than those of the randomly initialized network in "
        f"{len(better)} of {count_noun(len(rows), 'comparison')} and lower in {len(worse)}"
    )
    for group, word, choose in ((better, "gain", max), (worse, "loss", min)):
        if group:
            name, number = choose(group, key=lambda row: row[1].mean)
            text += f"; the largest {word} is that of {name} ({format_signed(number)})"
    yield f"{text}; {sample_size(number for _, number in rows)}."
