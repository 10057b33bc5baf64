"""A run on the terminal: averages of the main metrics with intervals, and the maps that failed."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sightline.core import STATUSES
from sightline.report.estimate import AVERAGE
from sightline.report.phrasing import count_noun
from sightline.report.run_view import RunView
from sightline.report.tables import Table as Cells
from sightline.report.titles import metric_title
from sightline.runs.run import Run

_MAX_METRICS, _MAX_REASONS = 4, 5
_CELL_WIDTH = 28
"""Columns of a terminal for a mean with its interval and n."""
_PIPE_WIDTH = 160
"""Columns where there is no terminal."""
_HEADLINES = ("iou", "pointing-game", "pixel-auroc", "dice")
"""Metrics headlines of a run with more metrics than fit: overlap, pointing, order of pixels."""


def show(run: Path) -> None:
    """Print the averages of a run over findings, with intervals, and the maps that failed.

    Parameters
    ----------
    run
        Run folder.
    """
    opened, console = Run.open(run), Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    view = RunView.from_run(opened)
    first = view.section.terminal_table(view) if view.section.terminal_table else None
    if first:
        console.print(_to_rich_table(first))
    estimates = opened.table("estimates")
    average = estimates[estimates["finding"] == AVERAGE]
    metrics = list(dict.fromkeys(average["metric"]))
    headlines = (
        sorted(metrics, key=lambda m: (m not in _HEADLINES, metrics.index(m)))[:_MAX_METRICS]
        if len(metrics) > _MAX_METRICS
        else metrics
    )
    for protocol, rows in average.groupby("protocol", sort=False):
        console.print(f"{opened.info['study']}, {protocol} protocol: mean over findings \\[95 % interval], n")
        for table in _build_tables(rows, headlines, console.width):
            console.print(table)
    if len(metrics) > len(headlines):
        more = count_noun(len(metrics) - len(headlines), "more metric")
        console.print(escape(f"{more}: {opened.path / 'tables/estimates.csv'}"), soft_wrap=True)
    for line in _describe_failures(opened):
        console.print(escape(line), soft_wrap=True)
    console.print(escape(f"report: {opened.path / 'report.html'}"), soft_wrap=True)
    console.print(escape(f"view:   {_program_name()} view {shlex.quote(str(opened.path))}"), soft_wrap=True)


def _to_rich_table(cells: Cells) -> Table:
    """Table of a report for the terminal."""
    table = Table(title=escape(cells.caption), show_lines=True)
    for name, right in zip(cells.header, cells.right_aligned, strict=True):
        table.add_column(escape(name), justify="right" if right else "left", overflow="fold")
    for row in cells.rows:
        table.add_row(*map(escape, row))
    return table


def _build_tables(rows: pd.DataFrame, metrics: Sequence[str], width: int) -> Iterator[Table]:
    """Return sources in rows, metrics in columns: as many tables as are needed to break no cell."""
    sources = list(dict.fromkeys(rows["source"]))
    per = max(1, (width - max(map(len, sources), default=0) - 4) // _CELL_WIDTH)
    for start in range(0, len(metrics), per):
        part = metrics[start : start + per]
        table = Table("source")
        for metric in part:
            table.add_column(escape(metric_title(metric)), justify="right")
        for source in sources:
            cells = [_format_cell(rows[(rows["source"] == source) & (rows["metric"] == metric)]) for metric in part]
            table.add_row(escape(source), *cells)
        yield table


def _format_cell(rows: pd.DataFrame) -> str:
    """Mean, interval and n; dashes where one patient gives no interval."""
    if rows.empty:
        return "–"
    row = rows.iloc[0]
    mean, low, high = ("–" if pd.isna(row[k]) else f"{row[k]:.3f}" for k in ("mean", "low", "high"))
    return escape(f"{mean} [{low}, {high}] {row['n']}")


def _describe_failures(run: Run) -> Iterator[str]:
    """Write a line for each source and reason, with count and first map; then failed maps that were not scored."""
    status = run.table("status")
    is_annotated = status["annotated"].astype(bool)
    totals = status[is_annotated].groupby("source", sort=False)["maps"].sum()
    columns = ["source", "radiograph", "finding", "status", "reason", "annotated"]
    failures = [name for name in STATUSES if name != "ok"]
    failed = run.table("maps", columns, where=("status", failures))
    failed = failed.sort_values("status", key=lambda names: names.map(failures.index), kind="stable")
    failed = failed[failed["annotated"].astype(bool)]
    texts = zip(failed["reason"], failed["radiograph"], failed["finding"], strict=True)
    failed = failed.assign(general_reason=[_generalize_reason(*part) for part in texts])
    for source, total in totals.items():
        of_source = failed[failed["source"] == source].groupby(["status", "general_reason"], sort=False)
        reasons = sorted((rows for _, rows in of_source), key=len, reverse=True)
        for rows in reasons[:_MAX_REASONS]:
            first = rows.iloc[0]
            yield (
                f"{source}: {len(rows):,} of {total:,} maps {first['status']}, first "
                f"{first['radiograph']}/{first['finding']}: {first['reason']}"
            )
        if more := reasons[_MAX_REASONS:]:
            count = sum(map(len, more))
            yield f"{source}: {count:,} more, for {len(more)} other reasons: {run.path / 'tables/maps.csv'}"
    others = status[~is_annotated & (status["status"] != "ok")].groupby("source", sort=False)["maps"].sum()
    for source, count in others.items():
        yield f"{source}: {count_noun(count, 'map')} failed where nothing is scored: {run.path / 'tables/maps.csv'}"
    if problems := run.info.get("problems"):
        yield f"files that were not used: {len(problems):,}, first: {problems[0]}"


def _generalize_reason(reason: str, radiograph: str, finding: str) -> str:
    """Reason without names, paths and numbers, equal for maps that failed alike.

    >>> _generalize_reason("map maps/p1_Edema.npz has 3 values", "p1", "Edema")
    'map # has # values'
    """
    return re.sub(r"\S*/\S*|\d+", "#", reason.replace(radiograph, "").replace(finding, ""))


def _program_name() -> str:
    """Command of this program: its path where the shell would not find it by name."""
    called = Path(sys.argv[0])
    return "sightline" if called.name != "sightline" or shutil.which("sightline") else shlex.quote(str(called))
