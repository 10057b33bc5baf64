"""What the numbers say, in sentences: every figure in them is one of the tables'."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.core import Source
from sightline.protocol import CORRECTED, PROTOCOLS, Protocol
from sightline.report.phrasing import among, article, every, joined, listed, noted, side, the
from sightline.report.run_view import View, higher_is_better, title


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
        sides[side(number.low, number.high, higher_is_better(metric))].append(finding)
    return Versus(tuple(sides[1]), tuple(sides[-1]), tuple(sides[0]))


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
    several = len({Source.parse(s).model for s in asked}) > 1
    what = "pairs of saliency method and network" if several else "saliency methods"
    return f"Best of {len(asked)} {what} (controls and readers aside), {view.label(source)}"


def _level(view: View, source: str, metric: str) -> str:
    number = view.number(source, metric)
    text = f"{_chosen(view, source)} reaches {article(title(metric))} of {number.text()}"
    text += f", averaged over {_count(view)}" if len(view.findings) > 1 else f" for {_count(view)}"
    others = {s: n for s in (view.reader, view.control) if s and (n := view.number(s, metric)).defined}
    if others:
        text += ", against " + " and ".join(f"{n.text()} for {the(view, s)}" for s, n in others.items())
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
    beside = "; ".join([*(f"{the(view, s)} {n.text()}" for s, n in others.items()), among([number, *others.values()])])
    return f"{text} {number.text()} ({beside})."


def _against(view: View, source: str, other: str, metric: str) -> str:
    who = the(view, other)
    v = versus(view, source, other, metric)
    number = view.difference(source, other, metric)
    if not v.total or np.isnan(number.low):
        return f"Its paired difference to {who} is {number.text()}{noted([number])}." if number.defined else ""
    groups = [(v.better, "clearly better than"), (v.worse, "clearly worse than"), (v.undecided, "not told apart from")]
    there = [(found, words) for found, words in groups if found]
    (found, words), rest = there[0], there[1:]
    some = f"{len(found)} of {v.total} findings{listed(found)}"
    all_of = found[0] if v.total == 1 else f"{every(v.total)} findings"
    text = f"By {title(metric)} it is {words} {who} on {all_of if len(found) == v.total else some}"
    parts = [f"{words.rsplit(' ', 1)[0]} on {len(names)}{listed(names)}" for names, words in rest]
    told = "" if v.total == 1 else "on average "
    return f"{joined([text, *parts])}; the paired difference is {told}{number.text()}{noted([number])}."


def _beaten(view: View, source: str, strongest: str, metric: str) -> str:
    """Which other controls are clearly better as well."""
    gaps = {c: view.difference(source, c, metric) for c in view.of_kind("control") if c != strongest}
    above = {c: n for c, n in gaps.items() if side(n.low, n.high, higher_is_better(metric)) < 0}
    told = [f"{the(view, c)} ({n.text()})" for c, n in above.items()]
    return f"It is on average clearly worse than {joined(told)}, too{noted(above.values())}." if told else ""


def _range(view: View, source: str, metric: str) -> str:
    numbers = [(f, view.number(source, metric, f)) for f in view.findings]
    numbers = [(f, n) for f, n in numbers if n.defined]
    if len(numbers) < 2:
        return ""
    ordered = sorted(numbers, key=lambda fn: (-fn[1].mean if higher_is_better(metric) else fn[1].mean, fn[0]))
    (first, best), (last, worst) = ordered[0], ordered[-1]
    counts = noted([best, worst])
    return f"It does best on {first}, {best.text()}, and worst on {last}, {worst.text()}{counts}."


def origin(view: View, option: str) -> str:
    """Where thresholds or cutoffs come from; '' where the protocol's own are used."""
    facts = view.info.get("tuned", {}).get(option)
    if not facts:
        return ""
    if facts.get("shared"):
        return f"tuned on the data that is scored ({facts['from']})"
    return f"tuned on {facts['data']} ({facts['from']})" if facts.get("data") else f"from {facts['from']}"


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
    "definitions": "How shapes, regressions, decreases and comparisons of maps are defined",
    "thresholds": "Findings whose masks are cut at a threshold of their own",
    "cutoffs": "Probability below which a map claims nothing, where all images are scored",
}
"""What each field of a protocol record means."""


def protocol_of(view: View) -> Protocol:
    """Return the record of the main protocol, as the run was scored under it."""
    fields = view.info.get("protocols", {}).get(view.protocol)
    return Protocol(**{**fields, "name": view.protocol}) if fields else PROTOCOLS.get(view.protocol, (CORRECTED,))[0]
