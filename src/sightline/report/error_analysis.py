"""What explains success and failure: the shape of a finding, and the confidence of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from sightline.report import svg
from sightline.report.dot_plot import ROW, Grid, dot
from sightline.report.human_benchmark import OWN, PUBLISHED
from sightline.report.published_results import beside, published
from sightline.report.run_view import AVERAGE, Number, View, decimal, numbers, title
from sightline.report.summary import protocol_of
from sightline.report.svg import INK, MODELS, SMALL, Plot
from sightline.report.tables import Table
from sightline.stats.regression import FEATURES

_FEATURE = {
    "instances": "Number of instances",
    "size": "Size (share of the image)",
    "elongation": "Elongation",
    "irrectangularity": "Irrectangularity",
}
_OUTCOME = {"iou": "IoU", "iou_gap": "IoU, reader − method", "hit": "Hit", "hit_gap": "Hit, reader − method"}
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_TICKS = {"size": (0.001, 0.01, 0.1, 1.0), "elongation": (1, 2, 5, 10, 20, 50)}


def _percent(value: float, _: float) -> str:
    return f"{100 * value:g} %"


def _plain(value: float, _: float) -> str:
    return f"{value:g}"


def shapes(view: View) -> Plot | None:
    """How the four geometric features are distributed, finding by finding."""
    table = view.analysis("shapes").replace([np.inf, -np.inf], np.nan)
    if table.empty:
        return None
    findings = [f for f in view.findings if (table["finding"] == f).any()]
    grid = Grid.of([svg.elide(f) for f in findings], len(FEATURES), ROW, legend=False, right=58)
    rows = []
    for ax, feature in zip(grid.panels, FEATURES, strict=True):
        ax.set_title(_FEATURE[feature], loc="left", size=SMALL, color=INK, pad=10)
        for i, finding in enumerate(findings):
            values = table.loc[table["finding"] == finding, feature].dropna().to_numpy(float)
            if len(values):
                q = np.quantile(values, _QUANTILES)
                _bar(ax, q, i)
                rows.append((finding, feature, *q, len(values)))
        if feature in ("size", "elongation"):
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator(_TICKS[feature]))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(_percent if feature == "size" else _plain)
        elif feature == "irrectangularity":
            ax.set_xlim(-0.02, 1.02)
        else:
            ax.set_xlim(0, None)
    for i, finding in enumerate(findings):
        grid.note(i, f"{int((table['finding'] == finding).sum()):,}")
    grid.head("marks")
    names = pd.Index(["finding", "feature", *(f"q{round(100 * q)}" for q in _QUANTILES), "n"])
    return Plot(
        "shapes", svg.write_svg(grid.figure, "shapes"), pd.DataFrame(rows, columns=names),
        "Medians. " + "; ".join(f"{f}, {_FEATURE[k]}: {m:.3g}" for f, k, _, _, m, *_ in rows),
        "Shape of the marks: median (dot), middle half (thick) and middle nine tenths (thin). Size and elongation on "
        "logarithmic axes.",
    )  # fmt: skip


def _bar(ax: Axes, q: Sequence[float] | np.ndarray, row: int) -> None:
    color = MODELS[0]
    ax.plot([q[0], q[4]], [row, row], color=color, linewidth=1.2)
    ax.plot([q[1], q[3]], [row, row], color=color, linewidth=5, alpha=0.45, solid_capstyle="butt")
    ax.plot([q[2]], [row], "o", color=color, markersize=6)


def regressions(view: View) -> Plot | None:
    """Slopes of overlap, pointing and their gap to the reader on each feature, beside the published table."""
    outcomes = [o for o in _OUTCOME if len(_regression(view, o))]
    if not outcomes:
        return None
    theirs = beside("regressions")
    grid = Grid.of([_FEATURE[f] for f in FEATURES], len(outcomes), 40.0, legend=True)
    frames = []
    for ax, outcome in zip(grid.panels, outcomes, strict=True):
        table = _regression(view, outcome)
        frames.append(table)
        own = {k[0]: n for k, n in numbers(table, ["feature"], "slope")}
        printed = theirs.get(outcome, {})
        _reach(ax, [*own.values(), *printed.values()])
        ax.set_title(_OUTCOME[outcome], loc="left", size=SMALL, color=INK, pad=10)
        for i, feature in enumerate(FEATURES):
            dot(ax, own.get(feature, Number.none()), i - 0.16, OWN)
            dot(ax, printed.get(feature, Number.none()), i + 0.18, PUBLISHED)
    grid.legend([OWN, PUBLISHED])
    data = pd.concat(frames, ignore_index=True)
    return Plot(
        "regressions", svg.write_svg(grid.figure, "regressions"), data,
        "; ".join(
            f"{_OUTCOME[r['outcome']]} on {r['feature']}: {decimal(r['slope'])}" for r in data.to_dict("records")
        ),
        "Change of the score from the lowest to the highest value of a feature (min-max scaled), with 95 % intervals. "
        + _form(view),
    )  # fmt: skip


def _form(view: View) -> str:
    if protocol_of(view).definitions == "published":
        return "Published form: all findings stacked, rows taken as independent."
    return "Corrected form: within findings (fixed effects), errors by patient; the published one stacks all findings."


def _regression(view: View, outcome: str) -> pd.DataFrame:
    table = view.analysis("regressions")
    source = view.best_by("hit" if outcome.startswith("hit") else "iou")
    return table[(table["source"] == source) & (table["outcome"] == outcome) & table["slope"].notna()]


def _reach(ax: Axes, drawn: Sequence[Number]) -> None:
    ends = [v for n in drawn for v in (n.mean, n.low, n.high) if not np.isnan(v)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    pad = 0.06 * (high - low or 1.0)
    ax.set_xlim(low - pad, high + pad)
    ax.axvline(0, color=INK, linewidth=1)


def regression_table(view: View) -> Table | None:
    """Table 1: slopes with stars of adjusted p-values, beside the published ones."""
    theirs, rows = beside("regressions"), []
    for outcome, name in _OUTCOME.items():
        for r in _regression(view, outcome).to_dict("records"):
            printed = theirs.get(outcome, {}).get(str(r["feature"]), Number.none())
            own = Number(float(r["slope"]), float(r["low"]), float(r["high"]), 0, 0)
            rows.append([name, _FEATURE[str(r['feature'])], f"{own.text(3)} {r['stars']}".strip(), f"{int(r['n']):,}",
                         f"{int(r['patients']):,}", printed.text(3)])  # fmt: skip
    head = ["Outcome", "Feature", "Slope [95 % interval]", "Marks", "Patients", "CheXlocalize"]
    caption = "Regressions on the shape of the mark (* p < 0.05, ** < 0.01, *** < 0.001, adjusted)"
    return Table.of(caption, head, rows, 2, "regressions") if rows else None


def across_table(view: View) -> Table | None:
    """Over findings: localization against prevalence in training, size and constancy of place."""
    table = view.analysis("across")
    table = table[table["rho"].notna() & table["source"].isin([view.best_by("iou"), view.best_by("hit")])]
    rows = [
        [view.label(str(r['source'])), title(str(r['metric'])), _FACTOR[str(r['factor'])],
         Number(float(r['rho']), float(r['low']), float(r['high']), 0, 0).text(2), f"{int(r['findings'])}"]
        for r in table.to_dict("records")
        if r['source'] == view.best_by(str(r['metric']))
    ]  # fmt: skip
    head = ["Source", "Metric", "Against", "Spearman's ρ [95 % interval]", "Findings"]
    return Table.of("Across findings: what goes with good localization", head, rows, 3, "across") if rows else None


def box_table(view: View) -> Table | None:
    """Boxes instead of masks: the same maps and readers, every piece replaced by the box around it."""
    who = [s for s in (view.best_by("iou"), view.reader_for("iou")) if s]
    if "box-iou" not in view.metrics or not who:
        return None
    rows = [
        ["Average" if f == AVERAGE else f, *(view.number(s, m, f).text(3) for s in who for m in ("iou", "box-iou"))]
        for f in (*view.findings, AVERAGE)
    ]
    head = ["Finding", *(f"{view.label(s)}, {title(m)}" for s in who for m in ("iou", "box-iou"))]
    return Table.of("Boxes instead of masks, mean [95 % interval]", head, rows, file="estimates")


_FACTOR = {
    "prevalence": "share of positive labels in training",
    "size": "mean size of the mark",
    "consistency": "constancy of place (IoU of the average mask of other patients)",
}


def assurance(view: View) -> Plot | None:
    """Does a confident model point better? Slopes and rank correlations with the probability, by finding."""
    tables = {m: _assurance(view, m) for m in ("iou", "hit")}
    if not len(tables["iou"]):
        return None
    findings = [*(f for f in view.findings if (tables["iou"]["finding"] == f).any()), "all"]
    theirs = beside("assurance")
    wanted = [
        ("IoU on probability: slope", "iou", "slope", ("slope", "low", "high"), "slope"),
        ("IoU: Spearman's ρ", "iou", "rho", ("rho", "rho_low", "rho_high"), "rho"),
        ("Hit: Spearman's ρ", "hit", "rho", ("rho", "rho_low", "rho_high"), ""),
    ]
    grid = Grid.of([_named(f) for f in findings], len(wanted), ROW, legend=True, right=58)
    for ax, (name, metric, _, columns, printed) in zip(grid.panels, wanted, strict=True):
        table = tables[metric]
        own = {k[0]: n for k, n in numbers(table, ["finding"], *columns)}
        others = theirs.get(printed, {})
        _reach(ax, [*own.values(), *others.values()])
        ax.set_title(name, loc="left", size=SMALL, color=INK, pad=10)
        for i, finding in enumerate(findings):
            dot(ax, own.get(finding, Number.none()), i - 0.14, OWN)
            dot(ax, others.get(finding, Number.none()), i + 0.2, PUBLISHED)
    for i, finding in enumerate(findings):
        n = tables["iou"].loc[tables["iou"]["finding"] == finding, "n"]
        grid.note(i, f"{int(n.iloc[0]):,}" if len(n) else "")
    grid.head("images")
    grid.rule_above(len(findings) - 1)
    grid.legend([OWN, PUBLISHED])
    data = pd.concat(list(tables.values()), ignore_index=True)
    return Plot(
        "assurance", svg.write_svg(grid.figure, "assurance"), data,
        "; ".join(f"{_named(r['finding'])}: ρ {decimal(r['rho'])}" for r in tables["iou"].to_dict("records")),
        "Localization against the probability the model gives: overlap on all images where anything is marked or "
        "claimed, hits on the marked ones. The published intervals of ρ are recomputed with the n of each finding.",
    )  # fmt: skip


def _assurance(view: View, metric: str) -> pd.DataFrame:
    table = view.analysis("assurance")
    table = table[(table["source"] == view.best_by(metric)) & (table["metric"] == metric)]
    return table[table[["slope", "rho"]].notna().any(axis=1)]


def unasked(view: View) -> list[str]:
    """Why nothing is shown of confidence, if the run was analyzed."""
    if not view.run.has_table("assurance") or len(_assurance(view, "iou")):
        return []
    return ["These maps came without probabilities, or with too few, so nothing can be said of the model's confidence."]


def assurance_tables(view: View) -> list[Table]:
    """Table 2, for overlap and for hits; the published intervals as printed and as they should be."""
    made, theirs = [], beside("assurance")
    for metric in ("iou", "hit"):
        rows = []
        for r in _assurance(view, metric).to_dict("records"):
            slope = Number(float(r["slope"]), float(r["low"]), float(r["high"]), 0, 0)
            rho = Number(float(r["rho"]), float(r["rho_low"]), float(r["rho_high"]), 0, 0)
            row = [_named(str(r['finding'])), f"{int(r['n']):,}", f"{slope.text(3)} {r['stars']}".strip(),
                   f"{rho.text(3)} {r['rho_stars']}".strip()]  # fmt: skip
            if metric == "iou":
                row += [
                    theirs[k].get(str(r["finding"]), Number.none()).text(3) for k in ("slope", "rho", "rho_printed")
                ]
            rows.append(row)
        head = ["Finding", "Images", "Slope [95 % interval]", "Spearman's ρ [95 % interval]"]
        head += ["CheXlocalize: slope", "CheXlocalize: ρ", "as printed (wrong n)"] if metric == "iou" else []
        if rows:
            caption = f"{title(metric)} on the model's probability (* p < 0.05, ** < 0.01, *** < 0.001, adjusted)"
            made.append(Table.of(caption, head, rows, file="assurance"))
    return made


def known_errors() -> list[str]:
    """What is known to be wrong in the published figures shown."""
    return [str(e) for e in published()["errors"]]


def _named(finding: str) -> str:
    return "All together" if finding == "all" else svg.elide(finding)
