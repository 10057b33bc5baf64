"""Tables of a self-explaining study: localization, accuracy, label budget, faithfulness, costs and ratings."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from sightline.data.reader_study.rating_sheets import QUESTIONS
from sightline.report.estimate import AVERAGE, Estimate, format_decimal
from sightline.report.phrasing import count_noun
from sightline.report.run_view import RunView
from sightline.report.sections.selfexplain.results import (
    MAIN_METRIC,
    intrinsic_source,
    loss_verdict_text,
    ordered_sources,
    read_table,
    to_estimate,
)
from sightline.report.tables import Table
from sightline.report.titles import metric_title
from sightline.stats.faithfulness import RANDOM_ORDER
from sightline.stats.froc import MEAN_OVER_RATES
from sightline.stats.verdicts import Verdict


def localization_table(view: RunView) -> Table | None:
    """Make the table of every source by overlap, pointing and FROC.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    froc = read_table(view, "froc")
    if froc.empty:
        return None
    several = (froc["finding"] == AVERAGE).any()
    part = froc[(froc["rate"] == MEAN_OVER_RATES) & ((froc["finding"] == AVERAGE) | (not several))]
    reads = {
        (r["source"], r["radiographs"]): Estimate(r["mean"], r["low"], r["high"], r["n"], r["patients"])
        for r in part.to_dict("records")
    }
    metrics = [m for m in (MAIN_METRIC, "pr-area", "iou", "pointing-game") if (view.estimates["metric"] == m).any()]
    rows = []
    for s in ordered_sources(view):
        numbers = [view.estimate(s, m) for m in metrics]
        curves = [reads.get((s, group), Estimate.undefined()) for group in ("annotated", "all")]
        counts = [f"{numbers[0].n:,}", f"{numbers[0].patients:,}"]
        rows.append([view.label(s), *(n.text(3) for n in (*numbers, *curves)), *counts])
    caption = (
        "Localization averaged over findings, mean [95 % interval]. FROC: sensitivity for components of annotations, "
        "mean over 0.25, 0.5, 1, 2 and 4 false positives per image, on radiographs with the finding and on all "
        "explained radiographs"
    )
    head = [
        "Source",
        *map(metric_title, metrics),
        "FROC, with the finding",
        "FROC, all radiographs",
        "Maps",
        "Patients",
    ]
    return Table.create(caption, head, rows, 1, "estimates")


def noninferiority_table(view: RunView) -> Table | None:
    """Make the table of paired differences of AUROC with both intervals and the verdict.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
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
                loss_verdict_text(r),
                f"{r['n']:,} / {r['positives']:,}",
                f"{r['patients']:,}",
            ]
        )
    margin = float(table["margin"].iloc[0])
    caption = (
        "AUROC with minus without the saliency head on the same radiographs. Non-inferior (no worse) means an "
        f"interval above −{margin:g}, a margin that was set before the comparison. Each training has its row, because "
        "another seed may change more than other patients do"
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
    """Make the table of the label budget.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "label_budget")
    if table.empty:
        return None
    by = {
        (r["role"], r["n_annotated"]): Estimate(r["mean"], r["low"], r["high"], r["n"], r["patients"]).text(3)
        for r in table.to_dict("records")
    }
    rows = [
        [f"{k:,}", by.get(("self-explaining", k), "–"), by.get(("detector", k), "–")]
        for k in sorted(set(table["n_annotated"]))
    ]
    n, patients = int(table["n"].max()), int(table["patients"].max())
    caption = (
        f"{metric_title(MAIN_METRIC)} by number of annotated radiographs, averaged over findings, mean [95 % "
        f"interval]; {count_noun(n, 'map')} of "
        f"{count_noun(patients, 'patient')}"
    )
    head = [
        "Annotated radiographs",
        "Self-explaining network: labels and these annotations",
        "Detector: these annotations",
    ]
    return Table.create(caption, head, rows, 1, "label_budget")


def label_cost_table(view: RunView) -> Table | None:
    """Make the table of the annotations that each kind of network needs, and of their cost.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    if not intrinsic_source(view):
        return None
    box = "some seconds per box: 7 or 35 on photographs, by the way of drawing (arXiv:1708.02750)"
    outline = "about a minute per outline: 79 seconds on photographs (arXiv:1405.0312)"
    rows = [
        [
            "Self-explaining network, and any post-hoc map",
            "one label per image and finding",
            "seconds, or none if labels are extracted from reports",
        ],
        ["RetinaNet", "a box around every component", box],
        ["U-Net, mask-supervised network", "an outline of every component", outline],
    ]
    caption = (
        "Cost of annotations. Times are from other studies of photographs, for orientation; no reader was timed here"
    )
    return Table.create(caption, ["Network", "Annotation", "Time of a person"], rows, 3)


def necessity_sufficiency_table(view: RunView) -> Table | None:
    """Make the table of necessity and sufficiency, compared with chance.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "perturbation_summary")
    if table.empty:
        return None
    names = {
        "deletion": "Necessity: probability while the most salient places are occluded ↓",
        "insertion": "Sufficiency: probability while all other places are blurred ↑",
        "road": "ROAD: least minus most salient places inpainted ↑",
    }
    rows = []
    for r in table[table["measure"].isin(list(names))].to_dict("records"):
        verdict = _faithfulness_verdict(r)
        numbers = [
            to_estimate(r),
            to_estimate(r, "gap", "gap_low", "gap_high"),
            to_estimate(r, "random", "random_low", "random_high"),
        ]
        name = "random order" if r["method"] == RANDOM_ORDER else view.label(r["method"])
        rows.append([names[str(r["measure"])], name, *(n.text(3) for n in numbers), verdict, f"{r['n']:,}"])
    caption = (
        "Areas under the curves over the share of the image that is occluded or kept, mean [95 % interval]; the "
        "difference from the same with the map of another patient with the finding; and the difference from random "
        "places. The map is necessary or sufficient if both differences are shown to count (smallest effects: "
        f"{_describe_effects(table)})"
    )
    head = [
        "Measure",
        "Map",
        "Area",
        "Minus the map of another patient",
        "Minus random places",
        "Verdict",
        "Cases",
    ]
    return Table.create(caption, head, rows, 2, "perturbation_summary")


def _faithfulness_verdict(row: Mapping[Hashable, Any]) -> str:
    """Write the verdict on both differences; an en dash where there is none."""
    if not isinstance(row.get("verdict"), str):
        return "–"
    verdict = Verdict.from_columns(row)
    has_random = isinstance(row.get("random_verdict"), str)
    return (verdict.combine(Verdict.from_columns(row, "random_")) if has_random else verdict).text()


def _describe_effects(table: pd.DataFrame) -> str:
    """List the smallest effects by measure."""
    effects = table.dropna(subset="smallest_effect").groupby("measure", sort=False)["smallest_effect"].first()
    return ", ".join(f"{measure} {effect:g}" for measure, effect in effects.items())


def cost_table(view: RunView) -> Table | None:
    """Make the table of the computing time of every network and method.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "timings")
    if table.empty:
        return None
    forward = table[table["operation"] == "forward"].set_index("model")["minimum"].to_dict()
    rows = []
    for r in table.to_dict("records"):
        source = f"{r['model']}/{r['operation']}"
        name = f"forward · {r['model']}" if r["operation"] == "forward" else view.label(source)
        times = [format_decimal(r[k], 1) for k in ("minimum", "median", "maximum", "cpu_median")]
        rows.append([name, f"{r['n_parameters']:,}", *times, format_decimal(r["minimum"] / forward[r["model"]], 1)])
    caption = (
        "Computing time of maps: milliseconds per image for all findings, with the forward pass, over "
        f"{int(table['rounds'].iloc[0])} rounds in turn, two images at a time; the last column is a multiple of the "
        "forward pass of the network"
    )
    head = ["Operation", "Parameters", "Minimum", "Median", "Maximum", "CPU time", "Forward passes"]
    return Table.create(caption, head, rows, 1, "timings")


def rating_tables(view: RunView) -> list[Table]:
    """Make the tables of the ratings by simulated readers: means, differences and agreement.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Table
        The tables; none if the run has no data for them.
    """
    table = read_table(view, "ratings_means")
    if table.empty:
        return []
    questions = [q.name for q in QUESTIONS] + ["choice"]
    by = {(r["source"], r["question"]): to_estimate(r) for r in table[table["reader"] == "all"].to_dict("records")}
    sources = list(dict.fromkeys(table["source"]))
    rows = [[view.label(s), *(by[s, q].text() for q in questions), f"{by[s, 'location'].n:,}"] for s in sources]
    caption = (
        "Ratings by simulated readers, who rate by the scores above: this shows how the analysis works, not what "
        "radiologists think. Mean on the scale from 1 to 5, share chosen, [95 % interval]"
    )
    tables = [Table.create(caption, ["Map", *(q.title() for q in questions), "Ratings"], rows, 1, "ratings_means")]
    rows = []
    for r in read_table(view, "ratings_contrasts").to_dict("records"):
        p = "< 0.01" if r["p_holm"] < 0.01 else format_decimal(r["p_holm"])
        between = f"{view.label(r['source'])} minus {view.label(r['versus'])}"
        rows.append([r["question"], between, to_estimate(r).text(), p, f"{100 * r['wins']:.0f} %"])
    caption = "Paired differences of simulated ratings, p adjusted by Holm, share of pairs that the first map wins"
    tables.append(Table.create(caption, ["Question", "Maps", "Difference", "p", "Won"], rows, 2, "ratings_contrasts"))
    rows = []
    for r in read_table(view, "ratings_agreement").to_dict("records"):
        kind = "between readers" if r["kind"] == "between" else "within a reader"
        kappa = to_estimate(r, "kappa").text()
        rows.append([r["question"], kind, r["reader"], r["versus"], kappa, f"{r['n']:,}"])
    caption = "Kappa of simulated readers (quadratic weights; nominal for the choice), [95 % interval]"
    head = ["Question", "Kind", "Reader", "With", "Kappa", "Pairs"]
    tables.append(Table.create(caption, head, rows, 4, "ratings_agreement"))
    return tables
