"""Sentences that summarize a trust study."""

from __future__ import annotations

import pandas as pd

from sightline.core import Source
from sightline.report.phrasing import count_noun, join_list, sample_size_note
from sightline.report.run_view import RunView
from sightline.report.sections.trust.results import (
    criterion_results,
    methods_with_verdict,
    table_sample_size,
    verdict_rows,
    verdicts_without_controls,
)

_VERDICT_SENTENCES = {
    ("repeatability", "passes"): "The maps of {} repeat when the network is retrained.",
    ("repeatability", "fails"): "When the network is retrained, the maps of {} are no more similar than by chance.",
    ("reproducibility", "passes"): "The maps of {} are reproduced by another architecture.",
    ("reproducibility", "fails"): "The maps of {} are no more similar to those of another architecture than by chance.",
    ("randomization", "fails"): "The maps of {} stay more similar than by chance although the weights are randomized.",
    ("randomization", "passes"): "The maps of {} change when the weights are randomized.",
    ("label-randomization", "fails"): "The maps of {} stay more similar than by chance after training on shuffled "
    "labels.",
    ("utility", "passes"): "The maps of {} localize findings better than the average annotation of other patients.",
    ("utility", "fails"): "The maps of {} localize findings worse than the average annotation of other patients.",
}
"""Criterion and verdict -> sentence about the methods that got it; undecided methods are in the table only."""


def summary_sentences(view: RunView) -> list[str]:
    """Summarize a trust study: how many methods pass each criterion, which ones, and whether the test is valid.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Sentences; none if the run has no verdicts.
    """
    table, judged = verdict_rows(view), verdicts_without_controls(view)
    if table.empty:
        return []
    results = [
        f"{r.name.lower()}: {r.n_passed} of {count_noun(r.n_methods, 'method')}" for r in criterion_results(view)
    ]
    sentences = []
    if results:
        sentences.append(f"Methods that pass each criterion: {'; '.join(results)} ({table_sample_size(judged)}).")
    for (criterion, outcome), sentence in _VERDICT_SENTENCES.items():
        methods = methods_with_verdict(judged[judged["criterion"] == criterion], outcome)
        if methods:
            sentences.append(sentence.format(join_list([view.label(method) for method in methods])))
    return [*sentences, *_ceiling_sentences(view), *_validity_sentences(table)]


def _validity_sentences(table: pd.DataFrame) -> list[str]:
    """Whether the control methods get the expected verdicts."""
    unexpected = {
        ("edges", "randomization"): (
            ("passes", "undecided"),
            "the edge detector, which does not use the network, does not fail the randomization of weights",
        ),
        ("noise", "randomization"): (("fails",), "noise does not change when the weights are randomized"),
        ("noise", "repeatability"): (("passes",), "noise repeats when the network is retrained"),
    }
    rows = [
        (row["verdict"], *unexpected[key])
        for row in table.to_dict("records")
        if (key := (row["method"], row["criterion"])) in unexpected
    ]
    wrong = [text for outcome, outcomes, text in rows if outcome in outcomes]
    if wrong:
        return [f"This test is not valid: {'; '.join(dict.fromkeys(wrong))}."]
    return ["The test is valid: the control methods (edges, noise) get the expected verdicts."] if rows else []


def _ceiling_sentences(view: RunView) -> list[str]:
    """Difference between the best method and the best network trained on annotations."""
    ceilings = [source for source in view.sources if Source.parse(source).kind == "localizer"]
    if not ceilings or view.best is None:
        return []
    top = max(ceilings, key=lambda source: view.estimate(source, "average-precision").mean)
    best, ceiling = (view.estimate(source, "average-precision") for source in (view.best, top))
    return [
        f"The best method, {view.label(view.best)}, reaches an average precision of {best.text()}; the network trained "
        f"on annotations, {view.label(top).removeprefix('localizer: ')}, reaches {ceiling.text()}"
        f"{sample_size_note([best, ceiling])}."
    ]
