"""The parts that a page of a report is made of: tiles, and sections of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sightline.report.estimate import Estimate, format_decimal
from sightline.report.example_panels import Panel
from sightline.report.phrasing import sample_size
from sightline.report.run_view import RunView
from sightline.report.svg import Plot
from sightline.report.tables import Table
from sightline.report.titles import metric_title


@dataclass(frozen=True, slots=True)
class Tile:
    """Headline number."""

    label: str
    value: str
    interval: str
    sample_size: str
    """Number of maps and patients that it was computed from."""
    note: str
    kind: str
    """Kind of the source, which decides the color: 'model', 'control' or 'reader'."""

    @classmethod
    def from_estimate(cls, label: str, estimate: Estimate, noun: str, note: str, kind: str) -> Tile:
        """Make the tile of an estimate.

        Parameters
        ----------
        label : str
            Name of the quantity.
        estimate : Estimate
            The number, its interval and its sample size.
        noun : str
            What was counted, in the singular.
        note : str
            Name of the source.
        kind : str
            Kind of the source.

        Returns
        -------
        Tile
            The tile.
        """
        interval = estimate.text().partition(" ")[2] or "no interval"
        return cls(label, format_decimal(estimate.mean), interval, sample_size([estimate], noun), note, kind)

    @classmethod
    def from_metric(cls, view: RunView, source: str, metric: str) -> Tile:
        """Make the tile of a source's average over findings by one metric.

        Parameters
        ----------
        view : RunView
            The run.
        source, metric : str
            The source and the metric.

        Returns
        -------
        Tile
            The tile.
        """
        estimate = view.estimate(source, metric)
        return cls.from_estimate(metric_title(metric), estimate, "map", view.label(source), view.kind(source))


@dataclass(frozen=True, slots=True)
class Block:
    """Figure or images, with tables and paragraphs; whatever is empty is left out."""

    plot: Plot | None = None
    tables: Sequence[Table] = ()
    is_open: bool = False
    """Whether the tables are unfolded."""
    panels: Sequence[Panel] = ()
    categories: Mapping[str, str] = field(default_factory=dict)
    """Titles of the columns of example images, by category."""
    paragraphs: Sequence[str] = ()
    summary_lines: Sequence[tuple[str, str]] = ()
    """Terms with their values."""
    figure_number: int = 0
    """Number of the figure on the page, from 1; 0 until the page is put together."""

    @classmethod
    def create(
        cls, plot: Plot | None, *tables: Table | None, is_open: bool = False, paragraphs: Sequence[str] = ()
    ) -> Block:
        """Make a block of a figure and its tables, without those that do not exist.

        Parameters
        ----------
        plot : Plot or None
            The figure.
        *tables : Table or None
            Tables below the figure.
        is_open : bool
            Whether the tables are unfolded.
        paragraphs : sequence of str
            Text above the figure.

        Returns
        -------
        Block
            The block.
        """
        return cls(plot, [table for table in tables if table is not None], is_open, paragraphs=paragraphs)

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to show."""
        return not (self.plot or self.tables or self.panels or self.paragraphs or self.summary_lines)


@dataclass(frozen=True, slots=True)
class Section:
    """Heading with the blocks below it."""

    id: str
    title: str
    blocks: Sequence[Block] = ()


def number_figures(sections: Sequence[Section]) -> list[Section]:
    """Enumerate the figures in reading order, and leave out empty blocks and sections.

    Parameters
    ----------
    sections : sequence of Section
        Sections in reading order.

    Returns
    -------
    list of Section
        The sections that have anything to show.
    """
    number, kept = 0, []
    for section in sections:
        blocks = []
        for block in section.blocks:
            number += block.plot is not None
            if not block.is_empty:
                blocks.append(replace(block, figure_number=number if block.plot else 0))
        if blocks:
            kept.append(replace(section, blocks=blocks))
    return kept
