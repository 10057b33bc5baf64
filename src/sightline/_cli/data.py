"""The commands `data write` and `data check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.data.validate import Problem, count_problems, find_problems
from sightline.data.writers import write_dataset
from sightline.report.phrasing import count_noun

_MAX_EXAMPLES = 5


def write_data(spec: str, *, format: str, out: Path) -> None:
    """Write a data set, for example the phantom, in a published layout.

    Parameters
    ----------
    spec
        Data set to write, as NAME:PATH?option=value, for example phantom:200.
    format
        Layout: chexpert, chexlocalize, rsna, siim, egd, reflacx, mimic or folder.
    out
        New or empty folder.
    """
    print(write_dataset(open_dataset(spec), format, out))


def check_data(spec: str, *, read_images: bool = True) -> int:
    """Look for what would spoil a study: unreadable images, masks of another size, patients in two splits, duplicates.

    Parameters
    ----------
    spec
        Data set to check, as NAME:PATH?option=value.
    images
        Open every image, too.

    Returns 1 if anything was found that is an error.
    """
    opened = open_dataset(spec)
    problems = find_problems(opened, read_images=read_images)
    console = Console()
    for line in (*_format_problems(problems), _format_summary(opened, problems)):
        console.print(escape(line), soft_wrap=True)
    return int(any(problem.severity == "error" for problem in problems))


def _format_problems(problems: Sequence[Problem]) -> Iterator[str]:
    """Every kind of problem, errors first: how often, the first few with where they are, and what to do."""
    for (severity, kind), count in count_problems(problems).items():
        yield f"{severity}: {kind}" + (f", {count:,} times" if count > 1 else "")
        some = [problem for problem in problems if (problem.severity, problem.kind) == (severity, kind)]
        for p in some[:_MAX_EXAMPLES]:
            where = ", ".join(filter(None, (p.radiograph, p.finding)))
            yield f"    {where}: {p.message}" if where else f"    {p.message}"
        if count > _MAX_EXAMPLES:
            yield f"    and {count - _MAX_EXAMPLES:,} more"
        yield f"    what to do: {' or: '.join(dict.fromkeys(p.remedy for p in some))}"


def _format_summary(data: Dataset, problems: Sequence[Problem]) -> str:
    patients = len({r.patient for r in data.radiographs})
    severities = [problem.severity for problem in problems]
    counts = [count_noun(n, word) for word in ("error", "warning", "note") if (n := severities.count(word))]
    return (
        f"{count_noun(len(data.radiographs), 'radiograph')} of {count_noun(patients, 'patient')}, "
        f"{count_noun(len(data.findings), 'finding')}, readers: {', '.join(data.readers) or 'none'}; "
        f"{', '.join(counts) or 'no problem'}"
    )
