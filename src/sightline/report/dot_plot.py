"""What the figures of a report share: rows with labels, panels side by side, dots with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sightline.report import svg
from sightline.report.run_view import Number, title
from sightline.report.svg import INK, MUTED, PAPER, SMALL, TEXT, WIDTH, Series

ROW, HEAD, FOOT = 30.0, 66.0, 40.0
"""Pixels: a row, the room above the panels, the room below."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows with labels at the left, panels side by side, and notes at the right, laid out in pixels."""

    figure: Figure
    panels: list[Axes]

    @classmethod
    def of(cls, labels: Sequence[str], panels: int, step: float, legend: bool, right: float = 16) -> Grid:
        head = HEAD if legend else HEAD - 30
        body = step * len(labels)
        figure = svg.canvas(WIDTH, head + body + FOOT)
        left, gap = svg.label_width(labels), 36.0
        width = (WIDTH - left - right - gap * (panels - 1)) / panels
        made = [svg.axes(figure, left + i * (width + gap), head, width, body) for i in range(panels)]
        for ax in made:
            ax.set_ylim(len(labels) - 0.5, -0.5)
            ax.set_yticks([])
            for i in range(0, len(labels), 2):
                ax.axhspan(i - 0.5, i + 0.5, color=svg.BAND, zorder=0, linewidth=0)
        made[0].set_yticks(range(len(labels)), labels, size=TEXT, color=INK)
        made[0].tick_params(axis="y", pad=12, labelsize=TEXT, labelcolor=INK)
        return cls(figure, made)

    def note(self, row: float, text: str, color: str = MUTED) -> None:
        """Right-aligned text beside a row, at the edge of the figure."""
        ax = self.panels[-1]
        y = 1 - (row + 0.5) / (ax.get_ylim()[0] + 0.5)
        box = ax.get_position()
        self.figure.text(1 - 4 / WIDTH, box.y0 + y * box.height, text, size=SMALL, color=color, ha="right", va="center")

    def head(self, text: str) -> None:
        """Column head over the notes."""
        box, height = self.panels[-1].get_position(), self.figure.get_size_inches()[1] * 72
        self.figure.text(1 - 4 / WIDTH, box.y1 + 10 / height, text, size=SMALL, color=MUTED, ha="right", va="baseline")

    def rule_above(self, row: int) -> None:
        for ax in self.panels:
            ax.axhline(row - 0.5, color=MUTED, linewidth=1)

    def legend(self, shown: Sequence[Series]) -> None:
        svg.legend(self.figure, shown)


def dot(ax: Axes, number: Number, y: float, s: Series) -> None:
    if not number.defined:
        return
    if not np.isnan(number.low + number.high):
        ax.plot([number.low, number.high], [y, y], color=s.color, linewidth=2, solid_capstyle="round", zorder=2)
    face = s.color if s.filled else PAPER
    ax.plot(
        [number.mean], [y], s.marker, color=s.color, markerfacecolor=face, markersize=7, markeredgewidth=1.4, zorder=3
    )


def scale(ax: Axes, metric: str, numbers: Sequence[Number]) -> None:
    """From zero to just beyond the highest interval: parts of the unit interval look like parts of it."""
    ends = [v for n in numbers for v in (n.mean, n.low, n.high) if not np.isnan(v)]
    low, high = min([0.0, *ends]), max([0.2, *ends])
    ax.set_xlim(low - 0.01 * (high - low), high * 1.03)
    ax.set_title(title(metric), loc="left", size=SMALL, color=INK, pad=10)
