"""Against the human benchmark: percentage decrease by finding, and what slices and thresholds change."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sightline.core import Source
from sightline.evaluation.case_table import SLICES, THRESHOLDS
from sightline.report import svg
from sightline.report.dot_plot import ROW, Grid, dot, scale
from sightline.report.published_results import beside
from sightline.report.run_view import AVERAGE, Number, View, decimal, numbers, title
from sightline.report.summary import ASIDE
from sightline.report.svg import INK, MODELS, MUTED, READER, RULE, SMALL, WIDTH, Plot, Series
from sightline.report.tables import Table

PUBLISHED = Series("published", "CheXlocalize (published, other data)", MUTED, "D", filled=False)
OWN = Series("run", "this run", MODELS[0], "o")
_FARTHEST = -150.0
"""Percent: a method three times as good as a reader who hardly finds anything is drawn at the edge."""
_SHOWN = {"gt_positive": "marked cases", "model_positive&gt": "marked and called positive", "full": "all images"}


def decrease(view: View) -> Plot | None:
    """Percent below the human benchmark, finding by finding, for the best source of each metric."""
    metrics = [m for m in view.shown if len(view.decreases(m))]
    if not metrics:
        return None
    findings = [*view.findings, *([AVERAGE] if len(view.findings) > 1 else [])]
    own = {m: dict(numbers(view.decreases(m), ["finding"], "decrease")) for m in metrics}
    theirs = beside("decrease")
    grid = Grid.of([_name(f) for f in findings], len(metrics), ROW, legend=True, right=70)
    drawn = [n for m in metrics for n in [*own[m].values(), *theirs.get(m, {}).values()]]
    ends = [v for n in drawn for v in (n.mean, n.low, n.high) if not np.isnan(v)]
    for ax, metric in zip(grid.panels, metrics, strict=True):
        ax.set_xlim(max(_FARTHEST, min([-10.0, *ends]) - 4), max([100.0, *ends]) + 4)
        ax.axvline(0, color=INK, linewidth=1)
        who = svg.elide(view.label(view.best_by(metric)), 28)
        ax.set_title(f"{title(metric)}, % below the reader: {who}", loc="left", size=SMALL, color=INK, pad=10)
        for i, finding in enumerate(findings):
            dot(ax, own[metric].get((finding,), Number.none()), i - 0.14, OWN)
            dot(ax, theirs.get(metric, {}).get(finding, Number.none()), i + 0.2, PUBLISHED)
    best = Source.parse(view.best_by(metrics[0])).model
    aurocs = {a.finding: a.number for a in view.aurocs if a.model == best}
    for i, finding in enumerate(findings):
        grid.note(i, decimal(aurocs[finding].mean) if finding in aurocs else "")
    if aurocs:
        grid.head("AUROC")
    if len(findings) > 1:
        grid.rule_above(len(findings) - 1)
    grid.legend([OWN, PUBLISHED])
    data = pd.concat([view.decreases(m) for m in metrics], ignore_index=True)
    return Plot(
        "decrease", svg.write_svg(grid.figure, "decrease"), data,
        "Percent below the human benchmark. "
        + "; ".join(f"{title(m)}, {_name(f)}: {n.text(0)}" for m in metrics for (f,), n in own[m].items()),
        f"How far the best source ({ASIDE}) lies below the human benchmark, in percent of the "
        "reader, findings sorted by the first panel. Left of the line the method is better than the reader. Same "
        "patients for both.",
    )  # fmt: skip


def decrease_tables(view: View) -> list[Table]:
    """The numbers of the figure, with the smallest difference this many patients could have shown."""
    made = []
    for metric in view.shown:
        table = view.decreases(metric)
        rows = [
            [
                _name(str(r['finding'])), decimal(float(r['human']), 3), decimal(float(r['model']), 3),
                Number(float(r['decrease']), float(r['low']), float(r['high']), 0, 0).text(1), f"{int(r['n']):,}",
                f"{int(r['patients']):,}", decimal(float(r['detectable']), 3),
            ]
            for r in table.to_dict("records")
        ]  # fmt: skip
        head = ["Finding", "Reader", view.label(view.best_by(metric)), "% below the reader [95 % interval]", "Maps",
                "Patients", "Detectable"]  # fmt: skip
        if rows:
            caption = f"{title(metric)} against the human benchmark (detectable: the smallest true difference found "
            caption += "with power 0.8)"
            made.append(Table.of(caption, head, rows, file="decrease"))
    return made


def selection(view: View) -> Table | None:
    """The best source per metric, of which the comparison with the reader is, and how far from the best control."""
    found = view.analysis("best")
    rows = []
    for metric, source in zip(found["metric"].astype(str), found["source"].astype(str), strict=True):
        if metric not in view.metrics:
            continue
        number, control = view.number(source, metric), view.control_for(metric)
        gap = view.difference(source, control, metric).text(3) if control else "–"
        rows.append([title(metric), view.label(source), view.label(control) if control else "–", number.text(3), gap,
                     f"{number.n:,}", f"{number.patients:,}"])  # fmt: skip
    head = ["Metric", "Source", "Strongest control", "Mean", "Less the control", "Maps", "Patients"]
    caption = f"Best source ({ASIDE}) by metric, average over findings [95 % interval]"
    return Table.of(caption, head, rows, 3, "best") if rows else None


def slices(view: View) -> Plot | None:
    """Overlap on the marked cases, on those the model calls positive, and on all images: model and reader."""
    table = view.analysis("slices")
    table = table[table["metric"] == "iou"]
    source = view.best_by("iou")
    who = [s for s in (source, view.reader_for("iou")) if s and (table["source"] == s).any()]
    if not who:
        return None
    values = dict(numbers(table, ["slice", "source", "finding"]))
    findings = [*view.findings, *([AVERAGE] if len(view.findings) > 1 else [])]
    shown = [Series(s, view.label(s), READER if view.kind(s) == "reader" else MODELS[0],
                    "D" if view.kind(s) == "reader" else "o") for s in who]  # fmt: skip
    grid = Grid.of([_name(f) for f in findings], len(_SHOWN), ROW, legend=True)
    for ax, (which, name) in zip(grid.panels, _SHOWN.items(), strict=True):
        scale(ax, "iou", [n for (w, s, _), n in values.items() if s in who and w in _SHOWN])
        ax.set_title(f"{title('iou')}, {name}", loc="left", size=SMALL, color=INK, pad=10)
        for k, s in enumerate(shown):
            for i, finding in enumerate(findings):
                number = values.get((which, s.source, finding), Number.none())
                dot(ax, number, i + (k - (len(shown) - 1) / 2) * 0.36, s)
    if len(findings) > 1:
        grid.rule_above(len(findings) - 1)
    grid.legend(shown)
    return Plot(
        "slices", svg.write_svg(grid.figure, "slices"), table[table["source"].isin(who)],
        "; ".join(f"{name}, {view.label(s)}: {values.get((w, s, AVERAGE), Number.none()).text()}"
                  for w, name in _SHOWN.items() for s in who),
        "The same maps on three slices of the data; called positive: a probability of 0.5 or the finding's cutoff. On "
        "all images a mark without a prediction and a prediction without a mark overlap by 0; the reader knew which "
        "findings are there, the model did not.",
    )  # fmt: skip


def slice_table(view: View) -> Table | None:
    """Averages of every slice."""
    table = view.analysis("slices")
    table = table[table["finding"] == AVERAGE]
    values = dict(numbers(table, ["slice", "source", "metric"]))
    sources = [s for s in view.sources if (table["source"] == s).any()]
    rows = [
        [which, meaning, view.label(s), *(values.get((which, s, m), Number.none()).text(3) for m in ("iou", "hit"))]
        for which, meaning in SLICES.items()
        for s in sources
    ]
    head = ["Slice", "Cases", "Source", title("iou"), title("hit")]
    return Table.of("Averages over findings on each slice [95 % interval]", head, rows, 3, "slices") if rows else None


def thresholds(view: View) -> Plot | None:
    """Mean overlap at fixed thresholds of the map, finding by finding, beside Otsu's."""
    source = view.best_by("iou")
    names = {t: f"iou@above:{t:g}" for t in THRESHOLDS}
    if not source or not any(view.number(source, m, f).defined for m in names.values() for f in view.findings):
        return None
    columns = 5
    rows = -(-len(view.findings) // columns)
    figure = svg.canvas(WIDTH, 40 + rows * 190)
    width = (WIDTH - 44 - (columns - 1) * 34) / columns
    made = []
    highest = 0.05
    for index, finding in enumerate(view.findings):
        ax = svg.axes(figure, 44 + (index % columns) * (width + 34), 64 + (index // columns) * 190, width, 110)
        curve = [(t, view.number(source, m, finding)) for t, m in names.items()]
        otsu = view.number(source, "iou", finding)
        highest = max([highest, *(n.high for _, n in curve if not np.isnan(n.high)), *([otsu.high] * (otsu.high > 0))])
        _curve(ax, curve, otsu, svg.elide(finding, 26))
        made.append(ax)
    for ax in made:
        ax.set_ylim(0, highest * 1.05)
    svg.legend(figure, [Series("t", svg.elide(f"{view.label(source)}, fixed", 40), MODELS[0], "o"),
                         Series("o", "Otsu's threshold, dashed", INK, "_")])  # fmt: skip
    data = pd.DataFrame(
        [(f, t, *_fields(view.number(source, m, f))) for f in view.findings for t, m in names.items()],
        columns=pd.Index(["finding", "threshold", "mean", "low", "high", "n"]),
    )
    return Plot(
        "thresholds", svg.write_svg(figure, "thresholds"), data,
        "; ".join(f"{f}: best {t:g}" for f, t in _best_thresholds(view).items()),
        f"{title('iou')} of the marked cases when the map, scaled to [0, 1], is cut at a fixed threshold (horizontal "
        "axis) instead of Otsu's. A threshold chosen on these same cases flatters; tune on other data "
        "(--thresholds RUN).",
    )  # fmt: skip


def _curve(ax: Axes, curve: list[tuple[float, Number]], otsu: Number, name: str) -> None:
    x = [t for t, _ in curve]
    ax.fill_between(x, [n.low for _, n in curve], [n.high for _, n in curve], color=MODELS[0], alpha=0.16, linewidth=0)
    ax.plot(x, [n.mean for _, n in curve], "o-", color=MODELS[0], markersize=4, linewidth=1.4)
    if otsu.defined:
        ax.axhline(otsu.mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    ax.grid(axis="y", color=RULE, linewidth=0.8)
    ax.set_xlim(0.17, 0.83)
    ax.set_xticks([0.2, 0.4, 0.6, 0.8])
    ax.set_title(name, loc="left", size=SMALL, color=INK, pad=8)


def _fields(n: Number) -> tuple[float, float, float, int]:
    return n.mean, n.low, n.high, n.n


def _best_thresholds(view: View) -> dict[str, float]:
    table = view.analysis("tuning")
    table = table[(table["source"] == view.best_by("iou")) & table["threshold"].notna()]
    return {str(f): float(t) for f, t in zip(table["finding"], table["threshold"], strict=True)}


def tuning_table(view: View) -> Table | None:
    """Thresholds and probability cutoffs that would be best on these data, beside the published ones."""
    table = view.analysis("tuning")
    records = {str(r["finding"]): r for r in table[table["source"] == view.best_by("iou")].to_dict("records")}
    theirs, rows = beside("tuning"), []
    for finding in [f for f in view.findings if f in records]:
        own = records[finding]
        threshold, cutoff = (theirs.get(k, {}).get(finding, Number.none()) for k in ("threshold", "cutoff"))
        cells = (own["threshold"], threshold.mean, own["cutoff"], cutoff.mean)
        reached = [decimal(float(own["iou"]), 3), f"{int(own['n']):,}"]
        rows.append([finding, *(decimal(float(v), 1) for v in cells), *reached])
    head = ["Finding", "Threshold", "CheXlocalize", "Cutoff", "CheXlocalize", "IoU at the threshold", "Marked"]
    caption = "Threshold of the map and cutoff of the probability, tuned on these data (CheXlocalize: validation set)"
    return Table.of(caption, head, rows, file="tuning") if rows else None


def _name(finding: str) -> str:
    return "Average" if finding == AVERAGE else svg.elide(finding)
