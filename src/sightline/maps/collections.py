"""Collections of maps: in memory, with declared findings, or several as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sightline.core import Maps, SaliencyMap
from sightline.errors import DataError


@dataclass(frozen=True)
class InMemoryMaps:
    """Maps held in memory, by radiograph."""

    maps: dict[str, list[SaliencyMap]]
    sources: dict[str, tuple[str, ...]]

    @classmethod
    def from_maps(cls, maps: Iterable[SaliencyMap]) -> InMemoryMaps:
        """Sort maps by radiograph; every source answers for the findings it has a map of."""
        by_radiograph: dict[str, list[SaliencyMap]] = {}
        findings: dict[str, dict[str, None]] = {}
        for m in maps:
            by_radiograph.setdefault(m.radiograph, []).append(m)
            findings.setdefault(m.source, {})[m.finding] = None
        return cls(by_radiograph, {source: tuple(names) for source, names in findings.items()})

    def maps_for(self, radiograph: str) -> list[SaliencyMap]:
        return self.maps.get(radiograph, [])


@dataclass(frozen=True)
class WithFindings:
    """Maps of which every source answers for the same findings: where it has no map of one, that map is missing."""

    maps: Maps
    findings: tuple[str, ...]

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(self.maps.sources, self.findings)

    def maps_for(self, radiograph: str) -> Iterable[SaliencyMap]:
        return self.maps.maps_for(radiograph)


@dataclass(frozen=True)
class CombinedMaps:
    """Several holders of maps as one. Their sources must differ."""

    parts: tuple[Maps, ...]

    def __post_init__(self) -> None:
        names = [name for part in self.parts for name in part.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"two holders of maps both have a source {', '.join(map(repr, twice))}; rename one")

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        return {name: findings for part in self.parts for name, findings in part.sources.items()}

    def maps_for(self, radiograph: str) -> Iterator[SaliencyMap]:
        for part in self.parts:
            yield from part.maps_for(radiograph)
