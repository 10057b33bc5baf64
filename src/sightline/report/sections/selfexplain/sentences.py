"""Sentences that summarize a self-explaining study."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from sightline.core import Source
from sightline.report.estimate import AVERAGE
from sightline.report.phrasing import count_noun, join_list, sample_size, sample_size_note
from sightline.report.run_view import RunView
from sightline.report.sections.selfexplain.results import (
    MAIN_METRIC,
    SIGNIFICANCE_LEVEL,
    baseline_name,
    intrinsic_source,
    localizers,
    loss_verdict_text,
    ordered_sources,
    read_table,
    to_estimate,
)
from sightline.report.titles import metric_title
from sightline.report.verdicts import classify, smallest_effect
from sightline.report.warnings import average_auroc
from sightline.stats.multiplicity import add_holm
from sightline.stats.noninferiority import NOT_ABOVE_CHANCE
from sightline.stats.utility import AVERAGE_MASK
from sightline.stats.verdicts import Verdict

_RELATIONS = {
    "higher": "above",
    "lower": "below",
    "equivalent": "as good as",
    "undecided": "not clearly different from",
    "not estimable": "not comparable with",
}
"""Relation of the intrinsic map to another -> words."""

RECONSTRUCTION = (
    "This study is a reconstruction: of Aggarwal et al. 2020 (arXiv:2011.07482) only the abstract was available to us, "
    "not the full text. Saliency head, losses, comparison and questions to readers are ours, and no result is compared "
    "with theirs."
)

LATE_SHARE = 0.75
"""Share of the epochs of a training after which a best epoch suggests that longer training might help."""

LIMITS = (
    "A gate takes part in the decision by construction. That makes its map necessary, not correct: the gate may open "
    "at a shortcut. Networks on the phantom are small and trained once each, so differences between trainings are not "
    "in the intervals. The label budget counts annotated radiographs, not minutes of drawing; its detector is small "
    "and trained on the same radiographs. Other work may have run on the machine while times were measured, so the "
    "minimum over the rounds is the fairest number."
)


def summary_sentences(view: RunView) -> list[str]:
    """Summarize a self-explaining study.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Paragraphs; none if the run has no scores of one.
    """
    if not intrinsic_source(view) or not view.metrics:
        return []
    groups = (
        _localization_sentences,
        _annotation_sentences,
        _floor_sentences,
        _accuracy_sentences,
        _crossing_sentences,
        _necessity_sentences,
        _collapse_sentences,
    )
    paragraphs = (" ".join(sentences_of(view)) for sentences_of in groups)
    return [*filter(None, paragraphs), RECONSTRUCTION]


def _localization_sentences(view: RunView) -> Iterator[str]:
    intrinsic = view.estimate(intrinsic_source(view), MAIN_METRIC)
    models = (baseline_name(view), view.info["self_explaining_model"])
    posthoc = [s for s in ordered_sources(view) if Source.parse(s).model in models and s != intrinsic_source(view)]
    differences = {s: view.difference(intrinsic_source(view), s, MAIN_METRIC) for s in posthoc}
    differences = {s: n for s, n in differences.items() if n.is_defined}
    if not differences:
        return
    significant = _significant_sources(view, list(differences))
    better = [s for s in significant if differences[s].mean > 0]
    best = min(differences, key=lambda s: differences[s].mean)
    yield (
        f"The intrinsic map of the self-explaining network reaches an {metric_title(MAIN_METRIC).lower()} of "
        f"{intrinsic.text()}. It is significantly better than {len(better)} and worse than "
        f"{len(significant) - len(better)} of {len(differences)} post-hoc maps of the backbone with and without the "
        f"saliency head (p below {SIGNIFICANCE_LEVEL:g}, adjusted by Holm over all {len(differences)}). The best of "
        f"them is {view.label(best)}; the intrinsic map minus this map is {differences[best].text()} "
        f"({sample_size([intrinsic, *differences.values()])})."
    )


def _annotation_sentences(view: RunView) -> Iterator[str]:
    """Return the intrinsic map compared with the average mask and with networks trained on annotations."""
    sources = (AVERAGE_MASK, *localizers(view))
    differences = {s: n for s in sources if (n := view.difference(intrinsic_source(view), s, MAIN_METRIC)).is_defined}
    groups: dict[str, list[str]] = {}
    for source, n in differences.items():
        relation = _RELATIONS[classify(view, n, MAIN_METRIC)]
        label = view.label(source).replace("control: ", "the ").replace("localizer: ", "the localizer ")
        groups.setdefault(relation, []).append(f"{label} (difference {n.text()})")
    parts = [f"{relation} {join_list(names)}" for relation, names in groups.items()]
    if parts:
        yield (
            f"In {metric_title(MAIN_METRIC).lower()}, the intrinsic map is {'; '.join(parts)}"
            f"{sample_size_note(differences.values())}. Differences from "
            f"{smallest_effect(view, MAIN_METRIC):g} on count."
        )


def _significant_sources(view: RunView, sources: Sequence[str]) -> list[str]:
    """Return sources that differ significantly from the intrinsic map, p adjusted by Holm over all of them."""
    if not sources:
        return []
    table = read_table(view, "differences")
    table = table[(table["metric"] == MAIN_METRIC) & (table["finding"] == AVERAGE)]
    table = table[(table["source"] == intrinsic_source(view)) & table["versus"].isin(sources)]
    rows: list[dict[str, Any]] = [{"versus": str(r["versus"]), "p": float(r["p"])} for r in table.to_dict("records")]
    add_holm(rows)
    return [str(row["versus"]) for row in rows if row["p_holm"] < SIGNIFICANCE_LEVEL]


def _floor_sentences(view: RunView) -> Iterator[str]:
    """Return a warning if no network trained on annotations is better than the average mask."""
    differences = {s: view.difference(s, AVERAGE_MASK, MAIN_METRIC) for s in localizers(view)}
    differences = {s: n for s, n in differences.items() if n.is_defined}
    relations = {s: classify(view, n, MAIN_METRIC) for s, n in differences.items()}
    if differences and "higher" not in relations.values():
        best = max(differences, key=lambda s: differences[s].mean)
        relation = {"lower": "below", "equivalent": "no higher than"}.get(relations[best], "not clearly above")
        yield (
            f"None of the {count_noun(len(differences), 'network')} trained on annotations is shown to localize "
            f"findings better than the average annotation of other patients: the best, {view.label(best)}, minus "
            f"the average annotation is {differences[best].text()} ({sample_size([differences[best]])}). The upper "
            f"bound is thus {relation} the lower bound, and the distance of a map from it has little meaning."
        )


def _accuracy_sentences(view: RunView) -> Iterator[str]:
    table = read_table(view, "noninferiority")
    rows = table[table["finding"] == AVERAGE] if len(table) and (table["finding"] == AVERAGE).any() else table
    first = float("nan")
    for row in rows.to_dict("records"):
        number = to_estimate(row, "mean", "low", "high")
        difference = f"{number.text(3)}; {sample_size([number], 'label')}"
        if row["model"] != view.info["self_explaining_model"]:
            yield (
                f"For the same network trained with another seed ({row['model']}), the difference in AUROC is "
                f"{difference} ({loss_verdict_text(row)}). The seed alone changes the difference by "
                f"{abs(row['mean'] - first):.3f}, which no interval over patients includes."
            )
            continue
        first = row["mean"]
        if row["verdict"] == "not estimable":
            yield _chance_level_note(view, row, difference)
            continue
        verdict = {"superior": "better than", "non-inferior": "no worse than", "inferior": "worse than"}.get(
            row["verdict"], "not shown to be as good as"
        )
        yield (
            f"In AUROC, the network with the saliency head is {verdict} the network without it (difference "
            f"{difference}; margin {row['margin']:g}; {loss_verdict_text(row)})."
        )


def _chance_level_note(view: RunView, row: Mapping[Hashable, Any], difference: str) -> str:
    """Why no verdict on accuracy is possible."""
    baseline = average_auroc(view, row["versus"])
    if row["reason"] != NOT_ABOVE_CHANCE or baseline is None:
        return f"No statement about accuracy is possible: {row['reason']} (difference {difference})."
    return (
        f"No statement about accuracy is possible: the network without the saliency head is not above chance (AUROC "
        f"{baseline.text(3)}, chance 0.5), so its accuracy cannot decrease (difference {difference})."
    )


def _crossing_sentences(view: RunView) -> Iterator[str]:
    sentence = crossing_sentence(view.info.get("crossing") or {})
    if sentence:
        yield sentence
        yield from training_length_note(view)


def crossing_sentence(crossing: Mapping[str, Any]) -> str:
    """State from how many annotated radiographs on a detector is better, with the interval.

    Parameters
    ----------
    crossing : mapping
        Estimate of the crossing, as run.json records it.

    Returns
    -------
    str
        The sentence; empty if it was not estimated.
    """
    if crossing.get("outside") is None:
        return ""
    text, times = crossing["text"], crossing.get("times", 0)
    more = " The curves cross more than once." if times > 1 else ""
    network = "the self-explaining network"
    if crossing["outside"] == "above" and times:
        return f"A detector is better than {network} with few annotated radiographs, but not with many: {text}.{more}"
    if crossing["outside"] == "above":
        return (
            f"The curves of {network} and of a detector are {text}: with as many annotated radiographs, {network} is "
            "better at every number that was tested."
        )
    if crossing["outside"] == "below":
        return (
            f"At every number of annotated radiographs from {crossing['fewest']} on, the lowest that was tested, a "
            f"detector is better than {network} with as many (the curves cross {text})."
        )
    return (
        f"From {text} on, a detector localizes findings at least as well as {network} with as many annotated "
        f"radiographs.{more}"
    )


def training_length_note(view: RunView) -> Iterator[str]:
    """State how long the networks of the curves were trained, if longer training might move the crossing.

    Parameters
    ----------
    view : RunView
        The run.

    Yields
    ------
    str
        One sentence, or none.
    """
    lengths = view.info.get("training_lengths", {})
    late = [name for name, length in lengths.items() if length["best"] > LATE_SHARE * length["epochs"]]
    is_short = not view.info["options"]["model"]  # trained by the study itself, for a few minutes
    if not lengths or not (late or is_short):
        return
    epochs = " or ".join(f"{e:g}" for e in sorted({length["epochs"] for length in lengths.values()}))
    yield (
        f"The networks of these curves were trained for {epochs} epochs, and {len(late)} of {len(lengths)} were best "
        "in the last quarter of them; with longer training the curves may cross elsewhere."
    )


def _necessity_sentences(view: RunView) -> Iterator[str]:
    """Necessity and sufficiency: shown only if the map is better than both another map and random places."""
    properties = {"deletion": "necessary", "insertion": "sufficient"}
    for row in read_table(view, "perturbation_summary").to_dict("records"):
        if not str(row["method"]).endswith("intrinsic") or row["measure"] not in properties:
            continue
        claim = f"more {properties[str(row['measure'])]} for the decision than"
        if not isinstance(row.get("verdict"), str) or not isinstance(row.get("random_verdict"), str):
            yield f"The most salient places are not shown to be {claim} random places, which were not erased."
            continue
        number = to_estimate(row, "gap", "gap_low", "gap_high")
        size = f"; {sample_size([number])}" if number.n else ""
        from_random = to_estimate(row, "random", "random_low", "random_high").text(3)
        compared = (
            (Verdict.from_columns(row), f"those of the map of another patient ({number.text(3)}{size})"),
            (Verdict.from_columns(row, "random_"), f"random places ({from_random})"),
        )
        both = compared[0][0].combine(compared[1][0])
        names = [
            name for verdict, name in compared if both.outcome != "shown absent" or verdict.outcome == both.outcome
        ]
        relation = {"shown": "are", "shown absent": "are not"}.get(both.outcome, "are not shown to be")
        note = f" ({both.text()})" if both.outcome in ("undecided", "not estimable") else ""
        yield (
            f"The most salient places {relation} {claim} {join_list(names)}{note}; differences in "
            f"{row['measure']} from {row['smallest_effect']:g} on count."
        )


def _collapse_sentences(view: RunView) -> Iterator[str]:
    collapsed = view.info.get("collapsed", {})
    if collapsed:
        names = "; ".join(f"{name}, {reason}" for name, reason in collapsed.items())
        yield f"The maps of these networks do not localize anything: {names}."
