"""Figures of a gaze study: agreement with gaze by model, by correctness of the prediction, and by region."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from sightline.evaluation.gaze_agreement import (
    AVERAGE_GAZE,
    CENTER_CONTROL,
    GAZE_CEILING,
    OTHER_PATIENT_GAZE,
    PUBLISHED_REGIONS,
)
from sightline.report import svg
from sightline.report.dot_plot import DotPlot, draw_dot, set_scale
from sightline.report.estimate import AVERAGE, Estimate, read_estimates
from sightline.report.phrasing import count_noun
from sightline.report.run_view import RunView
from sightline.report.sections.gaze.results import compared_methods, compared_models, read_table
from sightline.report.svg import INK, MODEL_COLORS, MUTED, PAGE_WIDTH, SMALL_SIZE, TEXT_SIZE, Plot, Series
from sightline.report.titles import metric_title

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
    models, methods = compared_models(view), compared_methods(view)
    if not models or not methods:
        return None
    references = [s for s in (CENTER_CONTROL, AVERAGE_GAZE, OTHER_PATIENT_GAZE) if s in view.sources]
    references += [s for s in view.sources if view.kind(s) == "reader"]
    references += [s for s in (GAZE_CEILING,) if s in view.sources]
    labels = [svg.elide(view.label(name), 40) for name in (*methods, *references)]
    plot = DotPlot.create(labels, len(view.main_metrics), 13.0 * max(2, len(models)), has_legend=True)
    series = _model_series(models)
    rows = []
    for ax, metric in zip(plot.panels, view.main_metrics, strict=True):
        points = [
            (y, s, f"{s.source}/{method}", view.estimate(f"{s.source}/{method}", metric))
            for i, method in enumerate(methods)
            for y, s in zip(_offsets(i, len(series)), series, strict=True)
        ]
        points += [
            (float(len(methods) + i), _reference_series(view, source), source, view.estimate(source, metric))
            for i, source in enumerate(references)
        ]
        set_scale(ax, metric, [number for *_, number in points])
        if ax.get_xlim()[0] < 0:
            ax.axvline(0, color=INK, linewidth=1)
        for y, s, source, number in points:
            draw_dot(ax, number, y, s)
            rows.append((metric, source, number))
    plot.draw_legend(series)
    plot.draw_rule_above(len(methods))
    first = view.main_metrics[0]
    values = "; ".join(
        f"{view.label(m)} " + ", ".join(f"{n} {view.estimate(f'{n}/{m}', first).text()}" for n in models)
        for m in methods
    )
    return Plot(
        "gaze",
        svg.write_svg(plot.figure, "gaze"),
        _to_frame(rows),
        f"{metric_title(first)}: {values}.",
        f"Agreement of maps with the gaze at the same radiograph, averaged over "
        f"{count_noun(len(view.findings), 'finding')} with equal weight, mean and 95 % interval over patients. "
        f"{metric_title(first)} is 0 for what is the same on every radiograph. Below the line are sources that do not "
        "depend on a network: the center of the image, the gaze at other radiographs, another reader, and the gaze "
        "itself, which is the upper bound.",
    )


def _model_series(models: Sequence[str]) -> list[Series]:
    colors = [MODEL_COLORS[i % len(MODEL_COLORS)] for i in range(len(models))]
    return [Series(name, name.replace("-", " "), color, "o") for name, color in zip(models, colors, strict=True)]


def _reference_series(view: RunView, source: str) -> Series:
    kind = view.kind(source)
    return Series(source, view.label(source), svg.KIND_COLORS[kind], svg.KIND_MARKERS[kind])


def _offsets(row: int, count: int) -> list[float]:
    """Vertical positions of the dots of a row."""
    return [row + (i - (count - 1) / 2) / (count + 1) for i in range(count)]


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
    models, methods = compared_models(view), compared_methods(view)
    by_source = dict(read_estimates(table, ["source"]))
    plot = DotPlot.create([view.label(m) for m in methods], 1, 13.0 * max(2, len(models)), has_legend=True)
    (ax,) = plot.panels
    reach = 1.08 * max([0.02, *(abs(v) for n in by_source.values() for v in (n.low, n.high) if v == v)])
    ax.set_xlim(-reach, reach)
    ax.axvline(0, color=INK, linewidth=1)
    title = "SSIM with gaze: correct minus incorrect predictions"
    ax.set_title(title, loc="left", size=SMALL_SIZE, color=INK, pad=10)
    series = _model_series(models)
    rows = []
    for row, method in enumerate(methods):
        for y, s in zip(_offsets(row, len(series)), series, strict=True):
            number = by_source.get((f"{s.source}/{method}",), Estimate.undefined())
            draw_dot(ax, number, y, s)
            rows.append(("ssim", f"{s.source}/{method}", number))
    plot.draw_legend(series)
    values = "; ".join(f"{view.label(source)} {number.text()}" for _, source, number in rows)
    return Plot(
        "correctness",
        svg.write_svg(plot.figure, "correctness"),
        _to_frame(rows),
        f"SSIM of correct minus incorrect predictions: {values}.",
        "Agreement of maps with gaze by correctness of the prediction. All cases show the finding; a prediction is "
        "correct if the probability is at or above the cutoff of the network and finding. Right of the line, the "
        "agreement is better for correct predictions. Findings differ in how often they are detected, and in how "
        "readers look at them.",
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
    rows = _region_rows(view, list(shares.index))
    labels = [svg.elide(view.label(s), 40) for s in rows]
    left, step = svg.label_width(labels), 24.0
    figure = svg.make_canvas(PAGE_WIDTH, 60 + step * len(rows) + 8)
    ax = svg.add_axes(figure, left, 46, PAGE_WIDTH - left - 70, step * len(rows))
    _draw_shares(ax, shares.reindex(rows).fillna(0))
    ax.set_xlim(0, 1)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xticks([])
    ax.set_yticks(range(len(rows)), labels, size=TEXT_SIZE, color=INK)
    ax.tick_params(axis="y", pad=10, labelsize=TEXT_SIZE, labelcolor=INK)
    counts = dict(zip(table["source"], table["n"], strict=True))
    for y, source in enumerate(rows):
        ax.text(1.015, y, f"{counts[source]:,}", va="center", size=SMALL_SIZE, color=MUTED)
    ax.text(1.015, -0.9, "cases", va="center", size=SMALL_SIZE, color=MUTED)
    svg.draw_legend(figure, [Series(r, r, c, "s") for r, c in zip(PUBLISHED_REGIONS, _REGION_COLORS, strict=True)])
    values = [
        f"{view.label(s)}: " + ", ".join(f"{r} {float(shares[r][s]):.0%}" for r in PUBLISHED_REGIONS) for s in rows
    ]
    return Plot(
        "regions",
        svg.write_svg(figure, "regions"),
        table,
        "; ".join(values) + ".",
        "Most salient region, in percent of cases: the region whose share of the map is highest compared with its "
        "share in the other cases of the source (z-score). Right and left are those of the patient.",
    )


def _region_rows(view: RunView, sources: Sequence[str]) -> list[str]:
    """Return sources in their order: gaze, readers, networks, controls."""
    readers = [s for s in sources if view.kind(s) == "reader"]
    networks = [f"{n}/{m}" for m in compared_methods(view) for n in compared_models(view)]
    ordered = (GAZE_CEILING, *readers, *networks, OTHER_PATIENT_GAZE, CENTER_CONTROL)
    return [source for source in ordered if source in sources]


def _draw_shares(ax: Axes, shares: pd.DataFrame) -> None:
    """Draw a bar of stacked shares for each source, with percentages where they fit."""
    start = pd.Series(0.0, index=shares.index)
    for region, color in zip(PUBLISHED_REGIONS, _REGION_COLORS, strict=True):
        part = shares[region]
        ax.barh(range(len(part)), part, left=start, height=0.68, color=color, edgecolor=svg.PAPER, linewidth=1)
        for y, (left, share) in enumerate(zip(start, part, strict=True)):
            if share > 0.07:
                text = f"{100 * share:.0f}"
                ax.text(left + share / 2, y, text, ha="center", va="center", size=SMALL_SIZE, color="#ffffff")
        start = start + part


def _to_frame(rows: list[tuple[str, str, Estimate]]) -> pd.DataFrame:
    return pd.DataFrame(
        [(m, s, n.mean, n.low, n.high, n.n, n.patients) for m, s, n in rows],
        columns=["metric", "source", "mean", "low", "high", "n", "patients"],
    )
