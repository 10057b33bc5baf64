"""A map laid on its radiograph, counted against a mark and cut: what every score of one protocol shares."""

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
    frame: Frame
    values: Array
    """float32 (H', W'): the seen part."""
    window: tuple[slice, slice]
    reference: Array
    """bool (H, W): the mark, empty where there is none."""
    histogram: JointHistogram
    protocol: Protocol

    @cached_property
    def _predicted_mask(self) -> Array | None:
        """bool (H', W'): a mask that no single threshold of the map gives, or None where one does."""
        p = self.protocol
        if (
            self.map.kind != "map"
            or p.binarizer_for(self.map.finding) != "otsu"
            or not (p.fill_holes or p.smooth_window)
        ):
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
        """Pixel counts of the binarized map, by the protocol's binarizer or another: never another pass over pixels."""
        return self.histogram.confusion(self._threshold_bin(binarizer)) if binarizer else self._protocol_confusion

    @cached_property
    def _protocol_confusion(self) -> Confusion:
        """By the protocol's binarizer."""
        if self._predicted_mask is None:
            return self.histogram.confusion(self._threshold_bin(""))
        claimed, marked = int(np.count_nonzero(self._predicted_mask)), self.histogram.positives
        tp = int(np.count_nonzero(self._predicted_mask & self.reference[self.window])) if marked else 0
        return Confusion(tp, claimed - tp, marked - tp, self.histogram.negatives - claimed + tp)

    @property
    def predicted_counts(self) -> tuple[int, int]:
        """Pixels of the mask: (inside the mark, all)."""
        c = self.confusion()
        return c.tp, c.tp + c.fp

    @property
    def mask(self) -> Array:
        """bool (H, W); unseen pixels are not predicted."""
        full = np.zeros(self.reference.shape, bool)
        drawn = self._predicted_mask
        full[self.window] = (
            mask_from_bin(self.values, self.histogram, self._threshold_bin("")) if drawn is None else drawn
        )
        return full


def place_map(m: SaliencyMap, reference: Array, protocol: Protocol) -> PlacedMap:
    """Lay a map on its image and count it against a mark, bool (H, W).

    Errors: `DataError` for a map that is flat once it is laid (one finer than its image can lose its only peak).
    """
    frame = m.frame if protocol.frame == "carried" else Frame.whole(m.frame.size)
    pixels, window = project_to_image(m.values, frame)
    return PlacedMap(m, frame, pixels, window, reference, joint_histogram(pixels, reference, window), protocol)


def binarize_map(m: SaliencyMap, protocol: Protocol) -> Array:
    """The binarized map as a bool (H, W) mask on the original; all False for a map that failed."""
    nothing = np.zeros(m.frame.size, bool)
    return place_map(m, nothing, protocol).mask if m.status == "ok" and map_status(m.values) == "ok" else nothing
