"""Targets of maps: annotations or gaze of every training image on a coarse grid, in one file."""

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
"""Value of a cell where the finding is or may be present, but is not annotated."""


def rasterize_targets(run: Run, model: Model, data: Dataset, radiographs: Sequence[Radiograph], workers: int) -> Path:
    """Write the targets from which the maps of a network learn.

    A finding that is labeled absent is 0 everywhere. The network states the side of the grid (`grid`) and the kind of
    targets (`supervision`): masks of annotations, boxes around their parts, or gaze.

    Parameters
    ----------
    run
        Run that keeps the file.
    model
        Model to be trained.
    data
        Data set with annotations or gaze.
    radiographs
        The n radiographs of the rows.
    workers
        Number of threads.

    Returns
    -------
    Path
        File of int8 (n, F, grid, grid): percent of each cell that is annotated; for gaze (n, 1, grid, grid): density
        in percent of its peak. `UNKNOWN` where there is no annotation or gaze.

    Raises
    ------
    DataError
        If the data set has no annotation of the model's findings, or no gaze.
    """
    kind, count, make_target = str(model.net.supervision), len(model.findings), _annotation_targets
    if kind == "gaze":
        count, make_target = 1, _gaze_target
        lacking = not data.gaze_readers
    else:
        lacking = not data.readers or not set(model.findings) & set(data.findings)
    if lacking:
        raise DataError(f"{data.spec!r} has no {kind} for {', '.join(model.findings)}; {model.name} learns from it")
    grid = int(model.net.grid)  # type: ignore[arg-type]
    stated = (kind, model.findings, data.spec, data.derived)
    key = f"{grid}-{key_digest(*stated, *(r.id for r in radiographs)).hex()[:8]}"
    part = run.part("mask_targets", key)
    if not part.is_dir():
        make = partial(make_target, model, data, grid)
        run.write_part("mask_targets", key, partial(_write_targets, make, (count, grid, grid), radiographs, workers))
    return part / "mask_targets.npy"


def _write_targets(
    make_target: Callable[[Radiograph], Array],
    shape: tuple[int, ...],
    radiographs: Sequence[Radiograph],
    workers: int,
    folder: Path,
) -> None:
    folder.mkdir(parents=True)
    targets = np.lib.format.open_memmap(folder / "mask_targets.npy", "w+", np.int8, (len(radiographs), *shape))
    with ThreadPoolExecutor(workers) as pool, progress_bar() as bar:
        task = bar.add_task("targets", total=len(radiographs), unit="images")
        for index, target in enumerate(pool.map(make_target, radiographs)):
            targets[index] = target
            bar.advance(task)
    targets.flush()


def _annotation_targets(model: Model, data: Dataset, grid: int, radiograph: Radiograph) -> Array:
    """int8 (F, grid, grid); an annotation that cannot be read is unknown, and `data check` names it."""
    out = np.full((len(model.findings), grid, grid), UNKNOWN, np.int8)
    for index, finding in enumerate(model.findings):
        if radiograph.labels.get(finding) == 0:
            out[index] = 0
            continue
        annotation = (
            data.annotation(radiograph.id, finding, data.reference_reader) if finding in data.findings else None
        )
        if annotation is None:
            continue
        try:
            mask = masks.rasterize_annotation(annotation)
        except (DataError, OSError):
            continue
        if model.net.supervision == "boxes":
            mask = fill_boxes(mask)
        _, frame = geometry.input_frame(annotation.size, model.side, model.resize)
        out[index] = np.rint(100 * geometry.resample_area(mask, frame, (grid, grid)))
    return out


def _gaze_target(model: Model, data: Dataset, grid: int, radiograph: Radiograph) -> Array:
    """int8 (1, grid, grid): density of the first reader's gaze by duration, one degree wide, on the model's input."""
    out = np.full((1, grid, grid), UNKNOWN, np.int8)
    annotation = data.annotation(radiograph.id, ALL_GAZE, data.gaze_readers[0])
    if annotation is None:
        return out
    gaze = annotation.read()
    shape = fine_grid(gaze.size)
    density = gaze_density(gaze, KERNELS["corrected"], shape)
    _, frame = geometry.input_frame(gaze.size, model.side, model.resize)
    scale = np.array([shape[0] / gaze.size[0], shape[1] / gaze.size[1]] * 2)
    top, left, bottom, right = (np.array(frame.box) * scale).tolist()
    plane = geometry.resample_area(density, Frame(shape, (top, left, bottom, right)), (grid, grid))
    if plane.max() > 0:
        out[0] = np.rint(100 * plane / plane.max())
    return out
