"""Figures of a self-explaining study: every map by score, the label budget, and FROC curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sightline.core import Source
from sightline.report import svg
from sightline.report.dot_plot import DotPlot, draw_dot, set_scale
from sightline.report.phrasing import count_noun
from sightline.report.run_view import AVERAGE, RunView, metric_title
from sightline.report.sections.selfexplain.results import (
    MAIN_METRIC,
    intrinsic_source,
    localizers,
    ordered_sources,
    read_table,
)
from sightline.report.sections.selfexplain.sentences import crossing_sentence, training_length_note
from sightline.report.svg import (
    CONTROL_COLOR,
    INK,
    KIND_COLORS,
    KIND_MARKERS,
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
from sightline.stats.froc import FALSE_POSITIVE_RATES, MEAN_OVER_RATES
from sightline.stats.utility import AVERAGE_MASK

_HEIGHT = 300.0


def plot_method_ranking(view: RunView) -> Plot | None:
    """Plot the intrinsic map, localizers, controls and every post-hoc map with and without the saliency head, by two metrics.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    if not intrinsic_source(view) or not view.metrics:
        return None
    shown = [m for m in (MAIN_METRIC, "pointing-game") if (view.estimates["metric"] == m).any()]
    first = str(view.info["self_explaining_model"])
    parsed = {s: Source.parse(s) for s in ordered_sources(view)}
    methods = list(
        dict.fromkeys(s.method for s in parsed.values() if s.model in ("baseline", first) if s.method != "intrinsic")
    )
    single = [s for s in ordered_sources(view) if s == intrinsic_source(view) or view.kind(s) != "model"]
    single = [s for s in single if parsed[s].model == first or parsed[s].kind in ("localizer", "control")]
    labels = [view.label(s) if s != intrinsic_source(view) else "Own map of the element" for s in single] + [
        view.label(m) for m in methods
    ]
    grid = DotPlot.create([svg.elide(name, 40) for name in labels], len(shown), 26.0, has_legend=True)
    pair = [
        Series(first, "with the element", MODEL_COLORS[0], "o"),
        Series("baseline", "the same backbone without", MODEL_COLORS[1], "o", is_filled=False),
    ]
    rows = []
    for ax, metric in zip(grid.panels, shown, strict=True):
        colors = {s: MODEL_COLORS[0] if s == intrinsic_source(view) else KIND_COLORS[view.kind(s)] for s in single}
        marker = {s: Series(s, s, colors[s], KIND_MARKERS[view.kind(s)]) for s in single}
        points = [(float(i), marker[s], s) for i, s in enumerate(single)]
        points += [
            (len(single) + i + (-0.15, 0.15)[k], s, f"{s.source}/{m}")
            for i, m in enumerate(methods)
            for k, s in enumerate(pair)
        ]
        found = [(at, s, source, view.estimate(source, metric)) for at, s, source in points]
        set_scale(ax, metric, [n for *_, n in found])
        mine = view.estimate(intrinsic_source(view), metric)
        if mine.is_defined:
            ax.axvline(mine.mean, color=MODEL_COLORS[0], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        for at, s, source, number in found:
            draw_dot(ax, number, at, s)
            rows.append((metric, source, number.mean, number.low, number.high, number.n, number.patients))
    grid.draw_legend(
        [
            *pair,
            Series("", "trained on marks", LOCALIZER_COLOR, "^"),
            Series("", "without the image", CONTROL_COLOR, "s"),
        ]
    )
    grid.draw_rule_above(len(single))
    data = pd.DataFrame(rows, columns=pd.Index(["metric", "source", "mean", "low", "high", "n", "patients"]))
    spoken = "; ".join(f"{view.label(s)} {view.estimate(s, MAIN_METRIC).text()}" for s in single)
    return Plot(
        "ladder",
        svg.write_svg(grid.figure, "ladder"),
        data,
        f"{metric_title(MAIN_METRIC)}: {spoken}.",
        f"How well maps find marks, averaged over {count_noun(len(view.findings), 'finding')}, mean and 95 % interval "
        "over patients. "
        "Dashed: the element's own map, learned from image labels alone. Above the line networks that were told where, "
        "and what never saw the image; below it post-hoc maps of the backbone with the element and without.",
    )


def plot_label_budget(view: RunView) -> Plot | None:
    """Plot average precision by the number of annotated radiographs for the self-explaining network and a detector.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    table = read_table(view, "label_budget")
    if table.empty:
        return None
    figure = svg.make_canvas(PAGE_WIDTH, _HEIGHT + 126)
    ax = svg.add_axes(figure, 70, 60, PAGE_WIDTH - 110, _HEIGHT)
    _use_horizontal_grid(ax)
    ticks = sorted(set(table["n_annotated"]))
    for role, color, marker in (("self-explaining", MODEL_COLORS[0], "o"), ("detector", LOCALIZER_COLOR, "^")):
        part = table[table["role"] == role].sort_values("n_annotated")
        at = np.log1p(part["n_annotated"].to_numpy(float))
        ax.fill_between(at, part["low"], part["high"], color=color, alpha=0.13, linewidth=0)
        ax.plot(at, part["mean"], color=color, marker=marker, markersize=7, linewidth=1.8)
    prior = view.estimate(AVERAGE_MASK, MAIN_METRIC)
    if prior.is_defined:
        ax.axhline(prior.mean, color=CONTROL_COLOR, linewidth=1.2, linestyle=(0, (5, 3)))
    crossing = view.info.get("crossing", {})
    if crossing.get("point") is not None:
        ends = [crossing["low"], crossing["high"]]
        low, high = (
            np.log1p(e if e is not None else edge)
            for e, edge in zip(ends, (crossing["fewest"], crossing["most"]), strict=True)
        )
        ax.axvline(np.log1p(crossing["point"]), color=INK, linewidth=1.2)
        ax.axvspan(low, high, color=RULE, alpha=0.4, linewidth=0, zorder=0)
    ax.set_xticks(np.log1p(ticks), [f"{t:,}" for t in ticks], size=SMALL_SIZE, color=MUTED)
    ax.set_ylim(0, None)
    ax.set_xlabel("Films with marks (logarithmic)", size=SMALL_SIZE, color=MUTED)
    ax.set_title(metric_title(MAIN_METRIC), size=TEXT_SIZE, color=INK, loc="left", pad=8)
    svg.draw_legend(
        figure,
        [
            Series("", "element: labels, and these marks", MODEL_COLORS[0], "o"),
            Series("", "detector: these marks", LOCALIZER_COLOR, "^"),
            Series("", "average mask", CONTROL_COLOR, "_"),
        ],
    )
    drawn = "Vertical: from where the detector stays ahead; shaded: its 95 % interval."
    caption = [
        "The label budget: what marks of so many films bring. Bands are 95 % intervals over patients.",
        crossing_sentence(crossing),
        drawn if crossing.get("point") is not None else "",
        *training_length_note(view),
    ]
    return Plot(
        "budget",
        svg.write_svg(figure, "budget"),
        table,
        crossing_sentence(crossing) or "Average precision by marked films.",
        " ".join(said for said in caption if said),
    )


def plot_froc(view: RunView) -> Plot | None:
    """Plot FROC curves on radiographs with the finding and on all radiographs.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    table = read_table(view, "froc")
    if table.empty:
        return None
    several = (table["finding"] == AVERAGE).any()
    part = table[(table["rate"] != MEAN_OVER_RATES) & ((table["finding"] == AVERAGE) | (not several))]
    first = str(view.info["self_explaining_model"])
    sources = [
        intrinsic_source(view),
        f"{first}/grad-cam",
        "baseline/grad-cam",
        *localizers(view),
        AVERAGE_MASK,
    ]
    look = {
        intrinsic_source(view): (MODEL_COLORS[0], "-", "o"),
        f"{first}/grad-cam": (MODEL_COLORS[0], (0, (4, 2)), "D"),
        "baseline/grad-cam": (MODEL_COLORS[1], "-", "o"),
        AVERAGE_MASK: (CONTROL_COLOR, "-", "s"),
    }
    figure = svg.make_canvas(PAGE_WIDTH, _HEIGHT + 142)
    width = (PAGE_WIDTH - 140) / 2
    shown = [s for s in sources if (part["source"] == s).any()]
    marks = iter(("^", "v", "<", ">"))
    look |= {s: (LOCALIZER_COLOR, "-", next(marks, "^")) for s in shown if s not in look}
    for column, (films, name) in enumerate((("annotated", "Films that show the finding"), ("all", "All films"))):
        ax = svg.add_axes(figure, 60 + column * (width + 70), 76, width, _HEIGHT)
        _use_horizontal_grid(ax)
        for s in shown:
            curve = part[(part["source"] == s) & (part["radiographs"] == films)]
            if len(curve):
                color, line, marker = look[s]
                at = np.log2(curve["rate"].astype(float))
                ax.fill_between(at, curve["low"], curve["high"], color=color, alpha=0.07, linewidth=0)
                ax.plot(at, curve["mean"], color=color, linestyle=line, marker=marker, markersize=5, linewidth=1.6)
        ax.set_xticks(
            np.log2(FALSE_POSITIVE_RATES), [f"{r:g}" for r in FALSE_POSITIVE_RATES], size=SMALL_SIZE, color=MUTED
        )
        ax.set_ylim(0, 1)
        ax.set_xlabel("False candidates a film", size=SMALL_SIZE, color=MUTED)
        ax.set_title(name, size=TEXT_SIZE, color=INK, loc="left", pad=8)
    names = {s: "own map of the element" if s == intrinsic_source(view) else view.label(s) for s in shown}
    svg.draw_legend(figure, [Series(s, names[s], look[s][0], look[s][2], is_filled=look[s][1] == "-") for s in shown])
    spoken = "; ".join(f"{view.label(s)} {_sensitivity_at_one(part, s):.2f}" for s in shown)
    return Plot(
        "froc",
        svg.write_svg(figure, "froc"),
        part,
        f"Share found at one false candidate a film: {spoken}.",
        "FROC: share of the pieces of marks that a map's highest places hit, by how many places beside them it points "
        "at. On all films, places on films without the finding are false, too: a map must be low where nothing is. "
        "Bands are 95 % intervals over patients.",
    )


def _sensitivity_at_one(part: pd.DataFrame, source: str) -> float:
    rows = part[(part["source"] == source) & (part["radiographs"] == "annotated") & (part["rate"] == "1")]
    return float(rows["mean"].iloc[0]) if len(rows) else float("nan")


def _use_horizontal_grid(ax: Axes) -> None:
    ax.grid(axis="x", visible=False)
    ax.grid(axis="y", color=RULE, linewidth=0.8)
