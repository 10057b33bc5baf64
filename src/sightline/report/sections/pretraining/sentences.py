"""Sentences that summarize a pre-training study."""

from __future__ import annotations

from collections.abc import Iterator

from sightline.report.phrasing import sample_size
from sightline.report.run_view import AVERAGE, RunView, metric_title
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
    for (init, learn), part in table[table["initialization"] != base].groupby(
        ["initialization", "learning_mode"], sort=False
    ):
        by = {(r["fraction"], r["versus"]): r for r in part.to_dict("records")}
        least, most = min(part["fraction"]), max(part["fraction"])
        first, last = by.get((least, base)), by.get((most, base))
        if first is None or last is None:
            continue
        text = f"{LEARNING_MODE_LABELS[str(learn)]} from {init}: AUROC {format_difference(first)} beside {base} with "
        text += f"{format_share(least)} of the labels, {format_difference(last)} with {format_share(most)}"
        extra = by.get((least, f"gain at {most:g}"))
        if extra is not None:
            told = "helps more" if extra["low"] > 0 else "helps less" if extra["high"] < 0 else "is not told apart"
            text += f"; with few labels it {told} ({format_difference(extra)})"
        counts = sample_size((a.estimate for a in view.aurocs if a.finding != AVERAGE), "film")
        yield "; ".join(filter(None, [text, counts])) + "."


def _map_sentences(view: RunView) -> Iterator[str]:
    rows = list(differences_to_random(view))
    if not rows:
        return
    better = [row for row in rows if row[1].low > 0]
    worse = [row for row in rows if row[1].high < 0]
    text = (
        f"{metric_title(main_metric(view))} of maps is above that of the network begun at random in {len(better)} of "
    )
    text += f"{len(rows)} "
    text += f"comparisons, below in {len(worse)}"
    for some, word in ((better, "most"), (worse, "least")):
        if some:
            name, number = (max if some is better else min)(some, key=lambda row: row[1].mean)
            text += f"; {word} for {name} ({format_signed(number)})"
    yield f"{text}; {sample_size(number for _, number in rows)}."
