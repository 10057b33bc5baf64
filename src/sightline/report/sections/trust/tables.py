"""Tables of a trust study: verdicts, similarities, localization, and published values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sightline.report.estimate import Estimate, format_decimal
from sightline.report.published_results import load_published
from sightline.report.run_view import RunView
from sightline.report.sections.trust.results import (
    CRITERIA,
    criterion_results,
    format_difference,
    read_table,
    table_sample_size,
    verdict_rows,
    wrap_cell,
)
from sightline.report.tables import Table
from sightline.stats.verdicts import MIN_PATIENTS, Criterion, Verdict

MEASURE_LABELS = {"ssim": "SSIM", "rank": "Rank correlation", "top": "Overlap of the top 5 %"}

SIMILARITY_CRITERIA = ("repeatability", "repeatability-ceiling", "reproducibility", "reproducibility-ceiling")
DEPENDENCE_CRITERIA = ("randomization", "label-randomization", "utility", "learned", "ceiling")
"""Criteria of each table of differences."""


def criteria_table(view: RunView) -> Table | None:
    """Make the table of verdicts by method and criterion, without numbers.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = verdict_rows(view)
    results = criterion_results(table)
    if not results:
        return None
    rows = [
        [view.label(method), *(r.verdicts[method].outcome if method in r.verdicts else "–" for r in results)]
        for method in dict.fromkeys(table["method"])
    ]
    caption = (
        "Verdicts. A claim is shown if the whole 95 % interval lies beyond the smallest difference that counts, shown "
        "absent if the whole interval lies on the other side of it, and undecided if the interval contains it; not "
        f"estimable of fewer than {MIN_PATIENTS} patients. Verdicts are not adjusted for the number of methods; "
        f"{table_sample_size(table)}"
    )
    return Table.create(caption, ["Method", *(r.name for r in results)], rows, len(results) + 1, "verdicts")


def difference_tables(view: RunView) -> list[Table]:
    """Make the tables of levels, differences and verdicts behind the table of verdicts.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Table
        Repeatability and reproducibility; sensitivity and localization.
    """
    captions = (
        (
            SIMILARITY_CRITERIA,
            "Repeatability and reproducibility: SSIM of the two maps, and beside it chance (maps of two patients, by "
            "the compared networks) or the level of networks trained on annotations; below, the difference, mean "
            "[95 % interval]. 'Repeatable' also needs 'repeats more than chance'",
        ),
        (
            DEPENDENCE_CRITERIA,
            "Dependence on what was learned: SSIM and chance as above, mean difference [95 % interval]; and "
            "localization: difference in average precision",
        ),
    )
    return [t for kinds, caption in captions if (t := _difference_table(view, kinds, caption)) is not None]


def _difference_table(view: RunView, criteria: Sequence[str], caption: str) -> Table | None:
    results = [r for r in criterion_results(verdict_rows(view)) if r.criterion in criteria]
    if not results:
        return None
    rows = []
    for method in dict.fromkeys(m for r in results for m in r.verdicts):
        parts = [r.rows[r.rows["method"] == method].to_dict("records") for r in results]
        rows.append([view.label(method), *("\n".join(map(_format_cell, part)) or "–" for part in parts)])
    heads = [f"{r.name}: {_describe_bound(next(iter(r.verdicts.values())).criterion)}" for r in results]
    used = pd.concat([r.rows for r in results])
    notes = [caption, *([_FAILURE_NOTE] if _max_failed(used.to_dict("records")) else []), table_sample_size(used)]
    return Table.create("; ".join(notes), ["Method", *heads], rows, table_name="verdicts")


def _describe_bound(criterion: Criterion) -> str:
    """Write the condition on a difference, such as 'difference above 0.05'."""
    side = "above" if criterion.direction in ("higher", "not lower") else "below"
    return f"difference {side} {format_decimal(criterion.bound)}"


def _format_cell(row: Mapping[Any, Any]) -> str:
    """Write level and reference, difference and interval, and the verdict, a line each."""
    verdict, failed = Verdict.from_columns(row), _max_failed([row])
    lines = []
    if not np.isnan(row.get("level", np.nan)):
        reference = "networks" if str(row["criterion"]).endswith("-ceiling") else "chance"
        known = "" if np.isnan(row["chance"]) else f", {reference} {format_decimal(row['chance'])}"
        lines.append(f"{format_decimal(row['level'])}{known}")
    if not np.isnan(row["mean"]):
        lines.append(format_difference(row["mean"], row["low"], row["high"]))
    return "\n".join([*lines, *wrap_cell(f"{verdict.text()}{f' ({failed} failed)' if failed else ''}")])


def measure_table(view: RunView) -> Table | None:
    """Make the table of the verdicts on similarity by every measure.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "verdicts", None)
    if table.empty:
        return None
    measures = [m for m in MEASURE_LABELS if m in set(table["measure"])]
    table = table[table["measure"].isin(measures)]
    rows = []
    for (criterion, method, versus), part in table.groupby(["criterion", "method", "versus"], sort=False):
        cells = {str(row["measure"]): row for row in part.to_dict("records")}
        texts = [_format_cell(cells[m]) if m in cells else "–" for m in measures]
        rows.append([view.label(str(method)), CRITERIA.get(str(criterion), str(criterion)), str(versus), *texts])
    effects = table.groupby("measure")["smallest_effect"].first()
    heads = [f"{MEASURE_LABELS[m]}, smallest effect {effects[m]:g}" for m in measures]
    caption = "Verdicts on similarity by every measure: level and chance, difference [95 % interval], verdict"
    return Table.create(caption, ["Method", "Claim", "With", *heads], rows, 3, "verdicts") if rows else None


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
                "\n".join(wrap_cell(Verdict.from_columns(row).text())),
                p,
                format_decimal(row["effect"]),
                f"{row['n']:,}",
                f"{row['patients']:,}",
            ]
        )
    caption = (
        "Average precision minus that of controls and of networks trained on annotations, mean [95 % interval]; "
        "verdict on being better than a control, or no worse than a network, by "
        f"{table['smallest_effect'].iloc[0]:g}; p of the signed-rank test over patients, adjusted by Holm; effect: "
        "rank-biserial correlation, 1 if the score of every patient is higher"
    )
    head = ["Method", "Compared with", "Difference", "Verdict", "p", "Effect", "Maps", "Patients"]
    return Table.create(caption, head, rows, 2, "verdicts")


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
