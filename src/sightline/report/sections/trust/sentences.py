"""Sentences that summarize a trust study."""

from __future__ import annotations

import pandas as pd

from sightline.core import Source
from sightline.report.phrasing import count_noun, sample_size_note
from sightline.report.run_view import RunView
from sightline.report.sections.trust.results import (
    criterion_results,
    methods_with_verdict,
    table_sample_size,
    verdict_rows,
    verdicts_without_controls,
)

_VERDICT_SENTENCES = {
    ("repeatability", "passes"): "Come back when the network is trained again: {}.",
    ("repeatability", "fails"): "No more alike than two patients' maps when it is trained again: {}.",
    ("reproducibility", "passes"): "Come back from another architecture: {}.",
    ("reproducibility", "fails"): "No more alike than two patients' maps from another architecture: {}.",
    ("randomization", "fails"): "Stay more alike than two patients' maps, whatever the network forgets: {}.",
    ("randomization", "passes"): "Change with what the network forgets: {}.",
    ("label-randomization", "fails"): "More alike than chance when the labels were shuffled: {}.",
    ("utility", "passes"): "Find marks better than the average of other patients' marks: {}.",
    ("utility", "fails"): "Find marks worse than the average of other patients' marks: {}.",
}
"""Criterion and verdict -> what is said of the methods that got it; the rest is in the table."""


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
    table, asked = verdict_rows(view), verdicts_without_controls(view)
    if table.empty:
        return []
    told = "; ".join(
        f"{a.name.lower()}: {a.n_passed} of {count_noun(a.n_methods, 'method')}" for a in criterion_results(view)
    )
    made = [f"{told[0].upper()}{told[1:]} ({table_sample_size(asked)})."] if told else []
    for (criterion, outcome), sentence in _VERDICT_SENTENCES.items():
        if names := [view.label(m) for m in methods_with_verdict(asked[asked["criterion"] == criterion], outcome)]:
            made.append(sentence.format(", ".join(names)))
    return [*made, *_ceiling_sentences(view), *_validity_sentences(table)]


def _validity_sentences(table: pd.DataFrame) -> list[str]:
    """Whether the control methods get the expected verdicts."""
    unwanted = {
        ("edges", "randomization"): (
            ("passes", "undecided"),
            "the edge detector, which needs no network, does not fail when the network forgets",
        ),
        ("noise", "randomization"): (("fails",), "noise does not forget with the network"),
        ("noise", "repeatability"): (("passes",), "noise comes back when the network is trained again"),
    }
    rows = [
        (r["verdict"], *unwanted[key])
        for r in table.to_dict("records")
        if (key := (r["method"], r["criterion"])) in unwanted
    ]
    wrong = [name for outcome, never, name in rows if outcome in never]
    if wrong:
        return [f"This test cannot tell: {'; '.join(dict.fromkeys(wrong))}."]
    return ["The test can tell: maps whose answer is known (edges, noise) get it."] if rows else []


def _ceiling_sentences(view: RunView) -> list[str]:
    """Difference between the best method and the best network trained on annotations."""
    ceilings = [s for s in view.sources if Source.parse(s).kind == "localizer"]
    if not ceilings or view.best is None:
        return []
    top = max(ceilings, key=lambda s: view.estimate(s, "average-precision").mean)
    own, most = (view.estimate(s, "average-precision") for s in (view.best, top))
    return [
        f"Average precision of the best method, {view.label(view.best)}: {own.text()}; of a network trained on marks, "
        f"{view.label(top).removeprefix('localizer: ')}: {most.text()}{sample_size_note([own, most])}."
    ]
