"""What a localizer learns from: the marks of every training image on a coarse grid, in one file of the run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from sightline import geometry
from sightline.core import Array, DataError, Dataset, Radiograph
from sightline.engine import progress
from sightline.models import Model
from sightline.store import Run

UNKNOWN = -1
"""Of a place: the finding is there, or may be, but nobody marked where."""


def gridded(run: Run, model: Model, data: Dataset, radiographs: Sequence[Radiograph], workers: int) -> Path:
    """File of int8 (n, F, grid, grid): percent of each cell that is marked, `UNKNOWN` for a finding without a mark.

    A finding that is labeled absent is marked nowhere. The model's network has a `grid`.
    Errors: `DataError` if the data set marks nothing of what the model finds.
    """
    if not data.readers or not set(model.findings) & set(data.findings):
        raise DataError(
            f"{data.spec!r} marks none of {', '.join(model.findings)}; a localizer needs marks to learn from"
        )
    grid = int(model.net.grid)  # type: ignore[arg-type]
    key = f"{grid}-{hashlib.sha256(repr(model.findings).encode()).hexdigest()[:8]}"
    part = run.part("marks", key)
    if not part.is_dir():
        run.write_part("marks", key, partial(_write, model=model, data=data, radiographs=radiographs, grid=grid,
                                             workers=workers))  # fmt: skip
    return part / "marks.npy"


def _write(
    folder: Path, model: Model, data: Dataset, radiographs: Sequence[Radiograph], grid: int, workers: int
) -> None:
    folder.mkdir(parents=True)
    shape = (len(radiographs), len(model.findings), grid, grid)
    marks = np.lib.format.open_memmap(folder / "marks.npy", "w+", np.int8, shape)
    with ThreadPoolExecutor(workers) as pool, progress() as bar:
        task = bar.add_task("marks", total=len(radiographs), unit="images")
        for index, planes in enumerate(pool.map(partial(_planes, model, data, grid), radiographs)):
            marks[index] = planes
            bar.advance(task)
    marks.flush()


def _planes(model: Model, data: Dataset, grid: int, radiograph: Radiograph) -> Array:
    """int8 (F, grid, grid). A mark that cannot be read is unknown; `data check` names it."""
    out = np.full((len(model.findings), grid, grid), UNKNOWN, np.int8)
    for place, finding in enumerate(model.findings):
        if radiograph.labels.get(finding) == 0:
            out[place] = 0
            continue
        mark = data.marks(radiograph.id, finding, data.truth) if finding in data.findings else None
        if mark is None:
            continue
        try:
            mask = geometry.region(mark)
        except (DataError, OSError):
            continue
        _, frame = geometry.input_frame(mark.size, model.side, model.resize)
        out[place] = np.rint(100 * geometry.cut(mask, frame, (grid, grid)))
    return out
