"""Levels of chance of a data set: the body and the average mask of other patients, for each annotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightline.core import Array, Dataset, Frame, Radiograph
from sightline.errors import DataError
from sightline.imaging.geometry import project_to_image
from sightline.imaging.masks import rasterize_annotation
from sightline.maps.references import ControlMaps
from sightline.metrics.chance import AverageMask, ChanceLevels, sampling_step
from sightline.metrics.histogram import joint_histogram
from sightline.metrics.localization import find_peaks
from sightline.metrics.placed_map import PlacedMap
from sightline.metrics.registry import MetricInfo, parse_metric

BODY_REGIONS = ("Body", "Thorax", "Chest")
"""Anatomical regions that stand for the body, the first of them that a data set has."""


@dataclass(frozen=True)
class ChanceMaps:
    """Levels of chance for the annotations of the reference reader of a data set."""

    data: Dataset
    """Data set."""
    controls: ControlMaps
    """Controls of the data set, which give the average mask."""

    @classmethod
    def from_dataset(cls, data: Dataset, metrics: Sequence[str]) -> ChanceMaps | None:
        """Prepare the levels of chance that some metrics need.

        Parameters
        ----------
        data : Dataset
            Data set.
        metrics : sequence of str
            Names of metrics.

        Returns
        -------
        ChanceMaps or None
            The levels; None if no metric is corrected for chance.
        """
        is_needed = any(parse_metric(name)[0].info.chance for name in metrics)
        return cls(data, ControlMaps(data, ("average-mask",))) if is_needed else None

    def levels(self, radiograph: Radiograph, finding: str, reference: Array) -> ChanceLevels:
        """Return the levels of chance for one annotation.

        Parameters
        ----------
        radiograph : Radiograph
            Radiograph.
        finding : str
            Finding.
        reference : (H, W) bool
            Annotation of the finding.

        Returns
        -------
        ChanceLevels
            Levels; the average mask is computed when it is first needed.
        """
        body = self._read_body(radiograph.id, reference.shape)
        return ChanceLevels(reference, body, lambda: self._average_mask(radiograph.id, finding, reference))

    def _read_body(self, radiograph: str, shape: tuple[int, ...]) -> Array | None:
        """Return the mask of the body; None where it is not annotated or cannot be read."""
        for name in [name for name in BODY_REGIONS if name in self.data.regions]:
            annotation = self.data.annotation(radiograph, name, self.data.reference_reader)
            try:
                body = None if annotation is None else rasterize_annotation(annotation)
            except DataError:
                continue
            if body is not None and body.shape == shape and body.any():
                return body
        return None

    def _average_mask(self, radiograph: str, finding: str, reference: Array) -> AverageMask | None:
        mean, others = self.controls.average_mask(radiograph, finding)
        if not others or not mean.max() > mean.min():
            return None
        values, window = project_to_image(mean, Frame.whole((reference.shape[0], reference.shape[1])))
        peaks = find_peaks(values, reference, "expected")
        return AverageMask(joint_histogram(values, reference, window), peaks.n_inside / peaks.n_peaks)


def chance_score(info: MetricInfo, p: PlacedMap, binarizer: str, levels: ChanceLevels) -> float:
    """Compute the score that chance would reach in place of a map.

    Parameters
    ----------
    info : MetricInfo
        Metric that is corrected for chance.
    p : PlacedMap
        Map on its image.
    binarizer : str
        Binarizer of the mask; '' stands for that of the protocol.
    levels : ChanceLevels
        Levels of chance, with an average mask where the metric needs one.

    Returns
    -------
    float
        Expected IoU or hit, in [0, 1].
    """
    prior = levels.prior if info.chance == "average-mask" else None
    if info.takes == "peaks":
        return levels.random_hit if prior is None else prior.hit
    c = p.confusion(binarizer)
    if prior is not None:
        return prior.iou_at(c.tp + c.fp)
    return levels.random_iou(_sample_mask(p, binarizer, levels.window), c) if c.tp + c.fp else 0.0


def _sample_mask(p: PlacedMap, binarizer: str, window: tuple[slice, slice]) -> Array:
    """Return the mask within a window of the image, at every k-th row and column."""
    sampled_at, covered, part = [], [], []
    for box, visible in zip(window, p.window, strict=True):
        step = sampling_step(box.stop - box.start)
        sampled = np.arange(box.start + step // 2, box.stop, step)
        inside = np.flatnonzero((sampled >= visible.start) & (sampled < visible.stop))
        first = int(sampled[inside[0]]) - visible.start if inside.size else 0
        sampled_at.append(sampled)
        covered.append(slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0))
        part.append(slice(first, first + step * max(inside.size - 1, 0) + 1, step) if inside.size else slice(0, 0))
    mask = np.zeros((sampled_at[0].size, sampled_at[1].size), bool)
    mask[covered[0], covered[1]] = p.visible_mask(binarizer, (part[0], part[1]))
    return mask
