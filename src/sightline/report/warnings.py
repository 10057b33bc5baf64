"""Warnings of a report: weaknesses of the data, the models and the maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sightline.core import NAN, Source
from sightline.report.estimate import AVERAGE, Estimate
from sightline.report.phrasing import (
    count_noun,
    interval_sign,
    join_list,
    list_in_parentheses,
    sample_size_note,
    with_article,
)
from sightline.report.run_tables import was_selected_elsewhere
from sightline.report.run_view import RunView
from sightline.report.titles import higher_is_better, metric_title

_POOR_AUROC, _MANY_FAILED, _MAX_NOTES, _FEW_PATIENTS = 0.7, 0.1, 5, 10


@dataclass(frozen=True, slots=True)
class ReportWarning:
    """Fact that a reader must know before any figure."""

    title: str
    """Heading."""
    text: str
    """Explanation in whole sentences."""
    is_severe: bool = True
    """Whether it changes the meaning of the results."""


def collect_warnings(view: RunView) -> list[ReportWarning]:
    """Collect what makes the results of a run weaker than they look.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of ReportWarning
        Warnings, the most severe first.
    """
    warnings = [ReportWarning("Note on a model", f"{note}.") for note in view.info.get("notes", ())]
    warnings += [*_few_patients(view), *_tuned_on_scored_data(view), *_no_better_than_control(view), *_inaccurate(view)]
    warnings += [*_missing_findings(view), *_failed_maps(view), *_identical_sources(view)]
    for heading, notes in (
        ("Note on the published protocol", view.info.get("published_notes", ())),
        ("Notes on the data", view.info.get("dataset", {}).get("warnings", ())),
        ("Files of maps that could not be used", view.info.get("problems", ())),
    ):
        if notes:
            more = f" And {len(notes) - _MAX_NOTES} more." if len(notes) > _MAX_NOTES else ""
            text = " ".join(str(n).rstrip(".") + "." for n in notes[:_MAX_NOTES])
            warnings.append(ReportWarning(heading, text + more, is_severe=False))
    return warnings


def _identical_sources(view: RunView) -> list[ReportWarning]:
    """Return sources of one model with equal scores everywhere: they are one method under several names."""
    groups: dict[tuple[str | float, ...], list[str]] = {}
    for source in view.sources_of_kind("model"):
        means = [view.estimate(source, m, f).mean for m in view.metrics for f in view.findings]
        key = (Source.parse(source).model, *np.nan_to_num(np.round(means, 6), nan=-1.0))
        groups.setdefault(key, []).append(view.label(source))
    alike = [names for names in groups.values() if len(names) > 1]
    if not alike or len(view.metrics) < 2:
        return []
    groups_text = "; ".join(join_list(names) for names in alike)
    text = (
        f"{groups_text} have the same score on every finding and metric. For a network that ends in global average "
        "pooling and one linear layer, CAM, Grad-CAM, HiResCAM and XGrad-CAM are the same map by their formulas, so "
        "their order is only rounding."
    )
    return [ReportWarning("Methods with identical maps", text, is_severe=False)]


def _few_patients(view: RunView) -> list[ReportWarning]:
    source = view.best or view.reader or view.control
    patients = view.estimate(source, view.metrics[0]).patients if source else 0
    if not source or patients >= _FEW_PATIENTS:
        return []
    text = "One patient gives no interval." if patients == 1 else "Intervals of so few patients are too narrow."
    return [
        ReportWarning(f"Only {count_noun(patients, 'patient')}", f"{text} Every number is an example, not a result.")
    ]


def _no_better_than_control(view: RunView) -> list[ReportWarning]:
    titles = view.section.control_warnings
    if view.best is None or view.control is None or titles is None:
        return []
    metric = view.metrics[0]
    number = view.difference(view.best, view.control, metric)
    sign = interval_sign(number.low, number.high, higher_is_better(metric))
    if not number.is_defined or np.isnan(number.low) or sign > 0:
        return []
    auroc = average_auroc(view, Source.parse(view.best).model)
    accurate = (
        ""
        if auroc is None or auroc.mean < 0.8
        else (
            f" The model itself is accurate, average AUROC {auroc.text()}{sample_size_note([auroc], 'label')}: "
            "it may rely on something else in the image (a shortcut), or the method does not show what it relies on."
        )
    )
    return [
        ReportWarning(
            titles[0] if sign else titles[1],
            f"{_name_maps(view)}, {view.label(view.best)}, is {'worse' if sign else 'not clearly better'} than "
            f"{with_article(view, view.control)}, which does not depend on what the model learned: "
            f"difference in {metric_title(metric)} {number.text()}{sample_size_note([number])}.{accurate}",
        )
    ]


def _name_maps(view: RunView) -> str:
    elsewhere = was_selected_elsewhere(view.info)
    return "The source that was best on the selection data" if elsewhere else "The best of these maps"


def _inaccurate(view: RunView) -> list[ReportWarning]:
    warnings = []
    for model in dict.fromkeys(a.model for a in view.aurocs):
        auroc = average_auroc(view, model)
        if model in view.untrained_models or auroc is None or auroc.mean >= _POOR_AUROC:
            continue
        rows = [a for a in view.aurocs if a.model == model and a.finding != AVERAGE and a.estimate.is_defined]
        chance = [a.finding for a in rows if not a.estimate.low > 0.5]
        text = f"Its average AUROC is {auroc.text()}{sample_size_note([auroc], 'label')}."
        if chance:
            text += (
                f" On {len(chance)} of {len(rows)} findings it is not clearly better than "
                f"chance{list_in_parentheses(chance)}."
            )
        text += " Maps of a model that does not recognize a finding cannot be expected to locate it."
        warnings.append(ReportWarning(f"{model} is not accurate", text))
    if len(warnings) <= _MAX_NOTES:
        return warnings
    names = [c.title.removesuffix(" is not accurate") for c in warnings]
    text = (
        f"Their average AUROC is below {_POOR_AUROC:g}: {', '.join(names[:_MAX_NOTES])} and "
        f"{len(names) - _MAX_NOTES} more. Maps of a model that does not recognize a finding cannot be expected to "
        "locate it."
    )
    return [ReportWarning(f"{len(warnings)} networks are not accurate", text)]


def average_auroc(view: RunView, model: str) -> Estimate | None:
    """Return the average AUROC of a model over findings, all with the same weight.

    Parameters
    ----------
    view : RunView
        The run.
    model : str
        Name of the model.

    Returns
    -------
    Estimate or None
        The average, without an interval if the run has none; None if there is no AUROC.
    """
    rows = [a for a in view.aurocs if a.model == model and a.estimate.is_defined]
    whole = [a.estimate for a in rows if a.finding == AVERAGE or len(rows) == 1]
    if whole or not rows:
        return whole[0] if whole else None
    return Estimate(sum(a.estimate.mean for a in rows) / len(rows), NAN, NAN, 0, 0)


def _tuned_on_scored_data(view: RunView) -> list[ReportWarning]:
    names = {"map_thresholds": "Thresholds", "probability_cutoffs": "Probability cutoffs"}
    return [
        ReportWarning(
            f"{names[option]} were tuned on the data that is scored",
            f"{origin['from']} chose them on {origin['shared']:,} of the {count_noun(origin['patients'], 'patient')} "
            "scored here, so results that depend on them are better than on new patients. Tune them on other patients.",
        )
        for option, origin in view.info.get("threshold_provenance", {}).items()
        if origin.get("shared")
    ]


def _missing_findings(view: RunView) -> list[ReportWarning]:
    """Return findings for which a source has no map at all."""
    rows = view.expected_maps
    missing: dict[str, dict[str, int]] = {}
    for key, status in rows.groupby(["source", "finding"], sort=False)["status"]:
        source, finding = map(str, key if isinstance(key, tuple) else (key,))
        if view.is_listed(source) and view.kind(source) == "model" and (status == "missing").all():
            missing.setdefault(view.label(source), {})[finding] = len(status)
    warnings = []
    for label, findings in missing.items():
        counts = join_list([f"{count_noun(n, 'annotation')} of {finding}" for finding, n in findings.items()])
        text = f"There is no map for the {counts}. {_failure_policy(view)}"
        warnings.append(ReportWarning(f"{label} has no map of {join_list(list(findings))}", text))
    return warnings


def _failed_maps(view: RunView) -> list[ReportWarning]:
    annotated = view.status[view.status["annotated"].astype(bool) & view.status["source"].map(view.is_listed)]
    expected = annotated[np.array([view.kind(s) == "model" for s in annotated["source"]], bool)]
    table = expected[(expected["status"] != "ok") & (expected["maps"] > 0)]
    if not len(table):
        return []
    failed, total = int(table["maps"].sum()), int(expected["maps"].sum())
    counts: dict[str, list[str]] = {}
    for source, status, maps in zip(table["source"], table["status"], table["maps"], strict=True):
        counts.setdefault(view.label(source), []).append(f"{maps:,} {status}")
    parts = [f"{label}: {', '.join(parts)}" for label, parts in counts.items()]
    return [
        ReportWarning(
            f"{failed:,} of {count_noun(total, 'map')} of models failed",
            f"{_failure_policy(view)} {'; '.join(parts)}.",
            is_severe=failed > _MANY_FAILED * total,
        )
    ]


def _failure_policy(view: RunView) -> str:
    """How the main protocol treats a failed map."""
    if view.info.get("protocols", {}).get(view.protocol, {}).get("empty_prediction") == "drop":
        return "This protocol leaves them out of the averages of overlap, which favors the method."
    return "They count as misses and are never left out."
