"""Where a reader looked: fixations, when and for how long, what was said meanwhile, and the density they add up to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np
from scipy.special import ndtr

from sightline.core import Annotation, Array, Dataset, Size
from sightline.errors import SightlineError
from sightline.findings import FINDING_TERMS

ALL_GAZE = "gaze"
"""What `Dataset.annotation` calls the density of all of a reading, in place of a finding."""
BOX_SUFFIX = " Box"
"""How the name of a region ends of which a rectangle is known: Eye-Gaze-CXR has up to 17 on a film."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words of a dictation. Times in seconds, on the clock of the fixations."""

    text: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True, eq=False)
class Gaze:
    """The fixations of one reader on one radiograph, in order of time. K may be 0."""

    radiograph: str
    reader: str
    size: Size
    """(H, W) of the image in whose pixels they lie."""
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
    """float64 (K,): size of the pupil in whatever unit; NaN where it was not seen."""
    phrases: tuple[Phrase, ...] = ()
    scale: float = 1.0
    """Pixels of the image per pixel of the film that the eye tracker knew: what kernels in pixels go by."""
    excluded_counts: Mapping[str, int] = field(default_factory=dict)
    """What the file holds that is not used here, fixations 'outside the image' and the like -> how many."""

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
        """Keep the rows that are fixations on the image, in order of time, and count the others by what they lack."""
        count = len(begin)
        faults = {
            "without coordinates or times": ~np.isfinite(np.column_stack([positions, begin, duration])).all(1),
            "outside the image": ~((positions >= 0) & (positions < np.array(size))).all(1),
            "with a negative duration": duration < 0,
        }
        good, left_out = np.ones(count, bool), {}
        for why, wrong in faults.items():
            if found := int((good & wrong).sum()):
                left_out[why] = found
            good &= ~wrong
        order = np.flatnonzero(good)[np.argsort(begin[good], kind="stable")]
        whole = np.tile([0.0, 0.0, *map(float, size)], (count, 1))
        pixels_per_degree = np.broadcast_to(pixels_per_degree, (count, 2)).astype(float)
        return cls(
            radiograph,
            reader,
            size,
            positions[order],
            begin[order],
            duration[order],
            pixels_per_degree[order],
            (whole if visible_region is None else visible_region)[order],
            (np.full(count, np.nan) if pupil is None else pupil)[order],
            phrases,
            scale,
            left_out,
        )

    def select_time(self, begin: float, end: float) -> Gaze:
        """What of it lies in a stretch of time; fixations at its ends count with the part inside."""
        start = np.maximum(self.begin, begin)
        stop = np.minimum(self.begin + self.duration, end)
        cut = replace(self, begin=start, duration=np.maximum(stop - start, 0.0))
        return cut._select(stop > start)

    def with_pupil(self) -> Gaze:
        """Fixations during which the pupil was seen."""
        return self._select(np.isfinite(self.pupil) & (self.pupil > 0))

    def during_mentions(self, terms: Sequence[str], lead: float = 1.5) -> Gaze:
        """What was looked at while any of `words` was said, and `lead` seconds before: eyes are ahead of the tongue.

        A phrase counts if it holds one of the words, whatever the case. A fixation counts once.
        """
        spans = [(p.begin - lead, p.end) for p in self.phrases if any(w.lower() in p.text.lower() for w in terms)]
        merged: list[tuple[float, float]] = []
        for begin, end in sorted(spans):
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            else:
                merged.append((begin, end))
        parts = [self.select_time(*span) for span in merged]
        if not parts:
            return self._select(np.zeros(len(self), bool))
        names = ("positions", "begin", "duration", "pixels_per_degree", "visible_region", "pupil")
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return replace(self, **joined)  # type: ignore[arg-type]

    def _select(self, mask: Array) -> Gaze:
        return replace(
            self,
            positions=self.positions[mask],
            begin=self.begin[mask],
            duration=self.duration[mask],
            pixels_per_degree=self.pixels_per_degree[mask],
            visible_region=self.visible_region[mask],
            pupil=self.pupil[mask],
        )


def filter_gaze(data: Dataset, begin: float = 0.0, end: float = 0.0, require_pupil: bool = False) -> Dataset:
    """The same data set, of whose gaze only a stretch of seconds counts, or only what was seen with a valid pupil.

    end: 0 is the end of each reading.

    Errors: `SightlineError` for a stretch that is none.
    """
    last = end or math.inf
    if not 0 <= begin < last:
        raise SightlineError(f"gaze from {begin} to {end} seconds is no stretch of time; begin from 0, and end later")
    if begin == 0 and last == math.inf and not require_pupil:
        return data

    def part(mark: Annotation) -> Gaze:
        gaze: Gaze = mark.read()
        gaze = gaze.select_time(begin, last)
        return gaze.with_pupil() if require_pupil else gaze

    def marks(radiograph: str, finding: str, reader: str) -> Annotation | None:
        mark = data.annotation(radiograph, ALL_GAZE if reader in data.gaze_readers else finding, reader)
        if mark is None or mark.kind != "fixations":
            return data.annotation(radiograph, finding, reader)
        if finding == ALL_GAZE:
            return replace(mark, read=lambda: part(mark))
        return (
            data.annotation(radiograph, finding, reader)
            if finding in data.regions
            else annotation_from_mentions(part(mark), finding)
        )

    return replace(data, annotation=marks)


@dataclass(frozen=True, slots=True)
class Kernel:
    """How fixations become a density."""

    name: str
    weight: Literal["count", "duration"]
    pixels: float = 0.0
    """Standard deviation of the Gaussian in pixels of the film; 0: `degrees`."""
    degrees: float = 0.0
    """Standard deviation in degrees of visual angle."""
    mirrored: bool = False
    """Whether what falls beyond the edges of the image is folded back, as scipy's filters do; otherwise it is lost, as
    is what falls beyond the part of the image that was on the screen."""

    def __post_init__(self) -> None:
        if (self.pixels > 0) == (self.degrees > 0) or min(self.pixels, self.degrees) < 0:
            raise SightlineError(
                f"kernel {self.name!r}: pixels={self.pixels}, degrees={self.degrees}; give one of the two, above 0"
            )


KERNELS = {
    "published": Kernel("published", "count", pixels=150.0, mirrored=True),
    "corrected": Kernel("corrected", "duration", degrees=1.0),
}
"""published: as the code of Eye-Gaze-CXR does it (Karargyris et al. 2021, 10.1038/s41597-021-00863-5), every fixation
alike, in whole pixels, smoothed by 150 of them. corrected: by duration, one degree wide, on what was on the screen, as
REFLACX does it (Bigolin Lanfredi et al. 2022, 10.1038/s41597-022-01441-z)."""


def gaze_density(gaze: Gaze, kernel: Kernel, shape: Size) -> Array:
    """Share of the looking that falls on each cell of a grid over the whole image: float64 (h, w), sum 1.

    Exact: every Gaussian is integrated over every cell, so a coarse grid is the sum of the cells of a fine one. Zeros
    where nothing was looked at.

    >>> g = Gaze.from_fixations("a", "b", (100, 80), np.array([[50.0, 40.0]]), np.zeros(1), np.ones(1), 10.0)
    >>> gaze_density(g, KERNELS["corrected"], (5, 4)).round(2).tolist()[2]
    [0.02, 0.33, 0.33, 0.02]
    """
    places = np.floor(gaze.positions) + 0.5 if kernel.mirrored else gaze.positions
    sigma = (
        np.full((len(gaze), 2), kernel.pixels * gaze.scale)
        if kernel.pixels
        else kernel.degrees * gaze.pixels_per_degree
    )
    weight = np.ones(len(gaze)) if kernel.weight == "count" else gaze.duration
    sides = []
    for axis in (0, 1):
        length = float(gaze.size[axis])
        ends = None if kernel.mirrored else (gaze.visible_region[:, axis], gaze.visible_region[:, axis + 2])
        sides.append(_cell_masses(places[:, axis], sigma[:, axis], length, shape[axis], ends))
    total: Array = (sides[0] * weight[:, None]).T @ sides[1]  # (h, K) @ (K, w)
    mass = float(total.sum())
    return total / mass if mass > 0 else np.zeros(shape)


def annotation_from_mentions(gaze: Gaze, finding: str, kernel: Kernel = KERNELS["corrected"]) -> Annotation | None:
    """Where a reader looked while speaking of a finding, on a grid of `grid_shape`; None if nothing was said or
    looked at."""
    values = gaze_density(
        gaze.during_mentions(FINDING_TERMS.get(finding, (finding,))), kernel, grid_shape(gaze.size)
    ).astype(np.float32)
    if not values.any():
        return None
    return Annotation(gaze.radiograph, finding, gaze.reader, "density", gaze.size, values.copy)


def _cell_masses(center: Array, sigma: Array, length: float, cells: int, ends: tuple[Array, Array] | None) -> Array:
    """Mass of normal distributions in each cell of a line: float64 (K, cells).

    ends: beyond these positions (K,) nothing counts; None: what lies beyond 0 and `length` is folded back once.
    """
    edges = np.linspace(0, length, cells + 1)[None]  # (1, cells + 1)
    if ends is not None:
        edges = np.clip(edges, ends[0][:, None], ends[1][:, None])
        centers = [center]
    else:
        centers = [center, -center, 2 * length - center]
    parts = (np.diff(ndtr((edges - c[:, None]) / sigma[:, None]), axis=1) for c in centers)
    return np.asarray(sum(parts))


def grid_shape(size: Size, max_side: int = 256) -> Size:
    """Cells (h, w) of a grid with the shape of an image (H, W) and at most `longest` along its longer side.

    >>> grid_shape((3000, 2500))
    (256, 213)
    """
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
