"""Figures of a gaze study: agreement with and without training on gaze, of right and wrong predictions, by region."""

from __future__ import annotations

import pandas as pd

from sightline.core import Source
from sightline.evaluation.gaze_agreement import AVERAGE_GAZE, CENTER, FOUR, ITSELF, OTHER_GAZE
from sightline.report import svg
from sightline.report.dot_plot import Grid, dot, scale
from sightline.report.phrasing import counted
from sightline.report.run_view import AVERAGE, Number, View, numbers, title
from sightline.report.svg import INK, MODELS, MUTED, SMALL, TEXT, WIDTH, Plot, Series

_REGIONS = ("#0b6e99", "#d98c3f", "#8f3a84", "#7a9a3a")
"""Colors of regions: colorblind-safe, and apart from each other in gray."""


def models(view: View) -> list[str]:
    """The compared networks, the one trained on labels first."""
    return [m["name"] for m in view.info.get("models", ())] if view.info.get("study") == "gaze" else []


def methods(view: View) -> list[str]:
    """Methods of the first network, in the order they were named; a network's own map last."""
    sources = map(Source.parse, dict.fromkeys(view.estimates["source"]))
    return list(dict.fromkeys(source.method for source in sources if source.model in models(view)))


def table_of(view: View, name: str) -> pd.DataFrame:
    """Rows under the report's protocol; none where the run has no such table."""
    if not models(view) or not view.run.has_table(name):
        return pd.DataFrame()
    table = view.run.table(name)
    return table[table["protocol"] == view.protocol] if "protocol" in table else table


def taught(view: View) -> Plot | None:
    """Each method on each network by the first two measures, with controls and readers below."""
    names, rows = models(view), methods(view)
    if not names or not rows:
        return None
    shown = list(view.shown)
    beside = [s for s in (CENTER, AVERAGE_GAZE, OTHER_GAZE) if s in view.sources]
    beside += [s for s in view.sources if view.kind(s) == "reader"] + [s for s in (ITSELF,) if s in view.sources]
    series = [Series(n, n.replace("-", " "), MODELS[i % len(MODELS)], "o") for i, n in enumerate(names)]
    labels = [view.label(m) for m in rows] + [view.label(s) for s in beside]
    grid = Grid.of([svg.elide(name, 40) for name in labels], len(shown), 13.0 * max(2, len(names)), legend=True)
    data = []
    for ax, metric in zip(grid.panels, shown, strict=True):
        points = [(i, s, view.number(f"{s.source}/{m}", metric)) for i, m in enumerate(rows) for s in series]
        kinds = [(len(rows) + i, Series(b, view.label(b), svg.KINDS[view.kind(b)], svg.MARKERS[view.kind(b)]),
                  view.number(b, metric)) for i, b in enumerate(beside)]  # fmt: skip
        scale(ax, metric, [n for *_, n in (*points, *kinds)])
        if ax.get_xlim()[0] < 0:
            ax.axvline(0, color=INK, linewidth=1)
        for row, s, number in points:
            offset = (names.index(s.source) - (len(names) - 1) / 2) / (len(names) + 1)
            dot(ax, number, row + offset, s)
            data.append((metric, f"{s.source}/{rows[row]}", number))
        for row, s, number in kinds:
            dot(ax, number, row, s)
            data.append((metric, s.source, number))
    grid.legend(series)
    grid.rule_above(len(rows))
    first = shown[0]
    said = "; ".join(f"{view.label(m)} " + ", ".join(f"{n} {view.number(f'{n}/{m}', first).text()}" for n in names)
                     for m in rows)  # fmt: skip
    return Plot(
        "gaze", svg.write_svg(grid.figure, "gaze"), _data(data), f"{title(first)}: {said}.",
        f"Agreement of maps with the gaze at the same film, averaged over {counted(len(view.findings), 'finding')} "
        f"with equal weight, mean and 95 % interval over patients. {title(first)} is 0 for whatever is the same on "
        "every film; "
        "below the line what knows no network: middle of the film, gaze at other films, another reader, and the gaze "
        "itself, which no map can pass.",
    )  # fmt: skip


def correctness(view: View) -> Plot | None:
    """SSIM where the network is right less where it is wrong, per method and network."""
    table = table_of(view, "correctness")
    if table.empty:
        return None
    table = table[(table["finding"] == AVERAGE) & (table["metric"] == "ssim")]
    names, rows = models(view), methods(view)
    found = dict(numbers(table, ["source"]))
    grid = Grid.of([view.label(m) for m in rows], 1, 13.0 * max(2, len(names)), legend=True)
    (ax,) = grid.panels
    reach = 1.08 * max([0.02, *(abs(v) for n in found.values() for v in (n.low, n.high) if v == v)])
    ax.set_xlim(-reach, reach)
    ax.axvline(0, color=INK, linewidth=1)
    ax.set_title("SSIM with gaze: right less wrong predictions", loc="left", size=SMALL, color=INK, pad=10)
    series = [Series(n, n.replace("-", " "), MODELS[i % len(MODELS)], "o") for i, n in enumerate(names)]
    data = []
    for i, s in enumerate(series):
        for row, method in enumerate(rows):
            number = found.get((f"{s.source}/{method}",), Number.none())
            dot(ax, number, row + (i - (len(series) - 1) / 2) / (len(series) + 1), s)
            data.append(("ssim", f"{s.source}/{method}", number))
    grid.legend(series)
    return Plot(
        "correctness", svg.write_svg(grid.figure, "correctness"), _data(data),
        "SSIM of right less wrong predictions: " + "; ".join(f"{view.label(s)} {n.text()}" for _, s, n in data) + ".",
        "Does a map agree better with gaze where the network is right? All cases show the finding; right is a "
        "probability at or above the cutoff of the network and finding. Right of the line: better where it is right. "
        "Findings differ in how often they are found, and in how they are looked at.",
    )  # fmt: skip


def regions(view: View) -> Plot | None:
    """How often each region is the most salient one, a bar per source, gaze first."""
    table = table_of(view, "distributions")
    if table.empty:
        return None
    table = table[(table["finding"] == AVERAGE) & (table["among"] == "regions")]
    if table.empty:
        return None
    shares = table.pivot_table(index="source", columns="region", values="mean").reindex(columns=list(FOUR))
    gazes = [s for s in (ITSELF, *(s for s in shares.index if view.kind(s) == "reader")) if s in shares.index]
    own = [f"{n}/{m}" for m in methods(view) for n in models(view) if f"{n}/{m}" in shares.index]
    rows = [*gazes, *own, *(s for s in (OTHER_GAZE, CENTER) if s in shares.index)]
    left, step = svg.label_width([svg.elide(view.label(s), 40) for s in rows]), 24.0
    figure = svg.canvas(WIDTH, 60 + step * len(rows) + 8)
    ax = svg.axes(figure, left, 46, WIDTH - left - 70, step * len(rows))
    start = pd.Series(0.0, index=rows)
    for region, color in zip(FOUR, _REGIONS, strict=True):
        part = shares[region].reindex(rows).fillna(0)
        ax.barh(range(len(rows)), part, left=start, height=0.68, color=color, edgecolor=svg.PAPER, linewidth=1)
        for y, (at, share) in enumerate(zip(start, part, strict=True)):
            if share > 0.07:
                ax.text(at + share / 2, y, f"{100 * share:.0f}", ha="center", va="center", size=SMALL, color="#ffffff")
        start = start + part
    ax.set_xlim(0, 1)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xticks([])
    ax.set_yticks(range(len(rows)), [svg.elide(view.label(s), 40) for s in rows], size=TEXT, color=INK)
    ax.tick_params(axis="y", pad=10, labelsize=TEXT, labelcolor=INK)
    n = dict(zip(table["source"], table["n"], strict=True))
    for y, source in enumerate(rows):
        ax.text(1.015, y, f"{n[source]:,}", va="center", size=SMALL, color=MUTED)
    ax.text(1.015, -0.9, "cases", va="center", size=SMALL, color=MUTED)
    svg.legend(figure, [Series(r, r, c, "s") for r, c in zip(FOUR, _REGIONS, strict=True)])
    said = [f"{view.label(s)}: " + ", ".join(f"{r} {shares.loc[s, r]:.0%}" for r in FOUR) for s in rows]
    return Plot(
        "regions", svg.write_svg(figure, "regions"), table, "; ".join(said) + ".",
        "Most salient region, percent of cases: the one whose share of the map is highest beside its share in the "
        "source's other cases (z-score). Right and left are the patient's.",
    )  # fmt: skip


def _data(rows: list[tuple[str, str, Number]]) -> pd.DataFrame:
    return pd.DataFrame([(m, s, n.mean, n.low, n.high, n.n, n.patients) for m, s, n in rows],
                        columns=["metric", "source", "mean", "low", "high", "n", "patients"])  # fmt: skip
