"""Sentences that summarize a trust study."""

from __future__ import annotations

from collections.abc import Iterator

from sightline.core import Source
from sightline.report.phrasing import join_list, sample_size_note
from sightline.report.run_view import RunView
from sightline.report.sections.trust.results import (
    TILES,
    CriterionResult,
    criterion_results,
    table_sample_size,
    verdict_rows,
    verdicts_without_controls,
)
from sightline.report.summary import describe_choice
from sightline.stats.verdicts import Outcome, patients_text

_VERDICT_SENTENCES: dict[tuple[str, Outcome], str] = {
    ("repeatability", "shown"): "When the network is retrained, the maps of {} repeat more than chance.",
    ("repeatability", "shown absent"): "When the network is retrained, the maps of {} do not repeat more than chance.",
    ("repeatability-ceiling", "shown"): "The maps of {} are repeatable: as similar as those of networks trained on "
    "annotations.",
    ("repeatability-ceiling", "shown absent"): "The maps of {} are not repeatable: less similar than those of networks "
    "trained on annotations.",
    ("reproducibility", "shown"): "With another architecture, the maps of {} are reproduced more than by chance.",
    ("reproducibility", "shown absent"): "With another architecture, the maps of {} are not reproduced more than by "
    "chance.",
    ("reproducibility-ceiling", "shown"): "The maps of {} are reproducible: as similar as those of networks trained on "
    "annotations.",
    ("reproducibility-ceiling", "shown absent"): "The maps of {} are not reproducible: less similar than those of "
    "networks trained on annotations.",
    ("randomization", "shown absent"): "The maps of {} stay more similar than by chance although the weights are "
    "randomized.",
    ("randomization", "shown"): "The maps of {} change when the weights are randomized: they are no more similar than "
    "by chance.",
    ("label-randomization", "shown absent"): "The maps of {} stay more similar than by chance after training on "
    "shuffled labels.",
    ("utility", "shown"): "The maps of {} localize findings better than the average annotation of other patients.",
}
"""Criterion and outcome -> sentence about the methods that have it."""


def summary_sentences(view: RunView) -> list[str]:
    """Summarize a trust study: for how many methods each claim is shown, for which ones, and whether the test is valid.

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
    results = [r for r in criterion_results(judged) if r.criterion in TILES]
    counts = [f"{r.name.lower()}: {len(r.methods('shown'))} of {len(r.verdicts)}" for r in results]
    sentences = []
    if counts:
        sentences.append(f"Methods for which each claim is shown: {'; '.join(counts)} ({table_sample_size(judged)}).")
    absent = dict[str, list[str]]()
    for result in criterion_results(judged):
        absent[result.criterion] = result.methods("shown absent")
        sentences += _claim_sentences(view, result, absent.get(result.criterion.removesuffix("-ceiling"), []))
        if result.criterion == "utility":
            sentences += _not_useful_sentences(view, result)
    undecided = "; ".join(filter(None, (_undecided_phrase(view, result) for result in results)))
    sentences += [f"Undecided with this number of patients: {undecided}."] if undecided else []
    sentences += [_not_estimable_sentence(result) for result in results if result.methods("not estimable")]
    return [*sentences, *_ceiling_sentences(view), *_validity_sentences(criterion_results(table))]


def _claim_sentences(view: RunView, result: CriterionResult, at_chance: list[str]) -> Iterator[str]:
    """Name methods for which a claim is shown or shown absent; those at chance have the sentence that says so."""
    outcomes: tuple[Outcome, ...] = ("shown", "shown absent")
    for outcome in outcomes:
        left_out = at_chance if result.criterion.endswith("-ceiling") else []
        methods = [method for method in result.methods(outcome) if method not in left_out]
        sentence = _VERDICT_SENTENCES.get((result.criterion, outcome))
        if methods and sentence:
            yield sentence.format(_name_methods(view, methods))


def _name_methods(view: RunView, methods: list[str]) -> str:
    return join_list([view.label(method) for method in methods])


def _not_useful_sentences(view: RunView, result: CriterionResult) -> Iterator[str]:
    """Name methods that are not better than the average mask, apart from those that are worse."""
    absent = result.methods("shown absent")
    below = result.rows[result.rows["high"] < -result.rows["smallest_effect"]]
    worse = [method for method in absent if method in set(below["method"])]
    rest = [method for method in absent if method not in worse]
    for methods, relation in ((worse, "worse than"), (rest, "no better than")):
        if methods:
            yield (
                f"The maps of {_name_methods(view, methods)} localize findings {relation} the average annotation of "
                "other patients."
            )


def _undecided_phrase(view: RunView, result: CriterionResult) -> str:
    """Name the undecided methods of a criterion, with the number of patients that would decide each."""
    methods = [
        f"{view.label(method)} ({patients_text(result.verdicts[method].patients_needed)} would decide)"
        for method in result.methods("undecided")
    ]
    return f"{result.name.lower()} for {join_list(methods)}" if methods else ""


def _not_estimable_sentence(result: CriterionResult) -> str:
    """State why a criterion is not estimable, for all methods or for how many."""
    methods = result.methods("not estimable")
    reasons = dict.fromkeys(result.verdicts[method].reason for method in methods)
    scope = "" if len(methods) == len(result.verdicts) else f" for {len(methods)} of {len(result.verdicts)} methods"
    return f"Not estimable{scope}: {result.name.lower()} ({'; '.join(reasons)})."


def _validity_sentences(results: list[CriterionResult]) -> list[str]:
    """Whether the control methods get the expected verdicts."""
    expected: dict[tuple[str, str], tuple[Outcome, str]] = {
        ("edges", "randomization"): (
            "shown absent",
            "the edge detector, which does not use the network, seems to depend on the weights",
        ),
        ("noise", "randomization"): ("shown", "noise does not change when the weights are randomized"),
        ("noise", "repeatability"): ("shown absent", "noise repeats when the network is retrained"),
    }
    wrong, undecided = list[str](), list[str]()
    controls = [
        (method, result, verdict.outcome)
        for result in results
        for method, verdict in result.verdicts.items()
        if (method, result.criterion) in expected
    ]
    for method, result, outcome in controls:
        right, text = expected[method, result.criterion]
        if outcome in ("undecided", "not estimable"):
            undecided.append(f"{method}: {result.name.lower()}")
        elif outcome != right:
            wrong.append(text)
    if wrong:
        return [f"This test is not valid: {'; '.join(wrong)}."]
    if undecided:
        return [f"It is undecided whether the test is valid; undecided for control methods: {'; '.join(undecided)}."]
    names = dict.fromkeys(method for method, *_ in controls)
    return [f"The test is valid: the control methods ({', '.join(names)}) get the expected verdicts."] if names else []


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
        f"{sample_size_note([best, ceiling])}. {describe_choice(view)}".rstrip()
    ]
