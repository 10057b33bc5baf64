"""Assurance: localization by the probability of the model, by finding and over all findings."""

from __future__ import annotations

import pandas as pd

from sightline.report import svg
from sightline.report.dot_plot import ROW_HEIGHT, DotPlot, draw_dot, set_limits
from sightline.report.estimate import Estimate, format_decimal, read_estimates
from sightline.report.human_benchmark import PUBLISHED, THIS_RUN
from sightline.report.published_results import published_estimates
from sightline.report.run_view import RunView
from sightline.report.summary import protocol_of
from sightline.report.svg import INK, SMALL_SIZE, Plot
from sightline.report.tables import Table
from sightline.report.titles import metric_title


def plot_assurance(view: RunView) -> Plot | None:
    """Plot slopes and rank correlations of localization on the probability of the model, by finding.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    tables = {name: _assurance_rows(view, metric, case_slice) for name, (metric, case_slice) in _panels(view).items()}
    if not len(next(iter(tables.values()))):
        return None
    findings = [*(f for f in view.findings if any((t["finding"] == f).any() for t in tables.values())), "all"]
    published = published_estimates("assurance")["rho"]
    grid = DotPlot.create(
        [_finding_label(f) for f in findings], len(tables), ROW_HEIGHT, has_legend=True, right_margin=58
    )
    for ax, (name, table) in zip(grid.panels, tables.items(), strict=True):
        estimates = {k[0]: n for k, n in read_estimates(table, ["finding"], "rho", "rho_low", "rho_high")}
        others = published if name == _ALL_IMAGES else {}
        set_limits(ax, [*estimates.values(), *others.values()])
        ax.set_title(name, loc="left", size=SMALL_SIZE, color=INK, pad=10)
        for i, finding in enumerate(findings):
            draw_dot(ax, estimates.get(finding, Estimate.undefined()), i - 0.14, THIS_RUN)
            draw_dot(ax, others.get(finding, Estimate.undefined()), i + 0.2, PUBLISHED)
    first = next(iter(tables.values())).set_index("finding")["n"]
    for i, finding in enumerate(findings):
        grid.add_note(i, f"{int(first[finding]):,}" if finding in first.index else "")
    grid.add_note_header("annotated")
    grid.draw_rule_above(len(findings) - 1)
    grid.draw_legend([THIS_RUN, PUBLISHED])
    data = pd.concat(list(tables.values()), ignore_index=True)
    return Plot(
        "assurance",
        svg.write_svg(grid.figure, "assurance"),
        data,
        "; ".join(
            f"{name}, {_finding_label(r['finding'])}: ρ {format_decimal(r['rho'])}"
            for name, table in tables.items()
            for r in table.to_dict("records")
        ),
        "Rank correlation (Spearman's ρ) of localization with the probability of the model, first on annotated images. "
        "On all images, an annotation without a prediction and a prediction without an annotation overlap by 0: that "
        "correlation measures detection and localization together. Its published intervals are recomputed with the n "
        "of each finding.",
    )


_ALL_IMAGES = "IoU, all images"


def _panels(view: RunView) -> dict[str, tuple[str, str]]:
    """Return the metric and the slice of each panel."""
    annotated = "gt&pred" if protocol_of(view).definitions == "published" else "gt_positive"
    return {
        "IoU, annotated images": ("iou", annotated),
        "Hit, annotated images": ("pointing-game", "gt_positive"),
        _ALL_IMAGES: ("iou", "full"),
    }


_SLICES = {
    "full": "all images with an annotation or a prediction (detection and localization together)",
    "gt&pred": "annotated images with a prediction that is not empty",
    "gt_positive": "annotated images",
}


def _assurance_rows(view: RunView, metric: str, case_slice: str = "") -> pd.DataFrame:
    """Return the rows of a metric on one slice, or on every slice."""
    table = view.analysis("confidence_regressions")
    table = table[(table["source"] == view.best_for(metric)) & (table["metric"] == metric)]
    table = table[table["slice"] == case_slice] if case_slice else table
    return table[table[["slope", "rho"]].notna().any(axis=1)]


def assurance_missing_reason(view: RunView) -> list[str]:
    """Explain why nothing is shown about confidence, if the run was analyzed.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    if not view.run.has_table("confidence_regressions") or len(_assurance_rows(view, "iou")):
        return []
    return ["These maps came without probabilities, or with too few of them, to analyze the confidence of the model."]


def assurance_tables(view: RunView) -> list[Table]:
    """Make the tables of these regressions for overlap on each slice and for hits.

    Published intervals are recomputed.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Table
        The tables; none if the run has no data for them.
    """
    tables, published = [], published_estimates("assurance")
    slices = view.analysis("confidence_regressions")[["metric", "slice"]].drop_duplicates()
    for metric, case_slice in slices.itertuples(index=False):
        rows, is_printed = [], (metric, case_slice) == ("iou", "full")
        for r in _assurance_rows(view, metric, case_slice).to_dict("records"):
            slope = Estimate(float(r["slope"]), float(r["low"]), float(r["high"]), 0, 0)
            rho = Estimate(float(r["rho"]), float(r["rho_low"]), float(r["rho_high"]), 0, 0)
            row = [
                _finding_label(str(r["finding"])),
                f"{int(r['n']):,}",
                f"{slope.text(3)} {r['stars']}".strip(),
                f"{rho.text(3)} {r['rho_stars']}".strip(),
            ]
            if is_printed:
                row += [
                    published[k].get(str(r["finding"]), Estimate.undefined()).text(3)
                    for k in ("slope", "rho", "rho_printed")
                ]
            rows.append(row)
        head = ["Finding", "Images", "Slope [95 % interval]", "Spearman's ρ [95 % interval]"]
        head += ["CheXlocalize: slope", "CheXlocalize: ρ", "as printed (wrong n)"] if is_printed else []
        if rows:
            adjusted = "not adjusted" if protocol_of(view).definitions == "published" else "adjusted by Holm"
            caption = (
                f"{metric_title(metric)} on the model's probability, on {_SLICES[case_slice]} (* p < 0.05, ** < 0.01, "
                f"*** < 0.001, {adjusted})"
            )
            tables.append(Table.create(caption, head, rows, table_name="confidence_regressions"))
    return tables


def _finding_label(finding: str) -> str:
    return "All together" if finding == "all" else svg.elide(finding)
