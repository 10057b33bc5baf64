"""Sentences that summarize a gaze study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sightline.evaluation.gaze_agreement import CENTER_CONTROL, GAZE_CEILING
from sightline.report.estimate import AVERAGE
from sightline.report.phrasing import count_noun, join_list, sample_size, sample_size_note
from sightline.report.run_view import RunView
from sightline.report.sections.gaze.results import compared_methods, compared_models, read_table


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
    lows = {m: view.estimate(f"{baseline}/{m}", metric).low for m in compared_methods(view)}
    above = [m for m, low in lows.items() if low > 0]
    others = [m for m, low in lows.items() if low <= 0]
    network = "the network trained on labels alone"
    if above:
        yield f"Maps of {network} agree with gaze beyond chance by these methods: {_method_names(view, above)}."
    if others:
        yield f"Maps of {network} do not agree with gaze beyond chance by these methods: {_method_names(view, others)}."


def _gaze_supervision_sentences(view: RunView) -> Iterator[str]:
    """For each pair of networks except the control: how many methods improved, and which most."""
    metric, baseline = view.metrics[0], compared_models(view)[0]
    for name, versus in view.info.get("pairs", ()):
        if name.startswith("shuffled"):
            continue
        differences = {m: view.difference(f"{name}/{m}", f"{versus}/{m}", metric) for m in compared_methods(view)}
        differences = {m: n for m, n in differences.items() if n.is_defined}
        better = sorted((m for m, n in differences.items() if n.low > 0), key=lambda m: -differences[m].mean)
        worse = [m for m, n in differences.items() if n.high < 0]
        reference = "labels alone" if versus == baseline else "the gaze at radiographs of other patients"
        text = (
            f"After gaze supervision, the maps of {len(better)} of {len(differences)} methods agree better with gaze "
            f"than after training on {reference}"
        )
        if better:
            text += (
                f"; {_method_names(view, better[:1])} gains most (+{differences[better[0]].text()}; "
                f"{sample_size(differences.values())})"
            )
        yield f"{text}; the agreement is worse for {_method_names(view, worse)}." if worse else f"{text}."


def _correctness_sentences(view: RunView) -> Iterator[str]:
    table = read_table(view, "correctness")
    if table.empty:
        return
    rows = table[(table["metric"] == "ssim") & (table["finding"] == AVERAGE)]
    better, worse = int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum())
    yield (
        f"Of {len(rows)} combinations of method and network, the SSIM with gaze is higher for correct predictions in "
        f"{better} and lower in {worse}; in {len(rows) - better - worse} there is no clear difference."
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
    is_valid = center.low <= 0 <= center.high
    yield f"The controls behave as expected: {scores}." if is_valid else f"Interpret the metric with care: {scores}."
    for row in view.info.get("duplicates", ()):
        pair = f"{view.label(row['source'])} and {view.label(row['versus'])}"
        yield f"{pair} are equal in all {row['cells']} table cells: they are one map under two names."
