"""What the numbers say, in sentences: every figure in them is one of the tables'."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sightline.core import NAN
from sightline.report.view import AVERAGE, Number, View, higher_is_better, title

_POOR_AUROC, _MANY_FAILED, _MOST_NOTES, _FEW_PATIENTS = 0.7, 0.1, 5, 10


@dataclass(frozen=True, slots=True)
class Caution:
    """Something a reader must know before any figure."""

    title: str
    text: str
    grave: bool = True
    """Whether it changes what the figures mean; else it is worth knowing."""


@dataclass(frozen=True, slots=True)
class Versus:
    """Findings on which one source is clearly better, clearly worse, or not told apart (95 % paired intervals)."""

    better: tuple[str, ...]
    worse: tuple[str, ...]
    undecided: tuple[str, ...]

    @property
    def total(self) -> int:
        return len(self.better) + len(self.worse) + len(self.undecided)


def versus(view: View, source: str, other: str, metric: str) -> Versus:
    """Sort the findings with a paired difference by what its interval says."""
    sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for finding in view.findings:
        number = view.difference(source, other, metric, finding)
        if not number.defined:
            continue
        sides[_side(number.low, number.high, higher_is_better(metric))].append(finding)
    return Versus(tuple(sides[1]), tuple(sides[-1]), tuple(sides[0]))


def _side(low: float, high: float, higher: bool) -> int:
    """1 if an interval of a difference lies on the better side of zero, -1 on the worse, 0 if it tells nothing."""
    if np.isnan(low) or np.isnan(high) or low <= 0 <= high:
        return 0
    return 1 if (low > 0) == higher else -1


def verdict(view: View) -> list[str]:
    """The findings of the run in a few plain sentences."""
    if not view.metrics:
        return ["This run holds no estimates, so there is nothing to judge yet."]
    metric = view.metrics[0]
    if view.best is None:
        return _without_model(view, metric)
    sentences = [_level(view, view.best, metric)]
    if len(view.shown) > 1:
        sentences.append(_pointing(view, view.best, view.shown[1]))
    if view.control:
        sentences += [_against(view, view.best, view.control, metric), _beaten(view, view.best, view.control, metric)]
    if view.reader:
        sentences.append(_against(view, view.best, view.reader, metric))
    sentences.append(_range(view, view.best, metric))
    return [s for s in sentences if s]


def _without_model(view: View, metric: str) -> list[str]:
    if not view.sources:
        return ["No map could be scored."]
    shown = [s for s in (view.reader, view.control) if s]
    levels = "; ".join(f"{view.label(s)} {view.number(s, metric).text()}" for s in shown) or "undefined"
    counts = noted(view.number(s, metric) for s in shown)
    return [f"This run holds no maps of a trained model. {title(metric)} over {_count(view)}: {levels}{counts}."]


def counted(n: int, noun: str) -> str:
    """'1 patient', '2,000 patients'."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def among(some: Iterable[Number], noun: str = "map") -> str:
    """Of how many maps and patients some numbers tell; a range where they differ, '' where nobody counted.

    >>> among([Number(0.3, 0.2, 0.4, 12, 9), Number(0.5, 0.4, 0.6, 1, 1)])
    'n = 1 to 12 maps of 1 to 9 patients'
    """
    counts = [(x.n, x.patients) for x in some if x.n]
    if not counts:
        return ""
    n, patients = ((min(column), max(column)) for column in zip(*counts, strict=True))
    return f"n = {_span(*n, noun)}" + (f" of {_span(*patients, 'patient')}" if patients[1] else "")


def _span(least: int, most: int, noun: str) -> str:
    return counted(most, noun) if least == most else f"{least:,} to {counted(most, noun)}"


def noted(some: Iterable[Number], noun: str = "map") -> str:
    """`among` in parentheses, for the end of a sentence."""
    told = among(some, noun)
    return f" ({told})" if told else ""


def _count(view: View) -> str:
    n = len(view.findings)
    return f"{n} findings" if n != 1 else view.findings[0]


ASIDE = "of the saliency methods; controls and readers aside"
"""What the best source is the best of."""


def _chosen(view: View, source: str) -> str:
    """Who is spoken of, and among how many it was chosen."""
    asked = view.of_kind("model")
    if len(asked) == 1:
        return view.label(source)
    several = len({s.rpartition("/")[0] for s in asked}) > 1
    what = "pairs of saliency method and network" if several else "saliency methods"
    return f"Best of {len(asked)} {what} (controls and readers aside), {view.label(source)}"


def _level(view: View, source: str, metric: str) -> str:
    number = view.number(source, metric)
    text = f"{_chosen(view, source)} reaches {_a(title(metric))} of {number.text()}"
    text += f", averaged over {_count(view)}" if len(view.findings) > 1 else f" for {_count(view)}"
    others = {s: n for s in (view.reader, view.control) if s and (n := view.number(s, metric)).defined}
    if others:
        text += ", against " + " and ".join(f"{n.text()} for {_the(view, s)}" for s, n in others.items())
    return f"{text}{noted([number, *others.values()])}."


def _pointing(view: View, source: str, metric: str) -> str:
    number = view.number(source, metric)
    if not number.defined:
        return ""
    answers = [view.answering(s, metric) for s in (view.reader, view.control) if s]
    others = {s: n for s in answers if (n := view.number(s, metric)).defined}
    text = (
        "The map's highest point falls inside the mark at a rate of" if metric == "hit" else f"Its {title(metric)} is"
    )
    beside = "; ".join([*(f"{_the(view, s)} {n.text()}" for s, n in others.items()), among([number, *others.values()])])
    return f"{text} {number.text()} ({beside})."


def _against(view: View, source: str, other: str, metric: str) -> str:
    who = _the(view, other)
    v = versus(view, source, other, metric)
    number = view.difference(source, other, metric)
    if not v.total or np.isnan(number.low):
        return f"Its paired difference to {who} is {number.text()}{noted([number])}." if number.defined else ""
    groups = [(v.better, "clearly better than"), (v.worse, "clearly worse than"), (v.undecided, "not told apart from")]
    there = [(found, words) for found, words in groups if found]
    (found, words), rest = there[0], there[1:]
    some = f"{len(found)} of {v.total} findings{_names(found)}"
    every = found[0] if v.total == 1 else f"{_all(v.total)} findings"
    text = f"By {title(metric)} it is {words} {who} on {every if len(found) == v.total else some}"
    parts = [f"{words.rsplit(' ', 1)[0]} on {len(names)}{_names(names)}" for names, words in rest]
    told = "" if v.total == 1 else "on average "
    return f"{_join([text, *parts])}; the paired difference is {told}{number.text()}{noted([number])}."


def _beaten(view: View, source: str, strongest: str, metric: str) -> str:
    """Which other controls are clearly better as well."""
    gaps = {c: view.difference(source, c, metric) for c in view.of_kind("control") if c != strongest}
    above = {c: n for c, n in gaps.items() if _side(n.low, n.high, higher_is_better(metric)) < 0}
    told = [f"{_the(view, c)} ({n.text()})" for c, n in above.items()]
    return f"It is on average clearly worse than {_join(told)}, too{noted(above.values())}." if told else ""


def _range(view: View, source: str, metric: str) -> str:
    numbers = [(f, view.number(source, metric, f)) for f in view.findings]
    numbers = [(f, n) for f, n in numbers if n.defined]
    if len(numbers) < 2:
        return ""
    ordered = sorted(numbers, key=lambda fn: (-fn[1].mean if higher_is_better(metric) else fn[1].mean, fn[0]))
    (first, best), (last, worst) = ordered[0], ordered[-1]
    counts = noted([best, worst])
    return f"It does best on {first}, {best.text()}, and worst on {last}, {worst.text()}{counts}."


def warnings(view: View) -> list[Caution]:
    """What makes the rest of the report weaker than it looks; the gravest first."""
    found = [Caution("What is known of a model", f"{note}.") for note in view.info.get("notes", ())]
    found += [*_too_few(view), *_tuned_here(view), *_no_better_than_control(view), *_inaccurate(view)]
    found += [*_absent(view), *_failed(view), *_same(view)]
    for heading, notes in (
        ("Notes on the data", view.info.get("dataset", {}).get("warnings", ())),
        ("Files of maps that could not be used", view.info.get("problems", ())),
    ):
        if notes:
            more = f" And {len(notes) - _MOST_NOTES} more." if len(notes) > _MOST_NOTES else ""
            said = " ".join(str(n).rstrip(".") + "." for n in notes[:_MOST_NOTES])
            found.append(Caution(heading, said + more, grave=False))
    return found


def _same(view: View) -> list[Caution]:
    """Sources of one model that score alike everywhere: on such a network they are one method under several names."""
    groups: dict[tuple[str | float, ...], list[str]] = {}
    for source in view.of_kind("model"):
        means = [view.number(source, m, f).mean for m in view.metrics for f in view.findings]
        key = (source.rpartition("/")[0], *np.nan_to_num(np.round(means, 6), nan=-1.0))
        groups.setdefault(key, []).append(view.label(source))
    alike = [names for names in groups.values() if len(names) > 1]
    if not alike or len(view.metrics) < 2:
        return []
    said = "; ".join(_join(names) for names in alike)
    text = (
        f"{said} score the same on every finding and metric. Behind global average pooling and one linear layer, CAM, "
        "Grad-CAM, HiResCAM and XGrad-CAM are one map by their formulas: ranking them would rank rounding."
    )
    return [Caution("Methods that are one here", text, grave=False)]


def _too_few(view: View) -> list[Caution]:
    source = view.best or view.reader or view.control
    patients = view.number(source, view.metrics[0]).patients if source else 0
    if not source or patients >= _FEW_PATIENTS:
        return []
    text = "No interval can be drawn from one patient." if patients == 1 else "Intervals of so few are too narrow."
    return [
        Caution(f"Only {counted(patients, 'patient')}", f"{text} Read every figure as an example, not as a result.")
    ]


def _no_better_than_control(view: View) -> list[Caution]:
    if view.best is None or view.control is None or view.info.get("study") == "trust":  # there it is a verdict
        return []
    metric = view.metrics[0]
    number = view.difference(view.best, view.control, metric)
    side = _side(number.low, number.high, higher_is_better(metric))
    if not number.defined or np.isnan(number.low) or side > 0:
        return []
    better, unclear = ("A control locates the findings better", "These maps are not shown to locate the findings")
    if view.info.get("study") == "gaze":
        better, unclear = ("A control agrees better with gaze", "These maps are not shown to agree with gaze")
    auroc = average_auroc(view, view.best.rsplit("/", 1)[0])
    accurate = "" if auroc is None or auroc.mean < 0.8 else (
        f" The model itself is accurate, average AUROC {auroc.text()}{noted([auroc], 'label')}: either it decides by "
        "something other than the findings, a shortcut, or the method does not show what it decides by."
    )  # fmt: skip
    return [
        Caution(
            better if side else unclear,
            f"The best of these maps, {view.label(view.best)}, is {'worse' if side else 'not clearly better'} than "
            f"{_the(view, view.control)}, which never looks at what the model learned: "
            f"difference in {title(metric)} {number.text()}{noted([number])}.{accurate}",
        )
    ]


def _inaccurate(view: View) -> list[Caution]:
    found = []
    for model in dict.fromkeys(a.model for a in view.aurocs):
        auroc = average_auroc(view, model)
        if model in view.untrained or auroc is None or auroc.mean >= _POOR_AUROC:
            continue
        rows = [a for a in view.aurocs if a.model == model and a.finding != AVERAGE and a.number.defined]
        chance = [a.finding for a in rows if not a.number.low > 0.5]
        text = f"Its average AUROC is {auroc.text()}{noted([auroc], 'label')}."
        if chance:
            text += f" On {len(chance)} of {len(rows)} findings it cannot be told from chance{_names(chance)}."
        text += " Maps of a model that does not recognize a finding cannot be expected to locate it."
        found.append(Caution(f"{model} is not accurate", text))
    if len(found) <= _MOST_NOTES:
        return found
    names = [c.title.removesuffix(" is not accurate") for c in found]
    said = (
        f"Their average AUROC is below {_POOR_AUROC:g}: {', '.join(names[:_MOST_NOTES])} and "
        f"{len(names) - _MOST_NOTES} more. Maps of a model that does not recognize a finding cannot be expected to "
        "locate it."
    )
    return [Caution(f"{len(found)} networks are not accurate", said)]


def average_auroc(view: View, model: str) -> Number | None:
    """Unweighted mean over findings; without an interval in runs whose tables have none; None where there is none."""
    rows = [a for a in view.aurocs if a.model == model and a.number.defined]
    whole = [a.number for a in rows if a.finding == AVERAGE or len(rows) == 1]
    if whole or not rows:
        return whole[0] if whole else None
    return Number(sum(a.number.mean for a in rows) / len(rows), NAN, NAN, 0, 0)


def _tuned_here(view: View) -> list[Caution]:
    names = {"thresholds": "Thresholds", "cutoffs": "Probability cutoffs"}
    return [
        Caution(
            f"{names[option]} were tuned on the data that is scored",
            f"{facts['from']} chose them on {facts['shared']:,} of the {counted(facts['patients'], 'patient')} scored "
            "here: what they decide looks better than it would on new patients. Tune them on other patients.",
        )
        for option, facts in view.info.get("tuned", {}).items()
        if facts.get("shared")
    ]


def origin(view: View, option: str) -> str:
    """Where thresholds or cutoffs come from; '' where the protocol's own are used."""
    facts = view.info.get("tuned", {}).get(option)
    if not facts:
        return ""
    if facts.get("shared"):
        return f"tuned on the data that is scored ({facts['from']})"
    return f"tuned on {facts['data']} ({facts['from']})" if facts.get("data") else f"from {facts['from']}"


def _absent(view: View) -> list[Caution]:
    """Findings of which a source has no map at all."""
    rows = view.marked
    found: dict[str, dict[str, int]] = {}
    for key, status in rows.groupby(["source", "finding"], sort=False)["status"]:
        source, finding = map(str, key if isinstance(key, tuple) else (key,))
        if view.asked(source) and view.kind(source) == "model" and (status == "missing").all():
            found.setdefault(view.label(source), {})[finding] = len(status)
    made = []
    for label, marks in found.items():
        counts = _join([f"{counted(n, 'mark')} of {finding}" for finding, n in marks.items()])
        text = f"None for the {counts}. {_fate(view)}"
        made.append(Caution(f"{label} has no map of {_join(list(marks))}", text))
    return made


def _failed(view: View) -> list[Caution]:
    marked = view.status[view.status["marked"].astype(bool) & view.status["source"].map(view.asked)]
    owed = marked[np.array([view.kind(s) == "model" for s in marked["source"]], bool)]
    table = owed[(owed["status"] != "ok") & (owed["maps"] > 0)]
    if not len(table):
        return []
    failed, total = int(table["maps"].sum()), int(owed["maps"].sum())
    counts: dict[str, list[str]] = {}
    for source, status, maps in zip(table["source"], table["status"], table["maps"], strict=True):
        counts.setdefault(view.label(source), []).append(f"{maps:,} {status}")
    parts = [f"{label}: {', '.join(said)}" for label, said in counts.items()]
    return [
        Caution(
            f"{failed:,} of {counted(total, 'map')} of models failed",
            f"{_fate(view)} {'; '.join(parts)}.",
            grave=failed > _MANY_FAILED * total,
        )
    ]


def _fate(view: View) -> str:
    """What the main protocol does with a failed map."""
    if view.info.get("protocols", {}).get(view.protocol, {}).get("empty_prediction") == "drop":
        return "This protocol leaves them out of the averages of overlap, which flatters the method."
    return "They are counted as misses, never left out."


def _the(view: View, source: str) -> str:
    label = view.label(source).removeprefix("control: ")
    kind = view.kind(source)
    return f"the {'control ' if kind == 'control' else ''}{label}" if kind != "model" else label


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "AEIOaeio" else f"a {noun}"


def _names(findings: Sequence[str], most: int = 4) -> str:
    return f" ({', '.join(findings)})" if len(findings) <= most else ""


def _all(n: int) -> str:
    return "both" if n == 2 else f"all {n}"


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


FIELDS = {
    "frame": "Where a map lies: where its own frame says (carried), or stretched over the whole image",
    "binarizer": "How a map becomes a mask",
    "fill_holes": "Whether that mask is redrawn from its contours, which fills holes and drops single pixels",
    "ties": "Which of several equal maxima is the highest point",
    "empty_prediction": "What an empty mask does: score the worst value, or leave the average",
    "resample": "What the bootstrap draws",
    "interval": "How replicates become an interval",
    "point_radius": "Radius of the disk that stands for a point mark, in shorter sides of the image",
    "smooth": "Side of the box filter before Otsu's threshold (0: none; below 1: share of the height; else pixels)",
    "thresholds": "Findings whose masks are cut at a threshold of their own",
    "cutoffs": "Probability below which a map claims nothing, where all images are scored",
}
"""What each field of a protocol record means."""
