"""Tables of a trust study: verdicts, similarities, faithfulness and robustness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sightline.report.estimate import Estimate, format_decimal
from sightline.report.published_results import load_published
from sightline.report.run_view import RunView
from sightline.report.sections.trust.results import CRITERION_LABELS, read_table, table_sample_size, verdict_rows
from sightline.report.tables import Table
from sightline.stats.sanity_checks import MARGIN

MEASURE_LABELS = {"ssim": "SSIM", "rank": "Rank correlation", "top": "Overlap of the top 5 %"}

CEILING_LABELS = {
    "ceiling": "Localization",
    "repeatability-ceiling": "Similarity after retraining",
    "reproducibility-ceiling": "Similarity for another architecture",
}
"""The same for the comparison with networks trained on annotations."""

FAITHFULNESS_LABELS = {
    "deletion": "Deletion ↓",
    "insertion": "Insertion ↑",
    "road": "ROAD ↑",
    "infidelity": "Infidelity ↓",
    "complexity": "Complexity",
}

ROBUSTNESS_LABELS = {
    "max-sensitivity": "Largest change ↓",
    "rank-correlation": "Rank correlation ↑",
    "moves-with-model": "Change with the model ↑",
}


def criteria_table(view: RunView) -> Table | None:
    """Make the table of verdicts by method and criterion, with differences and intervals.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    caption = (
        "Difference from chance (the SSIM of maps of two patients, by the compared networks) or from the average mask "
        "(average precision), mean [95 % interval]; after randomization the difference should not be above 0 (by less "
        f"than {MARGIN:g}), for all other criteria it should be"
    )
    return _verdict_table(view, CRITERION_LABELS, caption)


def ceiling_table(view: RunView) -> Table | None:
    """Make the table of differences from networks trained on annotations; of several, from the best one.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    caption = (
        "The same minus networks trained on annotations (the best in average precision), mean [95 % interval]; no "
        "method is expected to be above them, so 'fails' states the distance from this upper bound"
    )
    return _verdict_table(view, CEILING_LABELS, caption)


def _verdict_table(view: RunView, heads: dict[str, str], caption: str) -> Table | None:
    table = verdict_rows(view)
    if table.empty:
        return None
    best = table[table["criterion"] == "ceiling"].groupby("method")["mean"].transform("min")
    table = table[(table["criterion"] != "ceiling") | (table["mean"] == best.reindex(table.index))]
    kinds = [k for k in heads if k in set(table["criterion"])]
    rows = []
    for method in dict.fromkeys(table["method"]):
        part = table[table["method"] == method]
        cells = ["\n".join(_format_cell(r) for r in part[part["criterion"] == k].to_dict("records")) for k in kinds]
        rows.append([view.label(method), *cells])
    used = table[table["criterion"].isin(kinds)]
    parts = [caption, *([_FAILURE_NOTE] if _max_failed(used.to_dict("records")) else []), table_sample_size(used)]
    return (
        Table.create("; ".join(parts), ["Method", *(heads[k] for k in kinds)], rows, table_name="verdicts")
        if kinds
        else None
    )


def _format_cell(row: dict[str, object]) -> str:
    number = Estimate(float(str(row["mean"])), float(str(row["low"])), float(str(row["high"])), 0, 0)
    failed = _max_failed([row])
    return f"{number.text()}\n{row['verdict']}{f' ({failed} failed)' if failed else ''}".replace(" [", "\n[")


_FAILURE_NOTE = (
    "failed maps count as similarity 0 where maps should be similar, and are left out where they should not be"
)


def _max_failed(rows: Iterable[Mapping[Any, Any]]) -> int:
    """Highest number of failed cases in the rows."""
    return int(np.nanmax([0.0, *(float(r.get("failed", np.nan)) for r in rows)]))


def similarity_table(view: RunView) -> Table | None:
    """Make the table of similarities after the last stage, after retraining, and by chance, by every measure.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    levels = read_table(view, "similarity_levels", None)
    if levels.empty:
        return None
    last = levels.groupby(["comparison", "order", "method"])["step"].transform("max") == levels["step"]
    levels = levels[last & levels["order"].isin(["", "top-down"])]
    rows = []
    for (kind, method, versus), part in levels.groupby(["comparison", "method", "versus"], sort=False):
        by = {
            r["measure"]: Estimate(r["mean"], r["low"], r["high"], r["n"], r["patients"])
            for r in part.to_dict("records")
        }
        n = next(iter(by.values()))
        cells = [by[m].text() if m in by else "–" for m in MEASURE_LABELS]
        rows.append(
            [
                view.label(str(method)),
                str(kind),
                ", ".join(filter(None, ["another patient" if kind == "pair" else "", str(versus)])),
                *cells,
                f"{n.n:,}",
                f"{n.patients:,}",
                f"{_max_failed(part.to_dict('records')):,}",
            ]
        )
    head = ["Method", "Compared", "With", *MEASURE_LABELS.values(), "Maps", "Patients", "Failed"]
    return Table.create(
        f"Similarity of maps, mean [95 % interval]; {_FAILURE_NOTE}", head, rows, 3, table_name="similarity_levels"
    )


def floor_and_ceiling_table(view: RunView) -> Table | None:
    """Make the table of differences in average precision from the average mask, the untrained network and localizers.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "verdicts", "average-precision")
    if table.empty or "effect" not in table:
        return None
    rows = []
    for row in table.to_dict("records"):
        number = Estimate(row["mean"], row["low"], row["high"], row["n"], row["patients"])
        p = "–" if np.isnan(row["p"]) else ("< 0.001" if row["p"] < 0.001 else format_decimal(row["p"], 3))
        rows.append(
            [
                view.label(row["method"]),
                view.label(row["versus"]),
                number.text(),
                p,
                format_decimal(row["effect"]),
                f"{row['n']:,}",
                f"{row['patients']:,}",
            ]
        )
    caption = (
        "Average precision minus that of controls and of networks trained on annotations, mean [95 % interval]; p of "
        "the signed-rank test over patients, adjusted by Holm; effect: rank-biserial correlation, 1 if the score of "
        "every patient is higher"
    )
    return Table.create(
        caption, ["Method", "Compared with", "Difference", "p", "Effect", "Maps", "Patients"], rows, 2, "verdicts"
    )


def robustness_tables(view: RunView) -> list[Table]:
    """Make the tables of faithfulness and of robustness by method.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Table
        The tables; none if the run has no data for them.
    """
    if not view.run.has_table("perturbation_summary"):
        return []
    captions = (
        (
            FAITHFULNESS_LABELS,
            "Pixels occluded in the order of the map, mean [95 % interval] over patients. Below: the difference from "
            "the map of another patient by the same method for the same finding",
        ),
        (ROBUSTNESS_LABELS, "Maps after small changes of the image, mean [95 % interval] over patients"),
    )
    return [t for names, caption in captions if (t := _robustness_table(view, names, caption)) is not None]


def _robustness_table(view: RunView, names: dict[str, str], caption: str) -> Table | None:
    table = view.run.table("perturbation_summary")
    table = table[table["measure"].isin(list(names))]
    rows = []
    for method in dict.fromkeys(table["method"]):
        cells = {r["measure"]: r for r in table[table["method"] == method].to_dict("records")}
        title = "random order" if method == "random" else view.label(method)
        rows.append([title, *(_robustness_cell(cells.get(m)) for m in names)])
    caption = f"{caption}; {table_sample_size(table)}"
    return Table.create(caption, ["Method", *names.values()], rows, table_name="perturbation_summary") if rows else None


def _robustness_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    text = Estimate(row["mean"], row["low"], row["high"], 0, 0).text()
    if not isinstance(row.get("verdict"), str):
        return text
    return f"{text}\n{Estimate(row['gap'], row['gap_low'], row['gap_high'], 0, 0).text()}\n{row['verdict']}"


def published_table(view: RunView) -> Table | None:
    """Make the table of published values for the methods of this run.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    facts = load_published()["trust"]
    table = read_table(view, "verdicts", None)
    names = list(dict.fromkeys(table["method"])) if len(table) else []
    rows = []
    for method in names:
        for data, values in facts["methods"].get(method.partition("?")[0], {}).items():
            outcome = "passed" if values["forgotten"] < values["chance"] else "failed"
            rows.append(
                [
                    view.label(method),
                    data,
                    format_decimal(values["trained"], 3),
                    format_decimal(values["untrained"], 3),
                    f"{format_decimal(values['forgotten'])} and {format_decimal(values['chance'])}: {outcome}",
                    format_decimal(values["repeatability"]),
                    format_decimal(values["reproducibility"]),
                ]
            )
    if not rows:
        return None
    for data in ("SIIM", "RSNA"):
        net = facts["network"][data]
        name = "U-Net" if data == "SIIM" else "RetinaNet"
        rows.append(
            [
                f"localizer: {name}",
                data,
                format_decimal(net["area"], 3),
                "–",
                "–",
                format_decimal(net["repeatability"]),
                "–",
            ]
        )
        rows.append(["control: average mask", data, format_decimal(facts["average-mask"][data], 3), *["–"] * 4])
    head = [
        "Method",
        "Data",
        "PR area",
        "Untrained",
        "SSIM after randomization, and chance",
        "SSIM after retraining",
        "SSIM of another architecture",
    ]
    return Table.create(f"Published: {facts['citation']}. {facts['note']}", head, rows, 2)
