"""Metrics: pure functions of one map against one mark, one file per question.

A metric declares what it takes, and `sightline.evaluation.scoring` prepares that once for all metrics of a map:

- `confusion`: `Confusion` counts of the binarized map; - `histogram`: the `JointHistogram`; - `peaks`: `Peaks`;
- `mask`: (predicted, true) bool (H, W); - `map`: (values float32 (H, W), true bool (H, W));
- `glance`: a `GazePair` of the map beside where a reader looked, which `sightline.evaluation.gaze_agreement` prepares.
"""

from __future__ import annotations

from sightline.metrics.registry import MetricInfo, metrics, parse_metric, require_annotation_metric

__all__ = ["MetricInfo", "metrics", "parse_metric", "require_annotation_metric"]


from sightline.metrics import boxes as _boxes  # noqa: F401  (registers on import)
from sightline.metrics import gaze as _gaze  # noqa: F401
from sightline.metrics import localization as _localization  # noqa: F401
