"""Fixations and the densities they add up to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

import sightline as sl
from sightline.core import Frame
from sightline.data.gaze import KERNELS, WHOLE, Gaze, Kernel, Phrase, density, grid, spoken_density, watched
from sightline.errors import SightlineError
from sightline.imaging.geometry import cut


def made(count: int = 12, size: tuple[int, int] = (300, 240), seed: int = 0, **kwargs: object) -> Gaze:
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1, (count, 2)) * np.array(size)
    begin = np.cumsum(rng.uniform(0.2, 0.6, count))
    duration = rng.uniform(0.05, 0.2, count)
    return Gaze.of("a", "b", size, places, begin, duration, 12.0, **kwargs)  # type: ignore[arg-type]


def test_the_published_density_is_a_gaussian_filter_of_counts() -> None:
    gaze = made()
    counts = np.zeros(gaze.size)
    for row, col in gaze.places.astype(int):
        counts[row, col] += 1
    smooth = gaussian_filter(counts, 15.0, truncate=8)
    kernel = Kernel("small", "count", pixels=15.0, mirrored=True)
    exact = density(gaze, kernel, gaze.size)
    np.testing.assert_allclose(exact, smooth / smooth.sum(), rtol=2e-3, atol=2e-8)  # pixels summed, not their centers
    coarse = cut(smooth / smooth.sum(), Frame.whole(gaze.size), (30, 24)) * 100
    ours = density(gaze, kernel, (30, 24))
    np.testing.assert_allclose(ours, coarse, rtol=1e-3, atol=1e-6)
    assert np.corrcoef(ours.ravel(), coarse.ravel())[0, 1] > 0.99999


def test_the_corrected_density_is_a_sum_of_gaussians_by_duration_on_what_was_shown() -> None:
    gaze = made(shown=np.tile([30.0, 20.0, 280.0, 200.0], (12, 1)))
    rows, cols = np.meshgrid(np.arange(300) + 0.5, np.arange(240) + 0.5, indexing="ij")
    slow = np.zeros(gaze.size)
    for (row, col), duration in zip(gaze.places, gaze.duration, strict=True):
        bump = np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * 12.0**2))
        bump[(rows < 30) | (rows > 280) | (cols < 20) | (cols > 200)] = 0
        slow += duration * bump
    np.testing.assert_allclose(density(gaze, KERNELS["corrected"], gaze.size), slow / slow.sum(), rtol=2e-3, atol=2e-8)


@given(st.integers(0, 10_000), st.integers(1, 20), st.sampled_from(["published", "corrected"]))
def test_a_coarse_grid_is_the_sum_of_a_fine_one(seed: int, count: int, name: str) -> None:
    gaze = made(count, seed=seed)
    fine, coarse = (density(gaze, KERNELS[name], shape) for shape in ((60, 40), (12, 8)))
    assert fine.sum() == pytest.approx(1) and (fine >= 0).all()
    np.testing.assert_allclose(fine.reshape(12, 5, 8, 5).sum((1, 3)), coarse, atol=1e-12)


@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_densities_scale_with_the_film_and_not_with_the_clock(seed: int, factor: float) -> None:
    gaze = made(seed=seed)
    size = (round(300 * factor), round(240 * factor))
    ratio = np.array(size) / np.array(gaze.size)
    larger = Gaze.of("a", "b", size, gaze.places * ratio, gaze.begin * 3, gaze.duration * 3, gaze.degree * ratio)
    first, second = (density(g, KERNELS["corrected"], (20, 16)) for g in (gaze, larger))
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_nothing_looked_at_is_no_density() -> None:
    nothing = made()._where(np.zeros(12, bool))
    assert len(nothing) == 0 and not density(nothing, KERNELS["corrected"], (5, 4)).any()
    assert spoken_density(nothing, "Edema") is None


def test_what_is_no_fixation_on_the_image_is_counted() -> None:
    places = np.array([[5.0, 5], [np.nan, 5], [-1, 5], [5, 10], [3, 3], [9.9, 9.9]])
    duration = np.array([0.2, 0.2, 0.2, 0.2, -0.1, 0.3])
    gaze = Gaze.of("a", "b", (10, 10), places, np.array([6.0, 1, 2, 3, 4, 5]), duration, 2.0)
    assert gaze.left_out == {"without coordinates or times": 1, "outside the image": 2, "with a negative duration": 1}
    assert gaze.begin.tolist() == [5, 6] and gaze.places[0].tolist() == [9.9, 9.9]


def test_a_stretch_of_time_takes_parts_of_fixations() -> None:
    gaze = Gaze.of("a", "b", (10, 10), np.full((3, 2), 5.0), np.array([0.0, 1, 2]), np.array([0.8, 0.8, 0.8]), 2.0)
    part = gaze.during(0.5, 1.4)
    assert part.begin.tolist() == [0.5, 1.0]
    np.testing.assert_allclose(part.duration, [0.3, 0.4])
    whole = [gaze.during(0, 1.5), gaze.during(1.5, 9)]
    assert sum(float(p.duration.sum()) for p in whole) == pytest.approx(2.4)


def test_what_was_looked_at_while_words_were_said() -> None:
    """Phrases that overlap, with what comes before them, count once."""
    phrases = (Phrase("Small EFFUSION", 2.0, 3.0), Phrase("the effusion is new", 2.5, 3.5), Phrase("no mass", 6, 7))
    gaze = Gaze.of("a", "b", (10, 10), np.full((8, 2), 5.0), np.arange(8.0), np.ones(8), 2.0, phrases=phrases)
    said = gaze.while_said(("effusion",), lead=0.5)
    assert float(said.duration.sum()) == pytest.approx(2.0) and said.begin.min() == 1.5
    assert len(gaze.while_said(("pneumothorax",))) == 0
    assert gaze.with_pupil().begin.size == 0


def test_a_stretch_of_every_reading_or_what_was_seen_with_the_pupil() -> None:
    data = sl.dataset("phantom:6?size=64")
    early, seen = watched(data, 0, 2), watched(data, pupil=True)
    reader, changed = data.gaze_readers[0], 0
    for r in data.radiographs:
        whole, first, valid = (d.marks(r.id, WHOLE, reader).read() for d in (data, early, seen))
        assert first.begin.max() < 2 and float(first.duration.sum()) <= 2
        assert np.isfinite(valid.pupil).all() and len(valid) == np.isfinite(whole.pupil).sum()
        changed += len(valid) < len(whole)
        for finding in (*data.findings, *data.regions):
            assert (data.marks(r.id, finding, "truth") is None) == (early.marks(r.id, finding, "truth") is None)
            if finding in data.findings:
                assert watched(data, 1000, 2000).marks(r.id, finding, reader) is None
    assert changed and watched(data) is data
    with pytest.raises(SightlineError, match="no stretch of time"):
        watched(data, 3, 3)


def test_kernels_have_one_width() -> None:
    for pixels, degrees in ((0.0, 0.0), (3.0, 1.0), (-1.0, 0.0)):
        with pytest.raises(SightlineError, match="one of the two, above 0"):
            Kernel("odd", "count", pixels=pixels, degrees=degrees)
    assert grid((3000, 2500)) == (256, 213) and grid((100, 50)) == (100, 50)


def test_simulated_readers_dwell_on_findings_and_speak_of_them() -> None:
    data = sl.dataset("phantom:12?size=96")
    share, area = [], []
    for r in data.radiographs:
        gaze: Gaze = data.marks(r.id, WHOLE, data.gaze_readers[0]).read()
        again: Gaze = data.marks(r.id, WHOLE, data.gaze_readers[0]).read()
        other: Gaze = data.marks(r.id, WHOLE, data.gaze_readers[1]).read()
        np.testing.assert_array_equal(gaze.places, again.places)
        assert not np.array_equal(gaze.places[:2], other.places[:2])
        assert (np.diff(gaze.begin) > 0).all() and gaze.begin[0] == 0
        for finding in data.findings:
            mark = data.marks(r.id, finding, data.truth)
            if mark is not None and mark.read().any() and any(finding.lower() in p.text for p in gaze.phrases):
                looked = density(gaze, KERNELS["corrected"], gaze.size)
                share.append(looked[mark.read()].sum())
                area.append(mark.read().mean())
    assert len(share) > 15 and np.mean(share) > 1.5 * np.mean(area)
