"""Sentences that summarize a gaze study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sightline.evaluation.gaze_agreement import CENTER_CONTROL, GAZE_CEILING
from sightline.report.phrasing import count_noun, sample_size, sample_size_note
from sightline.report.run_view import AVERAGE, RunView
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


def _method_names(view: RunView, some: Sequence[str]) -> str:
    """Methods without their options."""
    return ", ".join(view.label(m.partition("?")[0]) for m in some)


def _beyond_chance_sentences(view: RunView) -> Iterator[str]:
    metric, plain = view.metrics[0], compared_models(view)[0]
    above = [m for m in compared_methods(view) if view.estimate(f"{plain}/{m}", metric).low > 0]
    other = [m for m in compared_methods(view) if view.estimate(f"{plain}/{m}", metric).low <= 0]
    if above:
        yield f"Trained on labels alone, maps agree with gaze beyond chance: {_method_names(view, above)}."
    if other:
        yield f"Trained on labels alone, no agreement beyond chance: {_method_names(view, other)}."


def _gaze_supervision_sentences(view: RunView) -> Iterator[str]:
    """For each pair of networks except the control: how many methods improved, and which most."""
    metric, plain = view.metrics[0], compared_models(view)[0]
    for name, versus in view.info.get("pairs", ()):
        if name.startswith("shuffled"):
            continue
        gaps = {m: view.difference(f"{name}/{m}", f"{versus}/{m}", metric) for m in compared_methods(view)}
        gaps = {m: n for m, n in gaps.items() if n.is_defined}
        more = sorted((m for m, n in gaps.items() if n.low > 0), key=lambda m: -gaps[m].mean)
        less = [m for m, n in gaps.items() if n.high < 0]
        than = "labels alone" if versus == plain else "gaze at other patients' films"
        text = f"Taught by gaze, {len(more)} of {len(gaps)} methods agree better than after {than}"
        text += (
            f", {_method_names(view, more[:1])} the most (+{gaps[more[0]].text()}; {sample_size(gaps.values())})"
            if more
            else ""
        )
        yield text + (f"; worse: {_method_names(view, less)}." if less else ".")


def _correctness_sentences(view: RunView) -> Iterator[str]:
    table = read_table(view, "correctness")
    if table.empty:
        return
    some = table[(table["metric"] == "ssim") & (table["finding"] == AVERAGE)]
    better, worse = int((some["low"] > 0).sum()), int((some["high"] < 0).sum())
    yield (
        f"Of {len(some)} methods and networks, SSIM with gaze is higher where the network is right for {better}, "
        f"lower for {worse}, not told apart for {len(some) - better - worse}."
    )


def _accuracy_sentences(view: RunView) -> Iterator[str]:
    table = read_table(view, "discrimination_differences")
    plain = compared_models(view)[0]
    for (name, versus), part in table.groupby(["model", "versus"], sort=False) if len(table) else ():
        if versus != plain or str(name).startswith("shuffled"):
            continue
        clear = part[part["p_holm"] < 0.05]
        ups, downs = clear[clear["mean"] > 0], clear[clear["mean"] < 0]
        parts = [f"raises AUROC on {', '.join(ups['finding'])}"] if len(ups) else []
        parts += [f"lowers it on {', '.join(downs['finding'])}"] if len(downs) else []
        rest = len(part) - len(clear)
        if rest:
            parts.append(
                f"{'leaves' if parts else 'changes AUROC on none;'} {count_noun(rest, 'finding')} not told apart"
            )
        yield f"Training on gaze {', '.join(parts)} (DeLong, Holm)."


def _validity_sentences(view: RunView) -> Iterator[str]:
    """Whether the metric is valid here: the center of the image must score 0, the gaze itself highest."""
    metric = view.metrics[0]
    center, top = view.estimate(CENTER_CONTROL, metric), view.estimate(GAZE_CEILING, metric)
    if metric != "shuffled-ncc" or not (center.is_defined and top.is_defined):
        return
    told = (
        f"the middle of the film scores {center.text()}, the gaze itself {top.text()}{sample_size_note([center, top])}"
    )
    yield f"The measure can tell: {told}." if center.low <= 0 <= center.high else f"Mind the measure: {told}."
    for row in view.info.get("duplicates", ()):
        pair = f"{view.label(row['source'])} and {view.label(row['versus'])}"
        yield f"{pair} agree in all {row['cells']} cells: one map under two names."
