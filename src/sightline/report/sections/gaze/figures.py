"""Figures of a gaze study: agreement with gaze by model, by correctness of the prediction, and by region."""

from __future__ import annotations

import pandas as pd

from sightline.evaluation.gaze_agreement import (
    AVERAGE_GAZE,
    CENTER_CONTROL,
    GAZE_CEILING,
    OTHER_PATIENT_GAZE,
    PUBLISHED_REGIONS,
)
from sightline.report import svg
from sightline.report.dot_plot import DotPlot, draw_dot, set_scale
from sightline.report.phrasing import count_noun
from sightline.report.run_view import AVERAGE, Estimate, RunView, metric_title, read_estimates
from sightline.report.sections.gaze.results import compared_methods, compared_models, read_table
from sightline.report.svg import INK, MODEL_COLORS, MUTED, PAGE_WIDTH, SMALL_SIZE, TEXT_SIZE, Plot, Series

_REGION_COLORS = ("#0b6e99", "#d98c3f", "#8f3a84", "#7a9a3a")
"""Colors of regions: colorblind-safe, and apart from each other in gray."""


def plot_gaze_agreement(view: RunView) -> Plot | None:
    """Plot the agreement of each method on each network by the first two metrics, with controls and readers.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    names, rows = compared_models(view), compared_methods(view)
    if not names or not rows:
        return None
    shown = list(view.main_metrics)
    beside = [s for s in (CENTER_CONTROL, AVERAGE_GAZE, OTHER_PATIENT_GAZE) if s in view.sources]
    beside += [s for s in view.sources if view.kind(s) == "reader"] + [s for s in (GAZE_CEILING,) if s in view.sources]
    series = [Series(n, n.replace("-", " "), MODEL_COLORS[i % len(MODEL_COLORS)], "o") for i, n in enumerate(names)]
    labels = [view.label(m) for m in rows] + [view.label(s) for s in beside]
    grid = DotPlot.create(
        [svg.elide(name, 40) for name in labels], len(shown), 13.0 * max(2, len(names)), has_legend=True
    )
    data = []
    for ax, metric in zip(grid.panels, shown, strict=True):
        points = [(i, s, view.estimate(f"{s.source}/{m}", metric)) for i, m in enumerate(rows) for s in series]
        kinds = [
            (
                len(rows) + i,
                Series(b, view.label(b), svg.KIND_COLORS[view.kind(b)], svg.KIND_MARKERS[view.kind(b)]),
                view.estimate(b, metric),
            )
            for i, b in enumerate(beside)
        ]
        set_scale(ax, metric, [n for *_, n in (*points, *kinds)])
        if ax.get_xlim()[0] < 0:
            ax.axvline(0, color=INK, linewidth=1)
        for row, s, number in points:
            offset = (names.index(s.source) - (len(names) - 1) / 2) / (len(names) + 1)
            draw_dot(ax, number, row + offset, s)
            data.append((metric, f"{s.source}/{rows[row]}", number))
        for row, s, number in kinds:
            draw_dot(ax, number, row, s)
            data.append((metric, s.source, number))
    grid.draw_legend(series)
    grid.draw_rule_above(len(rows))
    first = shown[0]
    said = "; ".join(
        f"{view.label(m)} " + ", ".join(f"{n} {view.estimate(f'{n}/{m}', first).text()}" for n in names) for m in rows
    )
    return Plot(
        "gaze",
        svg.write_svg(grid.figure, "gaze"),
        _to_frame(data),
        f"{metric_title(first)}: {said}.",
        f"Agreement of maps with the gaze at the same film, averaged over {count_noun(len(view.findings), 'finding')} "
        f"with equal weight, mean and 95 % interval over patients. {metric_title(first)} is 0 for whatever is "
        "the same on "
        "every film; "
        "below the line what knows no network: middle of the film, gaze at other films, another reader, and the gaze "
        "itself, which no map can pass.",
    )


def plot_correctness(view: RunView) -> Plot | None:
    """Plot the SSIM of correct minus that of incorrect predictions by method and network.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    table = read_table(view, "correctness")
    if table.empty:
        return None
    table = table[(table["finding"] == AVERAGE) & (table["metric"] == "ssim")]
    names, rows = compared_models(view), compared_methods(view)
    found = dict(read_estimates(table, ["source"]))
    grid = DotPlot.create([view.label(m) for m in rows], 1, 13.0 * max(2, len(names)), has_legend=True)
    (ax,) = grid.panels
    reach = 1.08 * max([0.02, *(abs(v) for n in found.values() for v in (n.low, n.high) if v == v)])
    ax.set_xlim(-reach, reach)
    ax.axvline(0, color=INK, linewidth=1)
    ax.set_title("SSIM with gaze: right less wrong predictions", loc="left", size=SMALL_SIZE, color=INK, pad=10)
    series = [Series(n, n.replace("-", " "), MODEL_COLORS[i % len(MODEL_COLORS)], "o") for i, n in enumerate(names)]
    data = []
    for i, s in enumerate(series):
        for row, method in enumerate(rows):
            number = found.get((f"{s.source}/{method}",), Estimate.undefined())
            draw_dot(ax, number, row + (i - (len(series) - 1) / 2) / (len(series) + 1), s)
            data.append(("ssim", f"{s.source}/{method}", number))
    grid.draw_legend(series)
    return Plot(
        "correctness",
        svg.write_svg(grid.figure, "correctness"),
        _to_frame(data),
        "SSIM of right less wrong predictions: " + "; ".join(f"{view.label(s)} {n.text()}" for _, s, n in data) + ".",
        "Does a map agree better with gaze where the network is right? All cases show the finding; right is a "
        "probability at or above the cutoff of the network and finding. Right of the line: better where it is right. "
        "Findings differ in how often they are found, and in how they are looked at.",
    )


def plot_regions(view: RunView) -> Plot | None:
    """Plot how often each region is the most salient one, a bar for each source.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    table = read_table(view, "region_distributions")
    if table.empty:
        return None
    table = table[(table["finding"] == AVERAGE) & (table["among"] == "regions")]
    if table.empty:
        return None
    shares = table.pivot_table(index="source", columns="region", values="mean").reindex(columns=list(PUBLISHED_REGIONS))
    gazes = [s for s in (GAZE_CEILING, *(s for s in shares.index if view.kind(s) == "reader")) if s in shares.index]
    own = [f"{n}/{m}" for m in compared_methods(view) for n in compared_models(view) if f"{n}/{m}" in shares.index]
    rows = [*gazes, *own, *(s for s in (OTHER_PATIENT_GAZE, CENTER_CONTROL) if s in shares.index)]
    left, step = svg.label_width([svg.elide(view.label(s), 40) for s in rows]), 24.0
    figure = svg.make_canvas(PAGE_WIDTH, 60 + step * len(rows) + 8)
    ax = svg.add_axes(figure, left, 46, PAGE_WIDTH - left - 70, step * len(rows))
    start = pd.Series(0.0, index=rows)
    for region, color in zip(PUBLISHED_REGIONS, _REGION_COLORS, strict=True):
        part = shares[region].reindex(rows).fillna(0)
        ax.barh(range(len(rows)), part, left=start, height=0.68, color=color, edgecolor=svg.PAPER, linewidth=1)
        for y, (at, share) in enumerate(zip(start, part, strict=True)):
            if share > 0.07:
                ax.text(
                    at + share / 2, y, f"{100 * share:.0f}", ha="center", va="center", size=SMALL_SIZE, color="#ffffff"
                )
        start = start + part
    ax.set_xlim(0, 1)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xticks([])
    ax.set_yticks(range(len(rows)), [svg.elide(view.label(s), 40) for s in rows], size=TEXT_SIZE, color=INK)
    ax.tick_params(axis="y", pad=10, labelsize=TEXT_SIZE, labelcolor=INK)
    n = dict(zip(table["source"], table["n"], strict=True))
    for y, source in enumerate(rows):
        ax.text(1.015, y, f"{n[source]:,}", va="center", size=SMALL_SIZE, color=MUTED)
    ax.text(1.015, -0.9, "cases", va="center", size=SMALL_SIZE, color=MUTED)
    svg.draw_legend(figure, [Series(r, r, c, "s") for r, c in zip(PUBLISHED_REGIONS, _REGION_COLORS, strict=True)])
    said = [f"{view.label(s)}: " + ", ".join(f"{r} {shares.loc[s, r]:.0%}" for r in PUBLISHED_REGIONS) for s in rows]
    return Plot(
        "regions",
        svg.write_svg(figure, "regions"),
        table,
        "; ".join(said) + ".",
        "Most salient region, percent of cases: the one whose share of the map is highest beside its share in the "
        "source's other cases (z-score). Right and left are the patient's.",
    )


def _to_frame(rows: list[tuple[str, str, Estimate]]) -> pd.DataFrame:
    return pd.DataFrame(
        [(m, s, n.mean, n.low, n.high, n.n, n.patients) for m, s, n in rows],
        columns=["metric", "source", "mean", "low", "high", "n", "patients"],
    )
