"""The commands `data write` and `data check`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sightline._cli.commands import _grouped, _summary
from sightline.data import dataset
from sightline.data.validate import check
from sightline.data.writers import write


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
    print(write(dataset(spec), format, out))


def check_data(spec: str, *, images: bool = True) -> int:
    """Look for what would spoil a study: unreadable images, masks of another size, patients in two splits, duplicates.

    Parameters
    ----------
    spec
        Data set to check, as NAME:PATH?option=value.
    images
        Open every image, too.

    Returns 1 if anything was found that is an error.
    """
    opened = dataset(spec)
    problems = check(opened, read_images=images)
    console = Console()
    for line in (*_grouped(problems), _summary(opened, problems)):
        console.print(escape(line), soft_wrap=True)
    return int(any(problem.severity == "error" for problem in problems))
