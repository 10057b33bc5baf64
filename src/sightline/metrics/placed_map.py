"""A map placed on its radiograph and counted against an annotation, shared by all scores of one protocol."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sightline.core import Array, Frame, SaliencyMap, Source, map_status
from sightline.imaging.geometry import project_to_image
from sightline.metrics.binarization import fill_contours, mask_from_bin, smoothed_otsu_mask, threshold_bin
from sightline.metrics.histogram import Confusion, JointHistogram, joint_histogram
from sightline.metrics.localization import Peaks, count_points, find_peaks
from sightline.protocol import Protocol

_EVERYTHING = (slice(None), slice(None))


@dataclass(frozen=True)
class PlacedMap:
    """One map on one image under one protocol."""

    map: SaliencyMap
    """Map as its source gives it."""
    frame: Frame
    """Frame by which it was placed."""
    values: Array
    """float32 (H', W'): the part of the image that the model saw."""
    window: tuple[slice, slice]
    """Rows and columns of the image where `values` lie."""
    reference: Array
    """bool (H, W): the annotation, empty where there is none."""
    histogram: JointHistogram
    """Counts of `values` inside and outside the annotation."""
    protocol: Protocol
    """Protocol of scoring."""

    @cached_property
    def _predicted_mask(self) -> Array | None:
        """Bool (H', W'): a mask that no threshold of the map gives, or None where a threshold does."""
        p = self.protocol
        is_processed = p.fill_holes or p.smooth_window
        if self.map.kind != "map" or p.binarizer_for(self.map.finding) != "otsu" or not is_processed:
            return None
        if p.smooth_window:
            is_positive = p.signed_maps == "positive" and self.histogram.low < 0
            is_published = p.definitions == "published"
            mask = smoothed_otsu_mask(self.values, p.smooth_window, published=is_published, only_positive=is_positive)
        else:
            mask = self._mask_by_threshold("")
        return fill_contours(mask) if p.fill_holes else mask

    @cached_property
    def _evidence(self) -> JointHistogram | None:
        """Counts that thresholds are read off: of a signed map those of its positive part, None if it has none."""
        if self.protocol.signed_maps == "whole-range" or self.map.kind != "map" or self.histogram.low >= 0:
            return self.histogram
        if self.histogram.high <= 0:
            return None
        return joint_histogram(np.maximum(self.values, 0), self.reference, self.window)

    def _threshold_bin(self, binarizer: str, evidence: JointHistogram) -> int:
        """Return the first bin of the mask; of a signed map at least the first above 0."""
        if self.map.kind == "mask":
            return evidence.bin_above(0.5)
        bin_ = threshold_bin(evidence, binarizer or self.protocol.binarizer_for(self.map.finding))
        return bin_ if evidence is self.histogram else max(bin_, 1)

    def _count_by_threshold(self, binarizer: str) -> Confusion:
        if self._evidence is None:
            return Confusion(0, 0, self.histogram.positives, self.histogram.negatives)
        return self._evidence.confusion(self._threshold_bin(binarizer, self._evidence))

    def visible_mask(self, binarizer: str = "", part: tuple[slice, slice] = _EVERYTHING) -> Array:
        """Return the binarized map on the pixels that the model saw, or on some of them.

        Parameters
        ----------
        binarizer : str
            Binarizer; '' stands for that of the protocol.
        part : tuple of slice
            Rows and columns of the visible pixels; all by default.

        Returns
        -------
        bool array
            Mask of the chosen pixels.
        """
        if not binarizer and self._predicted_mask is not None:
            return self._predicted_mask[part]
        return self._mask_by_threshold(binarizer, part)

    def _mask_by_threshold(self, binarizer: str, part: tuple[slice, slice] = _EVERYTHING) -> Array:
        """Return the mask that a threshold gives, of some of the visible pixels."""
        values = self.values[part]
        if self._evidence is None:
            return np.zeros(values.shape, bool)
        return mask_from_bin(values, self._evidence, self._threshold_bin(binarizer, self._evidence))

    def confusion(self, binarizer: str = "") -> Confusion:
        """Count the pixels of the binarized map, without another pass over its pixels.

        Parameters
        ----------
        binarizer : str
            Binarizer; '' stands for that of the protocol.

        Returns
        -------
        Confusion
            Counts over the whole radiograph.
        """
        return self._count_by_threshold(binarizer) if binarizer else self._protocol_confusion

    @cached_property
    def _protocol_confusion(self) -> Confusion:
        """Counts with the binarizer of the protocol."""
        if self._predicted_mask is None:
            return self._count_by_threshold("")
        predicted, annotated = int(np.count_nonzero(self._predicted_mask)), self.histogram.positives
        tp = int(np.count_nonzero(self._predicted_mask & self.reference[self.window])) if annotated else 0
        return Confusion(tp, predicted - tp, annotated - tp, self.histogram.negatives - predicted + tp)

    @property
    def is_post_hoc(self) -> bool:
        """True for the map of a method that was applied to a network, in contrast to a map of the network itself."""
        source = Source.parse(self.map.source)
        has_network = source.kind == "model" or (source.kind == "control" and bool(source.model))
        return self.map.kind == "map" and has_network and source.method.partition("?")[0] != "intrinsic"

    @cached_property
    def magnitude_histogram(self) -> JointHistogram | None:
        """Counts of the magnitudes of the map, cut at their 99th percentile; None if they are flat once they are cut.

        These are the maps that Arun et al. 2021 score, 10.1148/ryai.2021200267.
        """
        values = self.values
        if self.histogram.low < 0:
            values = project_to_image(np.abs(self.map.values), self.frame)[0]
        top = np.float32(np.percentile(values, 99))
        if not top > values.min():
            return None
        return joint_histogram(np.minimum(values, top), self.reference, self.window)

    @property
    def peaks(self) -> Peaks:
        """Highest pixels of the map, or the points of a reader, inside and outside the annotation."""
        reference = self.reference[self.window]
        if self.map.kind == "points":
            return count_points(self.values, reference, self.protocol.reader_points)
        return find_peaks(self.values, reference, self.protocol.ties)

    @property
    def predicted_counts(self) -> tuple[int, int]:
        """Predicted pixels: (inside the annotation, all)."""
        c = self.confusion()
        return c.tp, c.tp + c.fp

    @property
    def mask(self) -> Array:
        """Binarized map, bool (H, W); pixels that the model did not see are not predicted."""
        mask = np.zeros(self.reference.shape, bool)
        mask[self.window] = self.visible_mask()
        return mask


def place_map(m: SaliencyMap, reference: Array, protocol: Protocol) -> PlacedMap:
    """Place a map on its image and count it against an annotation.

    Parameters
    ----------
    m : SaliencyMap
        Map with the status 'ok'.
    reference : (H, W) bool
        Annotation, empty where there is none.
    protocol : Protocol
        Protocol of scoring.

    Returns
    -------
    PlacedMap
        Placed map with its joint histogram.

    Raises
    ------
    DataError
        If the map is flat once it is placed (a map finer than its image can lose its only peak).
    """
    frame = m.frame if protocol.frame == "carried" else Frame.whole(m.frame.size)
    pixels, window = project_to_image(m.values, frame)
    return PlacedMap(m, frame, pixels, window, reference, joint_histogram(pixels, reference, window), protocol)


def binarize_map(m: SaliencyMap, protocol: Protocol) -> Array:
    """Return the mask of a map on the original image.

    Parameters
    ----------
    m : SaliencyMap
        Map of any status.
    protocol : Protocol
        Protocol of scoring.

    Returns
    -------
    (H, W) bool
        Mask; empty for a map that failed.
    """
    empty = np.zeros(m.frame.size, bool)
    return place_map(m, empty, protocol).mask if m.status == "ok" and map_status(m.values) == "ok" else empty
