from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sightline.core import Radiograph
from sightline.errors import DataError
from sightline.imaging.preprocess import decode_to_bytes, fit_image


def test_shrinking_averages_areas() -> None:
    image = np.random.default_rng(0).random((40, 60), np.float32)
    seen, _ = fit_image(image, 10, "stretch")
    assert np.allclose(seen, image.reshape(10, 4, 10, 6).mean((1, 3)), atol=1e-6)


def test_an_axis_may_shrink_while_the_other_grows() -> None:
    image = np.tile(np.random.default_rng(0).random((40, 1), np.float32), (1, 5))
    seen, _ = fit_image(image, 10, "stretch")
    assert np.allclose(seen, image[:, 0].reshape(10, 4).mean(1)[:, None], atol=1e-6)


def test_decode_gives_bytes_or_a_sentence() -> None:
    good = Radiograph("a", "p", lambda: np.full((8, 8), 0.5, np.float32))
    assert np.array_equal(decode_to_bytes(good, 4, "stretch"), np.full((4, 4), 128, np.uint8))

    def missing() -> np.ndarray:
        raise DataError("no such file")

    assert decode_to_bytes(Radiograph("b", "p", missing), 4, "stretch") == "b: no such file"
    nan = Radiograph("c", "p", lambda: np.full((8, 8), np.nan, np.float32))
    assert "64 pixels of NaN" in str(decode_to_bytes(nan, 4, "stretch"))
    gone = Radiograph("d", "p", lambda: np.load(Path("nowhere.npy")))
    assert str(decode_to_bytes(gone, 4, "stretch")).startswith("d: ")


def test_wrong_shapes() -> None:
    with pytest.raises(DataError, match=r"must be \(H, W\)"):
        fit_image(np.zeros((2, 2, 3)), 4, "stretch")
