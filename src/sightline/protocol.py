"""Protocols are data: every choice that changes a number, in one frozen record with a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sightline.core import UnknownNameError


@dataclass(frozen=True, slots=True)
class Protocol:
    """How maps are placed, binarized, scored and averaged. `PUBLISHED` reproduces the code of CheXlocalize, quirks
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
    interval: Literal["percentile", "order-statistics"]
    """percentile: linear, 2.5 and 97.5 %, around the sample mean; order-statistics: the sorted replicates 24 and 974
    (counted from 0) of 1000 around the mean of the replicates."""
    point_radius: float = 0.05
    """Radius of the disk that stands for a point mark, in shorter sides of the image."""


CORRECTED = Protocol("corrected", "carried", "otsu", False, "expected", "lose", "patient", "percentile")
PUBLISHED = Protocol("published", "stretched", "otsu", True, "first", "drop", "image", "order-statistics")
PROTOCOLS = {"published": (PUBLISHED,), "corrected": (CORRECTED,), "both": (PUBLISHED, CORRECTED)}


def protocols(name: str) -> tuple[Protocol, ...]:
    """The records behind 'published', 'corrected' or 'both'."""
    if name not in PROTOCOLS:
        raise UnknownNameError(f"no protocol is called {name!r}; allowed: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
