"""A map placed on its radiograph and counted against an annotation, shared by all scores of one protocol."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sightline.core import Array, Frame, SaliencyMap, map_status
from sightline.imaging.geometry import project_to_image
from sightline.metrics.binarization import fill_contours, mask_from_bin, smoothed_otsu_mask, threshold_bin
from sightline.metrics.histogram import Confusion, JointHistogram, joint_histogram
from sightline.protocol import Protocol


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
            mask = smoothed_otsu_mask(self.values, p.smooth_window, published=p.definitions == "published")
        else:
            mask = mask_from_bin(self.values, self.histogram, self.histogram.otsu_bin())
        return fill_contours(mask) if p.fill_holes else mask

    def _threshold_bin(self, binarizer: str) -> int:
        if self.map.kind == "mask":
            return self.histogram.bin_above(0.5)
        return threshold_bin(self.histogram, binarizer or self.protocol.binarizer_for(self.map.finding))

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
        return self.histogram.confusion(self._threshold_bin(binarizer)) if binarizer else self._protocol_confusion

    @cached_property
    def _protocol_confusion(self) -> Confusion:
        """Counts with the binarizer of the protocol."""
        if self._predicted_mask is None:
            return self.histogram.confusion(self._threshold_bin(""))
        predicted, annotated = int(np.count_nonzero(self._predicted_mask)), self.histogram.positives
        tp = int(np.count_nonzero(self._predicted_mask & self.reference[self.window])) if annotated else 0
        return Confusion(tp, predicted - tp, annotated - tp, self.histogram.negatives - predicted + tp)

    @property
    def predicted_counts(self) -> tuple[int, int]:
        """Predicted pixels: (inside the annotation, all)."""
        c = self.confusion()
        return c.tp, c.tp + c.fp

    @property
    def mask(self) -> Array:
        """Binarized map, bool (H, W); pixels that the model did not see are not predicted."""
        mask = np.zeros(self.reference.shape, bool)
        visible = self._predicted_mask
        if visible is None:
            visible = mask_from_bin(self.values, self.histogram, self._threshold_bin(""))
        mask[self.window] = visible
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
