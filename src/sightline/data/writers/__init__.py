"""Writers: data sets written to disk in published layouts, which the loaders read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from sightline.core import Dataset, Radiograph
from sightline.data.writers.registry import FormatInfo, formats
from sightline.errors import DataError, SightlineError

__all__ = ["FormatInfo", "formats", "write_dataset"]


def write_dataset(dataset: Dataset, format: str, out: str | Path, progress: bool = True) -> Path:
    """Write a data set to a folder in a published layout.

    Everything is written next to `out` first and moved there when complete, so `out` is never half a data set. A
    README.txt states the origin and what the layout has no place for; ids.csv maps ids where they had to change.

    Parameters
    ----------
    dataset : Dataset
        Data set to write.
    format : str
        Name of the layout (`sightline list formats`).
    out : str or Path
        Folder to create; an empty folder is allowed.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UnknownNameError
        If no layout has this name.
    DataError
        If `out` exists and is not an empty folder, the layout has no place for this data set, or an image or
        annotation cannot be read.
    SightlineError
        If the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from sightline.data import open_dataset
    >>> out = write_dataset(open_dataset("phantom:2?size=64"), "folder", f"{tempfile.mkdtemp()}/set", progress=False)
    >>> open_dataset(f"folder:{out}").findings[:2]
    ('Enlarged Cardiomediastinum', 'Cardiomegaly')
    """
    entry, out = formats[format], Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} already exists and is not an empty folder; name a new folder or empty this one")
    partial = out.parent / f".{out.name}.{os.getpid()}.partial"

    def with_progress(radiographs: Sequence[Radiograph]) -> Iterable[Radiograph]:
        console = Console(stderr=True)
        return track(radiographs, f"{dataset.name} as {format}", console=console, disable=not progress)

    try:
        partial.mkdir(parents=True)
        notes = entry(dataset, partial, with_progress)
        _write_readme(partial / "README.txt", dataset, entry.info, out, notes)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise SightlineError(f"{dataset.spec} cannot be written to {out}: {error}; nothing was left there") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _write_readme(file: Path, dataset: Dataset, info: FormatInfo, out: Path, notes: Iterable[str]) -> None:
    lines = [
        f"Written by sightline from {dataset.spec}",
        f"Layout: {info.layout}",
        f"Open with: {info.loader.replace('DIR', str(out))}",
        f"License of the data: {dataset.metadata.get('license', 'unknown')}",
        *notes,
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
