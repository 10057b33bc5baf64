"""The registry of metrics, and the names by which users select them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sightline.errors import UnknownNameError
from sightline.metrics.binarization import parse_binarizer
from sightline.registry import Entry, Registry


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """Declaration of a metric."""

    title: str
    """Title for axes and column heads."""
    takes: Literal["confusion", "histogram", "peaks", "mask", "map", "grid", "glance"]
    """Argument that the function takes, see `sightline.metrics`."""
    higher_is_better: bool
    """Whether a higher score is a better one."""
    range: tuple[float, float]
    """(lowest, highest) score. A map that failed gets the worse of the two; against gaze it gets the score of a flat
    map."""
    source: str
    """Definition: DOI or arXiv identifier."""
    chance: Literal["", "random", "average-mask"] = ""
    """Level of chance that the function takes as its second argument, see `sightline.metrics.chance`; '' for none."""
    is_score: bool = True
    """Whether it judges the map. False for a level beside which scores are read: it ranks no source, and has no value
    where a map failed."""
    undefined: str = ""
    """Reason of a NaN, as a clause."""
    published_values: Literal["", "magnitudes"] = ""
    """Values of a post-hoc map that published code computes the metric of, if not the values themselves. magnitudes:
    see `PlacedMap.magnitude_histogram`; for metrics of a histogram."""

    @property
    def worst_value(self) -> float:
        """Score of a map that failed."""
        return self.range[0] if self.higher_is_better else self.range[1]


WHILE_MENTIONED = "spoken"


METRIC_ALIASES = {"mass": "relevance-mass", "rank": "relevance-rank", "hit": "pointing-game"}
"""Short names that a user may give -> the name that tables and reports use."""

metrics: Registry[MetricInfo] = Registry("metric", MetricInfo)


def resolve_metric_aliases(specs: Sequence[str]) -> tuple[str, ...]:
    """Replace every short name by the name of the metric, once each, in the order given.

    Parameters
    ----------
    specs : sequence of str
        Names of metrics, or short names of `METRIC_ALIASES`.

    Returns
    -------
    tuple of str
        Names of metrics, each once.

    Examples
    --------
    >>> resolve_metric_aliases(["iou", "hit", "pointing-game"])
    ('iou', 'pointing-game')
    """
    return tuple(dict.fromkeys(METRIC_ALIASES.get(spec, spec) for spec in specs))


def parse_metric(spec: str) -> tuple[Entry[MetricInfo], str]:
    """Look up a metric by 'NAME' or 'NAME@BINARIZER'.

    Parameters
    ----------
    spec : str
        Name, with a binarizer of its own where the metric takes a mask; 'NAME@spoken' of a metric of gaze takes only
        the gaze while the finding was mentioned.

    Returns
    -------
    entry : Entry
        The metric.
    binarizer : str
        Text after '@'; '' stands for the binarizer of the protocol.

    Raises
    ------
    UnknownNameError
        If there is no such metric, or if it takes no binarizer.

    Examples
    --------
    >>> entry, binarizer = parse_metric("iou@above:0.4")
    >>> entry.name, binarizer
    ('iou', 'above:0.4')
    """
    name, at, binarizer = spec.partition("@")
    entry = metrics[METRIC_ALIASES.get(name, name)]
    if entry.info.takes == "glance" and binarizer in ("", WHILE_MENTIONED):
        return entry, binarizer
    if at and (entry.info.takes != "confusion" or not binarizer):
        raise UnknownNameError(
            f"{spec!r}: a binarizer after '@' is for metrics of a mask "
            f"({', '.join(e.name for e in metrics.values() if e.info.takes == 'confusion')})"
        )
    return entry, binarizer


def require_annotation_metric(spec: str) -> None:
    """Check that a metric compares maps with annotations.

    Parameters
    ----------
    spec : str
        'NAME' or 'NAME@BINARIZER'.

    Raises
    ------
    UnknownNameError
        If the name is unknown, names a metric of gaze, or has no valid binarizer after '@'.
    """
    entry, binarizer = parse_metric(spec)
    if binarizer and entry.info.takes != "glance":
        parse_binarizer(binarizer)
    if entry.info.takes == "glance":
        raise UnknownNameError(f"{spec!r} compares maps with gaze, not with annotations; use it in `sightline gaze`")
