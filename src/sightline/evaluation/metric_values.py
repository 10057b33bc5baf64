"""Values of metrics for one map on one annotation."""

from __future__ import annotations

from typing import Any

import numpy as np

from sightline.core import SaliencyMap, Source
from sightline.evaluation.chance_levels import chance_score
from sightline.imaging.geometry import project_whole
from sightline.metrics.chance import ChanceLevels
from sightline.metrics.localization import iou
from sightline.metrics.placed_map import PlacedMap
from sightline.metrics.registry import MetricInfo, parse_metric

_MASK_INPUTS = ("confusion", "mask", "histogram", "map")


def is_answerable(info: MetricInfo, m: SaliencyMap) -> bool:
    """Return True if a metric is defined for maps of this kind.

    Parameters
    ----------
    info : MetricInfo
        Metric.
    m : SaliencyMap
        Map, mask or points.

    Returns
    -------
    bool
        False for the extent of points and for the peak of a mask.
    """
    takes = info.takes
    return (m.kind != "points" or takes == "peaks") and (m.kind != "mask" or takes in _MASK_INPUTS)


def is_absent_control(m: SaliencyMap, status: str) -> bool:
    """Return True for a control that could not be computed: it is no comparison, and nothing failed that is studied.

    Parameters
    ----------
    m : SaliencyMap
        Map of any source.
    status : str
        Status of the map against the annotation.

    Returns
    -------
    bool
        False for a control that was computed, even if its map is flat.
    """
    return Source.parse(m.source).kind == "control" and status in ("missing", "refused", "unreadable")


def compute_metric(spec: str, p: PlacedMap, levels: ChanceLevels) -> tuple[float, str]:
    """Compute a metric from the representation of the map that it takes.

    Parameters
    ----------
    spec : str
        Metric, as NAME or NAME@BINARIZER.
    p : PlacedMap
        Map on its image.
    levels : ChanceLevels
        Levels of chance, with an average mask where the metric needs one.

    Returns
    -------
    value : float
        The score; NaN where it is undefined.
    reason : str
        Reason of a NaN, or the area that chance refers to; empty for all other values.
    """
    entry, binarizer = parse_metric(spec)
    info = entry.info
    if info.takes == "grid":
        key = (spec, p.map.values.shape, p.frame)
        if key not in levels.ceilings:
            levels.ceilings[key] = float(entry(p.map.values.shape, p.frame, p.reference))
        ceiling = levels.ceilings[key]
        # A map that overlaps better than the fitted one shows that its grid can.
        return max(ceiling, iou(p.confusion())), info.undefined if np.isnan(ceiling) else ""
    arguments = _prepare_arguments(info, binarizer, p)
    if info.chance:
        arguments = (*arguments, chance_score(info, p, binarizer, levels))
    value = float(entry(*arguments))
    note = levels.area if info.chance == "random" else ""
    return value, info.undefined if np.isnan(value) else note


def takes_magnitudes(info: MetricInfo, p: PlacedMap) -> bool:
    """Return True where published code computes a metric of the magnitudes of a post-hoc map.

    Parameters
    ----------
    info : MetricInfo
        Metric.
    p : PlacedMap
        Map on its image.

    Returns
    -------
    bool
        False for maps of networks themselves, controls and readers, and under corrected definitions.
    """
    return info.published_values == "magnitudes" and p.protocol.definitions == "published" and p.is_post_hoc


def _prepare_arguments(info: MetricInfo, binarizer: str, p: PlacedMap) -> tuple[Any, ...]:
    """Return the representation of a map that a metric takes."""
    takes = info.takes
    if takes == "histogram":
        return (p.magnitude_histogram if takes_magnitudes(info, p) else p.histogram,)
    if takes == "confusion":
        return (p.confusion(binarizer),)
    if takes == "peaks":
        return (p.peaks,)
    if takes == "mask":
        return p.mask, p.reference
    return project_whole(p.map.values, p.frame), p.reference
