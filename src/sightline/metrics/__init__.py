"""Metrics: pure functions of one map and one reference, grouped by question.

A metric declares the argument that it takes, which is prepared once for all metrics of a map:

- `confusion`: `Confusion` counts of the binarized map;
- `histogram`: the `JointHistogram` of map and annotation;
- `peaks`: the `Peaks` of the map;
- `mask`: (predicted, reference), bool (H, W) each;
- `map`: (values float32 (H, W), reference bool (H, W));
- `grid`: (shape of the map (h, w), its `Frame`, reference bool (H, W)), for levels that depend on the resolution;
- `glance`: a `GazePair` of the map and the gaze of a reader, prepared by `sightline.evaluation.gaze_agreement`.

A metric that is corrected for chance takes the level of chance as a second argument, see `MetricInfo.chance`.
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
from sightline.metrics import chance as _chance  # noqa: F401
from sightline.metrics import gaze as _gaze  # noqa: F401
from sightline.metrics import localization as _localization  # noqa: F401
from sightline.metrics import resolution as _resolution  # noqa: F401
