"""Gaze: the fixations of a reader with times, durations and dictated phrases, and the density that they add up to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
from scipy.special import ndtr

from sightline.core import Annotation, Array, Dataset, Size
from sightline.errors import SightlineError
from sightline.findings import FINDING_TERMS

ALL_GAZE = "gaze"
"""Name that `Dataset.annotation` takes in place of a finding for the fixations of a whole reading."""
BOX_SUFFIX = " Box"
"""Suffix of the names of regions that are given as a rectangle, of which Eye-Gaze-CXR has up to 17 per radiograph."""
_FIXATION_COLUMNS = ("positions", "begin", "duration", "pixels_per_degree", "visible_region", "pupil")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Phrase of a dictation. Times in seconds, on the clock of the fixations."""

    text: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True, eq=False)
class Gaze:
    """Fixations of one reader on one radiograph, in order of time; K, their number, may be 0."""

    radiograph: str
    reader: str
    size: Size
    """(H, W) of the image that the positions refer to."""
    positions: Array = field(repr=False)
    """float64 (K, 2): (row, col), inside the image."""
    begin: Array = field(repr=False)
    """float64 (K,): seconds."""
    duration: Array = field(repr=False)
    """float64 (K,): seconds, 0 or more."""
    pixels_per_degree: Array = field(repr=False)
    """float64 (K, 2): pixels of the image per degree of visual angle, down and across."""
    visible_region: Array = field(repr=False)
    """float64 (K, 4): (top, left, bottom, right) of the part of the image that was on the screen."""
    pupil: Array = field(repr=False)
    """float64 (K,): size of the pupil in the unit of the tracker; NaN where the tracker lost it."""
    phrases: tuple[Phrase, ...] = ()
    """Phrases dictated during the reading."""
    scale: float = 1.0
    """Pixels of this image per pixel of the image that the eye tracker recorded on; kernels in pixels refer to the
    latter."""
    excluded_counts: Mapping[str, int] = field(default_factory=dict)
    """Reason, such as 'outside the image' -> number of fixations (or transcripts) in the file that are not used."""

    def __len__(self) -> int:
        return len(self.begin)

    @classmethod
    def from_fixations(
        cls,
        radiograph: str,
        reader: str,
        size: Size,
        positions: Array,
        begin: Array,
        duration: Array,
        pixels_per_degree: Array | float,
        visible_region: Array | None = None,
        pupil: Array | None = None,
        phrases: tuple[Phrase, ...] = (),
        scale: float = 1.0,
    ) -> Self:
        """Create from rows in any order: keep the fixations on the image, sort them by time, and count the others.

        Parameters
        ----------
        radiograph : str
            Id of the radiograph.
        reader : str
            Name of the reader.
        size : tuple of int
            (H, W) of the image.
        positions : (K, 2) float64
            (row, col) in pixels; rows that are not finite or lie outside the image are left out.
        begin, duration : (K,) float64
            Seconds; rows that are not finite or have a negative duration are left out.
        pixels_per_degree : (K, 2) float64 or float
            Pixels of the image per degree of visual angle, down and across.
        visible_region : (K, 4) float64, optional
            (top, left, bottom, right) of the part on the screen; by default the whole image.
        pupil : (K,) float64, optional
            Size of the pupil; by default NaN.
        phrases : tuple of Phrase
            Phrases of the dictation.
        scale : float
            Pixels of this image per pixel of the image that the eye tracker recorded on.

        Returns
        -------
        Gaze
            The fixations; `excluded_counts` has the number that was left out, by reason.
        """
        count = len(begin)
        faults = {
            "without coordinates or times": ~np.isfinite(np.column_stack([positions, begin, duration])).all(1),
            "outside the image": ~((positions >= 0) & (positions < np.array(size))).all(1),
            "with a negative duration": duration < 0,
        }
        usable, excluded_counts = np.ones(count, bool), {}
        for reason, is_faulty in faults.items():
            if number := int((usable & is_faulty).sum()):
                excluded_counts[reason] = number
            usable &= ~is_faulty
        order = np.flatnonzero(usable)[np.argsort(begin[usable], kind="stable")]
        whole_image = np.tile([0.0, 0.0, *map(float, size)], (count, 1))
        pixels_per_degree = np.broadcast_to(pixels_per_degree, (count, 2)).astype(float)
        return cls(
            radiograph,
            reader,
            size,
            positions[order],
            begin[order],
            duration[order],
            pixels_per_degree[order],
            (whole_image if visible_region is None else visible_region)[order],
            (np.full(count, np.nan) if pupil is None else pupil)[order],
            phrases,
            scale,
            excluded_counts,
        )

    def select_time(self, begin: float, end: float) -> Gaze:
        """Return the fixations of an interval of time; those at its ends count with the part inside.

        Parameters
        ----------
        begin, end : float
            Seconds.

        Returns
        -------
        Gaze
            Fixations with their durations cut to the interval.
        """
        start = np.maximum(self.begin, begin)
        stop = np.minimum(self.begin + self.duration, end)
        clipped = replace(self, begin=start, duration=np.maximum(stop - start, 0.0))
        return clipped._select(stop > start)

    def with_pupil(self) -> Gaze:
        """Return the fixations during which the tracker saw the pupil.

        Returns
        -------
        Gaze
            Fixations whose `pupil` is above 0.
        """
        return self._select(np.isfinite(self.pupil) & (self.pupil > 0))

    def during_mentions(self, terms: Sequence[str], lead: float = 1.5) -> Gaze:
        """Return the fixations while a phrase with one of the terms was dictated, and shortly before it.

        Readers fixate a finding before they name it. A fixation counts once, however many phrases it falls into.

        Parameters
        ----------
        terms : sequence of str
            Terms to search in the phrases, whatever the case.
        lead : float
            Seconds before a phrase that count with it.

        Returns
        -------
        Gaze
            Fixations with their durations cut to the phrases; none if no phrase contains a term.
        """
        terms = [term.lower() for term in terms]
        intervals = [
            (phrase.begin - lead, phrase.end)
            for phrase in self.phrases
            if any(term in phrase.text.lower() for term in terms)
        ]
        merged: list[tuple[float, float]] = []
        for begin, end in sorted(intervals):
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            else:
                merged.append((begin, end))
        parts = [self.select_time(*interval) for interval in merged]
        if not parts:
            return self._select(np.zeros(len(self), bool))
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in _FIXATION_COLUMNS
        }
        return replace(self, **columns)

    def _select(self, mask: Array) -> Gaze:
        columns: dict[str, Any] = {name: getattr(self, name)[mask] for name in _FIXATION_COLUMNS}
        return replace(self, **columns)


def filter_gaze(data: Dataset, begin: float = 0.0, end: float = 0.0, require_pupil: bool = False) -> Dataset:
    """Restrict the gaze of a data set to an interval of time, or to fixations with a valid pupil.

    Parameters
    ----------
    data : Dataset
        Data set with gaze.
    begin : float
        Seconds from the start of each reading.
    end : float
        Seconds; 0 for the end of each reading.
    require_pupil : bool
        Leave out fixations during which the tracker lost the pupil.

    Returns
    -------
    Dataset
        The same data set with other gaze; annotations that are not gaze stay as they are.

    Raises
    ------
    SightlineError
        If `begin` is negative or not before `end`.
    """
    last = end or math.inf
    if not 0 <= begin < last:
        raise SightlineError(
            f"gaze from {begin} to {end} seconds is not an interval; give a begin of 0 or more, and an end after it"
        )
    if begin == 0 and last == math.inf and not require_pupil:
        return data

    def select_fixations(annotation: Annotation) -> Gaze:
        gaze: Gaze = annotation.read()
        gaze = gaze.select_time(begin, last)
        return gaze.with_pupil() if require_pupil else gaze

    def filtered_annotation(radiograph: str, finding: str, reader: str) -> Annotation | None:
        name = ALL_GAZE if reader in data.gaze_readers else finding
        annotation = data.annotation(radiograph, name, reader)
        if annotation is None or annotation.kind != "fixations":
            return data.annotation(radiograph, finding, reader)
        if finding == ALL_GAZE:
            return replace(annotation, read=lambda: select_fixations(annotation))
        if finding in data.regions:
            return data.annotation(radiograph, finding, reader)
        return annotation_from_mentions(select_fixations(annotation), finding)

    return replace(data, annotation=filtered_annotation)


@dataclass(frozen=True, slots=True)
class Kernel:
    """Gaussian kernel that turns fixations into a density.

    Raises
    ------
    SightlineError
        If not exactly one of `pixels` and `degrees` is above 0.
    """

    name: str
    weight: Literal["count", "duration"]
    """Weight of a fixation: the same for all, or its duration."""
    pixels: float = 0.0
    """Standard deviation in pixels of the image that the eye tracker recorded on; 0: given by `degrees`."""
    degrees: float = 0.0
    """Standard deviation in degrees of visual angle; 0: given by `pixels`."""
    mirrored: bool = False
    """True: the part of the Gaussian beyond the edges of the image is folded back, as by the filters of SciPy. False:
    it is lost, as is the part beyond the region of the image that was on the screen."""

    def __post_init__(self) -> None:
        if (self.pixels > 0) == (self.degrees > 0) or min(self.pixels, self.degrees) < 0:
            raise SightlineError(
                f"kernel {self.name!r}: pixels={self.pixels}, degrees={self.degrees}; give one of the two, above 0"
            )


KERNELS = {
    "published": Kernel("published", "count", pixels=150.0, mirrored=True),
    "corrected": Kernel("corrected", "duration", degrees=1.0),
}
"""Kernels by name. published: as in the code of Eye-Gaze-CXR (Karargyris et al. 2021, 10.1038/s41597-021-00863-5):
every fixation counts the same, in whole pixels, smoothed by 150 of them. corrected: weighted by duration, one degree
wide, within the region on the screen, as in REFLACX (Bigolin Lanfredi et al. 2022, 10.1038/s41597-022-01441-z)."""


def gaze_density(gaze: Gaze, kernel: Kernel, shape: Size) -> Array:
    """Compute the share of the gaze that falls into each cell of a grid over the whole image.

    Exact: every Gaussian is integrated over every cell, so the cells of a coarse grid are sums of those of a fine one.

    Parameters
    ----------
    gaze : Gaze
        Fixations.
    kernel : Kernel
        Kernel, such as those of `KERNELS`.
    shape : tuple of int
        (h, w) of the grid.

    Returns
    -------
    (h, w) float64
        Density with sum 1; zeros without fixations.

    Examples
    --------
    >>> gaze = Gaze.from_fixations("a", "b", (100, 80), np.array([[50.0, 40.0]]), np.zeros(1), np.ones(1), 10.0)
    >>> gaze_density(gaze, KERNELS["corrected"], (5, 4)).round(2).tolist()[2]
    [0.02, 0.33, 0.33, 0.02]
    """
    centers = np.floor(gaze.positions) + 0.5 if kernel.mirrored else gaze.positions
    sigma = (
        np.full((len(gaze), 2), kernel.pixels * gaze.scale)
        if kernel.pixels
        else kernel.degrees * gaze.pixels_per_degree
    )
    weight = np.ones(len(gaze)) if kernel.weight == "count" else gaze.duration
    masses = []
    for axis in (0, 1):
        length = float(gaze.size[axis])
        limits = None if kernel.mirrored else (gaze.visible_region[:, axis], gaze.visible_region[:, axis + 2])
        masses.append(_cell_masses(centers[:, axis], sigma[:, axis], length, shape[axis], limits))
    total: Array = (masses[0] * weight[:, None]).T @ masses[1]  # (h, K) @ (K, w)
    mass = float(total.sum())
    return total / mass if mass > 0 else np.zeros(shape)


def annotation_from_mentions(gaze: Gaze, finding: str, kernel: Kernel = KERNELS["corrected"]) -> Annotation | None:
    """Make an annotation of where a reader looked while dictating a finding.

    Parameters
    ----------
    gaze : Gaze
        Fixations and phrases of a reading.
    finding : str
        Finding, whose terms (`FINDING_TERMS`) are searched in the phrases.
    kernel : Kernel
        Kernel of the density.

    Returns
    -------
    Annotation or None
        Density on a grid of `grid_shape`; None if the finding was not mentioned, or without fixations meanwhile.
    """
    terms = FINDING_TERMS.get(finding, (finding,))
    values = gaze_density(gaze.during_mentions(terms), kernel, grid_shape(gaze.size)).astype(np.float32)
    if not values.any():
        return None
    return Annotation(gaze.radiograph, finding, gaze.reader, "density", gaze.size, values.copy)


def _cell_masses(center: Array, sigma: Array, length: float, cells: int, limits: tuple[Array, Array] | None) -> Array:
    """Integrate normal distributions over each cell of a line, float64 (K, cells).

    Nothing counts beyond `limits`, positions (K,) each; if None, the part beyond 0 and `length` is folded back once.
    """
    edges = np.linspace(0, length, cells + 1)[None]  # (1, cells + 1)
    if limits is not None:
        edges = np.clip(edges, limits[0][:, None], limits[1][:, None])
        centers = [center]
    else:
        centers = [center, -center, 2 * length - center]
    parts = (np.diff(ndtr((edges - c[:, None]) / sigma[:, None]), axis=1) for c in centers)
    return np.asarray(sum(parts))


def grid_shape(size: Size, max_side: int = 256) -> Size:
    """Compute the shape of a grid with the proportions of an image.

    Parameters
    ----------
    size : tuple of int
        (H, W) of the image.
    max_side : int
        Most cells along the longer side.

    Returns
    -------
    tuple of int
        (h, w), never more cells than pixels.

    Examples
    --------
    >>> grid_shape((3000, 2500))
    (256, 213)
    """
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
