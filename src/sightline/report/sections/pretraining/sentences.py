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
from sightline.report.verdicts import classify, smallest_effect
from sightline.stats.verdicts import Relation, classify_difference


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
            yield _interaction_sentence(view, interaction, smallest, largest)


def _interaction_sentence(view: RunView, row: Mapping[Hashable, Any], smallest: float, largest: float) -> str:
    """Whether the gain depends on the share of the labels."""
    first, second = format_share(smallest), format_share(largest)
    effect = smallest_effect(view, "auroc")
    difference = f"(difference of the changes {format_difference(row)}; differences from {effect:g} on count)"
    relation = _classify_accuracy(view, row, effect)
    if relation in ("higher", "lower"):
        size = "larger" if relation == "higher" else "smaller"
        return f"This change is {size} with {first} of the labels than with {second} {difference}."
    if relation == "equivalent":
        return f"This change does not depend on the share of the labels, {first} or {second} {difference}."
    return f"It is undecided whether this change differs between {first} and {second} of the labels {difference}."


def _classify_accuracy(view: RunView, row: Mapping[Hashable, Any], effect: float) -> Relation:
    """Classify a difference of AUROC, over the patients that accuracy was measured on."""
    patients = max((a.estimate.patients for a in view.aurocs), default=0)
    return classify_difference({**row, "patients": patients}, effect)


def _map_sentences(view: RunView) -> Iterator[str]:
    rows, metric = list(differences_to_random(view)), main_metric(view)
    if not rows:
        return
    relations = [classify(view, number, metric) for _, number in rows]
    better, worse = ([r for r, x in zip(rows, relations, strict=True) if x == side] for side in ("higher", "lower"))
    equal = relations.count("equivalent")
    text = (
        f"In {metric_title(metric)}, maps score higher than those of the randomly initialized network, by "
        f"{smallest_effect(view, metric):g} or more, in {len(better)} of {count_noun(len(rows), 'comparison')} and "
        f"lower in {len(worse)}; they differ by less in {equal}, and {len(rows) - len(better) - len(worse) - equal} "
        "are undecided"
    )
    for group, word, choose in ((better, "gain", max), (worse, "loss", min)):
        if group:
            name, number = choose(group, key=lambda row: row[1].mean)
            text += f"; the largest {word} is that of {name} ({format_signed(number)})"
    yield f"{text}; {sample_size(number for _, number in rows)}."
