"""Figure of a pre-training study: learning curves."""

from __future__ import annotations

import numpy as np

from sightline.report import svg
from sightline.report.run_view import RunView
from sightline.report.sections.pretraining.results import (
    LEARNING_MODE_LABELS,
    format_share,
    initializations,
    read_table,
)
from sightline.report.svg import INK, MODEL_COLORS, MUTED, PAGE_WIDTH, RULE, SMALL_SIZE, TEXT_SIZE, Plot, Series

_COLORS = (svg.CONTROL_COLOR, *MODEL_COLORS)


def plot_learning_curves(view: RunView) -> Plot | None:
    """Plot AUROC by the share of the labels, a panel for each mode of training.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Plot or None
        The figure; None if the run has no data for it.
    """
    table = read_table(view, "learning_curves")
    if table.empty:
        return None
    modes = [mode for mode in LEARNING_MODE_LABELS if mode in set(table["learning_mode"])]
    fractions = sorted(set(table["fraction"]))
    figure = svg.make_canvas(PAGE_WIDTH, 400)
    width = (PAGE_WIDTH - 60 - 60 * (len(modes) - 1)) / len(modes)
    low, high = min(table["low"].min(), table["minimum"].min()), max(table["high"].max(), table["maximum"].max())
    series = [Series(init, init, _COLORS[i % len(_COLORS)], "o") for i, init in enumerate(initializations(view))]
    for place, mode in enumerate(modes):
        ax = svg.add_axes(figure, 50 + place * (width + 60), 66, width, 274)
        ax.grid(axis="y", color=RULE, linewidth=0.8)
        for k, s in enumerate(series):
            is_line = (table["initialization"] == s.source) & (table["learning_mode"] == mode)
            line = table[is_line].sort_values("fraction")
            x = np.log10(line["fraction"]) + 0.012 * (k - (len(series) - 1) / 2)
            ax.fill_between(x, line["low"], line["high"], color=s.color, alpha=0.12, linewidth=0)
            ax.plot(x, line["mean"], color=s.color, marker="o", markersize=5, linewidth=1.8)
            ax.vlines(x, line["minimum"], line["maximum"], color=s.color, linewidth=1.2)
        ax.set_xticks(np.log10(fractions), [format_share(f) for f in fractions], size=SMALL_SIZE, color=MUTED)
        ax.set_ylim(low - 0.02, high + 0.02)
        ax.set_title(LEARNING_MODE_LABELS[mode], size=TEXT_SIZE, color=INK, loc="left", pad=10)
        ax.set_xlabel("share of the training patients with labels", size=SMALL_SIZE, color=MUTED)
    svg.draw_legend(figure, series)
    values = [
        f"{r['initialization']}, {LEARNING_MODE_LABELS[r['learning_mode']]}, "
        f"{format_share(r['fraction'])}: {r['mean']:.3f}"
        for r in table.to_dict("records")
    ]
    return Plot(
        "curves",
        svg.write_svg(figure, "curves"),
        table,
        "; ".join(values) + ".",
        "AUROC on the same test radiographs, averaged over findings and seeds, by the share of the labels. Bands are "
        "95 % intervals over test patients and, with several seeds, over seeds; thin lines are the range over seeds. "
        "Every initialization was trained on the same labels in the same order.",
    )
