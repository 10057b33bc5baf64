"""Choice of the network for each saliency method: a figure like Fig. 2a of CheXlocalize, and its table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sightline.core import Source
from sightline.report import svg
from sightline.report.dot_plot import DotPlot, draw_dot, set_scale
from sightline.report.estimate import Estimate, read_estimates
from sightline.report.phrasing import count_noun
from sightline.report.run_view import RunView
from sightline.report.svg import MODEL_COLORS, MUTED, Plot, Series
from sightline.report.tables import Table
from sightline.report.titles import metric_title

_MARKERS = ("o", "s", "^", "D", "v", "P")
SELECTION_NOTE = (
    "The network of each method was chosen on the radiographs that are scored here, so that the average of the chosen "
    "one is optimistic. Choose on validation data and score once on test data where that matters."
)


def _models(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(table["model"]))


def _method_label(view: RunView, method: str) -> str:
    return view.label(str(Source("model", "", method)))


def _methods(table: pd.DataFrame, metric: str) -> list[str]:
    """Return the methods, those with the best chosen network first."""
    chosen = table[(table["metric"] == metric) & table["chosen"].astype(bool)]
    ordered = list(chosen.sort_values("mean", ascending=False, kind="stable")["method"])
    return [*ordered, *(m for m in dict.fromkeys(table["method"]) if m not in ordered)]


def plot_network_selection(view: RunView) -> Plot | None:
    """Plot every network of every method, with the chosen one of each method filled.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None for a run with one network.
    """
    table = view.analysis("network_selection")
    metrics = [m for m in ("iou", "pointing-game") if m in set(table["metric"])]
    if not metrics:
        return None
    models, methods = _models(table), _methods(table, metrics[0])
    labels = [svg.elide(_method_label(view, m), 40) for m in methods]
    step = max(30.0, 12.0 * len(models) + 8)
    grid = DotPlot.create(labels, len(metrics), step, has_legend=True)
    chosen = {(r["metric"], r["method"]): r["model"] for r in table[table["chosen"].astype(bool)].to_dict("records")}
    numbers = dict(read_estimates(table, ["metric", "method", "model"]))
    for ax, metric in zip(grid.panels, metrics, strict=True):
        set_scale(ax, metric, [n for key, n in numbers.items() if key[0] == metric])
        for i, method in enumerate(methods):
            for k, model in enumerate(models):
                number = numbers.get((metric, method, model), Estimate.undefined())
                y = i + (k - (len(models) - 1) / 2) * 12.0 / step
                draw_dot(ax, number, y, _series(model, models, chosen.get((metric, method)) == model))
    grid.draw_legend([*(_series(m, models, True) for m in models), Series("", "hollow: not chosen", MUTED, "o", False)])
    spoken = [
        f"{_method_label(view, method)}, {metric_title(metric)}: {model} {numbers[metric, method, model].text()}"
        for (metric, method), model in chosen.items()
    ]
    return Plot(
        "network-selection",
        svg.write_svg(grid.figure, "network-selection"),
        table,
        f"Chosen network of each method. {'; '.join(spoken)}.",
        f"Each method on each network, averaged over the {_count_findings(table)} that all its networks know, with "
        "95 % intervals. The filled mark is the network that is chosen for the method by this metric.",
    )


def _series(model: str, models: Sequence[str], is_chosen: bool) -> Series:
    i = models.index(model)
    return Series(model, model, MODEL_COLORS[i % len(MODEL_COLORS)], _MARKERS[i % len(_MARKERS)], is_chosen)


def _count_findings(table: pd.DataFrame) -> str:
    counts = sorted({int(n) for n in table["findings"]})
    return count_noun(counts[0], "finding") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} findings"


def network_selection_table(view: RunView) -> Table | None:
    """Make the table of the networks of every method.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None for a run with one network.
    """
    table = view.analysis("network_selection")
    if table.empty:
        return None
    models = _models(table)
    numbers = dict(read_estimates(table, ["metric", "method", "model"]))
    rows = []
    for (metric, method), group in table.groupby(["metric", "method"], sort=False):
        chosen = next(iter(group[group["chosen"].astype(bool)]["model"]), "–")
        cells = [numbers.get((str(metric), str(method), m), Estimate.undefined()).text(3) for m in models]
        counts = f"{int(group['findings'].max())}"
        rows.append([metric_title(str(metric)), _method_label(view, str(method)), chosen, counts, *cells])
    head = ["Metric", "Method", "Chosen network", "Findings", *models]
    return Table.create("Average of each network, mean [95 % interval]", head, rows, 3, "network_selection")
