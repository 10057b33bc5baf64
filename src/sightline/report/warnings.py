"""What a reader must know before any figure: of the data, of the models, of the maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.core import NAN, Source
from sightline.report.phrasing import counted, joined, listed, noted, side, the
from sightline.report.run_view import AVERAGE, Number, View, higher_is_better, title

_POOR_AUROC, _MANY_FAILED, _MOST_NOTES, _FEW_PATIENTS = 0.7, 0.1, 5, 10


@dataclass(frozen=True, slots=True)
class Caution:
    """Something a reader must know before any figure."""

    title: str
    text: str
    grave: bool = True
    """Whether it changes what the figures mean; else it is worth knowing."""


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
        key = (Source.parse(source).model, *np.nan_to_num(np.round(means, 6), nan=-1.0))
        groups.setdefault(key, []).append(view.label(source))
    alike = [names for names in groups.values() if len(names) > 1]
    if not alike or len(view.metrics) < 2:
        return []
    said = "; ".join(joined(names) for names in alike)
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
    told = side(number.low, number.high, higher_is_better(metric))
    if not number.defined or np.isnan(number.low) or told > 0:
        return []
    better, unclear = ("A control locates the findings better", "These maps are not shown to locate the findings")
    if view.info.get("study") == "gaze":
        better, unclear = ("A control agrees better with gaze", "These maps are not shown to agree with gaze")
    auroc = average_auroc(view, Source.parse(view.best).model)
    accurate = "" if auroc is None or auroc.mean < 0.8 else (
        f" The model itself is accurate, average AUROC {auroc.text()}{noted([auroc], 'label')}: either it decides by "
        "something other than the findings, a shortcut, or the method does not show what it decides by."
    )  # fmt: skip
    return [
        Caution(
            better if told else unclear,
            f"The best of these maps, {view.label(view.best)}, is {'worse' if told else 'not clearly better'} than "
            f"{the(view, view.control)}, which never looks at what the model learned: "
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
            text += f" On {len(chance)} of {len(rows)} findings it cannot be told from chance{listed(chance)}."
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
        counts = joined([f"{counted(n, 'mark')} of {finding}" for finding, n in marks.items()])
        text = f"None for the {counts}. {_fate(view)}"
        made.append(Caution(f"{label} has no map of {joined(list(marks))}", text))
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
