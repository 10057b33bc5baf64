"""Dot plots: labeled rows, panels side by side, dots with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sightline.report import svg
from sightline.report.estimate import Estimate
from sightline.report.svg import INK, MUTED, PAGE_WIDTH, PAPER, SMALL_SIZE, TEXT_SIZE, Series
from sightline.report.titles import metric_title

ROW_HEIGHT, TOP_MARGIN, BOTTOM_MARGIN = 30.0, 66.0, 40.0
"""Pixels: a row, the room above the panels, the room below."""


@dataclass(frozen=True, slots=True)
class DotPlot:
    """Plot of dots with intervals: labeled rows, panels side by side, and notes at the right."""

    figure: Figure
    """The figure."""
    panels: list[Axes]
    """Axes of the panels, from left to right."""

    @classmethod
    def create(
        cls, labels: Sequence[str], panels: int, row_height: float, has_legend: bool, right_margin: float = 16
    ) -> DotPlot:
        """Lay out a dot plot.

        Parameters
        ----------
        labels : sequence of str
            Names of the rows.
        panels : int
            Number of panels side by side.
        row_height : float
            Height of a row, in pixels.
        has_legend : bool
            Whether room is left for a legend.
        right_margin : float
            Room for notes at the right, in pixels.

        Returns
        -------
        DotPlot
            The empty plot.
        """
        head = TOP_MARGIN if has_legend else TOP_MARGIN - 30
        body = row_height * len(labels)
        figure = svg.make_canvas(PAGE_WIDTH, head + body + BOTTOM_MARGIN)
        left, gap = svg.label_width(labels), 36.0
        width = (PAGE_WIDTH - left - right_margin - gap * (panels - 1)) / panels
        axes = [svg.add_axes(figure, left + i * (width + gap), head, width, body) for i in range(panels)]
        for ax in axes:
            ax.set_ylim(len(labels) - 0.5, -0.5)
            ax.set_yticks([])
            for i in range(0, len(labels), 2):
                ax.axhspan(i - 0.5, i + 0.5, color=svg.BAND, zorder=0, linewidth=0)
        axes[0].set_yticks(range(len(labels)), labels, size=TEXT_SIZE, color=INK)
        axes[0].tick_params(axis="y", pad=12, labelsize=TEXT_SIZE, labelcolor=INK)
        return cls(figure, axes)

    def add_note(self, row: float, text: str, color: str = MUTED) -> None:
        """Write a right-aligned note next to a row, at the edge of the figure.

        Parameters
        ----------
        row : float
            Index of the row, from 0.
        text : str
            The note.
        color : str
            Color of the text.
        """
        ax = self.panels[-1]
        y = 1 - (row + 0.5) / (ax.get_ylim()[0] + 0.5)
        box = ax.get_position()
        self.figure.text(
            1 - 4 / PAGE_WIDTH, box.y0 + y * box.height, text, size=SMALL_SIZE, color=color, ha="right", va="center"
        )

    def add_note_header(self, text: str) -> None:
        """Write the header of the column of notes.

        Parameters
        ----------
        text : str
            The header.
        """
        box, height = self.panels[-1].get_position(), self.figure.get_size_inches()[1] * 72
        self.figure.text(
            1 - 4 / PAGE_WIDTH, box.y1 + 10 / height, text, size=SMALL_SIZE, color=MUTED, ha="right", va="baseline"
        )

    def draw_rule_above(self, row: int) -> None:
        """Draw a line above a row in every panel.

        Parameters
        ----------
        row : int
            Index of the row, from 0.
        """
        for ax in self.panels:
            ax.axhline(row - 0.5, color=MUTED, linewidth=1)

    def draw_legend(self, series: Sequence[Series]) -> None:
        """Draw the legend along the top.

        Parameters
        ----------
        series : sequence of Series
            Entries of the legend.
        """
        svg.draw_legend(self.figure, series)


def draw_dot(ax: Axes, estimate: Estimate, y: float, series: Series) -> None:
    """Draw an estimate as a dot with its interval; nothing for an undefined one.

    Parameters
    ----------
    ax : Axes
        Axes to draw on.
    estimate : Estimate
        The number.
    y : float
        Position on the vertical axis, in rows.
    series : Series
        Color, marker and name of the source.
    """
    if not estimate.is_defined:
        return
    if not np.isnan(estimate.low + estimate.high):
        ax.plot(
            [estimate.low, estimate.high], [y, y], color=series.color, linewidth=2, solid_capstyle="round", zorder=2
        )
    face = series.color if series.is_filled else PAPER
    ax.plot(
        [estimate.mean],
        [y],
        series.marker,
        color=series.color,
        markerfacecolor=face,
        markersize=7,
        markeredgewidth=1.4,
        zorder=3,
    )


def draw_spread(ax: Axes, spread: tuple[float, float] | None, y: float, color: str) -> None:
    """Draw the range of the readers behind a mean as a band; nothing for None.

    Parameters
    ----------
    ax : Axes
        Axes to draw on.
    spread : tuple of float, or None
        Lowest and highest value.
    y : float
        Position on the vertical axis, in rows.
    color : str
        Color of the band.
    """
    if spread is not None:
        ax.plot(spread, [y, y], color=color, linewidth=9, alpha=0.25, solid_capstyle="butt", zorder=1)


def set_scale(ax: Axes, metric: str, estimates: Sequence[Estimate]) -> None:
    """Scale an axis from 0 to just above the highest interval, and title it by the metric.

    Parameters
    ----------
    ax : Axes
        Axes to draw on.
    metric : str
        Name of the metric.
    estimates : sequence of Estimate
        Numbers that must fit.
    """
    ends = [v for n in estimates for v in (n.mean, n.low, n.high) if not np.isnan(v)]
    low, high = min([0.0, *ends]), max([0.2, *ends])
    ax.set_xlim(low - 0.01 * (high - low), high * 1.03)
    ax.set_title(metric_title(metric), loc="left", size=SMALL_SIZE, color=INK, pad=10)


def set_limits(ax: Axes, estimates: Sequence[Estimate]) -> None:
    """Set the limits of an axis so that every interval and zero fit, and draw the line at zero.

    Parameters
    ----------
    ax : Axes
        Axes to draw on.
    estimates : sequence of Estimate
        Numbers that must fit.
    """
    ends = [v for n in estimates for v in (n.mean, n.low, n.high) if not np.isnan(v)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    pad = 0.06 * (high - low or 1.0)
    ax.set_xlim(low - pad, high + pad)
    ax.axvline(0, color=INK, linewidth=1)
