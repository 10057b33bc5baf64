"""Readers as sources of maps, so that the human benchmark is scored by the same code as every method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from sightline.core import Array, Dataset, Frame, MapKind, Mark, SaliencyMap
from sightline.geometry import region


@dataclass(frozen=True)
class InMemory:
    """Maps held in memory, by radiograph."""

    maps: dict[str, list[SaliencyMap]]
    sources: dict[str, tuple[str, ...]]

    @classmethod
    def gather(cls, maps: Iterable[SaliencyMap]) -> InMemory:
        """Sort maps by radiograph; every source answers for the findings it has a map of."""
        by_radiograph: dict[str, list[SaliencyMap]] = {}
        findings: dict[str, dict[str, None]] = {}
        for m in maps:
            by_radiograph.setdefault(m.radiograph, []).append(m)
            findings.setdefault(m.source, {})[m.finding] = None
        return cls(by_radiograph, {source: tuple(names) for source, names in findings.items()})

    def of(self, radiograph: str) -> list[SaliencyMap]:
        return self.maps.get(radiograph, [])


@dataclass(frozen=True)
class Readers:
    """Every reader of a data set but the reference, each a source 'reader/NAME' of masks or points."""

    data: Dataset
    kinds: dict[str, MapKind] = field(init=False)

    def __post_init__(self) -> None:
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
        return {f"reader/{reader}": self.data.findings for reader in self.kinds}

    def of(self, radiograph: str) -> Iterator[SaliencyMap]:
        """A map per reader and finding that has a reference mark; 'missing' where this reader left none."""
        for reader, kind in self.kinds.items():
            for finding in self.data.findings:
                reference = self.data.marks(radiograph, finding, self.data.truth)
                mark = self.data.marks(radiograph, finding, reader)
                if mark is not None:
                    yield as_map(mark)
                elif reference is not None:
                    nothing = np.zeros((0, 0), np.float32)
                    why = f"{reader} left no mark"
                    frame = Frame.whole(reference.size)
                    source = f"reader/{reader}"
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
    return SaliencyMap(
        mark.radiograph, mark.finding, f"reader/{mark.reader}", values, Frame.whole(mark.size), kind=kind
    )
