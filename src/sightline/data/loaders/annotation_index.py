"""Implementations of `Dataset.annotation` for annotations that are known when a data set is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sightline.core import Annotation, Array, Size
from sightline.data.reader_names import REFERENCE_READER
from sightline.imaging.image_files import read_size


def no_annotations(radiograph: str, finding: str, reader: str) -> None:
    """Return None: the `Dataset.annotation` of a data set without annotations.

    Parameters
    ----------
    radiograph, finding, reader : str
        Ignored.
    """


@dataclass(frozen=True, slots=True)
class AnnotationIndex:
    """`Dataset.annotation` from a table of annotations, which are decoded only when read."""

    annotations: Mapping[tuple[str, str, str], Annotation]
    """(radiograph id, finding, reader) -> annotation."""

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        """Return the annotation of a finding on a radiograph by a reader; None if there is none."""
        return self.annotations.get((radiograph, finding, reader))


@dataclass(frozen=True, slots=True)
class ScaledBoxAnnotations:
    """`Dataset.annotation` from boxes in a frame that the images may have been resized from."""

    boxes: Mapping[tuple[str, str], Array]
    """(radiograph id, finding) -> float64 (K, 4) as (top, left, bottom, right) in pixels of the frame."""
    files: Mapping[str, Path]
    """Radiograph id -> image; the annotations of a radiograph without an image keep the size of the frame."""
    frame_size: Size
    """(H, W) of the frame."""
    reader: str = REFERENCE_READER
    """Reader who drew the boxes."""
    _sizes: dict[str, Size] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        """Return the annotation of a finding on a radiograph by a reader; None if there is none."""
        boxes = self.boxes.get((radiograph, finding))
        if boxes is None or reader != self.reader:
            return None
        if radiograph not in self._sizes:
            file = self.files.get(radiograph)
            self._sizes[radiograph] = read_size(file) if file is not None else self.frame_size
        size = self._sizes[radiograph]
        scale = np.array([size[0] / self.frame_size[0], size[1] / self.frame_size[1]] * 2)
        return Annotation(radiograph, finding, self.reader, "boxes", size, (boxes * scale).copy)

    def scaling_warnings(self) -> list[str]:
        """Warn if the first image with boxes does not have the size of the frame.

        Returns
        -------
        list of str
            One warning, or none.
        """
        file = next((self.files[name] for name, _ in self.boxes if name in self.files), None)
        size = read_size(file) if file is not None else self.frame_size
        if size == self.frame_size:
            return []
        return [
            f"images are not {self.frame_size[0]} × {self.frame_size[1]} ({file} is {size[0]} × {size[1]}): "
            "boxes are scaled"
        ]


def group_boxes(keys: Iterable[tuple[str, str]], boxes: Array) -> dict[tuple[str, str], Array]:
    """Group boxes by radiograph and finding.

    Parameters
    ----------
    keys : iterable of (str, str)
        (radiograph id, finding) of each box.
    boxes : (N, 4) float64
        Boxes; rows with NaN are left out.

    Returns
    -------
    dict of tuple to (K, 4) float64
        (radiograph id, finding) -> its boxes.
    """
    groups: dict[tuple[str, str], list[Array]] = {}
    for key, box in zip(keys, boxes, strict=True):
        if not np.isnan(box).any():
            groups.setdefault(key, []).append(box)
    return {key: np.stack(group) for key, group in groups.items()}
