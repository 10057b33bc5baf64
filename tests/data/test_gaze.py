"""Fixations and the densities they add up to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

import sightline as sl
from sightline.core import Frame
from sightline.data.gaze import (
    ALL_GAZE,
    KERNELS,
    Gaze,
    Kernel,
    Phrase,
    annotation_from_mentions,
    filter_gaze,
    gaze_density,
    grid_shape,
)
from sightline.errors import SightlineError
from sightline.imaging.geometry import resample_area


def make_gaze(count: int = 12, size: tuple[int, int] = (300, 240), seed: int = 0, **kwargs: object) -> Gaze:
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1, (count, 2)) * np.array(size)
    begin = np.cumsum(rng.uniform(0.2, 0.6, count))
    duration = rng.uniform(0.05, 0.2, count)
    return Gaze.from_fixations("a", "b", size, places, begin, duration, 12.0, **kwargs)  # type: ignore[arg-type]


def test_the_published_density_is_a_gaussian_filter_of_counts() -> None:
    gaze = make_gaze()
    counts = np.zeros(gaze.size)
    for row, col in gaze.positions.astype(int):
        counts[row, col] += 1
    smooth = gaussian_filter(counts, 15.0, truncate=8)
    kernel = Kernel("small", "count", pixels=15.0, mirrored=True)
    exact = gaze_density(gaze, kernel, gaze.size)
    np.testing.assert_allclose(exact, smooth / smooth.sum(), rtol=2e-3, atol=2e-8)  # pixels summed, not their centers
    coarse = resample_area(smooth / smooth.sum(), Frame.whole(gaze.size), (30, 24)) * 100
    ours = gaze_density(gaze, kernel, (30, 24))
    np.testing.assert_allclose(ours, coarse, rtol=1e-3, atol=1e-6)
    assert np.corrcoef(ours.ravel(), coarse.ravel())[0, 1] > 0.99999


def test_the_corrected_density_is_a_sum_of_gaussians_by_duration_on_what_was_shown() -> None:
    gaze = make_gaze(visible_region=np.tile([30.0, 20.0, 280.0, 200.0], (12, 1)))
    rows, cols = np.meshgrid(np.arange(300) + 0.5, np.arange(240) + 0.5, indexing="ij")
    slow = np.zeros(gaze.size)
    for (row, col), duration in zip(gaze.positions, gaze.duration, strict=True):
        bump = np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * 12.0**2))
        bump[(rows < 30) | (rows > 280) | (cols < 20) | (cols > 200)] = 0
        slow += duration * bump
    np.testing.assert_allclose(
        gaze_density(gaze, KERNELS["corrected"], gaze.size), slow / slow.sum(), rtol=2e-3, atol=2e-8
    )


@given(st.integers(0, 10_000), st.integers(1, 20), st.sampled_from(["published", "corrected"]))
def test_a_coarse_grid_is_the_sum_of_a_fine_one(seed: int, count: int, name: str) -> None:
    gaze = make_gaze(count, seed=seed)
    fine, coarse = (gaze_density(gaze, KERNELS[name], shape) for shape in ((60, 40), (12, 8)))
    assert fine.sum() == pytest.approx(1) and (fine >= 0).all()
    np.testing.assert_allclose(fine.reshape(12, 5, 8, 5).sum((1, 3)), coarse, atol=1e-12)


@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_densities_scale_with_the_film_and_not_with_the_clock(seed: int, factor: float) -> None:
    gaze = make_gaze(seed=seed)
    size = (round(300 * factor), round(240 * factor))
    ratio = np.array(size) / np.array(gaze.size)
    larger = Gaze.from_fixations(
        "a", "b", size, gaze.positions * ratio, gaze.begin * 3, gaze.duration * 3, gaze.pixels_per_degree * ratio
    )
    first, second = (gaze_density(g, KERNELS["corrected"], (20, 16)) for g in (gaze, larger))
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_nothing_looked_at_is_no_density() -> None:
    nothing = make_gaze()._select(np.zeros(12, bool))
    assert len(nothing) == 0 and not gaze_density(nothing, KERNELS["corrected"], (5, 4)).any()
    assert annotation_from_mentions(nothing, "Edema") is None


def test_what_is_no_fixation_on_the_image_is_counted() -> None:
    places = np.array([[5.0, 5], [np.nan, 5], [-1, 5], [5, 10], [3, 3], [9.9, 9.9]])
    duration = np.array([0.2, 0.2, 0.2, 0.2, -0.1, 0.3])
    gaze = Gaze.from_fixations("a", "b", (10, 10), places, np.array([6.0, 1, 2, 3, 4, 5]), duration, 2.0)
    assert gaze.excluded_counts == {
        "without coordinates or times": 1,
        "outside the image": 2,
        "with a negative duration": 1,
    }
    assert gaze.begin.tolist() == [5, 6] and gaze.positions[0].tolist() == [9.9, 9.9]


def test_a_stretch_of_time_takes_parts_of_fixations() -> None:
    gaze = Gaze.from_fixations(
        "a", "b", (10, 10), np.full((3, 2), 5.0), np.array([0.0, 1, 2]), np.array([0.8, 0.8, 0.8]), 2.0
    )
    part = gaze.select_time(0.5, 1.4)
    assert part.begin.tolist() == [0.5, 1.0]
    np.testing.assert_allclose(part.duration, [0.3, 0.4])
    whole = [gaze.select_time(0, 1.5), gaze.select_time(1.5, 9)]
    assert sum(float(p.duration.sum()) for p in whole) == pytest.approx(2.4)


def test_gaze_is_restricted_to_mentions() -> None:
    """Phrases that overlap, with what comes before them, count once."""
    phrases = (Phrase("Small EFFUSION", 2.0, 3.0), Phrase("the effusion is new", 2.5, 3.5), Phrase("no mass", 6, 7))
    gaze = Gaze.from_fixations(
        "a", "b", (10, 10), np.full((8, 2), 5.0), np.arange(8.0), np.ones(8), 2.0, phrases=phrases
    )
    mentions = gaze.during_mentions(("effusion",), lead=0.5)
    assert float(mentions.duration.sum()) == pytest.approx(2.0) and mentions.begin.min() == 1.5
    assert len(gaze.during_mentions(("pneumothorax",))) == 0
    assert gaze.with_pupil().begin.size == 0


def test_gaze_is_restricted_to_an_interval_or_to_fixations_with_a_pupil() -> None:
    data = sl.open_dataset("phantom:6?size=64")
    early, with_pupil = filter_gaze(data, 0, 2), filter_gaze(data, require_pupil=True)
    reader, changed = data.gaze_readers[0], 0
    for r in data.radiographs:
        whole, first, valid = (d.annotation(r.id, ALL_GAZE, reader).read() for d in (data, early, with_pupil))
        assert first.begin.max() < 2 and float(first.duration.sum()) <= 2
        assert np.isfinite(valid.pupil).all() and len(valid) == np.isfinite(whole.pupil).sum()
        changed += len(valid) < len(whole)
        for finding in (*data.findings, *data.regions):
            assert (data.annotation(r.id, finding, "truth") is None) == (
                early.annotation(r.id, finding, "truth") is None
            )
            if finding in data.findings:
                assert filter_gaze(data, 1000, 2000).annotation(r.id, finding, reader) is None
    assert changed and filter_gaze(data) is data
    with pytest.raises(SightlineError, match="is not an interval"):
        filter_gaze(data, 3, 3)


def test_kernels_have_one_width() -> None:
    for pixels, degrees in ((0.0, 0.0), (3.0, 1.0), (-1.0, 0.0)):
        with pytest.raises(SightlineError, match="one of the two, above 0"):
            Kernel("odd", "count", pixels=pixels, degrees=degrees)
    assert grid_shape((3000, 2500)) == (256, 213) and grid_shape((100, 50)) == (100, 50)


def test_simulated_readers_dwell_on_findings_and_speak_of_them() -> None:
    data = sl.open_dataset("phantom:12?size=96")
    share, area = [], []
    for r in data.radiographs:
        gaze: Gaze = data.annotation(r.id, ALL_GAZE, data.gaze_readers[0]).read()
        again: Gaze = data.annotation(r.id, ALL_GAZE, data.gaze_readers[0]).read()
        other: Gaze = data.annotation(r.id, ALL_GAZE, data.gaze_readers[1]).read()
        np.testing.assert_array_equal(gaze.positions, again.positions)
        assert not np.array_equal(gaze.positions[:2], other.positions[:2])
        assert (np.diff(gaze.begin) > 0).all() and gaze.begin[0] == 0
        for finding in data.findings:
            mark = data.annotation(r.id, finding, data.reference_reader)
            if mark is not None and mark.read().any() and any(finding.lower() in p.text for p in gaze.phrases):
                looked = gaze_density(gaze, KERNELS["corrected"], gaze.size)
                share.append(looked[mark.read()].sum())
                area.append(mark.read().mean())
    assert len(share) > 15 and np.mean(share) > 1.5 * np.mean(area)
