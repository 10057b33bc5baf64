"""What a self-explaining study says: sentences, and the tables beside its figures."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from sightline.core import Source
from sightline.data.reader_study.rating_sheets import QUESTIONS
from sightline.report.phrasing import count_noun, sample_size, sample_size_note
from sightline.report.run_view import AVERAGE, Estimate, RunView, format_decimal, metric_title
from sightline.report.tables import Table
from sightline.report.warnings import average_auroc
from sightline.stats.faithfulness import RANDOM_ORDER
from sightline.stats.froc import MEAN_OVER_RATES
from sightline.stats.multiplicity import add_holm
from sightline.stats.noninferiority import NOT_ABOVE_CHANCE
from sightline.stats.utility import AVERAGE_MASK

MAIN_METRIC, SIGNIFICANCE_LEVEL = "average-precision", 0.05
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


def intrinsic_source(view: RunView) -> str:
    """The source of the element's map; '' for another study."""
    return f"{view.info['element']}/own" if view.info.get("study") == "selfexplain" and "element" in view.info else ""


def read_table(view: RunView, name: str) -> pd.DataFrame:
    """A table of this study under the report's protocol; empty where there is none."""
    if not intrinsic_source(view) or not view.run.has_table(name):
        return pd.DataFrame()
    table = view.run.table(name)
    return table[table["protocol"] == view.protocol] if "protocol" in table else table


def ordered_sources(view: RunView) -> list[str]:
    """Sources: the element, what learned from marks, the priors, then post-hoc maps, best first."""
    kinds = {"localizer": 1, "control": 2}
    some = [s for s in view.sources if view.kind(s) != "reader"]
    return sorted(some, key=lambda s: 0 if s == intrinsic_source(view) else kinds.get(Source.parse(s).kind, 3))


def localizers(view: RunView) -> list[str]:
    """Return the sources of networks that learned from annotations, best first."""
    return [s for s in ordered_sources(view) if Source.parse(s).kind == "localizer"]


def sentences(view: RunView) -> list[str]:
    """What the tables come to, or nothing for another study."""
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
    posthoc = [s for s in ordered_sources(view) if Source.parse(s).model in ("plain", view.info["element"])]
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
    """The own map and what knew of marks: the average mask, and networks told by them."""
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
    """Sources that the own map is told apart from in average precision, p corrected by Holm over all of them."""
    if not sources:
        return []
    table = read_table(view, "differences")
    table = table[(table["metric"] == MAIN_METRIC) & (table["finding"] == AVERAGE)]
    table = table[(table["source"] == intrinsic_source(view)) & table["versus"].isin(sources)]
    rows: list[dict[str, Any]] = [{"versus": str(r["versus"]), "p": float(r["p"])} for r in table.to_dict("records")]
    add_holm(rows)
    return [str(row["versus"]) for row in rows if row["p_holm"] < SIGNIFICANCE_LEVEL]


def _floor_sentences(view: RunView) -> Iterator[str]:
    """Whether what learned from marks finds them better than the average of other patients' marks."""
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
        number = _to_estimate(row, "mean", "low", "high")
        gap = f"{number.text(3)}; {sample_size([number], 'label')}"
        if row["model"] != view.info["element"]:
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
    """Why no verdict on accuracy could be reached, with the network's own figures."""
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
    """From how many marked films on a detector is ahead, with the interval; '' where that was not estimated."""
    if crossing.get("share") is None:
        return ""
    said, times = crossing["said"], crossing.get("times", 0)
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
    """How long the networks whose curves cross have learned, where that may decide where they cross."""
    lengths = view.info.get("lengths", {})
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
    """Beyond chance alone is not enough: what random places do better, blanked or shown, no map explains."""
    names = {"deletion": "necessary", "insertion": "sufficient"}
    for row in read_table(view, "robustness").to_dict("records"):
        if not str(row["method"]).endswith("own") or row["measure"] not in names:
            continue
        what, measure = names[str(row["measure"])], row["measure"]
        number = _to_estimate(row, "gap", "gap_low", "gap_high")
        gap = f"{number.text(3)}; {sample_size([number])}" if number.n else number.text(3)
        beside = _to_estimate(row, "random", "random_low", "random_high").text(3)
        if row.get("beside_random") == "fails":
            yield (
                f"Whether what the map points at is {what} for the decision is not interpretable: random places do "
                f"better ({measure} less theirs {beside}; less another patient's map {gap})."
            )
            continue
        both = (str(row["verdict"]), row.get("beside_random"))
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


def localization_table(view: RunView) -> Table | None:
    """Every source by overlap, pointing and FROC."""
    froc = read_table(view, "froc")
    if froc.empty:
        return None
    several = (froc["finding"] == AVERAGE).any()
    part = froc[(froc["rate"] == MEAN_OVER_RATES) & ((froc["finding"] == AVERAGE) | (not several))]
    reads = {
        (r["source"], r["films"]): Estimate(r["mean"], r["low"], r["high"], r["n"], r["patients"])
        for r in part.to_dict("records")
    }
    metrics = [m for m in (MAIN_METRIC, "pr-area", "iou", "hit") if (view.estimates["metric"] == m).any()]
    rows = []
    for s in ordered_sources(view):
        numbers = [view.estimate(s, m) for m in metrics]
        curves = [reads.get((s, films), Estimate.undefined()) for films in ("marked", "all")]
        counts = [f"{numbers[0].n:,}", f"{numbers[0].patients:,}"]
        rows.append([view.label(s), *(n.text(3) for n in (*numbers, *curves)), *counts])
    caption = (
        "Localization averaged over findings, mean [95 % interval]. FROC: share of the marks' pieces found, mean over "
        "0.25, 0.5, 1, 2 and 4 false candidates a film; on films that show the finding, and on all that were explained"
    )
    head = ["Source", *map(metric_title, metrics), "FROC, with the finding", "FROC, all films", "Maps", "Patients"]
    return Table.create(caption, head, rows, 1, "estimates")


def noninferiority_table(view: RunView) -> Table | None:
    """Paired differences of AUROC with both intervals and the verdict."""
    table = read_table(view, "noninferiority")
    if table.empty:
        return None
    areas = read_table(view, "discrimination").set_index(["model", "finding"])["auroc"].to_dict()
    rows = []
    for r in table.to_dict("records"):
        each = [format_decimal(areas.get((r[k], r["finding"]), float("nan")), 3) for k in ("model", "versus")]
        delong = (
            "–"
            if r["delong_low"] != r["delong_low"]
            else f"{format_decimal(r['delong_low'], 3)}, {format_decimal(r['delong_high'], 3)}"
        )
        name = "Average" if r["finding"] == AVERAGE else r["finding"]
        gap = Estimate(r["mean"], r["low"], r["high"], 0, 0).text(3)
        rows.append(
            [
                name,
                r["model"],
                *each,
                gap,
                delong,
                r["verdict"],
                f"{r['n']:,} / {r['positives']:,}",
                f"{r['patients']:,}",
            ]
        )
    margin = float(table["margin"].iloc[0])
    caption = (
        f"AUROC with the element less without, on the same films: no worse ('non-inferior') means an interval above "
        f"−{margin:g}, which was set before the comparison. A row of every training: another seed may change more than "
        "patients do"
    )
    head = [
        "Finding",
        "Network",
        "With",
        "Without",
        "Difference [95 % over patients]",
        "DeLong 95 %",
        "Verdict",
        "Labels / positive",
        "Patients",
    ]
    return Table.create(caption, head, rows, 2, "noninferiority")


def label_budget_table(view: RunView) -> Table | None:
    """The label budget curve in numbers."""
    table = read_table(view, "budget")
    if table.empty:
        return None
    by = {
        (r["role"], r["told"]): Estimate(r["mean"], r["low"], r["high"], r["n"], r["patients"]).text(3)
        for r in table.to_dict("records")
    }
    rows = [[f"{k:,}", by.get(("element", k), "–"), by.get(("detector", k), "–")] for k in sorted(set(table["told"]))]
    n, patients = int(table["n"].max()), int(table["patients"].max())
    caption = (
        f"{metric_title(MAIN_METRIC)} by marked films, averaged over findings, mean [95 % interval]; "
        f"{count_noun(n, 'map')} of "
        f"{count_noun(patients, 'patient')}"
    )
    head = ["Marked films", "Element, labels and these marks", "Detector, these marks"]
    return Table.create(caption, head, rows, 1, "budget")


def label_cost_table(view: RunView) -> Table | None:
    """What each kind of network has to be told."""
    if not intrinsic_source(view):
        return None
    box = "some seconds a box: 7 or 35 on photographs, by how it is drawn (arXiv:1708.02750)"
    outline = "about a minute an outline: 79 seconds on photographs (arXiv:1405.0312)"
    rows = [
        ["Element, and any post-hoc map", "one label an image and finding", "seconds, or none: read from reports"],
        ["RetinaNet", "a box around every piece", box],
        ["U-Net, supervised element", "an outline of every piece", outline],
    ]
    caption = "What the labels cost; times are of others and of photographs, for orientation: no reader was timed here"
    return Table.create(caption, ["Network", "Is told", "Takes a person"], rows, 3)


def necessity_sufficiency_table(view: RunView) -> Table | None:
    """Necessity and sufficiency beside chance."""
    table = read_table(view, "robustness")
    if table.empty:
        return None
    names = {
        "deletion": "Necessity: probability while the map's highest places are blanked ↓",
        "insertion": "Sufficiency: probability while all but its highest places are blurred ↑",
        "road": "ROAD: lowest less highest places filled in ↑",
    }
    rows = []
    for r in table[table["measure"].isin(list(names))].to_dict("records"):
        verdict = r["verdict"] if isinstance(r["verdict"], str) else "–"
        numbers = [
            _to_estimate(r),
            _to_estimate(r, "gap", "gap_low", "gap_high"),
            _to_estimate(r, "random", "random_low", "random_high"),
        ]
        name = "random order" if r["method"] == RANDOM_ORDER else view.label(r["method"])
        rows.append([names[str(r["measure"])], name, *(n.text(3) for n in numbers), verdict, f"{r['n']:,}"])
    caption = (
        "Does the decision rest on what the map shows? Areas over the shares of the film erased or shown, mean [95 % "
        "interval]; less the same with the map of another patient with the finding, which the verdict is of; and less "
        "that of random places, without which no verdict counts"
    )
    head = ["Question", "Map", "Area", "Less another patient's map", "Less random places", "Verdict", "Cases"]
    return Table.create(caption, head, rows, 2, "robustness")


def _to_estimate(row: Mapping[Hashable, Any], mean: str = "mean", low: str = "low", high: str = "high") -> Estimate:
    if mean not in row:
        return Estimate.undefined()
    return Estimate(row[mean], row[low], row[high], row.get("n", 0), row.get("patients", 0))


def cost_table(view: RunView) -> Table | None:
    """Milliseconds an image of every network and method."""
    table = read_table(view, "costs")
    if table.empty:
        return None
    forward = table[table["what"] == "forward"].set_index("model")["least"].to_dict()
    rows = []
    for r in table.to_dict("records"):
        what = f"forward · {r['model']}" if r["what"] == "forward" else view.label(f"{r['model']}/{r['what']}")
        times = [format_decimal(r[k], 1) for k in ("least", "median", "most", "processor")]
        rows.append([what, f"{r['parameters']:,}", *times, format_decimal(r["least"] / forward[r["model"]], 1)])
    caption = (
        "What maps cost: milliseconds an image for all findings at once, forward included, of "
        f"{int(table['rounds'].iloc[0])} rounds in turn, two images at a time; last column in forwards of the network"
    )
    head = ["What", "Parameters", "Least", "Median", "Most", "Processor time", "Forwards"]
    return Table.create(caption, head, rows, 1, "costs")


def rating_tables(view: RunView) -> list[Table]:
    """Ratings of simulated readers: means, contrasts, agreement."""
    table = read_table(view, "ratings_means")
    if table.empty:
        return []
    asked = [q.name for q in QUESTIONS] + ["choice"]
    by = {(r["source"], r["question"]): _to_estimate(r) for r in table[table["reader"] == "all"].to_dict("records")}
    sources = list(dict.fromkeys(table["source"]))
    rows = [[view.label(s), *(by[s, q].text() for q in asked), f"{by[s, 'location'].n:,}"] for s in sources]
    caption = (
        "Simulated readers, who rate by the scores above: the analysis is shown at work, nothing is learned of what "
        "radiologists think. Mean on the scale of 1 to 5, share chosen, [95 % interval]"
    )
    made = [Table.create(caption, ["Map", *(q.title() for q in asked), "Ratings"], rows, 1, "ratings_means")]
    rows = []
    for r in read_table(view, "ratings_contrasts").to_dict("records"):
        p = "< 0.01" if r["p_holm"] < 0.01 else format_decimal(r["p_holm"])
        between = f"{view.label(r['source'])} less {view.label(r['versus'])}"
        rows.append([r["question"], between, _to_estimate(r).text(), p, f"{100 * r['wins']:.0f} %"])
    caption = "Paired differences of simulated ratings, p corrected by Holm, share of pairs won"
    made.append(Table.create(caption, ["Question", "Maps", "Difference", "p", "Won"], rows, 2, "ratings_contrasts"))
    rows = []
    for r in read_table(view, "ratings_agreement").to_dict("records"):
        kind = "between readers" if r["kind"] == "between" else "a reader again"
        kappa = _to_estimate(r, "kappa").text()
        rows.append([r["question"], kind, r["reader"], r["versus"], kappa, f"{r['n']:,}"])
    caption = "Kappa of simulated readers (quadratic weights; of the choice nominal), [95 % interval]"
    head = ["Question", "Kind", "Reader", "With", "Kappa", "Pairs"]
    made.append(Table.create(caption, head, rows, 4, "ratings_agreement"))
    return made
