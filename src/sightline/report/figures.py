"""The figures of a report, each a function of what the run holds; None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.report import svg
from sightline.report.dot_plot import ROW, Grid, dot, scale
from sightline.report.phrasing import counted
from sightline.report.run_view import AVERAGE, Number, View, higher_is_better, title
from sightline.report.svg import CONTROL, INK, KINDS, MARKERS, MODELS, MUTED, READER, SMALL, Plot, Series


def series(view: View) -> list[Series]:
    """Who is compared in the figures by finding: the best source of each model, the reader, the strongest control."""
    names = [m["name"] for m in view.info.get("models", ())] if view.info.get("study") == "gaze" else []
    ranks = {s: names.index(Source.parse(s).model) if names else i for i, s in enumerate(view.leaders)}
    shown = [Series(s, view.label(s), MODELS[i % len(MODELS)], "o") for s, i in ranks.items()]
    if view.reader:
        readers = sorted({view.label(r) for r in map(view.reader_for, view.shown) if r}, key=len)
        one = all(name.startswith(readers[0]) for name in readers)  # contours and points of the same reader
        shown.append(Series(view.reader, readers[0] if one else " / ".join(readers), READER, MARKERS["reader"]))
    if view.control:
        shown.append(Series(view.control, view.label(view.control), CONTROL, MARKERS["control"]))
    return shown


def localization(view: View) -> Plot | None:
    """One row per finding, one dot with its interval per source, one panel per metric; n at the right."""
    compared = series(view)
    if not compared or not view.findings:
        return None
    findings = [*view.findings, *([AVERAGE] if len(view.findings) > 1 else [])]
    rows = [
        (f, who, m, view.number(who, m, f))
        for f in findings
        for m in view.shown
        for who in [view.answering(s.source, m) for s in compared]
    ]
    step = max(ROW, 11.0 * len(compared) + 6)
    grid = Grid.of([_finding(f) for f in findings], len(view.shown), step, legend=True, right=64)
    for ax, metric in zip(grid.panels, view.shown, strict=True):
        numbers = [n for _, _, m, n in rows if m == metric]
        scale(ax, metric, numbers)
        for k, s in enumerate(compared):
            offset = (k - (len(compared) - 1) / 2) * 11.0 / step
            for i, finding in enumerate(findings):
                dot(ax, view.number(view.answering(s.source, metric), metric, finding), i + offset, s)
    first = compared[0].source
    for i, finding in enumerate(findings):
        n = view.number(first, view.shown[0], finding).n
        empty = not any(r[3].defined for r in rows if r[0] == finding)
        grid.note(i, "no mark" if empty else f"{n:,}")
    grid.head("maps")
    grid.legend(compared)
    if len(findings) > 1:
        grid.rule_above(len(findings) - 1)
    return Plot(
        "localization",
        svg.write_svg(grid.figure, "localization"),
        _data((m, s, f, n) for f, s, m, n in rows),
        _spoken(view, [(view.answering(s.source, m), m) for s in compared for m in view.shown]),
        "Localization by finding: mean and 95 % interval of each source on the same radiographs.",
    )


def comparison(view: View) -> Plot | None:
    """Every source, averaged over the findings, sorted by the first metric, colored by kind."""
    if not view.sources:
        return None
    rows = [(s, m, view.number(s, m)) for s in view.sources for m in view.shown]
    grid = Grid.of([svg.elide(view.label(s), 52) for s in view.sources], len(view.shown), 28.0, legend=True)
    for ax, metric in zip(grid.panels, view.shown, strict=True):
        scale(ax, metric, [n for _, m, n in rows if m == metric])
        for i, source in enumerate(view.sources):
            number = view.number(source, metric)
            dot(ax, number, i, _by_kind(view, source))
            if not any(view.number(source, m).defined for m in view.shown):
                ax.text(
                    0.01, i, "not defined", transform=ax.get_yaxis_transform(), va="center", size=SMALL, color=MUTED
                )
    grid.legend(_kinds(view, view.sources))
    return Plot(
        "comparison",
        svg.write_svg(grid.figure, "comparison"),
        _data((m, s, AVERAGE, n) for s, m, n in rows),
        _spoken(view, [(s, view.shown[0]) for s in view.sources]),
        f"All sources, averaged over {_findings(view)} with equal weight; sorted by {title(view.metrics[0])}.",
    )


def differences(view: View) -> Plot | None:
    """Paired differences of every source to the human benchmark and to the strongest control."""
    against = [v for v in (view.reader, view.control) if v]
    metric = view.metrics[0] if view.metrics else ""
    rows = [(s, v, view.difference(s, v, metric)) for s in view.sources for v in against if s != v]
    sources = [s for s in view.sources if any(r[0] == s and r[2].defined for r in rows)]
    if not sources:
        return None
    kinds = _kinds(view, sources)
    grid = Grid.of([svg.elide(view.label(s), 52) for s in sources], len(against), 28.0, legend=len(kinds) > 1)
    numbers = [n for _, _, n in rows if n.defined]
    reach = 1.08 * max(0.02, *(abs(v) for n in numbers for v in (n.mean, n.low, n.high) if not np.isnan(v)))
    for ax, versus in zip(grid.panels, against, strict=True):
        ax.set_xlim(-reach, reach)
        ax.axvline(0, color=INK, linewidth=1)
        ax.set_title(f"{title(metric)} minus {view.label(versus)}", loc="left", size=SMALL, color=INK, pad=10)
        for i, source in enumerate(sources):
            if source == versus:
                ax.text(reach / 40, i, "reference", va="center", size=SMALL, color=MUTED)
            else:
                dot(ax, view.difference(source, versus, metric), i, _by_kind(view, source))
    if len(kinds) > 1:
        grid.legend(kinds)
    return Plot(
        "differences",
        svg.write_svg(grid.figure, "differences"),
        _data((metric, s, AVERAGE, n) for s, _, n in rows).assign(versus=[v for _, v, _ in rows]),
        "Paired differences: "
        + "; ".join(f"{view.label(s)} minus {view.label(v)} {n.text()}" for s, v, n in rows if n.defined),
        "Paired differences on the same radiographs, resampled together; an interval that crosses the line tells "
        "nothing apart."
        + (
            "" if higher_is_better(metric) else " For this metric lower is better: left of the line is the better side."
        ),
    )


_MOST_MODELS = 12
"""In one figure: a grid of trainings has figures of its own."""


def accuracy(view: View) -> Plot | None:
    """AUROC of each model by finding, with chance marked."""
    rows = [a for a in view.aurocs if a.number.defined]
    models = list(dict.fromkeys(a.model for a in rows))
    if not models or len(models) > _MOST_MODELS:
        return None
    there = dict.fromkeys(a.finding for a in rows)
    known = (*view.findings, *view.info.get("dataset", {}).get("findings", ()), *there)
    findings = [
        *dict.fromkeys(f for f in known if f in there and f != AVERAGE),
        *([AVERAGE] if AVERAGE in there else []),
    ]
    shown = [Series(m, m, MODELS[i % 3], "o", m not in view.untrained) for i, m in enumerate(models)]
    step = max(ROW, 11.0 * len(models) + 6)
    grid = Grid.of([_finding(f) for f in findings], 1, step, legend=True, right=120)
    ax = grid.panels[0]
    numbers = {(a.model, a.finding): a.number for a in rows}
    lowest = min([0.4, *(v for n in numbers.values() for v in (n.mean, n.low) if not np.isnan(v))])
    ax.set_xlim(np.floor(lowest * 10) / 10 - 0.02, 1.02)
    ax.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    ax.set_title("AUROC (dashed: chance)", loc="left", size=SMALL, color=INK, pad=10)
    for k, s in enumerate(shown):
        for i, finding in enumerate(findings):
            number = numbers.get((s.source, finding))
            if number:
                dot(ax, number, i + (k - (len(shown) - 1) / 2) * 11.0 / step, s)
    for i, finding in enumerate(findings):
        first = next(a for a in rows if a.finding == finding)
        if finding != AVERAGE:
            grid.note(i, f"{first.positives:,} / {first.number.n:,}")
    grid.head("positive / all")
    grid.legend(shown)
    if AVERAGE in findings and len(findings) > 1:
        grid.rule_above(findings.index(AVERAGE))
    spoken = "; ".join(f"{m}, {f}: {n.text()}" for (m, f), n in numbers.items())
    return Plot(
        "accuracy",
        svg.write_svg(grid.figure, "accuracy"),
        pd.DataFrame(
            [{"model": a.model, "finding": a.finding, **asdict(a.number), "positives": a.positives} for a in rows]
        ),
        f"AUROC by finding. {spoken}",
        "How well each model tells findings present from absent in a study (its views together), with 95 % intervals. "
        "Maps of a model that cannot do this have nothing to explain.",
    )


def protocols(view: View) -> Plot | None:
    """Published against corrected protocol for the best source, finding by finding."""
    source = view.best or view.reader
    if len(view.protocols) < 2 or source is None:
        return None
    findings = [*view.findings, *([AVERAGE] if len(view.findings) > 1 else [])]
    shown = [Series(p, p, MODELS[0], "o", p == view.protocol) for p in view.protocols]
    rows = [
        (f, p, m, view.number(source, m, f, protocol=p)) for f in findings for p in view.protocols for m in view.shown
    ]
    grid = Grid.of([_finding(f) for f in findings], len(view.shown), 32.0, legend=True)
    for ax, metric in zip(grid.panels, view.shown, strict=True):
        scale(ax, metric, [n for _, _, m, n in rows if m == metric])
        for i, finding in enumerate(findings):
            for k, s in enumerate(shown):
                offset = (k - (len(shown) - 1) / 2) * 12 / 32
                dot(ax, view.number(source, metric, finding, protocol=s.source), i + offset, s)
    grid.legend(shown)
    if len(findings) > 1:
        grid.rule_above(len(findings) - 1)
    return Plot(
        "protocols",
        svg.write_svg(grid.figure, "protocols"),
        _data((m, source, f, n) for f, _, m, n in rows).assign(protocol=[p for _, p, _, _ in rows]),
        f"{view.label(source)} under both protocols: "
        + "; ".join(f"{_finding(f)}, {p}, {title(m)} {n.text()}" for f, p, m, n in rows if n.defined),
        f"The same maps of {view.label(source)} scored under both protocols.",
    )


# -- parts ------------------------------------------------------------------------------------------------------------


def _by_kind(view: View, source: str) -> Series:
    kind = view.kind(source)
    return Series(source, view.label(source), KINDS[kind], MARKERS[kind])


def _kinds(view: View, sources: Sequence[str]) -> list[Series]:
    names = {
        "model": "model",
        "control": "control",
        "reader": "simulated reader" if view.simulated else "reader",
        "localizer": "network trained on marks",
        "ceiling": "ceiling",
    }
    there = dict.fromkeys(view.kind(s) for s in sources)
    return [Series(k, names[k], KINDS[k], MARKERS[k]) for k in names if k in there]


def _finding(name: str) -> str:
    return "Average" if name == AVERAGE else svg.elide(name)


def _findings(view: View) -> str:
    return counted(len(view.findings), "finding")


def _data(rows: Iterator[tuple[str, str, str, Number]]) -> pd.DataFrame:
    columns = ["metric", "source", "finding", "mean", "low", "high", "n", "patients"]
    return pd.DataFrame([(m, s, f, n.mean, n.low, n.high, n.n, n.patients) for m, s, f, n in rows], columns=columns)


def _spoken(view: View, wanted: Sequence[tuple[str, str]]) -> str:
    """Averages in words, for readers who cannot see the figure."""
    return "Averages over findings. " + "; ".join(
        f"{view.label(s)}: {title(m)} {view.number(s, m).text()}" for s, m in wanted
    )
