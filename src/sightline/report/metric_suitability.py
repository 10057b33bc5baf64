"""Which metric suits which finding: a figure of two grids, and tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from sightline.report import svg
from sightline.report.estimate import Estimate, format_decimal
from sightline.report.phrasing import count_noun
from sightline.report.run_view import RunView
from sightline.report.svg import INK, MUTED, PAGE_WIDTH, SMALL_SIZE, TEXT_SIZE, Plot
from sightline.report.tables import Table
from sightline.report.titles import metric_title
from sightline.stats.metric_suitability import MIN_PATIENTS, MIN_SOURCES

_CELL_HEIGHT, _HEAD, _GAP, _RIGHT_MARGIN = 26.0, 132.0, 40.0, 52.0
"""Pixels: a row, the room for slanted names above and right of the grids, and between them."""
_COLORS = LinearSegmentedColormap.from_list("suitability", ["#f4f6f8", "#8fbbe0", "#0f62a6"])
EXPLANATION = (
    "A metric suits a finding if it puts the sources in the same order whichever patients are scored (left), and if "
    "it rates a radiologist above a map that has not seen the image (right). Both are needed: a metric may be "
    "stable because it rewards something else, such as an empty map. Kendall's τ of about 0 is an order by chance; the "
    "right grid is at 0.5 where the reader is no better than the best control."
)


def plot_metric_suitability(view: RunView) -> Plot | None:
    """Plot the stability of ranks, and how often a reader beats the best control, for each finding and metric.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if no metric can be judged for any finding.
    """
    table = view.analysis("metric_suitability")
    if not table["rank_stability"].notna().any():
        return None
    metrics = [m for m in view.metrics if m in set(table["metric"])]
    findings = [f for f in view.findings if f in set(table["finding"])]
    grids = [("rank_stability", "Stability of the order of sources (τ)", (0.0, 1.0))]
    if table["reader_wins"].notna().any():
        grids.append(("reader_wins", "Reader above the best control (share of cases)", (0.5, 1.0)))
    left = svg.label_width(findings)
    width = (PAGE_WIDTH - left - _GAP - _RIGHT_MARGIN) / 2
    height = _CELL_HEIGHT * len(findings)
    figure = svg.make_canvas(PAGE_WIDTH, _HEAD + height + 12)
    for i, (column, title, limits) in enumerate(grids):
        ax = svg.add_axes(figure, left + i * (width + _GAP), _HEAD, width, height)
        values = table.pivot_table(index="finding", columns="metric", values=column, dropna=False)
        _draw_cells(ax, values.reindex(index=findings, columns=metrics), limits, has_bold=i == 0)
        ax.set_yticks(range(len(findings)), findings if i == 0 else [""] * len(findings), size=TEXT_SIZE, color=INK)
        ax.tick_params(axis="y", pad=8, labelsize=TEXT_SIZE, labelcolor=INK)
        x = (left + i * (width + _GAP)) / PAGE_WIDTH
        figure.text(x, 1 - 16 / (_HEAD + height + 12), title, size=TEXT_SIZE, color=INK, va="center")
    best = _best_metrics(table, findings)
    spoken = "; ".join(f"{f}: {metric_title(m)} {format_decimal(v)}" for f, (m, v) in best.items())
    return Plot(
        "metric-suitability",
        svg.write_svg(figure, "metric-suitability"),
        table,
        f"Most stable metric of each finding. {spoken}.",
        "Suitability of metrics by finding. Left: Kendall's τ between the orders of the sources (models and controls) "
        "in two halves of the patients, mean of 200 random divisions. Right: share of cases on which the second reader "
        "scores better than the control with the best mean, ties counting half. Bold: most stable. Empty "
        f"cells have fewer than {MIN_PATIENTS} patients or {MIN_SOURCES} sources, or no reader for this metric.",
    )


def _draw_cells(ax: Axes, values: pd.DataFrame, limits: tuple[float, float], *, has_bold: bool) -> None:
    """Draw a grid of colored cells with their numbers; the highest of each row is bold, if asked."""
    numbers = values.to_numpy(float)
    scale = Normalize(*limits, clip=True)
    ax.grid(visible=False)
    for row, col in zip(*np.nonzero(~np.isnan(numbers)), strict=True):
        value = numbers[row, col]
        strength = float(scale(value))
        ax.add_patch(_cell(row, col, _COLORS(strength))).set_clip_path(None)
        is_highest = round(value, 2) == round(np.nanmax(numbers[row]), 2)
        text = format_decimal(value).replace("0.", ".", 1) if abs(value) < 1 else format_decimal(value, 1)
        ax.text(
            col,
            row,
            text,
            ha="center",
            va="center",
            size=10.5,
            color="#ffffff" if strength > 0.62 else "#1b2128",
            weight="bold" if is_highest and has_bold else "normal",
        )
    ax.set_xlim(-0.5, numbers.shape[1] - 0.5)
    ax.set_ylim(numbers.shape[0] - 0.5, -0.5)
    ax.xaxis.tick_top()
    ax.set_xticks(range(numbers.shape[1]), [metric_title(m) for m in values.columns], rotation=50, ha="left")
    ax.tick_params(axis="x", pad=2, labelsize=SMALL_SIZE, labelcolor=MUTED)


def _cell(row: int, col: int, color: tuple[float, float, float, float]) -> Rectangle:
    return Rectangle((col - 0.47, row - 0.46), 0.94, 0.92, facecolor=color, linewidth=0)


def _best_metrics(table: pd.DataFrame, findings: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Return finding -> (most stable metric, its stability)."""
    known = table.dropna(subset="rank_stability").sort_values("rank_stability", ascending=False, kind="stable")
    first = known.groupby("finding", sort=False).head(1).set_index("finding")
    return {f: (str(first["metric"][f]), float(first["rank_stability"][f])) for f in findings if f in first.index}


def metric_suitability_table(view: RunView) -> Table | None:
    """Make the table of the most stable metric of each finding, compared with the first metric of the run.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = view.analysis("metric_suitability")
    if table.empty:
        return None
    agreement = view.analysis("metric_agreement")
    main = view.metrics[0]
    rows = []
    for finding in view.findings:
        part = table[table["finding"] == finding].set_index("metric")
        if part.empty:
            continue
        counts = [f"{int(part['n'].max()):,}", f"{int(part['patients'].max()):,}"]
        known = part["rank_stability"].dropna()
        if known.empty:
            rows.append([finding, *counts, f"– ({part['reason'].iloc[0]})", *["–"] * 4])
            continue
        best = str(known.idxmax())
        mean, low, high = (float(part[c][best]) for c in ("reader_wins", "reader_wins_low", "reader_wins_high"))
        interval = Estimate(mean, low, high, 0, 0)
        rows.append(
            [
                finding,
                *counts,
                f"{metric_title(best)}, τ {format_decimal(float(known[best]))}",
                format_decimal(float(part["rank_stability"].get(main, np.nan))),
                interval.text(),
                *_agreement_cells(agreement[agreement["finding"] == finding], best),
            ]
        )
    head = [
        "Finding",
        "Maps",
        "Patients",
        "Most stable metric",
        f"τ of {metric_title(main)}",
        "Reader above control [95 %]",
        "Agreement with the other metrics: order of sources, τ",
        "Cases, ρ",
    ]
    caption = "The most stable metric of each finding. Stabilities have no interval: near values do not differ"
    return Table.create(caption, head, rows, 1, "metric_suitability")


def _agreement_cells(pairs: pd.DataFrame, metric: str) -> list[str]:
    """Return the mean agreement of a metric with all others, over sources and over cases."""
    involved = pairs[(pairs["metric"] == metric) | (pairs["versus"] == metric)]
    return [
        format_decimal(float(involved[c].mean())) if involved[c].notna().any() else "–"
        for c in ("rank_agreement", "case_agreement")
    ]


def suitability_paragraphs(view: RunView) -> list[str]:
    """Explain the figure, and state where metrics disagree.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of str
        Sentences; none if the run has no data for them.
    """
    table = view.analysis("metric_suitability")
    if not table["rank_stability"].notna().any():
        return []
    weak = table[(table["metric"] == view.metrics[0]) & (table["reader_wins_low"] <= 0.5)]
    sentences = [EXPLANATION]
    if len(weak):
        names = ", ".join(weak["finding"])
        sentences.append(
            f"{metric_title(view.metrics[0])} is not shown to rate the reader above the best control for "
            f"{count_noun(len(weak), 'finding')}: {names}. For {'it' if len(weak) == 1 else 'these'}, prefer a metric "
            "whose cell in the right grid is dark."
        )
    return sentences
