"""Figures of a self-explaining study: every map between prior and detector, the label budget, FROC curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sightline.core import Source
from sightline.report import svg
from sightline.report.dot_plot import Grid, dot, scale
from sightline.report.phrasing import counted
from sightline.report.run_view import AVERAGE, View, title
from sightline.report.sections.selfexplain import METRIC, crossed, lasted, localizers, ordered, own, table_of
from sightline.report.svg import (
    CONTROL,
    INK,
    KINDS,
    LOCALIZER,
    MARKERS,
    MODELS,
    MUTED,
    RULE,
    SMALL,
    TEXT,
    WIDTH,
    Plot,
    Series,
)
from sightline.stats.froc import OVER, RATES
from sightline.stats.utility import PRIOR

_HEIGHT = 300.0


def ladder(view: View) -> Plot | None:
    """Own map, detectors, priors and every post-hoc map with and without the element, by two measures."""
    if not own(view) or not view.metrics:
        return None
    shown = [m for m in (METRIC, "hit") if (view.estimates["metric"] == m).any()]
    first = str(view.info["element"])
    parsed = {s: Source.parse(s) for s in ordered(view)}
    methods = list(dict.fromkeys(s.method for s in parsed.values() if s.model in ("plain", first) if s.method != "own"))
    single = [s for s in ordered(view) if s == own(view) or view.kind(s) != "model"]
    single = [s for s in single if parsed[s].model == first or parsed[s].kind in ("localizer", "control")]
    labels = [view.label(s) if s != own(view) else "Own map of the element" for s in single] + [
        view.label(m) for m in methods
    ]
    grid = Grid.of([svg.elide(name, 40) for name in labels], len(shown), 26.0, legend=True)
    pair = [
        Series(first, "with the element", MODELS[0], "o"),
        Series("plain", "the same backbone without", MODELS[1], "o", filled=False),
    ]
    rows = []
    for ax, metric in zip(grid.panels, shown, strict=True):
        colors = {s: MODELS[0] if s == own(view) else KINDS[view.kind(s)] for s in single}
        marker = {s: Series(s, s, colors[s], MARKERS[view.kind(s)]) for s in single}
        points = [(float(i), marker[s], s) for i, s in enumerate(single)]
        points += [
            (len(single) + i + (-0.15, 0.15)[k], s, f"{s.source}/{m}")
            for i, m in enumerate(methods)
            for k, s in enumerate(pair)
        ]
        found = [(at, s, source, view.number(source, metric)) for at, s, source in points]
        scale(ax, metric, [n for *_, n in found])
        mine = view.number(own(view), metric)
        if mine.defined:
            ax.axvline(mine.mean, color=MODELS[0], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        for at, s, source, number in found:
            dot(ax, number, at, s)
            rows.append((metric, source, number.mean, number.low, number.high, number.n, number.patients))
    grid.legend([*pair, Series("", "trained on marks", LOCALIZER, "^"), Series("", "without the image", CONTROL, "s")])
    grid.rule_above(len(single))
    data = pd.DataFrame(rows, columns=pd.Index(["metric", "source", "mean", "low", "high", "n", "patients"]))
    spoken = "; ".join(f"{view.label(s)} {view.number(s, METRIC).text()}" for s in single)
    return Plot(
        "ladder", svg.write_svg(grid.figure, "ladder"), data, f"{title(METRIC)}: {spoken}.",
        f"How well maps find marks, averaged over {counted(len(view.findings), 'finding')}, mean and 95 % interval "
        "over patients. "
        "Dashed: the element's own map, learned from image labels alone. Above the line networks that were told where, "
        "and what never saw the image; below it post-hoc maps of the backbone with the element and without.",
    )  # fmt: skip


def budget(view: View) -> Plot | None:
    """Average precision by marked films, of element and detector, and where they cross."""
    table = table_of(view, "budget")
    if table.empty:
        return None
    figure = svg.canvas(WIDTH, _HEIGHT + 126)
    ax = svg.axes(figure, 70, 60, WIDTH - 110, _HEIGHT)
    _horizontal(ax)
    ticks = sorted(set(table["told"]))
    for role, color, marker in (("element", MODELS[0], "o"), ("detector", LOCALIZER, "^")):
        part = table[table["role"] == role].sort_values("told")
        at = np.log1p(part["told"].to_numpy(float))
        ax.fill_between(at, part["low"], part["high"], color=color, alpha=0.13, linewidth=0)
        ax.plot(at, part["mean"], color=color, marker=marker, markersize=7, linewidth=1.8)
    prior = view.number(PRIOR, METRIC)
    if prior.defined:
        ax.axhline(prior.mean, color=CONTROL, linewidth=1.2, linestyle=(0, (5, 3)))
    crossing = view.info.get("crossing", {})
    if crossing.get("point") is not None:
        ends = [crossing["low"], crossing["high"]]
        low, high = (
            np.log1p(e if e is not None else edge)
            for e, edge in zip(ends, (crossing["fewest"], crossing["most"]), strict=True)
        )
        ax.axvline(np.log1p(crossing["point"]), color=INK, linewidth=1.2)
        ax.axvspan(low, high, color=RULE, alpha=0.4, linewidth=0, zorder=0)
    ax.set_xticks(np.log1p(ticks), [f"{t:,}" for t in ticks], size=SMALL, color=MUTED)
    ax.set_ylim(0, None)
    ax.set_xlabel("Films with marks (logarithmic)", size=SMALL, color=MUTED)
    ax.set_title(title(METRIC), size=TEXT, color=INK, loc="left", pad=8)
    svg.legend(figure, [
        Series("", "element: labels, and these marks", MODELS[0], "o"),
        Series("", "detector: these marks", LOCALIZER, "^"), Series("", "average mask", CONTROL, "_"),
    ])  # fmt: skip
    drawn = "Vertical: from where the detector stays ahead; shaded: its 95 % interval."
    caption = [
        "The label budget: what marks of so many films bring. Bands are 95 % intervals over patients.",
        crossed(crossing), drawn if crossing.get("point") is not None else "", *lasted(view),
    ]  # fmt: skip
    return Plot(
        "budget", svg.write_svg(figure, "budget"), table, crossed(crossing) or "Average precision by marked films.",
        " ".join(said for said in caption if said),
    )  # fmt: skip


def froc_curves(view: View) -> Plot | None:
    """Pieces found at false candidates a film, on films with the finding and on all."""
    table = table_of(view, "froc")
    if table.empty:
        return None
    several = (table["finding"] == AVERAGE).any()
    part = table[(table["rate"] != OVER) & ((table["finding"] == AVERAGE) | (not several))]
    first = str(view.info["element"])
    sources = [
        own(view),
        f"{first}/grad-cam",
        "plain/grad-cam",
        *localizers(view),
        PRIOR,
    ]
    look = {own(view): (MODELS[0], "-", "o"), f"{first}/grad-cam": (MODELS[0], (0, (4, 2)), "D"),
            "plain/grad-cam": (MODELS[1], "-", "o"), PRIOR: (CONTROL, "-", "s")}  # fmt: skip
    figure = svg.canvas(WIDTH, _HEIGHT + 142)
    width = (WIDTH - 140) / 2
    shown = [s for s in sources if (part["source"] == s).any()]
    marks = iter(("^", "v", "<", ">"))
    look |= {s: (LOCALIZER, "-", next(marks, "^")) for s in shown if s not in look}
    for column, (films, name) in enumerate((("marked", "Films that show the finding"), ("all", "All films"))):
        ax = svg.axes(figure, 60 + column * (width + 70), 76, width, _HEIGHT)
        _horizontal(ax)
        for s in shown:
            curve = part[(part["source"] == s) & (part["films"] == films)]
            if len(curve):
                color, line, marker = look[s]
                at = np.log2(curve["rate"].astype(float))
                ax.fill_between(at, curve["low"], curve["high"], color=color, alpha=0.07, linewidth=0)
                ax.plot(at, curve["mean"], color=color, linestyle=line, marker=marker, markersize=5, linewidth=1.6)
        ax.set_xticks(np.log2(RATES), [f"{r:g}" for r in RATES], size=SMALL, color=MUTED)
        ax.set_ylim(0, 1)
        ax.set_xlabel("False candidates a film", size=SMALL, color=MUTED)
        ax.set_title(name, size=TEXT, color=INK, loc="left", pad=8)
    names = {s: "own map of the element" if s == own(view) else view.label(s) for s in shown}
    svg.legend(figure, [Series(s, names[s], look[s][0], look[s][2], filled=look[s][1] == "-") for s in shown])
    spoken = "; ".join(f"{view.label(s)} {_read(part, s):.2f}" for s in shown)
    return Plot(
        "froc", svg.write_svg(figure, "froc"), part, f"Share found at one false candidate a film: {spoken}.",
        "FROC: share of the pieces of marks that a map's highest places hit, by how many places beside them it points "
        "at. On all films, places on films without the finding are false, too: a map must be low where nothing is. "
        "Bands are 95 % intervals over patients.",
    )  # fmt: skip


def _read(part: pd.DataFrame, source: str) -> float:
    rows = part[(part["source"] == source) & (part["films"] == "marked") & (part["rate"] == "1")]
    return float(rows["mean"].iloc[0]) if len(rows) else float("nan")


def _horizontal(ax: Axes) -> None:
    ax.grid(axis="x", visible=False)
    ax.grid(axis="y", color=RULE, linewidth=0.8)
