"""What a network learns from besides labels: marks or gaze at every training image on a coarse grid, in one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from sightline._util.progress import progress_bar
from sightline._util.rng import key_digest
from sightline.core import Array, Dataset, Frame, Radiograph
from sightline.data.gaze import ALL_GAZE, KERNELS, gaze_density
from sightline.data.gaze import grid_shape as fine_grid
from sightline.errors import DataError
from sightline.imaging import geometry, masks
from sightline.metrics.boxes import fill_boxes
from sightline.models import Model
from sightline.runs.run import Run

UNKNOWN = -1
"""Of a place: the finding is there, or may be, but nobody marked where."""


def rasterize_targets(run: Run, model: Model, data: Dataset, radiographs: Sequence[Radiograph], workers: int) -> Path:
    """File of int8 (n, F, grid, grid): percent of each cell that is marked, `UNKNOWN` for a finding without a mark.

    A finding that is labeled absent is marked nowhere. The model's network has a `grid`. Of one that `learns` from
    'boxes', every piece of a mark is the box around it; from 'gaze', (n, 1, grid, grid): the density of the looking in
    percent of its peak, `UNKNOWN` where there is none.
    Errors: `DataError` if the data set marks nothing of what the model finds, or has no gaze.
    """
    kind, count, planes = str(model.net.supervision), len(model.findings), _annotation_targets
    if kind == "gaze":
        count, planes = 1, _gaze_target
        lacking = not data.gaze_readers
    else:
        lacking = not data.readers or not set(model.findings) & set(data.findings)
    if lacking:
        raise DataError(
            f"{data.spec!r} has no {kind} for {', '.join(model.findings)}; {model.name} needs some to learn"
        )
    grid = int(model.net.grid)  # type: ignore[arg-type]
    stated = (kind, model.findings, data.spec, data.derived)
    key = f"{grid}-{key_digest(*stated, *(r.id for r in radiographs)).hex()[:8]}"
    part = run.part("mask_targets", key)
    if not part.is_dir():
        made = partial(planes, model, data, grid)
        run.write_part("mask_targets", key, partial(_write_targets, made, (count, grid, grid), radiographs, workers))
    return part / "mask_targets.npy"


def _write_targets(
    make_target: Callable[[Radiograph], Array],
    shape: tuple[int, ...],
    radiographs: Sequence[Radiograph],
    workers: int,
    folder: Path,
) -> None:
    folder.mkdir(parents=True)
    marks = np.lib.format.open_memmap(folder / "mask_targets.npy", "w+", np.int8, (len(radiographs), *shape))
    with ThreadPoolExecutor(workers) as pool, progress_bar() as bar:
        task = bar.add_task("targets", total=len(radiographs), unit="images")
        for index, planes in enumerate(pool.map(make_target, radiographs)):
            marks[index] = planes
            bar.advance(task)
    marks.flush()


def _annotation_targets(model: Model, data: Dataset, grid: int, radiograph: Radiograph) -> Array:
    """int8 (F, grid, grid). A mark that cannot be read is unknown; `data check` names it."""
    out = np.full((len(model.findings), grid, grid), UNKNOWN, np.int8)
    for place, finding in enumerate(model.findings):
        if radiograph.labels.get(finding) == 0:
            out[place] = 0
            continue
        mark = data.annotation(radiograph.id, finding, data.reference_reader) if finding in data.findings else None
        if mark is None:
            continue
        try:
            mask = masks.rasterize_annotation(mark)
        except (DataError, OSError):
            continue
        if model.net.supervision == "boxes":
            mask = fill_boxes(mask)
        _, frame = geometry.input_frame(mark.size, model.side, model.resize)
        out[place] = np.rint(100 * geometry.resample_area(mask, frame, (grid, grid)))
    return out


def _gaze_target(model: Model, data: Dataset, grid: int, radiograph: Radiograph) -> Array:
    """int8 (1, grid, grid): the first reader's density, by duration and one degree wide, on what the model sees."""
    out = np.full((1, grid, grid), UNKNOWN, np.int8)
    mark = data.annotation(radiograph.id, ALL_GAZE, data.gaze_readers[0])
    if mark is None:
        return out
    gaze = mark.read()
    shape = fine_grid(gaze.size)
    looked = gaze_density(gaze, KERNELS["corrected"], shape)
    _, frame = geometry.input_frame(gaze.size, model.side, model.resize)
    scale = np.array([shape[0] / gaze.size[0], shape[1] / gaze.size[1]] * 2)
    top, left, bottom, right = (np.array(frame.box) * scale).tolist()
    plane = geometry.resample_area(looked, Frame(shape, (top, left, bottom, right)), (grid, grid))
    if plane.max() > 0:
        out[0] = np.rint(100 * plane / plane.max())
    return out
