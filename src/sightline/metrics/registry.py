"""The table of metrics, and how a metric is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sightline.errors import UnknownNameError
from sightline.metrics.binarization import parse_binarizer
from sightline.registry import Entry, Registry


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What is known of a metric."""

    title: str
    """For axes and table heads."""
    takes: Literal["confusion", "histogram", "peaks", "mask", "map", "glance"]
    higher_is_better: bool
    range: tuple[float, float]
    """Inclusive. Its worse end is the score of a map that failed; of a `glance`, that of a map of one value is."""
    source: str
    """Where it is defined: DOI or arXiv id."""

    @property
    def worst_value(self) -> float:
        return self.range[0] if self.higher_is_better else self.range[1]


WHILE_MENTIONED = "spoken"


metrics: Registry[MetricInfo] = Registry("metric", MetricInfo)


def parse_metric(spec: str) -> tuple[Entry[MetricInfo], str]:
    """The metric that 'NAME' or 'NAME@BINARIZER' names, and its own binarizer ('' for the protocol's).

    Of a `glance`, 'NAME@spoken' is the same for the looking while the finding was spoken of.

    >>> entry, binarizer = parse_metric("iou@above:0.4")
    >>> entry.name, binarizer
    ('iou', 'above:0.4')
    """
    name, at, binarizer = spec.partition("@")
    entry = metrics[name]
    if entry.info.takes == "glance" and binarizer in ("", WHILE_MENTIONED):
        return entry, binarizer
    if at and (entry.info.takes != "confusion" or not binarizer):
        raise UnknownNameError(
            f"{spec!r}: a binarizer after '@' is for metrics of a mask "
            f"({', '.join(e.name for e in metrics.values() if e.info.takes == 'confusion')})"
        )
    return entry, binarizer


def require_annotation_metric(spec: str) -> None:
    """Errors: `UnknownNameError` for what is no metric of a map against a mark, or has no binarizer after its '@'."""
    entry, binarizer = parse_metric(spec)
    if binarizer and entry.info.takes != "glance":
        parse_binarizer(binarizer)
    if entry.info.takes == "glance":
        raise UnknownNameError(f"{spec!r} compares maps with gaze, not with marks; `sightline gaze` does that")
