"""The command `report`, and what every command that ends in a run does last."""

from __future__ import annotations

from pathlib import Path

from sightline.report import report
from sightline.report.terminal import show
from sightline.runs.run import Run


def finish_run(run: Run) -> None:
    """What every command that ends in a run does last: write its report and print what it found."""
    with run.lock():
        report(run)
    show(run.path)


def write_report(run: Path) -> None:
    """Write RUN/report.html and RUN/figures again from the run's tables and maps.

    Parameters
    ----------
    run
        Run folder.
    """
    opened = Run.open(run)
    with opened.lock():
        print(report(opened))
