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
        "Structural similarity (SSIM) of maps with those of the trained network while its weights are randomized block "
        "by block, from the logits (left) to the image (right); bands are 95 % intervals over patients. The dashed "
        "line is chance: two maps of different patients with the same finding, by the trained network. A map that "
        "stays above the dashed line does not depend on what the network learned.",
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
    networks = levels[levels["comparison"].isin(["repeatability", "reproducibility"])]
    pairs = levels[(levels["comparison"] == "pair") & levels["versus"].isin(networks["versus"])]
    levels, methods = pd.concat([networks, pairs]), list(dict.fromkeys(networks["method"]))
    if not methods:
        return None
    left = svg.label_width([view.label(m) for m in methods])
    figure = svg.make_canvas(PAGE_WIDTH, 70 + _ROW * len(methods))
    ax = svg.add_axes(figure, left, 34, PAGE_WIDTH - left - 20, _ROW * len(methods))
    for place, method in enumerate(methods):
        _draw_similarities(ax, levels[levels["method"] == method], place, method)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_xlim(min(0.0, float(levels["low"].min(skipna=True))), 1.02)
    ax.set_yticks(range(len(methods)), [view.label(m) for m in methods], size=TEXT_SIZE, color=INK)
    ax.set_xlabel("SSIM with the map of the other network", size=SMALL_SIZE, color=MUTED)
    legend = [
        Series("", "same architecture, other seed", MODEL_COLORS[0], "o"),
        Series("", "other architecture", MODEL_COLORS[0], "o", is_filled=False),
        Series("", "network trained on annotations", LOCALIZER_COLOR, "o"),
        Series("", "chance: another patient", CONTROL_COLOR, "|"),
    ]
    svg.draw_legend(figure, legend)
    retrained = levels[levels["comparison"] == "repeatability"].to_dict("records")
    values = ", ".join(f"{view.label(row['method'])} {row['mean']:.2f}" for row in retrained)
    return Plot(
        "agreement",
        svg.write_svg(figure, "agreement"),
        levels,
        f"SSIM after retraining: {values}.",
        "Structural similarity (SSIM) of maps with those of other networks trained on the same data: dots are means, "
        "lines are 95 % intervals over patients. The gray tick is chance: the map of another patient by the other "
        "network. Failed maps count as similarity 0.",
    )


def _draw_similarities(ax: Axes, levels: pd.DataFrame, place: int, method: str) -> None:
    """Dots of one method for every other network, and a tick at chance."""
    chance = levels[levels["comparison"] == "pair"].set_index("versus")["mean"]
    color = LOCALIZER_COLOR if Source.parse(method).kind == "localizer" else MODEL_COLORS[0]
    for comparison, offset, face in (("repeatability", -0.13, color), ("reproducibility", 0.13, svg.PAPER)):
        for row in levels[levels["comparison"] == comparison].to_dict("records"):
            y, level = place + offset, chance.get(row["versus"], np.nan)
            ax.plot([level, level], [y - 0.18, y + 0.18], color=CONTROL_COLOR, linewidth=2)
            ax.plot([row["low"], row["high"]], [y, y], color=color, linewidth=1.4)
            ax.plot(row["mean"], y, marker="o", markersize=6, color=color, markerfacecolor=face)


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
    values = {str(source): part.to_numpy(float) for source, part in scores.groupby("source", sort=False)["value"]}
    name, parsed = view.info.get("evaluated_model", ""), {source: Source.parse(source) for source in values}
    methods = [s for s, source in parsed.items() if (source.kind, source.model) == ("model", name)]
    if not methods:
        return None
    localizers = [s for s, source in parsed.items() if source.kind == "localizer"]
    ranked = sorted(methods, key=lambda s: -np.median(values[s]))
    rows = [s for s in (*localizers, AVERAGE_MASK, *ranked) if s in values]
    labels = [view.label(s).removesuffix(f" · {name}") for s in rows]
    left = svg.label_width(labels)
    figure = svg.make_canvas(PAGE_WIDTH, 74 + (_ROW + 8) * len(rows))
    ax = svg.add_axes(figure, left, 34, PAGE_WIDTH - left - 20, (_ROW + 8) * len(rows))
    statistics = []
    for place, source in enumerate(rows):
        boxes = [(source, KIND_COLORS[view.kind(source)], place - 0.17 if source in methods else place)]
        if source in methods:
            untrained = str(replace(Source.parse(source), kind="control", model=UNTRAINED))
            boxes.append((untrained, CONTROL_COLOR, place + 0.2))
        for box, color, y in boxes:
            if box in values:
                _draw_box(ax, values[box], y, color)
                quartiles = np.quantile(values[box], (0.25, 0.5, 0.75))
                statistics.append((box, values[box].size, *quartiles, values[box].mean()))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(-0.01, 1.01)
    ax.set_yticks(range(len(rows)), labels, size=TEXT_SIZE, color=INK)
    ax.set_xlabel("Average precision of a map", size=SMALL_SIZE, color=MUTED)
    names = {name: MODEL_COLORS[0], "untrained, or without the image": CONTROL_COLOR}
    names["trained on annotations"] = LOCALIZER_COLOR
    svg.draw_legend(figure, [Series("", text, color, "s") for text, color in names.items()])
    columns = pd.Index(["source", "maps", "lower quartile", "median", "upper quartile", "mean"])
    data = pd.DataFrame(statistics, columns=columns)
    return Plot(
        "utility",
        svg.write_svg(figure, "utility"),
        data,
        f"Median average precision: {_describe_medians(view, data)}.",
        "Localization by each method, compared with networks trained on annotations and with controls. Boxes contain "
        "the middle half of all maps, the line is the median, the dot is the mean, and whiskers reach from the 5th to "
        "the 95th percentile.",
    )


def _describe_medians(view: RunView, data: pd.DataFrame) -> str:
    return ", ".join(f"{view.label(r['source'])} {r['median']:.2f}" for r in data.to_dict("records"))


def _draw_box(ax: Axes, values: np.ndarray[tuple[int], np.dtype[np.float64]], y: float, color: str) -> None:
    """One horizontal box with whiskers."""
    low, first, middle, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    ax.plot([low, high], [y, y], color=color, linewidth=1)
    ax.barh(y, third - first, left=first, height=0.28, color=svg.PAPER, edgecolor=color, linewidth=1.4)
    ax.plot([middle, middle], [y - 0.14, y + 0.14], color=color, linewidth=2.4)
    ax.plot(values.mean(), y, marker="o", markersize=4, color=color)
