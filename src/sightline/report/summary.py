"""What the numbers say, in sentences: every figure in them is one of the tables'."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.core import Source
from sightline.protocol import CORRECTED, PROTOCOLS, Protocol
from sightline.report.estimate import AVERAGE
from sightline.report.phrasing import (
    both_or_all,
    interval_sign,
    join_list,
    list_in_parentheses,
    sample_size,
    sample_size_note,
    with_article,
    with_indefinite_article,
)
from sightline.report.reader_spread import benchmark_scope, spread_note
from sightline.report.run_tables import was_selected_elsewhere
from sightline.report.run_view import RunView
from sightline.report.titles import higher_is_better, metric_title
from sightline.stats.multiplicity import holm


@dataclass(frozen=True, slots=True)
class FindingComparison:
    """Findings grouped by the paired difference between two sources, adjusted for the number of findings."""

    better: tuple[str, ...]
    worse: tuple[str, ...]
    undecided: tuple[str, ...]

    @property
    def total(self) -> int:
        """Number of findings that were compared."""
        return len(self.better) + len(self.worse) + len(self.undecided)


def compare_by_finding(view: RunView, source: str, other: str, metric: str) -> FindingComparison:
    """Group the findings by the paired difference between two sources.

    A finding is decided if its p value, adjusted over the findings by Holm's method, is below 0.05.

    Parameters
    ----------
    view : RunView
        The run.
    source : str
        The source.
    other : str
        The source that is subtracted.
    metric : str
        Name of the metric.

    Returns
    -------
    FindingComparison
        The groups.
    """
    sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
    numbers = {finding: view.difference(source, other, metric, finding) for finding in view.findings}
    numbers = {finding: number for finding, number in numbers.items() if number.is_defined}
    adjusted = holm(np.array([number.p for number in numbers.values()]))
    for (finding, number), p in zip(numbers.items(), adjusted, strict=True):
        sign = interval_sign(number.low, number.high, higher_is_better(metric))
        sides[sign if p < 0.05 else 0].append(finding)
    return FindingComparison(tuple(sides[1]), tuple(sides[-1]), tuple(sides[0]))


def summary_sentences(view: RunView) -> list[str]:
    """Summarize a run of any study.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Sentences.
    """
    if not view.metrics:
        return ["This run has no estimates, so there is nothing to report yet."]
    metric = view.metrics[0]
    if view.best is None:
        return _without_model_sentences(view, metric)
    sentences = [_level_sentence(view, view.best, metric)]
    if len(view.main_metrics) > 1:
        sentences.append(_pointing_sentence(view, view.best, view.main_metrics[1]))
    if view.control:
        sentences += [
            _comparison_sentence(view, view.best, view.control, metric),
            _better_controls_sentence(view, view.best, view.control, metric),
        ]
    if view.reader:
        comparison = _comparison_sentence(view, view.best, view.reader, metric)
        sentences.append(comparison and f"{comparison} {benchmark_scope(view)}")
    sentences += [_range_sentence(view, view.best, metric), describe_choice(view)]
    return [s for s in sentences if s]


def _without_model_sentences(view: RunView, metric: str) -> list[str]:
    if not view.sources:
        return ["No map could be scored."]
    sources = [source for source in (view.reader, view.control) if source]
    notes = {s: spread_note(view, s, metric, AVERAGE) for s in sources}
    levels = "; ".join(f"{view.label(s)} {view.estimate(s, metric).text()}{notes[s]}" for s in sources) or "undefined"
    counts = sample_size_note(view.estimate(s, metric) for s in sources)
    return [
        f"This run has no maps of a trained model. {metric_title(metric)} over {_count_findings(view)}: "
        f"{levels}{counts}."
    ]


def _count_findings(view: RunView) -> str:
    n = len(view.findings)
    return f"{n} findings" if n != 1 else view.findings[0]


def describe_best(view: RunView) -> str:
    """Describe the source that a figure shows as the best, and what it was chosen from.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    str
        Phrase that begins with 'the'.
    """
    scope = "of the saliency methods, without controls and readers"
    if was_selected_elsewhere(view.info):
        return f"the source that was best on the selection data ({scope})"
    return f"the best source ({scope})"


def describe_choice(view: RunView) -> str:
    """Describe on which data the best source was chosen, and what the intervals therefore mean.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    str
        A sentence; empty where no source was chosen from others.
    """
    candidates = len(view.sources_of_kind("model"))
    if candidates < 2:
        return ""
    metric = metric_title(view.metrics[0])
    if was_selected_elsewhere(view.info):
        chosen_on = view.info["selection"]
        patients = f", {chosen_on['patients']:,} patients" if chosen_on.get("patients") else ""
        return (
            f"It was chosen by {metric} on other patients ({chosen_on['data'] or chosen_on['from']}{patients}), and "
            "tested once on those of this report."
        )
    same = f"It was chosen by {metric} on the radiographs of this report"
    if not _is_adjusted(view):
        return f"{same}, which makes its score too high; its interval is not adjusted for that."
    return (
        f"{same}: its score is slightly too high, and the intervals of this report are wider, so that they hold for "
        f"all {candidates} together, whichever is the best."
    )


def intervals_text(view: RunView) -> str:
    """State for how many numbers at once the intervals of a report hold.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    str
        A sentence.
    """
    text = "Intervals are at 95 %; they are not adjusted for the number of findings"
    if not _is_adjusted(view):
        return f"{text} or sources."
    return (
        f"{text}. Those of scores and of their differences hold for all sources of a kind together, by the largest "
        "of their correlated deviations (10.1214/13-AOS1161)."
    )


def _is_adjusted(view: RunView) -> bool:
    """Return True if the intervals of scores hold for all sources of a kind together."""
    if was_selected_elsewhere(view.info) or protocol_of(view).definitions == "published":
        return False
    return "simultaneous_low" in view.estimates


def _name_best(view: RunView, source: str) -> str:
    """Return the source, and the number it was chosen from."""
    candidates = view.sources_of_kind("model")
    if len(candidates) == 1:
        return view.label(source)
    has_several_models = len({Source.parse(s).model for s in candidates}) > 1
    noun = "pairs of saliency method and network" if has_several_models else "saliency methods"
    if was_selected_elsewhere(view.info):
        return f"{view.label(source)}, chosen from {len(candidates)} {noun},"
    return f"The best of {len(candidates)} {noun}, {view.label(source)},"


def _level_sentence(view: RunView, source: str, metric: str) -> str:
    number = view.estimate(source, metric)
    text = f"{_name_best(view, source)} reaches {with_indefinite_article(metric_title(metric))} of {number.text()}"
    text += f", averaged over {_count_findings(view)}" if len(view.findings) > 1 else f" for {_count_findings(view)}"
    others = {s: n for s in (view.reader, view.control) if s and (n := view.estimate(s, metric)).is_defined}
    if others:
        parts = [
            f"{n.text()} for {with_article(view, s)}{spread_note(view, s, metric, AVERAGE)}" for s, n in others.items()
        ]
        text += f", compared with {join_list(parts)}"
    return f"{text}{sample_size_note([number, *others.values()])}."


def _pointing_sentence(view: RunView, source: str, metric: str) -> str:
    number = view.estimate(source, metric)
    if not number.is_defined:
        return ""
    compared = [view.source_for_metric(s, metric) for s in (view.reader, view.control) if s]
    others = {s: n for s in compared if (n := view.estimate(s, metric)).is_defined}
    text = (
        "The highest point of its maps lies inside the annotation at a rate of"
        if metric == "pointing-game"
        else f"Its {metric_title(metric)} is"
    )
    parts = [*(f"{with_article(view, s)} {n.text()}" for s, n in others.items())]
    counts = sample_size([number, *others.values()])
    return f"{text} {number.text()} ({'; '.join([*parts, counts])})."


def _comparison_sentence(view: RunView, source: str, other: str, metric: str) -> str:
    name = with_article(view, other)
    comparison = compare_by_finding(view, source, other, metric)
    number = view.difference(source, other, metric)
    difference = f"{number.text()}{sample_size_note([number])}"
    if not comparison.total or np.isnan(number.low):
        return f"Its paired difference from {name} is {difference}." if number.is_defined else ""
    groups = [
        (comparison.better, "is clearly better than"),
        (comparison.worse, "is clearly worse than"),
        (comparison.undecided, "does not clearly differ from"),
    ]
    (findings, relation), *rest = [(findings, relation) for findings, relation in groups if findings]
    if comparison.total == 1:
        scope = findings[0]
    elif len(findings) == comparison.total:
        scope = f"{both_or_all(comparison.total)} findings"
    else:
        scope = f"{len(findings)} of {comparison.total} findings{list_in_parentheses(findings)}"
    parts = [f"In {metric_title(metric)}, it {relation} {name} on {scope}"]
    parts += [
        f"{relation.rpartition(' ')[0] if relation.startswith('is') else 'does not clearly differ'} on "
        f"{len(names)}{list_in_parentheses(names)}"
        for names, relation in rest
    ]
    scope = "" if comparison.total == 1 else "on average "
    adjusted = "" if comparison.total == 1 else f" (adjusted for {comparison.total} findings)"
    return f"{join_list(parts)}{adjusted}; the paired difference is {scope}{difference}."


def _better_controls_sentence(view: RunView, source: str, strongest: str, metric: str) -> str:
    """Other controls that are clearly better as well."""
    differences = {c: view.difference(source, c, metric) for c in view.sources_of_kind("control") if c != strongest}
    above = {c: n for c, n in differences.items() if interval_sign(n.low, n.high, higher_is_better(metric)) < 0}
    if not above:
        return ""
    names = [f"{with_article(view, c)} ({n.text()})" for c, n in above.items()]
    return f"It is on average also clearly worse than {join_list(names)}{sample_size_note(above.values())}."


def _range_sentence(view: RunView, source: str, metric: str) -> str:
    numbers = [(f, view.estimate(source, metric, f)) for f in view.findings]
    numbers = [(f, n) for f, n in numbers if n.is_defined]
    if len(numbers) < 2:
        return ""
    ordered = sorted(numbers, key=lambda fn: (-fn[1].mean if higher_is_better(metric) else fn[1].mean, fn[0]))
    (first, high), (last, low) = ordered[0], ordered[-1]
    counts = sample_size_note([high, low])
    return f"By finding, its score ranges from {high.text()} on {first} to {low.text()} on {last}{counts}."


def threshold_origin(view: RunView, option: str) -> str:
    """Describe the origin of map thresholds or probability cutoffs.

    Parameters
    ----------
    view : RunView
        The run.
    option : str
        Option that set them.

    Returns
    -------
    str
        The text; empty where the protocol's own are used.
    """
    origin = view.info.get("threshold_provenance", {}).get(option)
    if not origin:
        return ""
    if origin.get("shared"):
        return f"tuned on the data that is scored ({origin['from']})"
    return f"tuned on {origin['data']} ({origin['from']})" if origin.get("data") else f"from {origin['from']}"


PROTOCOL_FIELDS = {
    "frame": "Location of a map: in its own frame (carried), or stretched over the whole image",
    "binarizer": "Rule that turns a map into a mask",
    "fill_holes": "Whether the mask is redrawn from its contours, which fills holes and drops single pixels",
    "ties": "Rule for equal maxima of a map",
    "reader_points": "Rule for several points of a reader for one finding: any of them, or the share of them that hits",
    "empty_prediction": "Treatment of an empty mask: the worst score, or left out of the average",
    "resample": "Unit that is independent: drawn by a bootstrap, or left out one at a time",
    "interval": "Kind of interval: by leaving out one patient at a time, or quantiles of a bootstrap",
    "point_radius": "Radius of the disk that replaces an annotated point, as a share of the shorter side of the image",
    "smooth_window": "Side of the box filter before Otsu's threshold (0: none, below 1: share of the height)",
    "definitions": "Definitions of shapes, regressions, decreases and comparisons of maps",
    "signed_maps": "Values of signed maps that thresholds act on: the positive ones, or the whole range",
    "map_thresholds": "Findings whose masks have a threshold of their own",
    "probability_cutoffs": "Probability below which a map predicts nothing, where all images are scored",
}
"""Meaning of each field of a protocol."""


def protocol_of(view: RunView) -> Protocol:
    """Return the main protocol as the run was scored under it.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Protocol
        The protocol.
    """
    fields = view.info.get("protocols", {}).get(view.protocol)
    return Protocol(**{**fields, "name": view.protocol}) if fields else PROTOCOLS.get(view.protocol, (CORRECTED,))[0]
