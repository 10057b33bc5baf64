"""The command `report`, and the last step of every command that makes a run."""

from __future__ import annotations

from pathlib import Path

from sightline.report import report
from sightline.report.terminal import show
from sightline.runs.run import Run


def finish_run(run: Run) -> None:
    """Write the report of a run and print its main results.

    Parameters
    ----------
    run
        Run that a command made, with the inputs that it opened.
    """
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
