"""Metrics: pure functions of one map and one reference, grouped by question.

A metric declares the argument that it takes, which is prepared once for all metrics of a map:

- `confusion`: `Confusion` counts of the binarized map;
- `histogram`: the `JointHistogram` of map and annotation;
- `peaks`: the `Peaks` of the map;
- `mask`: (predicted, reference), bool (H, W) each;
- `map`: (values float32 (H, W), reference bool (H, W));
- `glance`: a `GazePair` of the map and the gaze of a reader, prepared by `sightline.evaluation.gaze_agreement`.
"""

from __future__ import annotations

from sightline.metrics.registry import (
    MetricInfo,
    metrics,
    parse_metric,
    require_annotation_metric,
    resolve_metric_aliases,
)

__all__ = ["MetricInfo", "metrics", "parse_metric", "require_annotation_metric", "resolve_metric_aliases"]


from sightline.metrics import boxes as _boxes  # noqa: F401  (registers on import)
from sightline.metrics import gaze as _gaze  # noqa: F401
from sightline.metrics import localization as _localization  # noqa: F401
