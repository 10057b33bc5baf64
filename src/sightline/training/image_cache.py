"""Every image decoded once: what the network sees of it, as bytes in one file of the run."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sightline._util.progress import progress_bar
from sightline._util.rng import key_digest
from sightline.core import Array, Radiograph
from sightline.imaging.preprocess import decode_to_bytes
from sightline.models import Model
from sightline.runs.run import Run

_WINDOW = 1024
"""Images asked for at a time, so that a long data set is not queued whole."""


@dataclass(frozen=True, slots=True)
class DecodedImages:
    """Decoded images of some radiographs."""

    file: Path
    """uint8 (n, side, side), .npy."""
    indices: Array
    """int64 (n,), rising: which of the data set's radiographs each row is."""
    reasons: dict[int, str]
    """Row -> why it could not be read; its bytes are 0."""

    def rows(self, indices: Array) -> Array:
        """Rows int64 of radiographs by their place in the data set, in the order given."""
        found: Array = np.searchsorted(self.indices, indices)
        return found

    def readable_rows(self, indices: Array) -> Array:
        """`rows` of those that could be read."""
        rows = self.rows(indices)
        return rows[~np.isin(rows, list(self.reasons))]


def open_image_cache(run: Run, cache: Path | None, model: Model, data_spec: str) -> Run:
    """Where decoded images are kept: in the run, or in a folder that trainings on the same films share."""
    if cache is None:
        return run
    return Run.start(cache, "images", {"data": data_spec, "side": model.side, "resize": model.resize})


def decode_images(
    run: Run, model: Model, radiographs: Sequence[Radiograph], selected: Array, workers: int
) -> DecodedImages:
    """The radiographs at `wanted` as the model sees them, each decoded once per run.

    workers: more than 1 decodes in as many processes where the radiographs can be sent to one, else in threads.
    """
    indices = np.unique(selected)
    chosen = [radiographs[i] for i in indices]
    key = f"decoded-{key_digest(*indices.tolist()).hex()[:8]}"
    part = run.part("images", key)
    if not part.is_dir():
        run.write_part("images", key, partial(_write_images, model=model, radiographs=chosen, workers=workers))
    reasons = json.loads((part / "unreadable.json").read_text("utf-8"))
    return DecodedImages(part / "images.npy", indices, {int(row): why for row, why in reasons.items()})


def _write_images(folder: Path, model: Model, radiographs: Sequence[Radiograph], workers: int) -> None:
    folder.mkdir(parents=True)
    shape = (len(radiographs), model.side, model.side)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    unreadable: dict[int, str] = {}
    with progress_bar() as bar:
        task = bar.add_task("decode", total=len(radiographs), unit="images")
        for index, image in enumerate(_decode(model, radiographs, workers)):
            if isinstance(image, str):
                unreadable[index] = image
            else:
                images[index] = image
            bar.advance(task)
    images.flush()
    (folder / "unreadable.json").write_text(json.dumps(unreadable, indent=1), "utf-8")


def _decode(model: Model, radiographs: Sequence[Radiograph], workers: int) -> Iterator[Array | str]:
    one = partial(decode_to_bytes, side=model.side, resize=model.resize)
    with _make_executor(radiographs, workers) as pool:
        for start in range(0, len(radiographs), _WINDOW):
            window = [radiographs[i] for i in range(start, min(start + _WINDOW, len(radiographs)))]
            yield from pool.map(one, window, chunksize=8)


def _make_executor(radiographs: Sequence[Radiograph], workers: int) -> Executor:
    if workers > 1 and _is_picklable(radiographs[0]):
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))  # fork is unsafe once torch has threads
    return ThreadPoolExecutor(max(workers, os.cpu_count() or 1))


def _is_picklable(radiograph: Radiograph) -> bool:
    """Whether another process can be given it: its `read` may close over open files or local functions."""
    try:
        pickle.dumps(radiograph)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True
