"""Figures of a self-explaining study: every map by score, the label budget, and FROC curves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sightline.core import Source
from sightline.report import svg
from sightline.report.dot_plot import DotPlot, draw_dot, set_scale
from sightline.report.estimate import AVERAGE, Estimate
from sightline.report.phrasing import count_noun
from sightline.report.run_view import RunView
from sightline.report.sections.selfexplain.results import (
    MAIN_METRIC,
    baseline_name,
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
from sightline.report.titles import metric_title
from sightline.stats.froc import FALSE_POSITIVE_RATES, MEAN_OVER_RATES
from sightline.stats.utility import AVERAGE_MASK

_HEIGHT = 300.0


def plot_method_ranking(view: RunView) -> Plot | None:
    """Plot the scores of the intrinsic map, localizers, controls and every post-hoc map by two metrics.

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
    metrics = [m for m in (MAIN_METRIC, "pointing-game") if (view.estimates["metric"] == m).any()]
    single, methods = _ranked_rows(view)
    labels = [view.label(s) if s != intrinsic_source(view) else "Intrinsic map" for s in single]
    labels += [view.label(m) for m in methods]
    plot = DotPlot.create([svg.elide(name, 40) for name in labels], len(metrics), 26.0, has_legend=True)
    pair = _network_series(view)
    rows = []
    for ax, metric in zip(plot.panels, metrics, strict=True):
        points = _ranking_points(view, metric, single, methods, pair)
        set_scale(ax, metric, [number for *_, number in points])
        intrinsic = view.estimate(intrinsic_source(view), metric)
        if intrinsic.is_defined:
            ax.axvline(intrinsic.mean, color=MODEL_COLORS[0], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        for y, series, source, number in points:
            draw_dot(ax, number, y, series)
            rows.append((metric, source, number.mean, number.low, number.high, number.n, number.patients))
    trained = Series("", "trained on annotations", LOCALIZER_COLOR, "^")
    plot.draw_legend([*pair, trained, Series("", "without the image", CONTROL_COLOR, "s")])
    plot.draw_rule_above(len(single))
    scores = "; ".join(f"{view.label(s)} {view.estimate(s, MAIN_METRIC).text()}" for s in single)
    return Plot(
        "ladder",
        svg.write_svg(plot.figure, "ladder"),
        pd.DataFrame(rows, columns=pd.Index(["metric", "source", "mean", "low", "high", "n", "patients"])),
        f"{metric_title(MAIN_METRIC)}: {scores}.",
        f"Localization averaged over {count_noun(len(view.findings), 'finding')}, mean and 95 % interval over "
        "patients. The dashed line is the score of the intrinsic map, which was learned from image labels alone. Above "
        "the solid line are networks trained on annotations and controls that never see the image; below it are "
        "post-hoc maps of the backbone with and without the saliency head.",
    )


def _ranked_rows(view: RunView) -> tuple[list[str], list[str]]:
    """Return sources with a row of their own, and post-hoc methods."""
    first = str(view.info["self_explaining_model"])
    parsed = {source: Source.parse(source) for source in ordered_sources(view)}
    posthoc = [s for s in parsed.values() if s.model in (baseline_name(view), first) and s.method != "intrinsic"]
    single = [s for s in parsed if s == intrinsic_source(view) or view.kind(s) != "model"]
    single = [s for s in single if parsed[s].model == first or parsed[s].kind in ("localizer", "control")]
    return single, list(dict.fromkeys(source.method for source in posthoc))


def _network_series(view: RunView) -> list[Series]:
    return [
        Series(str(view.info["self_explaining_model"]), "with the saliency head", MODEL_COLORS[0], "o"),
        Series(baseline_name(view), "the same backbone without it", MODEL_COLORS[1], "o", is_filled=False),
    ]


def _ranking_points(
    view: RunView, metric: str, single: Sequence[str], methods: Sequence[str], pair: Sequence[Series]
) -> list[tuple[float, Series, str, Estimate]]:
    """Vertical position, series, source and score of every dot."""
    colors = {s: MODEL_COLORS[0] if s == intrinsic_source(view) else KIND_COLORS[view.kind(s)] for s in single}
    points = [(float(i), Series(s, s, colors[s], KIND_MARKERS[view.kind(s)]), s) for i, s in enumerate(single)]
    points += [
        (len(single) + i + offset, series, f"{series.source}/{method}")
        for i, method in enumerate(methods)
        for offset, series in zip((-0.15, 0.15), pair, strict=True)
    ]
    return [(y, series, source, view.estimate(source, metric)) for y, series, source in points]


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
    for role, color, marker in (("self-explaining", MODEL_COLORS[0], "o"), ("detector", LOCALIZER_COLOR, "^")):
        part = table[table["role"] == role].sort_values("n_annotated")
        x = np.log1p(part["n_annotated"].to_numpy(float))
        ax.fill_between(x, part["low"], part["high"], color=color, alpha=0.13, linewidth=0)
        ax.plot(x, part["mean"], color=color, marker=marker, markersize=7, linewidth=1.8)
    prior = view.estimate(AVERAGE_MASK, MAIN_METRIC)
    if prior.is_defined:
        ax.axhline(prior.mean, color=CONTROL_COLOR, linewidth=1.2, linestyle=(0, (5, 3)))
    crossing = view.info.get("crossing", {})
    _draw_crossing(ax, crossing)
    ticks = sorted(set(table["n_annotated"]))
    ax.set_xticks(np.log1p(ticks), [f"{t:,}" for t in ticks], size=SMALL_SIZE, color=MUTED)
    ax.set_ylim(0, None)
    ax.set_xlabel("Annotated radiographs (logarithmic)", size=SMALL_SIZE, color=MUTED)
    ax.set_title(metric_title(MAIN_METRIC), size=TEXT_SIZE, color=INK, loc="left", pad=8)
    names = ("self-explaining network: labels, and these annotations", "detector: these annotations", "average mask")
    styles = ((MODEL_COLORS[0], "o"), (LOCALIZER_COLOR, "^"), (CONTROL_COLOR, "_"))
    svg.draw_legend(figure, [Series("", name, *style) for name, style in zip(names, styles, strict=True)])
    line = "The vertical line is the number from which on the detector is better; its 95 % interval is shaded."
    caption = [
        "Label budget: localization by the number of annotated radiographs. Bands are 95 % intervals over patients.",
        crossing_sentence(crossing),
        line if crossing.get("point") is not None else "",
        *training_length_note(view),
    ]
    return Plot(
        "budget",
        svg.write_svg(figure, "budget"),
        table,
        crossing_sentence(crossing) or "Average precision by number of annotated radiographs.",
        " ".join(filter(None, caption)),
    )


def _draw_crossing(ax: Axes, crossing: Mapping[str, Any]) -> None:
    """Vertical line with its interval, which ends at the edge of what was tested."""
    if crossing.get("point") is None:
        return
    bounds = zip((crossing["low"], crossing["high"]), (crossing["fewest"], crossing["most"]), strict=True)
    low, high = (np.log1p(edge if end is None else end) for end, edge in bounds)
    ax.axvline(np.log1p(crossing["point"]), color=INK, linewidth=1.2)
    ax.axvspan(low, high, color=RULE, alpha=0.4, linewidth=0, zorder=0)


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
    has_average = (table["finding"] == AVERAGE).any()
    part = table[(table["rate"] != MEAN_OVER_RATES) & ((table["finding"] == AVERAGE) | (not has_average))]
    styles = _froc_styles(view, set(part["source"]))
    figure = svg.make_canvas(PAGE_WIDTH, _HEIGHT + 142)
    width = (PAGE_WIDTH - 140) / 2
    panels = {"annotated": "Radiographs with the finding", "all": "All radiographs"}
    for column, (name, title) in enumerate(panels.items()):
        ax = svg.add_axes(figure, 60 + column * (width + 70), 76, width, _HEIGHT)
        _use_horizontal_grid(ax)
        for source, (color, line, marker) in styles.items():
            curve = part[(part["source"] == source) & (part["radiographs"] == name)]
            if len(curve):
                x = np.log2(curve["rate"].astype(float))
                ax.fill_between(x, curve["low"], curve["high"], color=color, alpha=0.07, linewidth=0)
                ax.plot(x, curve["mean"], color=color, linestyle=line, marker=marker, markersize=5, linewidth=1.6)
        rates = [f"{rate:g}" for rate in FALSE_POSITIVE_RATES]
        ax.set_xticks(np.log2(FALSE_POSITIVE_RATES), rates, size=SMALL_SIZE, color=MUTED)
        ax.set_ylim(0, 1)
        ax.set_xlabel("False positives per image", size=SMALL_SIZE, color=MUTED)
        ax.set_title(title, size=TEXT_SIZE, color=INK, loc="left", pad=8)
    names = {s: "intrinsic map" if s == intrinsic_source(view) else view.label(s) for s in styles}
    legend = [Series(s, names[s], color, marker, is_filled=line == "-") for s, (color, line, marker) in styles.items()]
    svg.draw_legend(figure, legend)
    sensitivities = "; ".join(f"{view.label(s)} {_sensitivity_at_one(part, s):.2f}" for s in styles)
    return Plot(
        "froc",
        svg.write_svg(figure, "froc"),
        part,
        f"Sensitivity at one false positive per image: {sensitivities}.",
        "FROC: the share of the components of annotations that the most salient places hit, by the number of places "
        "per image that hit none. On all radiographs, places on radiographs without the finding are false positives as "
        "well, so a map must be low where there is no finding. Bands are 95 % intervals over patients.",
    )


def _froc_styles(view: RunView, sources: Collection[str]) -> dict[str, tuple[str, Any, str]]:
    """Source -> color, line style and marker, for the sources that have a curve."""
    first = str(view.info["self_explaining_model"])
    styles: dict[str, tuple[str, Any, str]] = {
        intrinsic_source(view): (MODEL_COLORS[0], "-", "o"),
        f"{first}/grad-cam": (MODEL_COLORS[0], (0, (4, 2)), "D"),
        f"{baseline_name(view)}/grad-cam": (MODEL_COLORS[1], "-", "o"),
    }
    markers = iter(("^", "v", "<", ">"))
    styles |= {s: (LOCALIZER_COLOR, "-", next(markers, "^")) for s in localizers(view) if s in sources}
    styles |= {AVERAGE_MASK: (CONTROL_COLOR, "-", "s")}
    return {source: style for source, style in styles.items() if source in sources}


def _sensitivity_at_one(part: pd.DataFrame, source: str) -> float:
    rows = part[(part["source"] == source) & (part["radiographs"] == "annotated") & (part["rate"] == "1")]
    return float(rows["mean"].iloc[0]) if len(rows) else float("nan")


def _use_horizontal_grid(ax: Axes) -> None:
    ax.grid(axis="x", visible=False)
    ax.grid(axis="y", color=RULE, linewidth=0.8)
