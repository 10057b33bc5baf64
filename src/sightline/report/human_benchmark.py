"""Comparison with the human benchmark: percentage decrease by finding, slices of the data, and thresholds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sightline.core import Source
from sightline.evaluation.case_table import SLICES, THRESHOLD_GRID
from sightline.report import svg
from sightline.report.dot_plot import ROW_HEIGHT, DotPlot, draw_dot, draw_spread, set_scale
from sightline.report.estimate import AVERAGE, Estimate, format_decimal, read_estimates
from sightline.report.published_results import published_estimates
from sightline.report.reader_spread import decrease_spread
from sightline.report.run_view import RunView
from sightline.report.summary import describe_best
from sightline.report.svg import INK, MODEL_COLORS, MUTED, PAGE_WIDTH, READER_COLOR, RULE, SMALL_SIZE, Plot, Series
from sightline.report.tables import Table
from sightline.report.titles import metric_title
from sightline.stats.reader_average import is_average

PUBLISHED = Series("published", "CheXlocalize (published, other data)", MUTED, "D", is_filled=False)
THIS_RUN = Series("run", "this run", MODEL_COLORS[0], "o")
_MEAN_READER = "the mean reader"
_MIN_DECREASE = -150.0
"""Percent: a method three times as good as a reader who hardly finds anything is drawn at the edge."""
_SLICE_LABELS = {
    "gt_positive": "annotated cases",
    "model_positive&gt": "annotated, predicted positive",
    "full": "all images",
}


def plot_decrease(view: RunView) -> Plot | None:
    """Plot the percentage decrease from the human benchmark by finding, for the best source of each metric.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    metrics = [m for m in view.main_metrics if len(view.decreases(m))]
    if not metrics:
        return None
    findings = [*view.findings, *([AVERAGE] if len(view.findings) > 1 else [])]
    by_metric = {m: dict(read_estimates(view.decreases(m), ["finding"], "decrease")) for m in metrics}
    published = published_estimates("decrease")
    benchmark = _MEAN_READER if any(is_average(view.best_of_kind("reader", m) or "") for m in metrics) else "the reader"
    grid = DotPlot.create(
        [_finding_label(f) for f in findings], len(metrics), ROW_HEIGHT, has_legend=True, right_margin=70
    )
    drawn = [n for m in metrics for n in [*by_metric[m].values(), *published.get(m, {}).values()]]
    ends = [v for n in drawn for v in (n.mean, n.low, n.high) if not np.isnan(v)]
    for ax, metric in zip(grid.panels, metrics, strict=True):
        ax.set_xlim(max(_MIN_DECREASE, min([-10.0, *ends]) - 4), max([100.0, *ends]) + 4)
        ax.axvline(0, color=INK, linewidth=1)
        source = svg.elide(view.label(view.best_for(metric)), 28)
        ax.set_title(
            f"{metric_title(metric)}, % below {benchmark}: {source}", loc="left", size=SMALL_SIZE, color=INK, pad=10
        )
        for i, finding in enumerate(findings):
            draw_spread(ax, decrease_spread(view, metric, finding), i - 0.14, READER_COLOR)
            draw_dot(ax, by_metric[metric].get((finding,), Estimate.undefined()), i - 0.14, THIS_RUN)
            draw_dot(ax, published.get(metric, {}).get(finding, Estimate.undefined()), i + 0.2, PUBLISHED)
    best = Source.parse(view.best_for(metrics[0])).model
    aurocs = {a.finding: a.estimate for a in view.aurocs if a.model == best}
    for i, finding in enumerate(findings):
        grid.add_note(i, format_decimal(aurocs[finding].mean) if finding in aurocs else "")
    if aurocs:
        grid.add_note_header("AUROC")
    if len(findings) > 1:
        grid.draw_rule_above(len(findings) - 1)
    grid.draw_legend([THIS_RUN, PUBLISHED])
    data = pd.concat([view.decreases(m) for m in metrics], ignore_index=True)
    return Plot(
        "decrease",
        svg.write_svg(grid.figure, "decrease"),
        data,
        _decrease_alt_text(by_metric),
        _decrease_caption(view, benchmark),
    )


def _decrease_alt_text(by_metric: Mapping[str, Mapping[tuple[str, ...], Estimate]]) -> str:
    parts = [
        f"{metric_title(m)}, {_finding_label(f)}: {n.text(0)}" for m, e in by_metric.items() for (f,), n in e.items()
    ]
    return "Percent below the human benchmark. " + "; ".join(parts)


def _decrease_caption(view: RunView, benchmark: str) -> str:
    band = " The band reaches from the best reader to the worst." if benchmark == _MEAN_READER else ""
    return (
        f"Percentage decrease of {describe_best(view)} from the human benchmark, on the same patients. "
        f"Findings are sorted by the first panel. Left of the line, the method is better than {benchmark}.{band}"
    )


def decrease_tables(view: RunView) -> list[Table]:
    """Make the tables of the percentage decrease, with the smallest difference that this many patients can show.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Table
        The tables; none if the run has no data for them.
    """
    tables = []
    for metric in view.main_metrics:
        table = view.decreases(metric)
        rows = [
            [
                _finding_label(str(r["finding"])),
                format_decimal(float(r["human"]), 3),
                format_decimal(float(r["model"]), 3),
                Estimate(float(r["decrease"]), float(r["low"]), float(r["high"]), 0, 0).text(1),
                f"{int(r['n']):,}",
                f"{int(r['patients']):,}",
                format_decimal(float(r["detectable"]), 3),
            ]
            for r in table.to_dict("records")
        ]
        head = [
            "Finding",
            "Reader",
            view.label(view.best_for(metric)),
            "% below the reader [95 % interval]",
            "Maps",
            "Patients",
            "Detectable",
        ]
        if rows:
            caption = (
                f"{metric_title(metric)} against the human benchmark (detectable: the smallest true difference found "
            )
            caption += "with power 0.8)"
            tables.append(Table.create(caption, head, rows, table_name="percentage_decrease"))
    return tables


def best_source_table(view: RunView) -> Table | None:
    """Make the table of the best source by metric, with its difference from the strongest control.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    best = view.analysis("best_sources")
    rows = []
    for metric, source in zip(best["metric"].astype(str), best["source"].astype(str), strict=True):
        if metric not in view.metrics:
            continue
        number, control = view.estimate(source, metric), view.best_of_kind("control", metric)
        gap = view.difference(source, control, metric).text(3) if control else "–"
        rows.append(
            [
                metric_title(metric),
                view.label(source),
                view.label(control) if control else "–",
                number.text(3),
                gap,
                f"{number.n:,}",
                f"{number.patients:,}",
            ]
        )
    head = ["Metric", "Source", "Strongest control", "Mean", "Minus the control", "Maps", "Patients"]
    caption = f"For each metric, {describe_best(view)}, average over findings [95 % interval]"
    return Table.create(caption, head, rows, 3, "best_sources") if rows else None


def plot_slices(view: RunView) -> Plot | None:
    """Plot the overlap of model and reader on annotated cases, on predicted positives among them, and on all images.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    table = view.analysis("slices")
    table = table[table["metric"] == "iou"]
    source = view.best_for("iou")
    compared = [s for s in (source, view.best_of_kind("reader", "iou")) if s and (table["source"] == s).any()]
    if not compared:
        return None
    values = dict(read_estimates(table, ["slice", "source", "finding"]))
    findings = [*view.findings, *([AVERAGE] if len(view.findings) > 1 else [])]
    series = [
        Series(
            s,
            view.label(s),
            READER_COLOR if view.kind(s) == "reader" else MODEL_COLORS[0],
            "D" if view.kind(s) == "reader" else "o",
        )
        for s in compared
    ]
    grid = DotPlot.create([_finding_label(f) for f in findings], len(_SLICE_LABELS), ROW_HEIGHT, has_legend=True)
    for ax, (which, name) in zip(grid.panels, _SLICE_LABELS.items(), strict=True):
        set_scale(ax, "iou", [n for (w, s, _), n in values.items() if s in compared and w in _SLICE_LABELS])
        ax.set_title(f"{metric_title('iou')}, {name}", loc="left", size=SMALL_SIZE, color=INK, pad=10)
        for k, s in enumerate(series):
            for i, finding in enumerate(findings):
                number = values.get((which, s.source, finding), Estimate.undefined())
                draw_dot(ax, number, i + (k - (len(series) - 1) / 2) * 0.36, s)
    if len(findings) > 1:
        grid.draw_rule_above(len(findings) - 1)
    grid.draw_legend(series)
    return Plot(
        "slices",
        svg.write_svg(grid.figure, "slices"),
        table[table["source"].isin(compared)],
        "; ".join(
            f"{name}, {view.label(s)}: {values.get((w, s, AVERAGE), Estimate.undefined()).text()}"
            for w, name in _SLICE_LABELS.items()
            for s in compared
        ),
        "The same maps on three slices of the data; predicted positive means a probability of 0.5, or of the cutoff of "
        "the finding. On all images, an annotation without a prediction and a prediction without an annotation overlap "
        "by 0. The reader knew which findings are present; the model did not.",
    )


def slice_table(view: RunView) -> Table | None:
    """Make the table of averages on every slice of the data.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = view.analysis("slices")
    table = table[table["finding"] == AVERAGE]
    values = dict(read_estimates(table, ["slice", "source", "metric"]))
    sources = [s for s in view.sources if (table["source"] == s).any()]
    rows = [
        [
            which,
            meaning,
            view.label(s),
            *(values.get((which, s, m), Estimate.undefined()).text(3) for m in ("iou", "pointing-game")),
        ]
        for which, meaning in SLICES.items()
        for s in sources
    ]
    head = ["Slice", "Cases", "Source", metric_title("iou"), metric_title("pointing-game")]
    return (
        Table.create("Averages over findings on each slice [95 % interval]", head, rows, 3, "slices") if rows else None
    )


def plot_thresholds(view: RunView) -> Plot | None:
    """Plot the overlap at fixed thresholds of the map by finding, with that at the threshold of Otsu.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    source = view.best_for("iou")
    names = {t: f"iou@above:{t:g}" for t in THRESHOLD_GRID}
    if not source or not any(view.estimate(source, m, f).is_defined for m in names.values() for f in view.findings):
        return None
    columns = 5
    rows = -(-len(view.findings) // columns)
    figure = svg.make_canvas(PAGE_WIDTH, 40 + rows * 190)
    width = (PAGE_WIDTH - 44 - (columns - 1) * 34) / columns
    panels = []
    highest = 0.05
    for index, finding in enumerate(view.findings):
        ax = svg.add_axes(figure, 44 + (index % columns) * (width + 34), 64 + (index // columns) * 190, width, 110)
        curve = [(t, view.estimate(source, m, finding)) for t, m in names.items()]
        otsu = view.estimate(source, "iou", finding)
        highest = max([highest, *(n.high for _, n in curve if not np.isnan(n.high)), *([otsu.high] * (otsu.high > 0))])
        _draw_curve(ax, curve, otsu, svg.elide(finding, 26))
        panels.append(ax)
    for ax in panels:
        ax.set_ylim(0, highest * 1.05)
    svg.draw_legend(
        figure,
        [
            Series("t", svg.elide(f"{view.label(source)}, fixed", 40), MODEL_COLORS[0], "o"),
            Series("o", "Otsu's threshold, dashed", INK, "_"),
        ],
    )
    data = pd.DataFrame(
        [(f, t, *_estimate_fields(view.estimate(source, m, f))) for f in view.findings for t, m in names.items()],
        columns=pd.Index(["finding", "threshold", "mean", "low", "high", "n"]),
    )
    return Plot(
        "thresholds",
        svg.write_svg(figure, "thresholds"),
        data,
        "; ".join(f"{f}: best {t:g}" for f, t in _best_thresholds(view).items()),
        f"{metric_title('iou')} of the annotated cases if the map, scaled to [0, 1], is binarized at a fixed threshold "
        "(horizontal axis) instead of Otsu's. A threshold that is chosen on the same cases is optimistic; it should be "
        "tuned on other data.",
    )


def _draw_curve(ax: Axes, curve: list[tuple[float, Estimate]], otsu: Estimate, name: str) -> None:
    x = [t for t, _ in curve]
    ax.fill_between(
        x, [n.low for _, n in curve], [n.high for _, n in curve], color=MODEL_COLORS[0], alpha=0.16, linewidth=0
    )
    ax.plot(x, [n.mean for _, n in curve], "o-", color=MODEL_COLORS[0], markersize=4, linewidth=1.4)
    if otsu.is_defined:
        ax.axhline(otsu.mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    ax.grid(axis="y", color=RULE, linewidth=0.8)
    ax.set_xlim(0.17, 0.83)
    ax.set_xticks([0.2, 0.4, 0.6, 0.8])
    ax.set_title(name, loc="left", size=SMALL_SIZE, color=INK, pad=8)


def _estimate_fields(n: Estimate) -> tuple[float, float, float, int]:
    return n.mean, n.low, n.high, n.n


def _best_thresholds(view: RunView) -> dict[str, float]:
    table = view.analysis("tuned_thresholds")
    table = table[(table["source"] == view.best_for("iou")) & table["threshold"].notna()]
    return {str(f): float(t) for f, t in zip(table["finding"], table["threshold"], strict=True)}


def tuning_table(view: RunView) -> Table | None:
    """Make the table of the thresholds and cutoffs that are best on these data, with the published ones.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = view.analysis("tuned_thresholds")
    records = {str(r["finding"]): r for r in table[table["source"] == view.best_for("iou")].to_dict("records")}
    published, rows = published_estimates("tuning"), []
    for finding in [f for f in view.findings if f in records]:
        record = records[finding]
        threshold, cutoff = (published.get(k, {}).get(finding, Estimate.undefined()) for k in ("threshold", "cutoff"))
        cells = (record["threshold"], threshold.mean, record["cutoff"], cutoff.mean)
        reached = [format_decimal(float(record["iou"]), 3), f"{int(record['n']):,}"]
        rows.append([finding, *(format_decimal(float(v), 1) for v in cells), *reached])
    head = ["Finding", "Threshold", "CheXlocalize", "Cutoff", "CheXlocalize", "IoU at the threshold", "Annotated"]
    caption = "Threshold of the map and cutoff of the probability, tuned on these data (CheXlocalize: validation set)"
    return Table.create(caption, head, rows, table_name="tuned_thresholds") if rows else None


def _finding_label(finding: str) -> str:
    return "Average" if finding == AVERAGE else svg.elide(finding)
