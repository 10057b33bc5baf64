from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from skimage.filters import sobel_h, sobel_v

from sightline.maps import controls


@given(st.integers(1, 40), st.integers(1, 40))
def test_center_is_symmetric_and_highest_in_the_middle(height: int, width: int) -> None:
    bump = controls.center_map(height, width)
    assert bump.shape == (height, width) and bump.dtype == np.float32
    assert np.allclose(bump, bump[::-1]) and np.allclose(bump, bump[:, ::-1])
    assert bump[height // 2, width // 2] == bump.max() <= 1
    assert bump.min() > 0


def test_center_does_not_depend_on_resolution() -> None:
    coarse, fine = controls.center_map(8, 6), controls.center_map(80, 60)
    assert np.allclose(fine.reshape(8, 10, 6, 10).mean((1, 3)), coarse, atol=0.04)


def test_noise_is_keyed_by_everything_and_by_nothing_else() -> None:
    first = controls.noise_map(0, "id1", "Edema", height=30, width=20)
    np.random.default_rng(1).random(7)
    assert np.array_equal(controls.noise_map(0, "id1", "Edema", height=30, width=20), first)
    for other in ((1, "id1", "Edema"), (0, "id2", "Edema"), (0, "id1", "Edem"), (0, "id1E", "dema")):
        assert abs(np.corrcoef(controls.noise_map(*other, height=30, width=20).ravel(), first.ravel())[0, 1]) < 0.2
    assert first.dtype == np.float32 and first.min() >= 0 and first.max() < 1
    assert abs(first.mean() - 0.5) < 0.05


def test_edges_are_sobels() -> None:
    image = np.random.default_rng(0).random((12, 17), np.float32)
    got = controls.edge_map(image)
    wanted = 4 * np.hypot(sobel_h(image), sobel_v(image))  # scikit-image divides the kernel by 4
    assert got.dtype == np.float32
    assert np.allclose(got[1:-1, 1:-1], wanted[1:-1, 1:-1], atol=1e-5)
    assert not controls.edge_map(np.full((5, 5), 0.3)).any()
