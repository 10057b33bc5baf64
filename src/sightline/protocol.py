"""Protocols are data: every choice that changes a number, in one frozen record with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sightline.core import Definition
from sightline.errors import DataError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Protocol:
    """How maps are placed, binarized, scored and averaged. `CONVIRT_TEXT_ENCODER` reproduces the code of
    CheXlocalize, quirks
    included; `CORRECTED` is the default."""

    name: str
    frame: Literal["carried", "stretched"]
    """carried: each map lies where its frame says; stretched: every map is stretched over the whole image."""
    binarizer: str
    """'otsu', 'above:T' (T of the min-max normalized map, strict) or 'top:FRACTION' of the pixels the model saw."""
    fill_holes: bool
    """Redraw Otsu's mask from its contours, which fills holes and drops single pixels (the published pipeline)."""
    ties: Literal["first", "any", "expected"]
    """Of equal maxima: the first in row-major order, any of them, or the share of them that hits."""
    empty_prediction: Literal["lose", "drop"]
    """A map whose mask is empty scores the worst value, or leaves the average."""
    resample: Literal["patient", "image"]
    """What the bootstrap draws."""
    interval: Literal["percentile", "bca", "order-statistics"]
    """percentile: linear, 2.5 and 97.5 %, around the sample mean; bca: with the quantiles corrected for bias and
    acceleration; order-statistics: the sorted replicates 24 and 974
    (counted from 0) of 1000 around the mean of the replicates."""
    point_radius: float = 0.05
    """Radius of the disk that stands for a point mark, in shorter sides of the image."""
    smooth_window: float = 0.0
    """Side of the box filter before Otsu's threshold: a share of the image's height below 1, pixels from 1 on; 0 is
    none. The published form filters a gray picture of the JET-colored map, which turns values around (see
    docs/conventions.md); the corrected one filters the map."""
    definitions: Definition = "corrected"
    """Definitions of everything but the masks: shapes, regressions, decreases, the grid of cutoffs, the smoothing
    filter, and how maps are compared with each other and with gaze. 'published' reproduces those of published code; a
    protocol uses 'corrected' unless it states otherwise."""
    map_thresholds: tuple[tuple[str, float], ...] = ()
    """(finding, T): findings whose masks are cut at T of the min-max normalized map instead of by `binarizer`."""
    probability_cutoffs: tuple[tuple[str, float], ...] = ()
    """(finding, P): below this probability a map counts as an empty prediction where all images are scored; the maps
    themselves and the scores of marked images are not touched."""

    def binarizer_for(self, finding: str) -> str:
        """The binarizer of one finding.

        >>> replace(PUBLISHED, map_thresholds=(("Edema", 0.4),)).binarizer_for("Edema")
        'above:0.4'
        """
        threshold = dict(self.map_thresholds).get(finding)
        return self.binarizer if threshold is None else f"above:{threshold:g}"


CORRECTED = Protocol("corrected", "carried", "otsu", False, "expected", "lose", "patient", "bca")
PUBLISHED = Protocol(
    "published", "stretched", "otsu", True, "first", "drop", "image", "order-statistics", definitions="published"
)
PROTOCOLS = {"published": (PUBLISHED,), "corrected": (CORRECTED,), "both": (PUBLISHED, CORRECTED)}


def get_protocols(name: str) -> tuple[Protocol, ...]:
    """The records behind 'published', 'corrected' or 'both'."""
    if name not in PROTOCOLS:
        raise UnknownNameError(f"no protocol is called {name!r}; allowed: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def adjust_protocols(
    protocols: Sequence[Protocol],
    *,
    binarizer: str = "",
    smooth_window: float = 0.0,
    map_thresholds: Mapping[str, float] | None = None,
    probability_cutoffs: Mapping[str, float] | None = None,
) -> tuple[Protocol, ...]:
    """The protocols with what a user chose instead. Errors: `DataError` for a number out of range."""
    if smooth_window < 0:
        raise DataError(
            f"smooth is {smooth_window}; allowed: 0 (none), a share of the height below 1, or pixels from 1 on"
        )
    given = {**(map_thresholds or {}), **(probability_cutoffs or {})}
    for finding, value in given.items():
        if not 0 <= value < 1:
            raise DataError(f"the threshold of {finding!r} is {value}; allowed: 0 <= T < 1")
    return tuple(
        replace(
            p,
            binarizer=binarizer or p.binarizer,
            smooth_window=smooth_window or p.smooth_window,
            map_thresholds=tuple((map_thresholds or {}).items()),
            probability_cutoffs=tuple((probability_cutoffs or {}).items()),
        )
        for p in protocols
    )
