"""All pairs of maps: the matrix of their differences, and their ranks over metrics, thresholds and protocols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.stats import rankdata

from sightline.report import svg
from sightline.report.dot_plot import DotPlot, draw_dot
from sightline.report.estimate import AVERAGE, Estimate, format_decimal, read_estimates
from sightline.report.phrasing import count_noun
from sightline.report.run_tables import read_columns
from sightline.report.run_view import RunView
from sightline.report.svg import INK, MODEL_COLORS, MUTED, PAGE_WIDTH, PAPER, READER_COLOR, SMALL_SIZE, Plot, Series
from sightline.report.tables import Table
from sightline.report.titles import higher_is_better, metric_title
from sightline.stats.comparison import SIGNIFICANCE_LEVEL, concordance

_MAX_IN_MATRIX = 10
"""Sources in the figure of all pairs; the table holds all."""
_RANKED = ["metric", "protocol"]
_SIZES = ("trainings", "n", "patients")


def _pairs(view: RunView, name: str = "comparisons", finding: str | None = AVERAGE) -> pd.DataFrame:
    """Return the comparisons of the averages, or of the one finding of a run, by the metrics that figures show."""
    table = view.analysis(name)
    if finding == AVERAGE and len(view.findings) == 1:
        finding = view.findings[0]
    rows = table["finding"] == finding if finding else table["finding"] != AVERAGE
    return table[rows & table["metric"].isin(view.main_metrics)]


def _compared_sources(view: RunView) -> list[str]:
    """Return the sources of the comparison, best first."""
    table = _pairs(view)
    present = {*table["source"], *table["versus"]}
    return [source for source in view.sources if source in present]


def plot_pairs(view: RunView) -> Plot | None:
    """Draw the differences of all pairs as a matrix, row minus column.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no table of comparisons.
    """
    sources = _compared_sources(view)[:_MAX_IN_MATRIX]
    if len(sources) < 2:
        return None
    metric = view.main_metrics[0]
    rows = _pairs(view)
    rows = rows[(rows["metric"] == metric) & rows["source"].isin(sources) & rows["versus"].isin(sources)]
    numbers = dict(read_estimates(rows, ["source", "versus"]))
    p = {(r["source"], r["versus"]): float(r["p_holm"]) for r in rows.to_dict("records")}
    labels = [f"{i}  {svg.elide(view.label(s), 44)}" for i, s in enumerate(sources, 1)]
    left, height, top = svg.label_width(labels), 40.0, 40.0
    figure = svg.make_canvas(PAGE_WIDTH, top + height * len(sources) + 12)
    ax = svg.add_axes(figure, left, top, PAGE_WIDTH - left - 8, height * len(sources))
    ax.grid(visible=False)
    ax.set_xlim(-0.5, len(sources) - 0.5)
    ax.set_ylim(len(sources) - 0.5, -0.5)
    ax.set_yticks(range(len(sources)), labels, size=svg.TEXT_SIZE, color=INK)
    ax.set_xticks(range(len(sources)), [str(i + 1) for i in range(len(sources))], size=SMALL_SIZE)
    ax.xaxis.tick_top()
    for i in range(0, len(sources), 2):
        ax.axhspan(i - 0.5, i + 0.5, color=svg.BAND, zorder=0, linewidth=0)
    for i, a in enumerate(sources):
        for j, b in enumerate(sources):
            if i != j:
                number = numbers.get((a, b)) or -numbers.get((b, a), Estimate.undefined())
                differs = p.get((a, b), p.get((b, a), np.nan)) < SIGNIFICANCE_LEVEL
                _draw_cell(ax, i, j, number, differs, higher_is_better(metric))
    title = metric_title(metric)
    spoken = "; ".join(f"{view.label(a)} minus {view.label(b)} {n.text()}" for (a, b), n in numbers.items())
    limit = f" The first {len(sources)} sources are shown." if len(sources) < len(_compared_sources(view)) else ""
    return Plot(
        "pairs",
        svg.write_svg(figure, "pairs"),
        rows.reset_index(drop=True),
        f"{title}, differences of all pairs: {spoken}.",
        f"Differences in {title} of all pairs on the same radiographs, row minus column, with 95 % intervals. Blue: "
        f"the row is better, orange: it is worse (p below {SIGNIFICANCE_LEVEL:g}, adjusted by Holm for all pairs); "
        f"gray: not shown to differ. The table gives the reason where an interval is missing.{limit}",
    )


def _draw_cell(ax: Axes, row: int, column: int, number: Estimate, differs: bool, higher: bool) -> None:
    better = number.mean > 0 if higher else number.mean < 0
    color = (MODEL_COLORS[0] if better else READER_COLOR) if differs else MUTED
    mean, _, interval = number.text().partition(" ")
    ax.text(column, row - 0.16, mean, ha="center", va="center", size=svg.TEXT_SIZE, color=color)
    ax.text(column, row + 0.22, interval or "no interval", ha="center", va="center", size=9.5, color=color)


def pair_table(view: RunView) -> Table | None:
    """Make the table of all pairs, with adjusted p values and the findings on which one is better.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no table of comparisons.
    """
    table, findings = _pairs(view), _pairs(view, finding=None)
    return _table_of_pairs(view, table, findings, "comparisons", "Differences of all pairs")


def _table_of_pairs(
    view: RunView, table: pd.DataFrame, findings: pd.DataFrame, name: str, caption: str
) -> Table | None:
    if not len(table):
        return None
    by_pair = dict(iter(findings.groupby(["metric", "source", "versus"], sort=False)))
    rows = []
    for r in table.to_dict("records"):
        part = by_pair.get((r["metric"], r["source"], r["versus"]), findings[:0])
        gap = part["mean"] * (1 if higher_is_better(r["metric"]) else -1)
        differs = part["p_holm"] < SIGNIFICANCE_LEVEL
        number = Estimate(r["mean"], r["low"], r["high"], int(r["n"]), int(r["patients"]))
        rows.append(
            [
                view.label(r["source"]),
                view.label(r["versus"]),
                metric_title(r["metric"]),
                number.text(3) if number.is_defined else r["reason"],
                _format_p(r["p_holm"]) or r["reason"],
                f"{(differs & (gap > 0)).sum()} / {(differs & (gap < 0)).sum()} / {len(part) - differs.sum()}",
                f"{number.n:,}",
                f"{number.patients:,}",
                r["scope"] if isinstance(r["scope"], str) else "",
            ]
        )
    head = [
        "Source",
        "Compared with",
        "Metric",
        "Difference [95 % interval]",
        "p, adjusted",
        "Findings better / worse / not shown to differ",
        "Maps",
        "Patients",
        "Interval over",
    ]
    caption += (
        ", paired, averaged over findings; p adjusted by Holm for all pairs of a metric, and for findings by all pairs "
        "and findings"
    )
    return Table.create(caption, head, rows, 3, name)


def _format_p(p: float) -> str:
    if np.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else format_decimal(p, 3)


def _rank_settings(view: RunView) -> dict[str, list[tuple[str, str]]]:
    """Return groups of (metric, protocol) under which sources are ranked, by what differs within the group."""
    names = list(dict.fromkeys(view.estimates["metric"]))
    first = view.main_metrics[0]
    groups = {
        "metrics": [(m, view.protocol) for m in view.metrics],
        "thresholds": [(m, view.protocol) for m in names if m == first or m.partition("@")[0] == first],
        "protocols": [(first, p) for p in view.protocols],
    }
    return {noun: settings for noun, settings in groups.items() if len(settings) > 1}


def _rank(view: RunView, sources: Sequence[str], settings: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return the rank of every source under every setting: protocol, metric, source, rank."""
    rows = []
    for metric, protocol in settings:
        means = np.array([view.estimate(s, metric, protocol=protocol).mean for s in sources])
        ranks = rankdata(-means if higher_is_better(metric) else means, nan_policy="omit")
        rows += [(protocol, metric, s, r) for s, r in zip(sources, ranks, strict=True) if not np.isnan(r)]
    return pd.DataFrame(rows, columns=pd.Index(["protocol", "metric", "source", "rank"]))


def plot_ranks(view: RunView) -> Plot | None:
    """Draw the rank of every source with its confidence set, and its ranks by other metrics, thresholds and protocols.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no table of comparisons.
    """
    sources, sets = _compared_sources(view), _confidence_sets(view)
    if len(sources) < 2:
        return None
    metric = view.main_metrics[0]
    ranked = {noun: _rank(view, sources, settings) for noun, settings in _rank_settings(view).items()}
    labels = [svg.elide(view.label(s), 44) for s in sources]
    grid = DotPlot.create(labels, 1 + len(ranked), 30.0, has_legend=False)
    for i, source in enumerate(sources):
        draw_dot(grid.panels[0], sets.get(source, Estimate.undefined()), i, Series(source, "", MODEL_COLORS[0], "o"))
    titles = [f"Rank by {metric_title(metric)} [95 %]"]
    for ax, (noun, table) in zip(grid.panels[1:], ranked.items(), strict=True):
        count = len(table[_RANKED].drop_duplicates())
        titles.append(f"By {count} {noun}, W = {format_decimal(concordance(table, _RANKED))}")
        _draw_counts(ax, table, sources, count)
    for ax, text in zip(grid.panels, titles, strict=True):
        ax.set_xlim(0.4, len(sources) + 0.6)
        if len(sources) <= 12:
            ax.set_xticks(range(1, len(sources) + 1))
        ax.set_title(text, loc="left", size=SMALL_SIZE, color=INK, pad=10)
    first = [(s, n.mean, n.low, n.high) for s, n in sets.items()]
    tables = [pd.DataFrame(first, columns=pd.Index(["source", "rank", "low", "high"]))]
    tables[0] = tables[0].assign(metric=metric, protocol=view.protocol, group="confidence set")
    tables += [table.assign(group=noun) for noun, table in ranked.items()]
    return Plot(
        "ranks",
        svg.write_svg(grid.figure, "ranks"),
        pd.concat(tables, ignore_index=True),
        "Ranks: " + "; ".join(f"{view.label(s)} {n.text(1)}" for s, n in sets.items()),
        f"Rank of each source by {metric_title(metric)}, 1 being best, with the ranks that hold together at 95 % "
        "(from differences adjusted by Holm). The other panels count under how many settings a source has a rank; "
        "Kendall's W is 1 if all settings give the same order, and 0 if the orders have nothing in common.",
    )


def _confidence_sets(view: RunView, metric: str = "") -> dict[str, Estimate]:
    """Return the rank of every source by a metric, averaged over findings, with its confidence set."""
    table = view.analysis("ranks")
    finding = view.findings[0] if len(view.findings) == 1 else AVERAGE
    metric = metric or (view.main_metrics or ("",))[0]
    rows = table[(table["metric"] == metric) & (table["finding"] == finding)]
    return {key[0]: number for key, number in read_estimates(rows, ["source"], mean="rank")}


def _draw_counts(ax: Axes, table: pd.DataFrame, sources: Sequence[str], settings: int) -> None:
    """Draw how often each source has each rank: a disk with the number, its area the share of the settings."""
    counts = Counter(zip(table["source"], table["rank"], strict=True))
    for (source, rank), count in counts.items():
        size = 9 + 13 * (count / settings) ** 0.5
        row = sources.index(source)
        ax.plot([rank], [row], "o", color=MODEL_COLORS[0], markersize=size, markeredgewidth=0)
        ax.text(rank, row, str(count), ha="center", va="center", size=9, color=PAPER)


def rank_table(view: RunView) -> Table | None:
    """Make the table of the ranks of every source by metric.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no table of comparisons.
    """
    sources = _compared_sources(view)
    if len(sources) < 2:
        return None
    settings = list(dict.fromkeys(s for group in _rank_settings(view).values() for s in group))
    ranked = _rank(view, sources, settings or [(view.main_metrics[0], view.protocol)])
    cells = {(r.protocol, r.metric, r.source): f"{r.rank:g}" for r in ranked.itertuples(index=False)}
    sets = _confidence_sets(view)
    names = list(dict.fromkeys(zip(ranked["protocol"], ranked["metric"], strict=True)))
    rows = [
        [view.label(s), _format_set(sets.get(s)), *(cells.get((p, m, s), "no score") for p, m in names)]
        for s in sources
    ]
    first = metric_title(view.main_metrics[0])
    titles = [metric_title(m) + ("" if p == view.protocol else f", {p}") for p, m in names]
    caption = f"Ranks of the averages over {count_noun(len(view.findings), 'finding')}, 1 being best"
    return Table.create(caption, ["Source", f"{first}: ranks that hold together at 95 %", *titles], rows, 1, "ranks")


def _format_set(number: Estimate | None) -> str:
    if number is None or not number.is_defined:
        return "no score"
    return f"{number.low:g}" if number.low == number.high else f"{number.low:g} to {number.high:g}"


def training_tables(view: RunView) -> list[Table]:
    """Make the tables of networks with several trainings: scores, their differences, accuracy and repeatability.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Table
        The tables; none if no network has several trainings.
    """
    name = "comparisons_over_trainings"
    compared = _table_of_pairs(view, _pairs(view, name), _pairs(view, name, None), name, "Differences of networks")
    areas = read_columns(view.run, "auroc_over_trainings")
    means, similar = _pairs(view, "estimates_over_trainings"), view.analysis("similarity_over_trainings")
    tables = [
        _table_of_means(
            "Mean scores of networks with several trainings",
            "estimates_over_trainings",
            ["Source", "Metric"],
            [(view.label(r["source"]), metric_title(r["metric"]), r) for r in means.to_dict("records")],
        ),
        compared,
        _table_of_means(
            "Differences in AUROC of networks with several trainings",
            "auroc_over_trainings",
            ["Networks", "Finding"],
            [(f"{r['model']} minus {r['versus']}", r["finding"], r) for r in areas.to_dict("records")],
        ),
        _table_of_means(
            "Similarity of the maps of a network to those of its other trainings; the network itself is one of them",
            "similarity_over_trainings",
            ["Method", "Measure"],
            [(view.label(r["method"]), r["measure"], r) for r in similar.to_dict("records")],
        ),
    ]
    return [table for table in tables if table is not None]


def _table_of_means(
    caption: str, name: str, columns: Sequence[str], rows: Sequence[tuple[str, str, Mapping[Hashable, Any]]]
) -> Table | None:
    cells = [
        [
            first,
            second,
            Estimate(r["mean"], r["low"], r["high"], 0, 0).text(3),
            format_decimal(r["spread"], 3),
            *(f"{r[column]:,}" if isinstance(r[column], int) else str(r[column]) for column in _SIZES),
            r["reason"] or r["scope"],
        ]
        for first, second, r in rows
    ]
    head = [*columns, "Mean [95 % interval]", "SD over trainings", "Trainings", "Cases", "Patients", "Interval over"]
    return Table.create(caption, head, cells, 2, name) if cells else None
