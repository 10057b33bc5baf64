from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blobs import FINDINGS, blobs

from sightline.imaging.preprocess import decode_to_bytes
from sightline.models import open_model
from sightline.runs.run import Run
from sightline.training import image_cache
from sightline.training.image_cache import _is_picklable, _make_executor, decode_images


@pytest.mark.parametrize("workers", [1, 2])
def test_images_are_decoded_once_and_read_from_disk_after(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "MIN_IMAGES_FOR_PROCESSES", 9)
    data, model = blobs(9), open_model("small?side=16&width=8", FINDINGS)
    run = Run.start(tmp_path / "run", "fit", {})
    whole = np.arange(9)
    films = decode_images(run, model, data.radiographs, whole, workers)
    images = np.load(films.file)
    assert images.dtype == np.uint8 and images.shape == (9, 16, 16) and not films.reasons
    for image, radiograph in zip(images, data.radiographs, strict=True):
        assert np.array_equal(image, decode_to_bytes(radiograph, 16, "stretch"))

    def never() -> np.ndarray:
        raise AssertionError

    again = np.load(decode_images(run, model, [replace(r, read=never) for r in data.radiographs], whole, 1).file)
    assert np.array_equal(again, images)


def test_rows_are_those_of_the_radiographs_asked_for(tmp_path: Path) -> None:
    data, model = blobs(9), open_model("small?side=16&width=8", FINDINGS)
    films = decode_images(Run.start(tmp_path / "run", "fit", {}), model, data.radiographs, np.array([7, 2, 5, 2]), 1)
    assert films.indices.tolist() == [2, 5, 7] and films.rows(np.array([7, 2])).tolist() == [2, 0]
    assert np.array_equal(np.load(films.file)[2], decode_to_bytes(data.radiographs[7], 16, "stretch"))
    assert replace(films, reasons={1: "gone"}).readable_rows(np.array([5, 7])).tolist() == [2]


def test_radiographs_that_cannot_be_sent_to_a_process_are_decoded_in_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, model = blobs(3), open_model("small?side=16&width=8", FINDINGS)
    monkeypatch.setattr(image_cache, "MIN_IMAGES_FOR_PROCESSES", 3)
    local = [replace(r, read=lambda r=r: r.read()) for r in data.radiographs]
    assert _is_picklable(data.radiographs[0]) and not _is_picklable(local[0])
    images = np.load(decode_images(Run.start(tmp_path / "run", "fit", {}), model, local, np.arange(3), 2).file)
    assert np.array_equal(images[2], decode_to_bytes(data.radiographs[2], 16, "stretch"))


def test_few_images_are_not_worth_a_process() -> None:
    least = image_cache.MIN_IMAGES_FOR_PROCESSES
    for count, executor in ((least - 1, ThreadPoolExecutor), (least, ProcessPoolExecutor)):
        with _make_executor(blobs(count).radiographs, 2) as pool:
            assert isinstance(pool, executor)
