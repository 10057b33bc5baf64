"""Figures of any study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.report import svg
from sightline.report.averages import partial_averages_note
from sightline.report.dot_plot import ROW_HEIGHT, DotPlot, draw_dot, draw_spread, set_scale
from sightline.report.estimate import AVERAGE, Estimate
from sightline.report.phrasing import count_noun
from sightline.report.reader_spread import score_spread
from sightline.report.run_view import RunView
from sightline.report.summary import intervals_text
from sightline.report.svg import (
    CONTROL_COLOR,
    INK,
    KIND_COLORS,
    KIND_MARKERS,
    MODEL_COLORS,
    MUTED,
    READER_COLOR,
    SMALL_SIZE,
    Plot,
    Series,
)
from sightline.report.titles import higher_is_better, metric_title
from sightline.stats.reader_average import is_average


def compared_series(view: RunView) -> list[Series]:
    """Return the sources in the figures by finding: the best source of each model, the reader, the strongest control.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Series
        Their colors, markers and names.
    """
    names = list(view.section.compared_models(view))
    ranks = {s: names.index(Source.parse(s).model) if names else i for i, s in enumerate(view.best_per_model)}
    series = [Series(s, view.label(s), MODEL_COLORS[i % len(MODEL_COLORS)], "o") for s, i in ranks.items()]
    if view.reader:
        best = [view.best_of_kind("reader", metric) for metric in view.main_metrics]
        readers = sorted({view.label(reader) for reader in best if reader}, key=len)
        is_same = all(name.startswith(readers[0]) for name in readers)  # contours and points of the same reader
        series.append(
            Series(view.reader, readers[0] if is_same else " / ".join(readers), READER_COLOR, KIND_MARKERS["reader"])
        )
    if view.control:
        series.append(Series(view.control, view.label(view.control), CONTROL_COLOR, KIND_MARKERS["control"]))
    return series


def plot_localization(view: RunView) -> Plot | None:
    """Plot the score of each source by finding, a panel for each metric.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    compared = compared_series(view)
    if not compared or not view.findings:
        return None
    findings = [*view.findings, *([AVERAGE] if len(view.findings) > 1 else [])]
    rows = [
        (f, source, m, view.estimate(source, m, f))
        for f in findings
        for m in view.main_metrics
        for source in [view.source_for_metric(s.source, m) for s in compared]
    ]
    step = max(ROW_HEIGHT, 11.0 * len(compared) + 6)
    grid = DotPlot.create(
        [_finding_label(f) for f in findings], len(view.main_metrics), step, has_legend=True, right_margin=64
    )
    for ax, metric in zip(grid.panels, view.main_metrics, strict=True):
        numbers = [n for _, _, m, n in rows if m == metric]
        set_scale(ax, metric, numbers)
        for k, s in enumerate(compared):
            offset = (k - (len(compared) - 1) / 2) * 11.0 / step
            source = view.source_for_metric(s.source, metric)
            for i, finding in enumerate(findings):
                draw_spread(ax, score_spread(view, source, metric, finding), i + offset, s.color)
                draw_dot(ax, view.estimate(source, metric, finding), i + offset, s)
    first = compared[0].source
    for i, finding in enumerate(findings):
        n = view.estimate(first, view.main_metrics[0], finding).n
        empty = not any(r[3].is_defined for r in rows if r[0] == finding)
        grid.add_note(i, "no annotation" if empty else f"{n:,}")
    grid.add_note_header("maps")
    grid.draw_legend(compared)
    if len(findings) > 1:
        grid.draw_rule_above(len(findings) - 1)
    return Plot(
        "localization",
        svg.write_svg(grid.figure, "localization"),
        _to_frame((m, s, f, n) for f, s, m, n in rows),
        _alt_text(view, [(view.source_for_metric(s.source, m), m) for s in compared for m in view.main_metrics]),
        "Localization by finding: mean and 95 % interval of each source on the same radiographs."
        + (" The band reaches from the lowest reader to the highest." if is_average(view.reader or "") else "")
        + partial_averages_note(view, [s.source for s in compared], view.main_metrics[:1]),
    )


def plot_comparison(view: RunView) -> Plot | None:
    """Plot every source averaged over findings, sorted by the first metric.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    if not view.sources:
        return None
    rows = [(s, m, view.estimate(s, m)) for s in view.sources for m in view.main_metrics]
    grid = DotPlot.create(
        [svg.elide(view.label(s), 52) for s in view.sources], len(view.main_metrics), 28.0, has_legend=True
    )
    for ax, metric in zip(grid.panels, view.main_metrics, strict=True):
        set_scale(ax, metric, [n for _, m, n in rows if m == metric])
        for i, source in enumerate(view.sources):
            number = view.estimate(source, metric)
            draw_dot(ax, number, i, _series_by_kind(view, source))
            if not any(view.estimate(source, m).is_defined for m in view.main_metrics):
                ax.text(
                    0.01,
                    i,
                    "not defined",
                    transform=ax.get_yaxis_transform(),
                    va="center",
                    size=SMALL_SIZE,
                    color=MUTED,
                )
    grid.draw_legend(_kind_legend(view, view.sources))
    return Plot(
        "comparison",
        svg.write_svg(grid.figure, "comparison"),
        _to_frame((m, s, AVERAGE, n) for s, m, n in rows),
        _alt_text(view, [(s, view.main_metrics[0]) for s in view.sources]),
        f"All sources, averaged over {_count_findings(view)} with equal weight; sorted by "
        f"{metric_title(view.metrics[0])}. {intervals_text(view)}"
        + partial_averages_note(view, view.sources, view.main_metrics),
    )


def plot_differences(view: RunView) -> Plot | None:
    """Plot the paired differences of every source from the human benchmark and from the strongest control.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    against = [v for v in (view.reader, view.control) if v]
    metric = view.metrics[0] if view.metrics else ""
    rows = [(s, v, view.difference(s, v, metric)) for s in view.sources for v in against if s != v]
    sources = [s for s in view.sources if any(r[0] == s and r[2].is_defined for r in rows)]
    if not sources:
        return None
    kinds = _kind_legend(view, sources)
    grid = DotPlot.create(
        [svg.elide(view.label(s), 52) for s in sources], len(against), 28.0, has_legend=len(kinds) > 1
    )
    numbers = [n for _, _, n in rows if n.is_defined]
    reach = 1.08 * max(0.02, *(abs(v) for n in numbers for v in (n.mean, n.low, n.high) if not np.isnan(v)))
    for ax, versus in zip(grid.panels, against, strict=True):
        ax.set_xlim(-reach, reach)
        ax.axvline(0, color=INK, linewidth=1)
        ax.set_title(
            f"{metric_title(metric)} minus {view.label(versus)}", loc="left", size=SMALL_SIZE, color=INK, pad=10
        )
        for i, source in enumerate(sources):
            if source == versus:
                ax.text(reach / 40, i, "reference", va="center", size=SMALL_SIZE, color=MUTED)
            else:
                draw_dot(ax, view.difference(source, versus, metric), i, _series_by_kind(view, source))
    if len(kinds) > 1:
        grid.draw_legend(kinds)
    return Plot(
        "differences",
        svg.write_svg(grid.figure, "differences"),
        _to_frame((metric, s, AVERAGE, n) for s, _, n in rows).assign(versus=[v for _, v, _ in rows]),
        "Paired differences: "
        + "; ".join(f"{view.label(s)} minus {view.label(v)} {n.text()}" for s, v, n in rows if n.is_defined),
        "Paired differences on the same radiographs. Where the interval crosses the line, a difference is not shown."
        + (
            "" if higher_is_better(metric) else " For this metric lower is better: left of the line is the better side."
        ),
    )


_MAX_MODELS = 12
"""In one figure: a grid of trainings has figures of its own."""


def plot_accuracy(view: RunView) -> Plot | None:
    """Plot the AUROC of each model by finding.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    rows = [a for a in view.aurocs if a.estimate.is_defined]
    models = list(dict.fromkeys(a.model for a in rows))
    if not models or len(models) > _MAX_MODELS:
        return None
    present = dict.fromkeys(a.finding for a in rows)
    known = (*view.findings, *view.info.get("dataset", {}).get("findings", ()), *present)
    findings = [
        *dict.fromkeys(f for f in known if f in present and f != AVERAGE),
        *([AVERAGE] if AVERAGE in present else []),
    ]
    series = [Series(m, m, MODEL_COLORS[i % 3], "o", m not in view.untrained_models) for i, m in enumerate(models)]
    step = max(ROW_HEIGHT, 11.0 * len(models) + 6)
    grid = DotPlot.create([_finding_label(f) for f in findings], 1, step, has_legend=True, right_margin=120)
    ax = grid.panels[0]
    numbers = {(a.model, a.finding): a.estimate for a in rows}
    lowest = min([0.4, *(v for n in numbers.values() for v in (n.mean, n.low) if not np.isnan(v))])
    ax.set_xlim(np.floor(lowest * 10) / 10 - 0.02, 1.02)
    ax.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    ax.set_title("AUROC (dashed: chance)", loc="left", size=SMALL_SIZE, color=INK, pad=10)
    for k, s in enumerate(series):
        for i, finding in enumerate(findings):
            number = numbers.get((s.source, finding))
            if number:
                draw_dot(ax, number, i + (k - (len(series) - 1) / 2) * 11.0 / step, s)
    for i, finding in enumerate(findings):
        first = next(a for a in rows if a.finding == finding)
        if finding != AVERAGE:
            grid.add_note(i, f"{first.positives:,} / {first.estimate.n:,}")
    grid.add_note_header("positive / all")
    grid.draw_legend(series)
    if AVERAGE in findings and len(findings) > 1:
        grid.draw_rule_above(findings.index(AVERAGE))
    spoken = "; ".join(f"{m}, {f}: {n.text()}" for (m, f), n in numbers.items())
    return Plot(
        "accuracy",
        svg.write_svg(grid.figure, "accuracy"),
        pd.DataFrame(
            [{"model": a.model, "finding": a.finding, **asdict(a.estimate), "positives": a.positives} for a in rows]
        ),
        f"AUROC by finding. {spoken}",
        "Accuracy of each model for the presence of a finding in a study (all views together), with 95 % intervals. "
        "Maps of a model that does not recognize a finding have nothing to explain.",
    )


def plot_protocols(view: RunView) -> Plot | None:
    """Plot the best source under each protocol, by finding.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    source = view.best or view.reader
    if len(view.protocols) < 2 or source is None:
        return None
    findings = [*view.findings, *([AVERAGE] if len(view.findings) > 1 else [])]
    series = [Series(p, p, MODEL_COLORS[0], "o", p == view.protocol) for p in view.protocols]
    rows = [
        (f, p, m, view.estimate(source, m, f, protocol=p))
        for f in findings
        for p in view.protocols
        for m in view.main_metrics
    ]
    grid = DotPlot.create([_finding_label(f) for f in findings], len(view.main_metrics), 32.0, has_legend=True)
    for ax, metric in zip(grid.panels, view.main_metrics, strict=True):
        set_scale(ax, metric, [n for _, _, m, n in rows if m == metric])
        for i, finding in enumerate(findings):
            for k, s in enumerate(series):
                offset = (k - (len(series) - 1) / 2) * 12 / 32
                draw_dot(ax, view.estimate(source, metric, finding, protocol=s.source), i + offset, s)
    grid.draw_legend(series)
    if len(findings) > 1:
        grid.draw_rule_above(len(findings) - 1)
    return Plot(
        "protocols",
        svg.write_svg(grid.figure, "protocols"),
        _to_frame((m, source, f, n) for f, _, m, n in rows).assign(protocol=[p for _, p, _, _ in rows]),
        f"{view.label(source)} under both protocols: "
        + "; ".join(f"{_finding_label(f)}, {p}, {metric_title(m)} {n.text()}" for f, p, m, n in rows if n.is_defined),
        f"The same maps of {view.label(source)} scored under both protocols.",
    )


# -- parts ------------------------------------------------------------------------------------------------------------


def _series_by_kind(view: RunView, source: str) -> Series:
    kind = view.kind(source)
    return Series(source, view.label(source), KIND_COLORS[kind], KIND_MARKERS[kind])


def _kind_legend(view: RunView, sources: Sequence[str]) -> list[Series]:
    names = {
        "model": "model",
        "control": "control",
        "reader": "simulated reader" if view.has_simulated_readers else "reader",
        "localizer": "network trained on annotations",
        "ceiling": "ceiling",
    }
    kinds = dict.fromkeys(view.kind(s) for s in sources)
    return [Series(k, names[k], KIND_COLORS[k], KIND_MARKERS[k]) for k in names if k in kinds]


def _finding_label(name: str) -> str:
    return "Average" if name == AVERAGE else svg.elide(name)


def _count_findings(view: RunView) -> str:
    return count_noun(len(view.findings), "finding")


def _to_frame(rows: Iterator[tuple[str, str, str, Estimate]]) -> pd.DataFrame:
    columns = ["metric", "source", "finding", "mean", "low", "high", "n", "patients"]
    return pd.DataFrame([(m, s, f, n.mean, n.low, n.high, n.n, n.patients) for m, s, f, n in rows], columns=columns)


def _alt_text(view: RunView, pairs: Sequence[tuple[str, str]]) -> str:
    """Averages as text."""
    return "Averages over findings. " + "; ".join(
        f"{view.label(s)}: {metric_title(m)} {view.estimate(s, m).text()}" for s, m in pairs
    )
