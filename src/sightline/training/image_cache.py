"""Cache of decoded images: every image as input of a network, as bytes in one file of the run."""

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
"""Number of images queued at a time, so that a long data set is not queued whole."""
MIN_IMAGES_FOR_PROCESSES = 256
"""Number of images from which processes decode faster than threads: each of them imports PyTorch first."""


@dataclass(frozen=True, slots=True)
class DecodedImages:
    """Decoded images of selected radiographs."""

    file: Path
    """File of uint8 (n, side, side), .npy."""
    indices: Array
    """Index of the radiograph of each row in the data set, int64 (n,), rising."""
    reasons: dict[int, str]
    """Reason why a row could not be read; its bytes are 0."""

    def rows(self, indices: Array) -> Array:
        """Return the rows of radiographs.

        Parameters
        ----------
        indices : (m,) int64
            Indices of radiographs in the data set.

        Returns
        -------
        Array : (m,) int64
            Rows, in the order of the indices.
        """
        rows: Array = np.searchsorted(self.indices, indices)
        return rows

    def readable_rows(self, indices: Array) -> Array:
        """Return the rows of radiographs that could be read.

        Parameters
        ----------
        indices : (m,) int64
            Indices of radiographs in the data set.

        Returns
        -------
        Array : (k,) int64
            Rows, in the order of the indices.
        """
        rows = self.rows(indices)
        return rows[~np.isin(rows, list(self.reasons))]


def open_image_cache(run: Run, cache: Path | None, model: Model, data_spec: str) -> Run:
    """Open the folder for decoded images: the run itself, or a folder that trainings on the same images share.

    Parameters
    ----------
    run
        Run of the training.
    cache
        Shared folder; None for the run.
    model
        Model whose input the images are.
    data_spec
        Spec of the data set.

    Returns
    -------
    Run
        Run whose parts are decoded images.
    """
    if cache is None:
        return run
    return Run.start(cache, "images", {"data": data_spec, "side": model.side, "resize": model.resize})


def decode_images(
    run: Run, model: Model, radiographs: Sequence[Radiograph], selected: Array, workers: int
) -> DecodedImages:
    """Decode the images of selected radiographs as input of the model, each once per run.

    Parameters
    ----------
    run
        Run that keeps the images.
    model
        Model whose input size is used.
    radiographs
        Radiographs of the data set.
    selected : (m,) int64
        Indices of the radiographs to decode.
    workers
        Number of processes, if more than 1, the radiographs can be sent to one and there are at least
        `MIN_IMAGES_FOR_PROCESSES`; otherwise threads are used.

    Returns
    -------
    DecodedImages
        File and rows.
    """
    indices = np.unique(selected)
    chosen = [radiographs[i] for i in indices]
    key = f"decoded-{key_digest(*indices.tolist()).hex()[:8]}"
    part = run.part("images", key)
    if not part.is_dir():
        run.write_part("images", key, partial(_write_images, model=model, radiographs=chosen, workers=workers))
    reasons = json.loads((part / "unreadable.json").read_text("utf-8"))
    return DecodedImages(part / "images.npy", indices, {int(row): reason for row, reason in reasons.items()})


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
    decode = partial(decode_to_bytes, side=model.side, resize=model.resize)
    with _make_executor(radiographs, workers) as pool:
        for start in range(0, len(radiographs), _WINDOW):
            window = [radiographs[i] for i in range(start, min(start + _WINDOW, len(radiographs)))]
            yield from pool.map(decode, window, chunksize=8)


def _make_executor(radiographs: Sequence[Radiograph], workers: int) -> Executor:
    if workers > 1 and len(radiographs) >= MIN_IMAGES_FOR_PROCESSES and _is_picklable(radiographs[0]):
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))  # fork is unsafe once torch has threads
    return ThreadPoolExecutor(max(workers, os.cpu_count() or 1))


def _is_picklable(radiograph: Radiograph) -> bool:
    """Return True if a radiograph can be sent to another process: its `read` may close over open files."""
    try:
        pickle.dumps(radiograph)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True
