from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blobs import FINDINGS, blobs

from sightline.inputs import decode
from sightline.models import open_model
from sightline.store import Run
from sightline.training.cache import _travels, decoded


@pytest.mark.parametrize("workers", [1, 2])
def test_images_are_decoded_once_and_read_from_disk_after(tmp_path: Path, workers: int) -> None:
    data, model = blobs(9), open_model("small?side=16&width=8", FINDINGS)
    run = Run.start(tmp_path / "run", "fit", {})
    file, reasons = decoded(run, model, data.radiographs, workers)
    images = np.load(file)
    assert images.dtype == np.uint8 and images.shape == (9, 16, 16) and not reasons
    for image, radiograph in zip(images, data.radiographs, strict=True):
        assert np.array_equal(image, decode(radiograph, 16, "stretch"))

    def never() -> np.ndarray:
        raise AssertionError

    again = np.load(decoded(run, model, [replace(r, read=never) for r in data.radiographs], 1)[0])
    assert np.array_equal(again, images)


def test_radiographs_that_cannot_be_sent_to_a_process_are_decoded_in_threads(tmp_path: Path) -> None:
    data, model = blobs(3), open_model("small?side=16&width=8", FINDINGS)
    local = [replace(r, read=lambda r=r: r.read()) for r in data.radiographs]
    assert _travels(data.radiographs[0]) and not _travels(local[0])
    images = np.load(decoded(Run.start(tmp_path / "run", "fit", {}), model, local, 2)[0])
    assert np.array_equal(images[2], decode(data.radiographs[2], 16, "stretch"))
