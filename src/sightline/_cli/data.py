"""The commands `data write` and `data check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.data.validate import Problem, count_problems, find_problems
from sightline.data.writers import write_dataset
from sightline.report.phrasing import count_noun

Layout = Literal["chexpert", "chexlocalize", "rsna", "siim", "egd", "reflacx", "mimic", "folder"]
_MAX_EXAMPLES = 5
"""Examples that are listed of each kind of problem."""


def write_data(spec: str, *, format: Layout, out: Path) -> None:
    """Write a data set, for example the phantom, in a published layout.

    Parameters
    ----------
    spec
        Data set to write, as NAME:PATH?option=value, for example phantom:200.
    format
        Published layout to write.
    out
        New or empty folder.
    """
    print(write_dataset(open_dataset(spec), format, out))


def check_data(spec: str, *, read_images: bool = True) -> int:
    """Check a data set for errors: unreadable images, masks of another size, patients in two splits, duplicates.

    The exit code is 1 if there is an error.

    Parameters
    ----------
    spec
        Data set to check, as NAME:PATH?option=value.
    read_images
        Read every image, too.
    """
    data = open_dataset(spec)
    problems = find_problems(data, read_images=read_images)
    console = Console()
    for line in (*_format_problems(problems), _format_summary(data, problems)):
        console.print(escape(line), soft_wrap=True)
    return int(any(problem.severity == "error" for problem in problems))


def _format_problems(problems: Sequence[Problem]) -> Iterator[str]:
    """Yield lines on each kind of problem, errors first: its count, examples, and the remedy."""
    for (severity, kind), count in count_problems(problems).items():
        yield f"{severity}: {kind}" + (f", {count:,} times" if count > 1 else "")
        of_kind = [problem for problem in problems if (problem.severity, problem.kind) == (severity, kind)]
        for p in of_kind[:_MAX_EXAMPLES]:
            where = ", ".join(filter(None, (p.radiograph, p.finding)))
            yield f"    {where}: {p.message}" if where else f"    {p.message}"
        if count > _MAX_EXAMPLES:
            yield f"    and {count - _MAX_EXAMPLES:,} more"
        yield f"    what to do: {' or: '.join(dict.fromkeys(p.remedy for p in of_kind))}"


def _format_summary(data: Dataset, problems: Sequence[Problem]) -> str:
    patients = len({r.patient for r in data.radiographs})
    severities = [problem.severity for problem in problems]
    counts = [count_noun(n, word) for word in ("error", "warning", "note") if (n := severities.count(word))]
    return (
        f"{count_noun(len(data.radiographs), 'radiograph')} of {count_noun(patients, 'patient')}, "
        f"{count_noun(len(data.findings), 'finding')}, readers: {', '.join(data.readers) or 'none'}; "
        f"{', '.join(counts) or 'no problem'}"
    )
