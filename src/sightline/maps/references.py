"""What maps are held against: readers and controls, as sources of maps scored by the same code as every method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sightline.core import Annotation, Array, Dataset, Frame, MapKind, Radiograph, SaliencyMap, Source, Status
from sightline.errors import DataError, UnknownNameError
from sightline.imaging.geometry import rasterize_annotation, resample_area
from sightline.maps import controls


@dataclass(frozen=True)
class ReaderMaps:
    """Every reader of a data set but the reference, each a source 'reader/NAME' of masks or points."""

    data: Dataset
    findings: tuple[str, ...] = ()
    """Those they answer for; all of the data set by default."""
    kinds: dict[str, MapKind] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", self.findings or self.data.findings)
        kinds: dict[str, MapKind] = {}
        for reader in self.data.readers[1:]:
            first = next(self._annotations(reader), None)
            if first is not None:
                kinds[reader] = "points" if first.kind == "points" else "mask"
        object.__setattr__(self, "kinds", kinds)

    def _annotations(self, reader: str) -> Iterator[Annotation]:
        for radiograph in self.data.radiographs:
            for finding in self.data.findings:
                mark = self.data.annotation(radiograph.id, finding, reader)
                if mark is not None:
                    yield mark

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        return {str(Source.from_reader(reader)): self.findings for reader in self.kinds}

    def maps_for(self, radiograph: str) -> Iterator[SaliencyMap]:
        """A map per reader and finding that has a reference mark; 'missing' where this reader left none."""
        for reader, kind in self.kinds.items():
            for finding in self.findings:
                reference = self.data.annotation(radiograph, finding, self.data.reference_reader)
                mark = self.data.annotation(radiograph, finding, reader)
                if mark is not None:
                    yield annotation_to_map(mark)
                elif reference is not None:
                    nothing = np.zeros((0, 0), np.float32)
                    why = f"{reader} left no mark"
                    frame = Frame.whole(reference.size)
                    source = str(Source.from_reader(reader))
                    yield SaliencyMap(
                        radiograph, finding, source, nothing, frame, status="missing", reason=why, kind=kind
                    )


def annotation_to_map(annotation: Annotation) -> SaliencyMap:
    """A mark as a map of 0 and 1 over the whole image: a region is the region, points are tied peaks.

    A point marks the pixel it lies in (coordinates truncated, as the published code does).
    """
    values: Array
    if annotation.kind == "points":
        values = np.zeros(annotation.size, np.float32)
        for row, col in np.asarray(annotation.read(), float).reshape(-1, 2).astype(int):
            if 0 <= row < annotation.size[0] and 0 <= col < annotation.size[1]:
                values[row, col] = 1
    else:
        values = rasterize_annotation(annotation).astype(np.float32)
    kind: MapKind = "points" if annotation.kind == "points" else "mask"
    source = str(Source.from_reader(annotation.reader))
    return SaliencyMap(
        annotation.radiograph, annotation.finding, source, values, Frame.whole(annotation.size), kind=kind
    )


@dataclass(frozen=True)
class ControlMaps:
    """Maps that know nothing of a model, or of this image: what any method must beat to have said anything.

    'center': a Gaussian in the middle; 'noise': as coarse as a class activation map, keyed by (seed, radiograph,
    finding); 'edges': gradient magnitude of
    the image; 'average-mask': the mean mark of the finding over *other patients* of the same data.
    """

    data: Dataset
    names: tuple[str, ...] = ("center", "noise", "edges", "average-mask")
    seed: int = 0
    grid_side: int = 64
    """Cells along each side of a control's map, stretched over the image."""

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in _CONTROL_NAMES:
                raise UnknownNameError(f"no control is called {name!r}; allowed: {', '.join(_CONTROL_NAMES)}")

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        return {str(Source("control", "", name)): self.data.findings for name in self.names}

    @cached_property
    def _by_id(self) -> dict[str, Radiograph]:
        return {r.id: r for r in self.data.radiographs}

    @cached_property
    def _by_patient(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for radiograph in self.data.radiographs:
            found.setdefault(radiograph.patient, []).append(radiograph.id)
        return found

    @cached_property
    def _mask_sums(self) -> dict[str, tuple[Array, int]]:
        """finding -> (sum of marks (grid, grid), how many)."""
        return {f: self._sum_masks(f, list(self._by_id)) for f in self.data.findings}

    def _sum_masks(self, finding: str, radiographs: Iterable[str]) -> tuple[Array, int]:
        total, count = np.zeros((self.grid_side, self.grid_side), np.float64), 0
        for radiograph in radiographs:
            mark = self.data.annotation(radiograph, finding, self.data.reference_reader)
            if mark is not None:
                mask = rasterize_annotation(mark)
                total += resample_area(mask, Frame.whole(mask.shape), (self.grid_side, self.grid_side))
                count += 1
        return total, count

    def average_mask(self, radiograph: str, finding: str) -> tuple[Array, int]:
        """(mean mark of the finding over other patients (grid, grid), how many marks it is the mean of)."""
        total, count = self._mask_sums[finding]
        own, own_count = self._sum_masks(finding, self._by_patient[self._by_id[radiograph].patient])
        others = count - own_count
        return ((total - own) / max(others, 1)).astype(np.float32), others

    def maps_for(self, radiograph: str) -> Iterator[SaliencyMap]:
        """Maps for the findings that have a reference mark on this radiograph; the others have no truth to meet."""
        marks = [self.data.annotation(radiograph, f, self.data.reference_reader) for f in self.data.findings]
        present = [mark for mark in marks if mark is not None]
        if not present:
            return
        for name in self.names:
            for mark in present:
                yield self._make_map(name, mark)

    def _make_map(self, name: str, annotation: Annotation) -> SaliencyMap:
        status: Status = "ok"
        why = ""
        values = np.zeros((0, 0), np.float32)
        if name == "average-mask":
            values, others = self.average_mask(annotation.radiograph, annotation.finding)
            if not others:
                status, why = "refused", f"no other patient has a mark of {annotation.finding!r} to average"
        elif name == "edges":
            try:
                values = self._make_edge_map(annotation.radiograph)
            except DataError as error:
                status, why = "unreadable", str(error)
        elif name == "center":
            values = controls.center_map(self.grid_side, self.grid_side)
        else:
            values = controls.noise_map(self.seed, annotation.radiograph, annotation.finding, height=10, width=10)
        frame = Frame.whole(annotation.size)
        source = str(Source("control", "", name))
        return SaliencyMap(annotation.radiograph, annotation.finding, source, values, frame, status=status, reason=why)

    def _make_edge_map(self, radiograph: str) -> Array:
        image = self._by_id[radiograph].read()
        shape = (min(4 * self.grid_side, image.shape[0]), min(4 * self.grid_side, image.shape[1]))
        return controls.edge_map(resample_area(image, Frame.whole(image.shape), shape))


_CONTROL_NAMES = ("center", "noise", "edges", "average-mask")
