"""Sentences that summarize a self-explaining study."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from sightline.core import Source
from sightline.report.phrasing import count_noun, sample_size, sample_size_note
from sightline.report.run_view import AVERAGE, RunView, metric_title
from sightline.report.sections.selfexplain.results import (
    MAIN_METRIC,
    SIGNIFICANCE_LEVEL,
    intrinsic_source,
    localizers,
    ordered_sources,
    read_table,
    to_estimate,
)
from sightline.report.warnings import average_auroc
from sightline.stats.multiplicity import add_holm
from sightline.stats.noninferiority import NOT_ABOVE_CHANCE
from sightline.stats.utility import AVERAGE_MASK

RECONSTRUCTION = (
    "This study is a reconstruction: the full text of Aggarwal et al. 2020 (arXiv:2011.07482) was not available to us, "
    "only its abstract. Element, losses, comparison and questions to readers are ours; no figure here is compared with "
    "theirs."
)

LATE_SHARE = 0.75
"""Share of a training's epochs after which a best one says that more might be better still."""

LIMITS = (
    "A gate is part of the decision by construction; that makes it necessary, not right: it may open at a shortcut. "
    "Networks on the phantom are small and seen once each, so differences between trainings are not in the intervals. "
    "Marked films are counted, not minutes of drawing; the detector here is small and trained on the same films. Times "
    "were taken while the machine may have been busy with other work: the least of the rounds is the fairest."
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
    told = (
        _localization_sentences,
        _annotation_sentences,
        _floor_sentences,
        _accuracy_sentences,
        _crossing_sentences,
        _necessity_sentences,
        _collapse_sentences,
    )
    paragraphs = (" ".join(tell(view)) for tell in told)
    return [*filter(None, paragraphs), RECONSTRUCTION]


def _localization_sentences(view: RunView) -> Iterator[str]:
    mine = view.estimate(intrinsic_source(view), MAIN_METRIC)
    posthoc = [
        s for s in ordered_sources(view) if Source.parse(s).model in ("baseline", view.info["self_explaining_model"])
    ]
    gaps = {s: view.difference(intrinsic_source(view), s, MAIN_METRIC) for s in posthoc if s != intrinsic_source(view)}
    gaps = {s: n for s, n in gaps.items() if n.is_defined}
    told_apart = _significant_sources(view, list(gaps))
    better = [s for s in told_apart if gaps[s].mean > 0]
    if gaps:
        best = min(gaps, key=lambda s: gaps[s].mean)
        yield (
            f"The element's own map reaches an {metric_title(MAIN_METRIC).lower()} of {mine.text()}: better "
            f"than {len(better)} of "
            f"{len(gaps)} post-hoc maps of the backbone with and without it, worse than "
            f"{len(told_apart) - len(better)} (p below {SIGNIFICANCE_LEVEL:g} after Holm's correction over all "
            f"{len(gaps)}); the "
            f"best of them is {view.label(best)} (own map less it {gaps[best].text()}; "
            f"{sample_size([mine, *gaps.values()])})."
        )


def _annotation_sentences(view: RunView) -> Iterator[str]:
    """The intrinsic map compared with the average mask and with networks trained on annotations."""
    some = (AVERAGE_MASK, *localizers(view))
    gaps = {s: n for s in some if (n := view.difference(intrinsic_source(view), s, MAIN_METRIC)).is_defined}
    told = dict[str, list[str]]()
    for s, n in gaps.items():
        words = "above" if n.low > 0 else "below" if n.high < 0 else "not told apart from"
        told.setdefault(words, []).append(f"{view.label(s).replace('control: ', 'the ')} ({n.text()})")
    groups = [f"{words} {', '.join(ones)}" for words, ones in told.items()]
    if groups:
        yield f"By {metric_title(MAIN_METRIC).lower()} it is {'; '.join(groups)}{sample_size_note(gaps.values())}."


def _significant_sources(view: RunView, sources: Sequence[str]) -> list[str]:
    """Sources that differ significantly from the intrinsic map, p adjusted by Holm over all of them."""
    if not sources:
        return []
    table = read_table(view, "differences")
    table = table[(table["metric"] == MAIN_METRIC) & (table["finding"] == AVERAGE)]
    table = table[(table["source"] == intrinsic_source(view)) & table["versus"].isin(sources)]
    rows: list[dict[str, Any]] = [{"versus": str(r["versus"]), "p": float(r["p"])} for r in table.to_dict("records")]
    add_holm(rows)
    return [str(row["versus"]) for row in rows if row["p_holm"] < SIGNIFICANCE_LEVEL]


def _floor_sentences(view: RunView) -> Iterator[str]:
    """A warning if no network trained on annotations is better than the average mask."""
    gaps = {s: view.difference(s, AVERAGE_MASK, MAIN_METRIC) for s in localizers(view)}
    gaps = {s: n for s, n in gaps.items() if n.is_defined}
    if gaps and not any(n.low > 0 for n in gaps.values()):
        best = max(gaps, key=lambda s: gaps[s].mean)
        where = "under" if gaps[best].high < 0 else "no higher than"
        yield (
            f"None of the {count_noun(len(gaps), 'network')} trained on marks is shown to find them better than the "
            f"average of other patients' marks (the best, {view.label(best)}, less it {gaps[best].text()}; "
            f"{sample_size([gaps[best]])}): the ceiling lies {where} the floor, so how far a map is from it "
            "says little."
        )


def _accuracy_sentences(view: RunView) -> Iterator[str]:
    table = read_table(view, "noninferiority")
    rows = table[table["finding"] == AVERAGE] if len(table) and (table["finding"] == AVERAGE).any() else table
    first = float("nan")
    for row in rows.to_dict("records"):
        number = to_estimate(row, "mean", "low", "high")
        gap = f"{number.text(3)}; {sample_size([number], 'label')}"
        if row["model"] != view.info["self_explaining_model"]:
            yield (
                f"The same network trained with another seed ({row['model']}) less the one without: {gap} "
                f"({row['verdict']}); the seed alone moves the difference by {abs(row['mean'] - first):.3f}, which "
                "no interval over patients holds."
            )
            continue
        first = row["mean"]
        if str(row["verdict"]).startswith("not estimable"):
            yield _chance_level_note(view, row, gap)
            continue
        verdict = {"superior": "better than", "non-inferior": "no worse than", "inferior": "worse than"}.get(
            row["verdict"], "not shown to be as good as"
        )
        yield (
            f"By AUROC this training of the element is {verdict} the network without ({gap}; margin "
            f"{row['margin']:g}; {row['verdict']})."
        )


def _chance_level_note(view: RunView, row: Mapping[Hashable, Any], gap: str) -> str:
    """Why no verdict on accuracy is possible."""
    without = average_auroc(view, row["versus"])
    if row["verdict"] != NOT_ABOVE_CHANCE or without is None:
        return f"No statement about accuracy is possible: without an interval there is no verdict (difference {gap})."
    return (
        f"No statement about accuracy is possible: the network without the element is not above chance (AUROC "
        f"{without.text(3)}, chance 0.5), so it has nothing to lose (with the element less without: {gap})."
    )


def _crossing_sentences(view: RunView) -> Iterator[str]:
    told = crossing_sentence(view.info.get("crossing") or {})
    if told:
        yield told
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
    if crossing.get("share") is None:
        return ""
    said, times = crossing["text"], crossing.get("times", 0)
    more = " The curves cross more than once." if times > 1 else ""
    if crossing["outside"] == "above" and times:
        return f"A detector is ahead with fewer marked films and falls behind again: {said}.{more}"
    if crossing["outside"] == "above":
        return f"Element and detector are {said}: with marks of as many the element is ahead at every number tried."
    if crossing["outside"] == "below":
        return (
            f"At every number of marked films tried, from {crossing['fewest']} on, a detector is ahead of the "
            f"element with as many: they cross at {said}."
        )
    return (
        f"A detector finds marks as well as the element with as many, and stays ahead, from {said} on (they cross "
        f"in {100 * crossing['share']:.0f} % of resamples).{more}"
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
    late = [name for name, one in lengths.items() if one["best"] > LATE_SHARE * one["epochs"]]
    short = not view.info["options"]["model"]  # trained by the study itself, for its few minutes
    if not lengths or not (late or short):
        return
    epochs = " or ".join(f"{e:g}" for e in sorted({one["epochs"] for one in lengths.values()}))
    yield (
        f"The networks of these curves learned for {epochs} epochs, and {len(late)} of {len(lengths)} were best in the "
        f"last quarter of them: trained for longer, they may cross elsewhere."
    )


def _necessity_sentences(view: RunView) -> Iterator[str]:
    """Necessity and sufficiency: significant only if the map is better than both another map and random places."""
    names = {"deletion": "necessary", "insertion": "sufficient"}
    for row in read_table(view, "perturbation_summary").to_dict("records"):
        if not str(row["method"]).endswith("intrinsic") or row["measure"] not in names:
            continue
        what, measure = names[str(row["measure"])], row["measure"]
        number = to_estimate(row, "gap", "gap_low", "gap_high")
        gap = f"{number.text(3)}; {sample_size([number])}" if number.n else number.text(3)
        beside = to_estimate(row, "random", "random_low", "random_high").text(3)
        if row.get("random_verdict") == "fails":
            yield (
                f"Whether what the map points at is {what} for the decision is not interpretable: random places do "
                f"better ({measure} less theirs {beside}; less another patient's map {gap})."
            )
            continue
        both = (str(row["verdict"]), row.get("random_verdict"))
        shown = "is shown to be" if both == ("passes", "passes") else "is not shown to be"
        shown = "is less" if both[0] == "fails" else shown
        yield (
            f"What the map points at {shown} {what} for the decision beyond another patient's map ({measure} {gap}) "
            f"and random places ({beside})."
        )


def _collapse_sentences(view: RunView) -> Iterator[str]:
    found = view.info.get("collapsed", {})
    if found:
        yield f"Maps that say nothing of where: {'; '.join(f'{name}, {why}' for name, why in found.items())}."
