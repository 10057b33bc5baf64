"""A map laid on its radiograph, counted against a mark and cut: what every score of one protocol shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sightline.core import Array, Frame, SaliencyMap, status_of
from sightline.imaging.geometry import place
from sightline.metrics.binarization import cut_at, mask_at, refilled, smoothed_otsu
from sightline.metrics.histogram import Confusion, JointHistogram, joint_histogram
from sightline.protocol import Protocol


@dataclass(frozen=True)
class Placed:
    """One map on one image under one protocol."""

    map: SaliencyMap
    frame: Frame
    pixels: Array
    """float32 (H', W'): the seen part."""
    window: tuple[slice, slice]
    truth: Array
    """bool (H, W): the mark, empty where there is none."""
    histogram: JointHistogram
    protocol: Protocol

    @cached_property
    def _drawn(self) -> Array | None:
        """bool (H', W'): a mask that no single threshold of the map gives, or None where one does."""
        p = self.protocol
        if self.map.kind != "map" or p.binarizer_of(self.map.finding) != "otsu" or not (p.fill_holes or p.smooth):
            return None
        if p.smooth:
            mask = smoothed_otsu(self.pixels, p.smooth, published=p.definitions == "published")
        else:
            mask = mask_at(self.pixels, self.histogram, self.histogram.otsu())
        return refilled(mask) if p.fill_holes else mask

    def _bin(self, binarizer: str) -> int:
        if self.map.kind == "mask":
            return self.histogram.above(0.5)
        return cut_at(self.histogram, binarizer or self.protocol.binarizer_of(self.map.finding))

    def confusion(self, binarizer: str = "") -> Confusion:
        """Pixel counts of the binarized map, by the protocol's binarizer or another: never another pass over pixels."""
        return self.histogram.confusion(self._bin(binarizer)) if binarizer else self._own

    @cached_property
    def _own(self) -> Confusion:
        """By the protocol's binarizer."""
        if self._drawn is None:
            return self.histogram.confusion(self._bin(""))
        claimed, marked = int(np.count_nonzero(self._drawn)), self.histogram.positives
        tp = int(np.count_nonzero(self._drawn & self.truth[self.window])) if marked else 0
        return Confusion(tp, claimed - tp, marked - tp, self.histogram.negatives - claimed + tp)

    @property
    def claim(self) -> tuple[int, int]:
        """Pixels of the mask: (inside the mark, all)."""
        c = self.confusion()
        return c.tp, c.tp + c.fp

    @property
    def mask(self) -> Array:
        """bool (H, W); unseen pixels are not predicted."""
        full = np.zeros(self.truth.shape, bool)
        drawn = self._drawn
        full[self.window] = mask_at(self.pixels, self.histogram, self._bin("")) if drawn is None else drawn
        return full


def lay(m: SaliencyMap, truth: Array, protocol: Protocol) -> Placed:
    """Lay a map on its image and count it against a mark, bool (H, W).

    Errors: `DataError` for a map that is flat once it is laid (one finer than its image can lose its only peak).
    """
    frame = m.frame if protocol.frame == "carried" else Frame.whole(m.frame.size)
    pixels, window = place(m.values, frame)
    return Placed(m, frame, pixels, window, truth, joint_histogram(pixels, truth, window), protocol)


def predicted_mask(m: SaliencyMap, protocol: Protocol) -> Array:
    """The binarized map as a bool (H, W) mask on the original; all False for a map that failed."""
    nothing = np.zeros(m.frame.size, bool)
    return lay(m, nothing, protocol).mask if m.status == "ok" and status_of(m.values) == "ok" else nothing
