"""Metrics: pure functions of one map against one mark, one file per question.

A metric declares what it takes, and `sightline.scoring` prepares that once for all metrics of a map:

- `confusion`: `Confusion` counts of the binarized map; - `histogram`: the `JointHistogram`; - `peaks`: `Peaks`;
- `mask`: (predicted, true) bool (H, W); - `map`: (values float32 (H, W), true bool (H, W));
- `glance`: a `Glance` of the map beside where a reader looked, which `sightline.agreement` prepares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sightline.binarize import parsed
from sightline.core import UnknownNameError
from sightline.registry import Entry, Registry

__all__ = ["MetricFacts", "marks_metric", "metric_of", "metrics"]


@dataclass(frozen=True, slots=True)
class MetricFacts:
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
    def worst(self) -> float:
        return self.range[0] if self.higher_is_better else self.range[1]


SPOKEN = "spoken"
metrics: Registry[MetricFacts] = Registry("metric", MetricFacts)


def metric_of(spec: str) -> tuple[Entry[MetricFacts], str]:
    """The metric that 'NAME' or 'NAME@BINARIZER' names, and its own binarizer ('' for the protocol's).

    Of a `glance`, 'NAME@spoken' is the same for the looking while the finding was spoken of.

    >>> entry, binarizer = metric_of("iou@above:0.4")
    >>> entry.name, binarizer
    ('iou', 'above:0.4')
    """
    name, at, binarizer = spec.partition("@")
    entry = metrics[name]
    if entry.facts.takes == "glance" and binarizer in ("", SPOKEN):
        return entry, binarizer
    if at and (entry.facts.takes != "confusion" or not binarizer):
        raise UnknownNameError(
            f"{spec!r}: a binarizer after '@' is for metrics of a mask "
            f"({', '.join(e.name for e in metrics.values() if e.facts.takes == 'confusion')})"
        )
    return entry, binarizer


def marks_metric(spec: str) -> None:
    """Errors: `UnknownNameError` for what is no metric of a map against a mark, or has no binarizer after its '@'."""
    entry, binarizer = metric_of(spec)
    if binarizer and entry.facts.takes != "glance":
        parsed(binarizer)
    if entry.facts.takes == "glance":
        raise UnknownNameError(f"{spec!r} compares maps with gaze, not with marks; `sightline gaze` does that")


from sightline.metrics import boxes as _boxes  # noqa: E402, F401  (registers on import)
from sightline.metrics import gaze as _gaze  # noqa: E402, F401
from sightline.metrics import localization as _localization  # noqa: E402, F401
