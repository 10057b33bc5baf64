"""Score against the size of the finding, and against the model's own probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from sightline.core import Array
from sightline.report import svg
from sightline.report.figures import compared_series
from sightline.report.run_view import RunView
from sightline.report.svg import INK, PAGE_WIDTH, SMALL_SIZE, Plot, Series
from sightline.report.titles import metric_title
from sightline.stats.intervals import infer
from sightline.stats.jackknife import leave_one_out
from sightline.stats.reader_average import readers_behind

_BINS, _MAX_DOTS = 5, 600
_PERCENT = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Trend:
    """Scores of one source in groups by another quantity."""

    source: str
    """The source."""
    table: pd.DataFrame
    """Columns x_low, x_high, x (median), mean, low, high, n, patients; one row for each group."""


def bin_scores(scores: pd.DataFrame, x: str, edges: Array) -> pd.DataFrame:
    """Average scores in bins of another column, with 95 % intervals over patients.

    Parameters
    ----------
    scores : DataFrame
        Rows with `value`, `patient` and the column, all defined.
    x : str
        Name of the column.
    edges : Array
        Edges of the K bins, ascending: (K + 1,).

    Returns
    -------
    DataFrame
        A row for each bin that has scores: x_low, x_high, mean, low, high, n, patients, x (median).
    """
    values = scores["value"].to_numpy(float)
    at = scores[x].to_numpy(float)
    group = pd.factorize(scores["patient"])[0]
    bins = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, len(edges) - 2)
    columns = np.where(bins[:, None] == np.arange(len(edges) - 1), values[:, None], np.nan)  # (N, K)
    drawn = infer(leave_one_out(columns, group))
    is_filled = drawn.n > 0
    middle = [float(np.median(at[bins == k])) for k in np.flatnonzero(is_filled)]
    table = pd.DataFrame(
        {"x_low": edges[:-1], "x_high": edges[1:], "mean": drawn.point, "low": drawn.low, "high": drawn.high}
    )
    table = table.assign(n=drawn.n, patients=drawn.patients)[is_filled].reset_index(drop=True)
    return table.assign(x=middle)


def plot_size_and_probability(view: RunView) -> Plot | None:
    """Plot the score by the share of the image that the annotation covers, and by the probability where it is known.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    if not view.best or not view.metrics:
        return None
    metric = view.metrics[0]
    series = (s for s in compared_series(view) if s.source in (view.best, view.reader, view.control))
    compared = [replace(s, label=view.label(s.source)) for s in series]
    scores = view.scores(metric).dropna(subset="value")
    names = {s.source: readers_behind(view.sources, s.source) or (s.source,) for s in compared}
    size = {s.source: _defined_rows(scores, names[s.source], "area") for s in compared}
    probability = _defined_rows(scores, (view.best,), "probability")
    if len(size[view.best]) < 2 * _BINS:
        return None
    figure, known = svg.make_canvas(PAGE_WIDTH, 380), len(probability) >= 2 * _BINS
    width = (PAGE_WIDTH - 74 - 70 * known) / (1 + known)
    panels = [svg.add_axes(figure, 62 + i * (width + 70), 62, width, 250) for i in range(1 + known)]
    areas = size[view.best]["area"].to_numpy(float)
    edges = np.unique(np.quantile(areas, np.linspace(0, 1, _BINS + 1)))
    drawn = compared if len(edges) > 2 else []
    tables = [_draw_trend(panels[0], s, size[s.source], "area", edges, s.source == view.best) for s in drawn]
    _set_log_percent(panels[0], areas)
    if known:
        best = next(s for s in compared if s.source == view.best)
        tables.append(_draw_trend(panels[1], best, probability, "probability", np.linspace(0, 1, _BINS + 1), True))
        panels[1].set_xlim(-0.02, 1.02)
    labels = ("Share of the image that the annotation covers", "Model's probability of the finding")
    if not tables:
        return None  # all annotations are of one size, and no probability is known
    limits = _value_range(pd.concat([size[view.best]["value"], *(t.table["high"] for t in tables)]))
    for ax, text in zip(panels, labels, strict=False):
        _label_axes(ax, metric_title(metric), text, limits)
    svg.draw_legend(figure, compared)
    return Plot(
        "size",
        svg.write_svg(figure, "size"),
        pd.concat([t.table.assign(source=t.source) for t in tables], ignore_index=True),
        "Mean score rising or falling with size. "
        + "; ".join(f"{view.label(t.source)} by {t.table['by'].iloc[0]}: {_describe_ends(t.table)}" for t in tables),
        f"{metric_title(metric)} of every map (small dots: {view.label(view.best)}) and means in fifths by size "
        + (
            "(left; edges at quintiles) and in fifths of the probability scale (right), with 95 % intervals that "
            "resample patients."
            if known
            else "(edges at quintiles), with 95 % intervals that resample patients. Too few of these maps came with a "
            "probability to show the score against it."
        ),
    )


def _defined_rows(scores: pd.DataFrame, sources: Sequence[str], x: str) -> pd.DataFrame:
    rows = scores[scores["source"].isin(sources) & scores[x].notna()]
    return rows[rows[x] > 0] if x == "area" else rows


def _draw_trend(ax: Axes, s: Series, scores: pd.DataFrame, x: str, edges: Array, dots: bool) -> Trend:
    if dots:
        every = max(1, -(-len(scores) // _MAX_DOTS))
        thin = scores.sort_values(["radiograph", "finding"]).iloc[::every]
        ax.plot(thin[x], thin["value"], ".", color=s.color, alpha=0.22, markersize=5, markeredgewidth=0, zorder=1)
    if not len(scores):
        return Trend(s.source, pd.DataFrame(columns=["x", "mean", "n", "by"]))
    table = bin_scores(scores, x, edges)
    ax.plot(table["x"], table["mean"], s.marker, color=s.color, markersize=7, linestyle="-", linewidth=1.4, zorder=3)
    ax.vlines(table["x"], table["low"], table["high"], color=s.color, linewidth=2, zorder=2)
    return Trend(s.source, table.assign(by=x))


def _label_axes(ax: Axes, above: str, below: str, limits: tuple[float, float]) -> None:
    ax.grid(axis="y", color=svg.RULE, linewidth=0.8)
    ax.set_title(above, loc="left", size=SMALL_SIZE, color=INK, pad=10)
    ax.set_xlabel(below, size=SMALL_SIZE, color=INK, labelpad=8)
    ax.set_ylim(*limits)


def _set_log_percent(ax: Axes, areas: Array) -> None:
    ax.set_xscale("log")
    ax.set_xlim(areas.min() * 0.9, min(areas.max() * 1.1, 1.02))
    ax.xaxis.set_major_locator(FixedLocator(_PERCENT))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))


def _value_range(values: pd.Series[float]) -> tuple[float, float]:
    low, high = min(0.0, float(values.min())), max(0.2, float(values.max()))
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def _describe_ends(table: pd.DataFrame) -> str:
    return f"{table['mean'].iloc[0]:.2f} in the lowest group, {table['mean'].iloc[-1]:.2f} in the highest"
