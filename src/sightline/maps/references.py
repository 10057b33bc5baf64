"""What maps are held against: readers and controls, as sources of maps scored by the same code as every method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sightline.core import Array, Dataset, Frame, MapKind, Mark, Radiograph, SaliencyMap, Source, Status
from sightline.errors import DataError, UnknownNameError
from sightline.imaging.geometry import cut, region
from sightline.maps import controls


@dataclass(frozen=True)
class Readers:
    """Every reader of a data set but the reference, each a source 'reader/NAME' of masks or points."""

    data: Dataset
    findings: tuple[str, ...] = ()
    """Those they answer for; all of the data set by default."""
    kinds: dict[str, MapKind] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", self.findings or self.data.findings)
        kinds: dict[str, MapKind] = {}
        for reader in self.data.readers[1:]:
            first = next(self._marks(reader), None)
            if first is not None:
                kinds[reader] = "points" if first.kind == "points" else "mask"
        object.__setattr__(self, "kinds", kinds)

    def _marks(self, reader: str) -> Iterator[Mark]:
        for radiograph in self.data.radiographs:
            for finding in self.data.findings:
                mark = self.data.marks(radiograph.id, finding, reader)
                if mark is not None:
                    yield mark

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        return {str(Source.from_reader(reader)): self.findings for reader in self.kinds}

    def of(self, radiograph: str) -> Iterator[SaliencyMap]:
        """A map per reader and finding that has a reference mark; 'missing' where this reader left none."""
        for reader, kind in self.kinds.items():
            for finding in self.findings:
                reference = self.data.marks(radiograph, finding, self.data.truth)
                mark = self.data.marks(radiograph, finding, reader)
                if mark is not None:
                    yield as_map(mark)
                elif reference is not None:
                    nothing = np.zeros((0, 0), np.float32)
                    why = f"{reader} left no mark"
                    frame = Frame.whole(reference.size)
                    source = str(Source.from_reader(reader))
                    yield SaliencyMap(radiograph, finding, source, nothing, frame, status="missing", why=why, kind=kind)


def as_map(mark: Mark) -> SaliencyMap:
    """A mark as a map of 0 and 1 over the whole image: a region is the region, points are tied peaks.

    A point marks the pixel it lies in (coordinates truncated, as the published code does).
    """
    values: Array
    if mark.kind == "points":
        values = np.zeros(mark.size, np.float32)
        for row, col in np.asarray(mark.read(), float).reshape(-1, 2).astype(int):
            if 0 <= row < mark.size[0] and 0 <= col < mark.size[1]:
                values[row, col] = 1
    else:
        values = region(mark).astype(np.float32)
    kind: MapKind = "points" if mark.kind == "points" else "mask"
    source = str(Source.from_reader(mark.reader))
    return SaliencyMap(mark.radiograph, mark.finding, source, values, Frame.whole(mark.size), kind=kind)


@dataclass(frozen=True)
class Controls:
    """Maps that know nothing of a model, or of this image: what any method must beat to have said anything.

    'center': a Gaussian in the middle; 'noise': as coarse as a class activation map, keyed by (seed, radiograph,
    finding); 'edges': gradient magnitude of
    the image; 'average-mask': the mean mark of the finding over *other patients* of the same data.
    """

    data: Dataset
    names: tuple[str, ...] = ("center", "noise", "edges", "average-mask")
    seed: int = 0
    grid: int = 64
    """Cells along each side of a control's map, stretched over the image."""

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in _CONTROLS:
                raise UnknownNameError(f"no control is called {name!r}; allowed: {', '.join(_CONTROLS)}")

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
    def _all_marks(self) -> dict[str, tuple[Array, int]]:
        """finding -> (sum of marks (grid, grid), how many)."""
        return {f: self._sum_of_marks(f, list(self._by_id)) for f in self.data.findings}

    def _sum_of_marks(self, finding: str, radiographs: Iterable[str]) -> tuple[Array, int]:
        total, count = np.zeros((self.grid, self.grid), np.float64), 0
        for radiograph in radiographs:
            mark = self.data.marks(radiograph, finding, self.data.truth)
            if mark is not None:
                mask = region(mark)
                total += cut(mask, Frame.whole(mask.shape), (self.grid, self.grid))
                count += 1
        return total, count

    def prior(self, radiograph: str, finding: str) -> tuple[Array, int]:
        """(mean mark of the finding over other patients (grid, grid), how many marks it is the mean of)."""
        total, count = self._all_marks[finding]
        own, own_count = self._sum_of_marks(finding, self._by_patient[self._by_id[radiograph].patient])
        others = count - own_count
        return ((total - own) / max(others, 1)).astype(np.float32), others

    def of(self, radiograph: str) -> Iterator[SaliencyMap]:
        """Maps for the findings that have a reference mark on this radiograph; the others have no truth to meet."""
        marks = [self.data.marks(radiograph, f, self.data.truth) for f in self.data.findings]
        present = [mark for mark in marks if mark is not None]
        if not present:
            return
        for name in self.names:
            for mark in present:
                yield self._map(name, mark)

    def _map(self, name: str, mark: Mark) -> SaliencyMap:
        status: Status = "ok"
        why = ""
        values = np.zeros((0, 0), np.float32)
        if name == "average-mask":
            values, others = self.prior(mark.radiograph, mark.finding)
            if not others:
                status, why = "refused", f"no other patient has a mark of {mark.finding!r} to average"
        elif name == "edges":
            try:
                values = self._edges(mark.radiograph)
            except DataError as error:
                status, why = "unreadable", str(error)
        elif name == "center":
            values = controls.center(self.grid, self.grid)
        else:
            values = controls.noise(self.seed, mark.radiograph, mark.finding, height=10, width=10)
        frame = Frame.whole(mark.size)
        source = str(Source("control", "", name))
        return SaliencyMap(mark.radiograph, mark.finding, source, values, frame, status=status, why=why)

    def _edges(self, radiograph: str) -> Array:
        image = self._by_id[radiograph].read()
        shape = (min(4 * self.grid, image.shape[0]), min(4 * self.grid, image.shape[1]))
        return controls.edges(cut(image, Frame.whole(image.shape), shape))


_CONTROLS = ("center", "noise", "edges", "average-mask")
