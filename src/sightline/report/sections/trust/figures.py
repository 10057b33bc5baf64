"""Figures of a trust study: similarity after randomization and retraining, and localization compared with bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sightline.core import Source
from sightline.report import svg
from sightline.report.run_view import RunView
from sightline.report.sections.trust.results import read_table
from sightline.report.svg import (
    CONTROL_COLOR,
    INK,
    KIND_COLORS,
    LOCALIZER_COLOR,
    MODEL_COLORS,
    MUTED,
    PAGE_WIDTH,
    RULE,
    SMALL_SIZE,
    TEXT_SIZE,
    Plot,
    Series,
)
from sightline.stats.utility import AVERAGE_MASK, UNTRAINED

_COLUMNS, _HEIGHT, _GAP, _ROW = 3, 150.0, 64.0, 26.0


def plot_cascade(view: RunView) -> Plot | None:
    """Plot the SSIM of maps with those of the trained network after each randomized block, a panel for each method.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    levels = read_table(view, "similarity_levels")
    if levels.empty:
        return None
    curves = levels[(levels["comparison"] == "randomization") & (levels["order"] == "top-down")]
    methods = list(dict.fromkeys(curves["method"]))
    rows = -(-len(methods) // _COLUMNS)
    figure = svg.make_canvas(PAGE_WIDTH, 24 + rows * (_HEIGHT + _GAP + 40))
    width = (PAGE_WIDTH - 40 - _GAP * (_COLUMNS - 1)) / _COLUMNS
    for place, method in enumerate(methods):
        row, column = divmod(place, _COLUMNS)
        ax = svg.add_axes(figure, 40 + column * (width + _GAP), 40 + row * (_HEIGHT + _GAP + 40), width, _HEIGHT)
        curve = curves[curves["method"] == method].sort_values("step")
        ax.grid(axis="x", visible=False)
        ax.grid(axis="y", color=RULE, linewidth=0.8)
        ax.fill_between(curve["step"], curve["low"], curve["high"], color=MODEL_COLORS[0], alpha=0.12, linewidth=0)
        ax.plot(curve["step"], curve["mean"], color=MODEL_COLORS[0], marker="o", markersize=4, linewidth=1.6)
        chance = levels[(levels["comparison"] == "pair") & (levels["method"] == method) & (levels["versus"] == "")]
        for mean in chance["mean"]:
            ax.axhline(mean, color=CONTROL_COLOR, linewidth=1.2, linestyle=(0, (5, 3)))
        ax.set_ylim(min(-0.05, float(curve["low"].min(skipna=True))), 1.05)
        ax.set_xlim(0.6, float(curve["step"].max()) + 0.4)
        names = [v if len(curve) <= 8 else "" for v in curve["versus"]]
        ax.set_xticks(curve["step"], names, rotation=40, ha="right", size=SMALL_SIZE, color=MUTED)
        ax.set_title(view.label(method), size=TEXT_SIZE, color=INK, loc="left", pad=8)
    data = curves[["method", "step", "versus", "mean", "low", "high", "n", "patients"]]
    return Plot(
        "cascade",
        svg.write_svg(figure, "cascade"),
        data,
        _alt_text(view, curves),
        "Structural similarity (SSIM) of each map with the trained network's, after one more block of weights was "
        "drawn anew, from the logits (left) to the image (right); bands are 95 % intervals over patients. Dashed: two "
        "maps of different patients with the same finding, of the trained network. A map that stays above the dashed "
        "line does not need what the network learned.",
    )


def _alt_text(view: RunView, curves: pd.DataFrame) -> str:
    last = curves[curves["step"] == curves.groupby("method")["step"].transform("max")]
    parts = [f"{view.label(r['method'])} {r['mean']:.2f}" for r in last.to_dict("records")]
    return f"SSIM after the last block: {', '.join(parts)}."


def plot_repeatability(view: RunView) -> Plot | None:
    """Plot the SSIM of maps with those of retrained networks and of other architectures, compared with chance.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    levels = read_table(view, "similarity_levels")
    if levels.empty:
        return None
    again = levels[levels["comparison"].isin(["repeatability", "reproducibility"])]
    pairs = levels[(levels["comparison"] == "pair") & levels["versus"].isin(again["versus"])]
    levels, methods = pd.concat([again, pairs]), list(dict.fromkeys(again["method"]))
    if not methods:
        return None
    left = svg.label_width([view.label(m) for m in methods])
    figure = svg.make_canvas(PAGE_WIDTH, 70 + _ROW * len(methods))
    ax = svg.add_axes(figure, left, 34, PAGE_WIDTH - left - 20, _ROW * len(methods))
    for place, method in enumerate(methods):
        mine = levels[levels["method"] == method]
        chance = mine[mine["comparison"] == "pair"].set_index("versus")["mean"]
        for kind, offset, filled in (("repeatability", -0.13, True), ("reproducibility", 0.13, False)):
            color = LOCALIZER_COLOR if Source.parse(method).kind == "localizer" else MODEL_COLORS[0]
            for row in mine[mine["comparison"] == kind].to_dict("records"):
                at, level = place + offset, chance.get(row["versus"], np.nan)
                ax.plot([level, level], [at - 0.18, at + 0.18], color=CONTROL_COLOR, linewidth=2)
                ax.plot([row["low"], row["high"]], [at, at], color=color, linewidth=1.4)
                ax.plot(
                    row["mean"],
                    at,
                    marker="o",
                    markersize=6,
                    color=color,
                    markerfacecolor=color if filled else svg.PAPER,
                )
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_xlim(min(0.0, float(levels["low"].min(skipna=True))), 1.02)
    ax.set_yticks(range(len(methods)), [view.label(m) for m in methods], size=TEXT_SIZE, color=INK)
    ax.set_xlabel("SSIM with the map of the other network", size=SMALL_SIZE, color=MUTED)
    svg.draw_legend(
        figure,
        [
            Series("", "same architecture, other seed", MODEL_COLORS[0], "o"),
            Series("", "other architecture", MODEL_COLORS[0], "o", is_filled=False),
            Series("", "network trained on marks", LOCALIZER_COLOR, "o"),
            Series("", "chance: another patient", CONTROL_COLOR, "|"),
        ],
    )
    spoken = [
        f"{view.label(r['method'])} {r['mean']:.2f}"
        for r in levels[levels["comparison"] == "repeatability"].to_dict("records")
    ]
    return Plot(
        "agreement",
        svg.write_svg(figure, "agreement"),
        levels,
        f"SSIM when trained again: {', '.join(spoken)}.",
        "Do maps come back? Structural similarity with the maps of networks trained on the same data: dots are means, "
        "lines 95 % intervals over patients. The gray tick is chance: the other network's map of another patient. "
        "Failed maps count as like nothing (0).",
    )


def plot_utility(view: RunView) -> Plot | None:
    """Plot the average precision of each method, of the untrained network, of the average mask and of localizers.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    if not view.run.has_table("verdicts"):
        return None
    scores = view.run.table("scores", ["protocol", "source", "metric", "value"], where=("metric", "average-precision"))
    scores = scores[(scores["protocol"] == view.protocol) & scores["value"].notna()]
    name = view.info.get("evaluated_model", "")
    sources = {s: Source.parse(s) for s in dict.fromkeys(scores["source"])}
    methods = [s for s, source in sources.items() if (source.kind, source.model) == ("model", name)]
    ceiling = [s for s, source in sources.items() if source.kind == "localizer"]
    rows = sorted(methods, key=lambda s: -scores[scores["source"] == s]["value"].median())
    rows = [s for s in (*ceiling, AVERAGE_MASK, *rows) if (scores["source"] == s).any()]
    if not methods:
        return None
    labels = [view.label(s).removesuffix(f" · {name}") for s in rows]
    left = svg.label_width(labels)
    figure = svg.make_canvas(PAGE_WIDTH, 74 + (_ROW + 8) * len(rows))
    ax = svg.add_axes(figure, left, 34, PAGE_WIDTH - left - 20, (_ROW + 8) * len(rows))
    drawn = []
    for place, source in enumerate(rows):
        pairs = [(source, KIND_COLORS[view.kind(source)], -0.17)]
        control = str(replace(Source.parse(source), kind="control", model=UNTRAINED))
        pairs += [(control, CONTROL_COLOR, 0.2)] if source in methods else []
        for one, color, offset in pairs:
            values = scores[scores["source"] == one]["value"].to_numpy(float)
            if values.size:
                _draw_box(ax, values, place + (offset if source in methods else 0), color)
                drawn.append((one, values.size, *np.quantile(values, (0.25, 0.5, 0.75)), values.mean()))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(-0.01, 1.01)
    ax.set_yticks(range(len(rows)), labels, size=TEXT_SIZE, color=INK)
    ax.set_xlabel("Average precision of a map", size=SMALL_SIZE, color=MUTED)
    svg.draw_legend(
        figure,
        [
            Series("", name, MODEL_COLORS[0], "s"),
            Series("", "untrained, or without the image", CONTROL_COLOR, "s"),
            Series("", "trained on marks", LOCALIZER_COLOR, "s"),
        ],
    )
    data = pd.DataFrame(
        drawn, columns=pd.Index(["source", "maps", "lower quartile", "median", "upper quartile", "mean"])
    )
    return Plot(
        "utility",
        svg.write_svg(figure, "utility"),
        data,
        f"Median average precision: {_describe_medians(view, data)}.",
        "How well maps find marks, between floor and ceiling: boxes hold the middle half of all maps, the line is "
        "their median, the dot their mean, whiskers reach from the 5th to the 95th percentile.",
    )


def _describe_medians(view: RunView, data: pd.DataFrame) -> str:
    return ", ".join(f"{view.label(r['source'])} {r['median']:.2f}" for r in data.to_dict("records"))


def _draw_box(ax: Axes, values: np.ndarray[tuple[int], np.dtype[np.float64]], at: float, color: str) -> None:
    """One horizontal box with whiskers."""
    low, first, middle, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    ax.plot([low, high], [at, at], color=color, linewidth=1)
    ax.barh(at, third - first, left=first, height=0.28, color=svg.PAPER, edgecolor=color, linewidth=1.4)
    ax.plot([middle, middle], [at - 0.14, at + 0.14], color=color, linewidth=2.4)
    ax.plot(values.mean(), at, marker="o", markersize=4, color=color)
