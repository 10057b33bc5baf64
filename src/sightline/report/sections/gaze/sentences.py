"""Sentences that summarize a gaze study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sightline.evaluation.gaze_agreement import CENTER_CONTROL, GAZE_CEILING
from sightline.report.estimate import AVERAGE
from sightline.report.phrasing import count_noun, join_list, sample_size, sample_size_note
from sightline.report.run_view import RunView
from sightline.report.sections.gaze.results import compared_methods, compared_models, read_table
from sightline.report.verdicts import classify, judge, smallest_effect
from sightline.stats.verdicts import Outcome, Verdict, classify_difference, patients_text


def summary_sentences(view: RunView) -> list[str]:
    """Summarize a gaze study.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Sentences; none if the run has no scores of one.
    """
    if not compared_models(view) or not view.metrics:
        return []
    return [
        *_beyond_chance_sentences(view),
        *_gaze_supervision_sentences(view),
        *_correctness_sentences(view),
        *_accuracy_sentences(view),
        *_validity_sentences(view),
    ]


def _method_names(view: RunView, methods: Sequence[str]) -> str:
    """Methods without their options."""
    return ", ".join(view.label(method.partition("?")[0]) for method in methods)


def _beyond_chance_sentences(view: RunView) -> Iterator[str]:
    metric, baseline = view.metrics[0], compared_models(view)[0]
    numbers = {m: view.estimate(f"{baseline}/{m}", metric) for m in compared_methods(view)}
    verdicts = {m: judge(view, n, metric) for m, n in numbers.items()}
    network = "maps of the network trained on labels alone"
    beginnings: dict[Outcome, str] = {
        "shown": f"{network.capitalize()} agree",
        "shown absent": f"{network.capitalize()} do not agree",
        "undecided": f"It is undecided whether {network} agree",
        "not estimable": f"It is not estimable whether {network} agree",
    }
    claim = f"with gaze beyond chance, by {smallest_effect(view, metric):g} or more, with these methods"
    for outcome, beginning in beginnings.items():
        methods = [m for m, verdict in verdicts.items() if verdict.outcome == outcome]
        if methods:
            reasons = _reasons([verdicts[m] for m in methods])
            yield f"{beginning} {claim}: {_method_names(view, methods)}{reasons}."


def _reasons(verdicts: Sequence[Verdict]) -> str:
    """Return the number of patients that would decide all of the verdicts, or why they are not estimable."""
    needed = [v.patients_needed for v in verdicts if v.outcome == "undecided"]
    reasons = list(dict.fromkeys(v.reason for v in verdicts if v.reason))
    parts = [f"{patients_text(max(needed))} would decide", *reasons] if needed else reasons
    return f" ({'; '.join(parts)})" if parts else ""


def _gaze_supervision_sentences(view: RunView) -> Iterator[str]:
    """For each pair of networks except the control: how many methods improved, and which most."""
    metric, baseline = view.metrics[0], compared_models(view)[0]
    for name, versus in view.info.get("pairs", ()):
        if name.startswith("shuffled"):
            continue
        differences = {m: view.difference(f"{name}/{m}", f"{versus}/{m}", metric) for m in compared_methods(view)}
        differences = {m: n for m, n in differences.items() if n.is_defined}
        relations = {m: classify(view, n, metric) for m, n in differences.items()}
        better = sorted((m for m, r in relations.items() if r == "higher"), key=lambda m: -differences[m].mean)
        worse = [m for m, r in relations.items() if r == "lower"]
        equal, total = list(relations.values()).count("equivalent"), len(differences)
        reference = "labels alone" if versus == baseline else "the gaze at radiographs of other patients"
        text = (
            f"After gaze supervision, the maps of {len(better)} of {total} methods agree better with gaze "
            f"than after training on {reference}, by {smallest_effect(view, metric):g} or more"
        )
        if better:
            text += (
                f"; {_method_names(view, better[:1])} gains most (+{differences[better[0]].text()}; "
                f"{sample_size(differences.values())})"
            )
        text += f"; the agreement is worse for {_method_names(view, worse)}" if worse else ""
        text += f"; it differs by less for {equal}" if equal else ""
        rest = total - len(better) - len(worse) - equal
        yield f"{text}; {rest} of {total} are undecided." if rest else f"{text}."


def _correctness_sentences(view: RunView) -> Iterator[str]:
    table = read_table(view, "correctness")
    if table.empty:
        return
    rows = table[(table["metric"] == "ssim") & (table["finding"] == AVERAGE)]
    effect = smallest_effect(view, "ssim")
    relations = [classify_difference(row, effect) for row in rows.to_dict("records")]
    higher, lower, equal = (relations.count(r) for r in ("higher", "lower", "equivalent"))
    yield (
        f"Of {len(rows)} combinations of method and network, the SSIM with gaze is higher by {effect:g} or more for "
        f"correct predictions in {higher} and lower in {lower}; it differs by less in {equal}, and "
        f"{len(rows) - higher - lower - equal} are undecided."
    )


def _accuracy_sentences(view: RunView) -> Iterator[str]:
    table = read_table(view, "discrimination_differences")
    baseline = compared_models(view)[0]
    for (name, versus), part in table.groupby(["model", "versus"], sort=False) if len(table) else ():
        if versus != baseline or str(name).startswith("shuffled"):
            continue
        clear = part[part["p_holm"] < 0.05]
        higher, lower = clear[clear["mean"] > 0], clear[clear["mean"] < 0]
        parts = [f"increases the AUROC of {join_list(list(higher['finding']))}"] if len(higher) else []
        parts += [f"decreases the AUROC of {join_list(list(lower['finding']))}"] if len(lower) else []
        rest = len(part) - len(clear)
        if rest:
            parts.append(f"does not clearly change the AUROC of {count_noun(rest, 'finding')}")
        yield f"Gaze supervision {join_list(parts)} (DeLong's test, adjusted by Holm)."


def _validity_sentences(view: RunView) -> Iterator[str]:
    """Whether the metric is valid here: the center of the image must score 0, the gaze itself highest."""
    metric = view.metrics[0]
    center, top = view.estimate(CENTER_CONTROL, metric), view.estimate(GAZE_CEILING, metric)
    if metric != "shuffled-ncc" or not (center.is_defined and top.is_defined):
        return
    scores = (
        f"the center of the image scores {center.text()} and the gaze itself {top.text()}"
        f"{sample_size_note([center, top])}"
    )
    relation = classify(view, center, metric)
    effect = f"differences from {smallest_effect(view, metric):g} on count"
    if relation == "equivalent":
        yield f"The controls behave as expected: {scores}; {effect}."
    elif relation in ("higher", "lower"):
        yield f"Interpret the metric with care: {scores}; {effect}."
    else:
        yield f"It is undecided whether the controls behave as expected: {scores}; {effect}."
    for row in view.info.get("duplicates", ()):
        pair = f"{view.label(row['source'])} and {view.label(row['versus'])}"
        yield f"{pair} are equal in all {row['cells']} table cells: they are one map under two names."
