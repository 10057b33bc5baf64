"""Error analysis: localization by the shape of the annotation, over findings, and with boxes for masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from sightline.report import svg
from sightline.report.dot_plot import ROW_HEIGHT, DotPlot, draw_dot, set_limits
from sightline.report.estimate import AVERAGE, Estimate, format_decimal, read_estimates
from sightline.report.human_benchmark import PUBLISHED, THIS_RUN
from sightline.report.published_results import published_estimates
from sightline.report.run_view import RunView
from sightline.report.summary import protocol_of
from sightline.report.svg import INK, MODEL_COLORS, SMALL_SIZE, Plot
from sightline.report.tables import Table
from sightline.report.titles import metric_title
from sightline.stats.regression import SHAPE_FEATURES

_FEATURE_LABELS = {
    "instances": "Number of components",
    "size": "Size (share of the image)",
    "elongation": "Elongation",
    "irrectangularity": "Deviation from a rectangle",
}
_OUTCOME_LABELS = {
    "iou": "IoU",
    "iou-gap": "IoU, reader − method",
    "pointing-game": "Pointing game",
    "pointing-game-gap": "Pointing game, reader − method",
}
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_TICKS = {"size": (0.001, 0.01, 0.1, 1.0), "elongation": (1, 2, 5, 10, 20, 50)}


def _format_percent(value: float, _: float) -> str:
    return f"{100 * value:g} %"


def _format_plain(value: float, _: float) -> str:
    return f"{value:g}"


def plot_shapes(view: RunView) -> Plot | None:
    """Plot the distribution of four geometric features of annotations by finding.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    table = view.analysis("shapes").replace([np.inf, -np.inf], np.nan)
    if table.empty:
        return None
    findings = [f for f in view.findings if (table["finding"] == f).any()]
    grid = DotPlot.create(
        [svg.elide(f) for f in findings], len(SHAPE_FEATURES), ROW_HEIGHT, has_legend=False, right_margin=58
    )
    rows = []
    for ax, feature in zip(grid.panels, SHAPE_FEATURES, strict=True):
        ax.set_title(_FEATURE_LABELS[feature], loc="left", size=SMALL_SIZE, color=INK, pad=10)
        for i, finding in enumerate(findings):
            values = table.loc[table["finding"] == finding, feature].dropna().to_numpy(float)
            if len(values):
                q = np.quantile(values, _QUANTILES)
                _draw_bar(ax, q, i)
                rows.append((finding, feature, *q, len(values)))
        if feature in ("size", "elongation"):
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator(_TICKS[feature]))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(_format_percent if feature == "size" else _format_plain)
        elif feature == "irrectangularity":
            ax.set_xlim(-0.02, 1.02)
        else:
            ax.set_xlim(0, None)
    for i, finding in enumerate(findings):
        grid.add_note(i, f"{int((table['finding'] == finding).sum()):,}")
    grid.add_note_header("annotated")
    names = pd.Index(["finding", "feature", *(f"q{round(100 * q)}" for q in _QUANTILES), "n"])
    return Plot(
        "shapes",
        svg.write_svg(grid.figure, "shapes"),
        pd.DataFrame(rows, columns=names),
        "Medians. " + "; ".join(f"{f}, {_FEATURE_LABELS[k]}: {m:.3g}" for f, k, _, _, m, *_ in rows),
        "Shape of the annotations: median (dot), middle half (thick) and middle nine tenths (thin). The axes of size "
        "and elongation are logarithmic.",
    )


def _draw_bar(ax: Axes, q: Sequence[float] | np.ndarray, row: int) -> None:
    color = MODEL_COLORS[0]
    ax.plot([q[0], q[4]], [row, row], color=color, linewidth=1.2)
    ax.plot([q[1], q[3]], [row, row], color=color, linewidth=5, alpha=0.45, solid_capstyle="butt")
    ax.plot([q[2]], [row], "o", color=color, markersize=6)


def plot_regressions(view: RunView) -> Plot | None:
    """Plot the slopes of overlap, pointing and their gap to the reader on each feature, with the published slopes.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    outcomes = [o for o in _OUTCOME_LABELS if len(_regression_rows(view, o))]
    if not outcomes:
        return None
    published = published_estimates("regressions")
    grid = DotPlot.create([_FEATURE_LABELS[f] for f in SHAPE_FEATURES], len(outcomes), 40.0, has_legend=True)
    frames = []
    for ax, outcome in zip(grid.panels, outcomes, strict=True):
        table = _regression_rows(view, outcome)
        frames.append(table)
        estimates = {k[0]: n for k, n in read_estimates(table, ["feature"], "slope")}
        printed = published.get(outcome, {})
        set_limits(ax, [*estimates.values(), *printed.values()])
        ax.set_title(_OUTCOME_LABELS[outcome], loc="left", size=SMALL_SIZE, color=INK, pad=10)
        for i, feature in enumerate(SHAPE_FEATURES):
            draw_dot(ax, estimates.get(feature, Estimate.undefined()), i - 0.16, THIS_RUN)
            draw_dot(ax, printed.get(feature, Estimate.undefined()), i + 0.18, PUBLISHED)
    grid.draw_legend([THIS_RUN, PUBLISHED])
    data = pd.concat(frames, ignore_index=True)
    return Plot(
        "regressions",
        svg.write_svg(grid.figure, "regressions"),
        data,
        "; ".join(
            f"{_OUTCOME_LABELS[r['outcome']]} on {r['feature']}: {format_decimal(r['slope'])}"
            for r in data.to_dict("records")
        ),
        "Change of the score from the lowest to the highest value of a feature (min-max scaled), with 95 % intervals. "
        + _regression_note(view),
    )


def _regression_note(view: RunView) -> str:
    if protocol_of(view).definitions == "published":
        return "This is the published form: all findings are stacked, and rows are taken as independent."
    return (
        "This is the corrected form: within findings (fixed effects), with errors clustered by patient. The published "
        "form stacks all findings."
    )


def _regression_rows(view: RunView, outcome: str) -> pd.DataFrame:
    table = view.analysis("regressions")
    source = view.best_for("pointing-game" if outcome.startswith("pointing-game") else "iou")
    return table[(table["source"] == source) & (table["outcome"] == outcome) & table["slope"].notna()]


def regression_table(view: RunView) -> Table | None:
    """Make the table of these slopes, with stars for adjusted p-values and with the published slopes.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    published, rows = published_estimates("regressions"), []
    for outcome, name in _OUTCOME_LABELS.items():
        for r in _regression_rows(view, outcome).to_dict("records"):
            printed = published.get(outcome, {}).get(str(r["feature"]), Estimate.undefined())
            estimates = Estimate(float(r["slope"]), float(r["low"]), float(r["high"]), 0, 0)
            rows.append(
                [
                    name,
                    _FEATURE_LABELS[str(r["feature"])],
                    f"{estimates.text(3)} {r['stars']}".strip(),
                    f"{int(r['n']):,}",
                    f"{int(r['patients']):,}",
                    printed.text(3),
                ]
            )
    head = ["Outcome", "Feature", "Slope [95 % interval]", "Annotations", "Patients", "CheXlocalize"]
    caption = "Regressions on the shape of the annotation (* p < 0.05, ** < 0.01, *** < 0.001, adjusted)"
    return Table.create(caption, head, rows, 2, "regressions") if rows else None


def across_findings_table(view: RunView) -> Table | None:
    """Make the table of correlations over findings: localization with prevalence, size and constancy of location.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = view.analysis("finding_correlations")
    table = table[table["rho"].notna() & table["source"].isin([view.best_for("iou"), view.best_for("pointing-game")])]
    rows = [
        [
            view.label(str(r["source"])),
            metric_title(str(r["metric"])),
            _FACTOR_LABELS[str(r["factor"])],
            Estimate(float(r["rho"]), float(r["low"]), float(r["high"]), 0, 0).text(2),
            f"{int(r['findings'])}",
        ]
        for r in table.to_dict("records")
        if r["source"] == view.best_for(str(r["metric"]))
    ]
    head = ["Source", "Metric", "Against", "Spearman's ρ [95 % interval]", "Findings"]
    return (
        Table.create("Correlations with localization over findings", head, rows, 3, "finding_correlations")
        if rows
        else None
    )


def box_table(view: RunView) -> Table | None:
    """Make the table of the IoU of boxes: every component of maps and annotations replaced by the box around it.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    sources = [s for s in (view.best_for("iou"), view.best_of_kind("reader", "iou")) if s]
    if "box-iou" not in view.metrics or not sources:
        return None
    rows = [
        [
            "Average" if f == AVERAGE else f,
            *(view.estimate(s, m, f).text(3) for s in sources for m in ("iou", "box-iou")),
        ]
        for f in (*view.findings, AVERAGE)
    ]
    head = ["Finding", *(f"{view.label(s)}, {metric_title(m)}" for s in sources for m in ("iou", "box-iou"))]
    return Table.create("Boxes instead of masks, mean [95 % interval]", head, rows, table_name="estimates")


_FACTOR_LABELS = {
    "prevalence": "share of positive labels in training",
    "size": "mean size of the annotation",
    "consistency": "constancy of location (IoU of the average mask of other patients)",
}
