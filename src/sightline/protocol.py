"""Protocols: every choice that changes a number, in one frozen record with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sightline.core import Definition
from sightline.errors import DataError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Protocol:
    """Choices by which maps are placed, binarized, scored and averaged.

    `PUBLISHED` reproduces the code of CheXlocalize with its quirks (Saporta et al. 2022, 10.1038/s42256-022-00536-x);
    `CORRECTED` is the default.
    """

    name: str
    """Name in tables and reports."""
    frame: Literal["carried", "stretched"]
    """carried: each map lies where its frame says; stretched: every map is stretched over the whole image."""
    binarizer: str
    """Rule that turns maps into masks: 'otsu', 'above:T' (more than T of the min-max normalized map) or
    'top:FRACTION' of
    the pixels that the model saw."""
    fill_holes: bool
    """Redraw Otsu's mask from its contours, which fills holes and drops single pixels (the published pipeline)."""
    ties: Literal["first", "any", "expected"]
    """Rule for equal maxima of a map: the first in row-major order, any of them, or the share of them that hits."""
    empty_prediction: Literal["lose", "drop"]
    """Treatment of a map whose mask is empty: it gets the worst score, or leaves the average."""
    resample: Literal["patient", "image"]
    """Unit that the bootstrap draws."""
    interval: Literal["jackknife", "percentile", "order-statistics"]
    """jackknife: Student's t with the standard error from leaving out one unit at a time (see docs/statistics.md);
    percentile: linear, 2.5 and 97.5 %, around the sample mean; order-statistics: the sorted replicates 24 and 974
    (counted from 0) of 1000, around their mean."""
    reader_points: Literal["any", "expected"] = "expected"
    """Rule for several points of a reader for one finding: a hit if any of them lies inside, or the share of them that
    does. The share is what one of the points, drawn at random, hits on average; random points do not gain by their
    number, so that the level of chance is that of a map, which has one peak."""
    point_radius: float = 0.05
    """Radius of the disk that stands for an annotated point, in shorter sides of the image."""
    smooth_window: float = 0.0
    """Side of the box filter before Otsu's threshold: a share of the image's height below 1, pixels from 1 on; 0 is
    none. The published form filters a gray picture of the JET-colored map, which reverses part of the
    values (see docs/conventions.md); the corrected one filters the map."""
    definitions: Definition = "corrected"
    """Definitions of everything but the masks: shapes, regressions, decreases, the grid of cutoffs, the smoothing
    filter, and how maps are compared with each other and with gaze. 'published' reproduces those of published code; a
    protocol uses 'corrected' unless it states otherwise."""
    signed_maps: Literal["positive", "whole-range"] = "positive"
    """Values of a map below and above 0 that thresholds act on. positive: those above 0, which are evidence for the
    finding, so that a map without any predicts nothing; whole-range: all from the lowest to the highest, so that the
    strongest evidence against the finding is the zero of the scale (published)."""
    map_thresholds: tuple[tuple[str, float], ...] = ()
    """(finding, T): findings whose masks are cut at T of the min-max normalized map instead of by `binarizer`."""
    probability_cutoffs: tuple[tuple[str, float], ...] = ()
    """(finding, P): below this probability a map counts as an empty prediction where all images are scored; the maps
    themselves and the scores of marked images are not touched."""

    def binarizer_for(self, finding: str) -> str:
        """Return the binarizer of one finding.

        Parameters
        ----------
        finding : str
            Canonical name.

        Returns
        -------
        str
            The protocol's own binarizer, or 'above:T' where the finding has a threshold T of its own.

        Examples
        --------
        >>> replace(PUBLISHED, map_thresholds=(("Edema", 0.4),)).binarizer_for("Edema")
        'above:0.4'
        """
        threshold = dict(self.map_thresholds).get(finding)
        return self.binarizer if threshold is None else f"above:{threshold:g}"


CORRECTED = Protocol("corrected", "carried", "otsu", False, "expected", "lose", "patient", "jackknife")
PUBLISHED = Protocol(
    "published",
    "stretched",
    "otsu",
    True,
    "first",
    "drop",
    "image",
    "order-statistics",
    reader_points="any",
    definitions="published",
    signed_maps="whole-range",
)
PROTOCOLS = {"published": (PUBLISHED,), "corrected": (CORRECTED,), "both": (PUBLISHED, CORRECTED)}


ProtocolChoice = Literal["published", "corrected", "both"]
"""Names that `get_protocols` takes."""


ProtocolNames = str | Protocol | Sequence[str | Protocol]
"""One or several protocols, each by its name or as a record; 'both' stands for the two built in."""


def get_protocols(protocols: ProtocolNames) -> tuple[Protocol, ...]:
    """Return the records of protocols that are given by name or as records.

    Parameters
    ----------
    protocols : str, Protocol, or a sequence of them
        'published', 'corrected', 'both', or records of your own.

    Returns
    -------
    tuple of Protocol
        The records in the same order, each once.

    Raises
    ------
    UnknownNameError
        If no protocol has the name.
    DataError
        If there is none, or if two different records have the same name.

    Examples
    --------
    >>> [protocol.name for protocol in get_protocols("both")]
    ['published', 'corrected']
    >>> get_protocols(["corrected", PUBLISHED]) == (CORRECTED, PUBLISHED)
    True
    """
    records: dict[str, Protocol] = {}
    for given in [protocols] if isinstance(protocols, str | Protocol) else protocols:
        if isinstance(given, str) and given not in PROTOCOLS:
            names = ", ".join(PROTOCOLS)
            raise UnknownNameError(f"no protocol is called {given!r}; allowed: {names}, or a record of your own")
        for record in PROTOCOLS[given] if isinstance(given, str) else (given,):
            if records.setdefault(record.name, record) != record:
                raise DataError(f"two different protocols are called {record.name!r}; give each its own name")
    if not records:
        raise DataError(f"no protocol is named; allowed: {', '.join(PROTOCOLS)}, or a record of your own")
    return tuple(records.values())


def adjust_protocols(
    protocols: Sequence[Protocol],
    *,
    binarizer: str = "",
    smooth_window: float = 0.0,
    map_thresholds: Mapping[str, float] | None = None,
    probability_cutoffs: Mapping[str, float] | None = None,
) -> tuple[Protocol, ...]:
    """Replace choices of protocols by those of a user.

    Parameters
    ----------
    protocols : sequence of Protocol
        Protocols to adjust.
    binarizer : str
        Binarizer of all findings; '' keeps the protocol's own.
    smooth_window : float
        Side of the box filter, see `Protocol.smooth_window`; 0 keeps the protocol's own.
    map_thresholds : mapping of str to float, optional
        Finding -> threshold in [0, 1).
    probability_cutoffs : mapping of str to float, optional
        Finding -> cutoff in [0, 1).

    Returns
    -------
    tuple of Protocol
        Adjusted protocols, in the same order.

    Raises
    ------
    DataError
        If a number is out of its range.
    """
    if smooth_window < 0:
        raise DataError(
            f"smooth_window is {smooth_window}; allowed: 0 (none), a share of the height below 1, or pixels from 1 on"
        )
    for finding, value in (*(map_thresholds or {}).items(), *(probability_cutoffs or {}).items()):
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
