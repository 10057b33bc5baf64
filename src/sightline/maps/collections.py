"""Collections of maps: in memory, with declared findings, several as one, or under other names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from sightline.core import Maps, SaliencyMap
from sightline.errors import DataError


@dataclass(frozen=True)
class InMemoryMaps:
    """Maps in memory, by radiograph."""

    maps: dict[str, list[SaliencyMap]]
    """Identifier of a radiograph -> its maps."""
    sources: dict[str, tuple[str, ...]]
    """Source -> the findings that it must answer for."""

    @classmethod
    def from_maps(cls, maps: Iterable[SaliencyMap]) -> InMemoryMaps:
        """Sort maps by radiograph; every source answers for the findings of which it has a map.

        Parameters
        ----------
        maps : iterable of SaliencyMap
            Maps in any order.

        Returns
        -------
        InMemoryMaps
            The same maps.
        """
        by_radiograph: dict[str, list[SaliencyMap]] = {}
        findings: dict[str, dict[str, None]] = {}
        for m in maps:
            by_radiograph.setdefault(m.radiograph, []).append(m)
            findings.setdefault(m.source, {})[m.finding] = None
        return cls(by_radiograph, {source: tuple(names) for source, names in findings.items()})

    def maps_for(self, radiograph: str) -> list[SaliencyMap]:
        """Yield the maps of one radiograph.

        Parameters
        ----------
        radiograph : str
            Identifier of the radiograph.

        Returns
        -------
        iterable of SaliencyMap
            Its maps, in the order in which they were given.
        """
        return self.maps.get(radiograph, [])


@dataclass(frozen=True)
class WithFindings:
    """Maps whose sources must all answer for the same findings; a map that is not there counts as missing."""

    maps: Maps
    """The maps."""
    findings: tuple[str, ...]
    """Findings that every source must answer for."""

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Source -> the findings that it must answer for."""
        return dict.fromkeys(self.maps.sources, self.findings)

    def maps_for(self, radiograph: str) -> Iterable[SaliencyMap]:
        """Yield the maps of one radiograph.

        Parameters
        ----------
        radiograph : str
            Identifier of the radiograph.

        Returns
        -------
        iterable of SaliencyMap
            Its maps.
        """
        return self.maps.maps_for(radiograph)


@dataclass(frozen=True)
class CombinedMaps:
    """Several collections of maps as one; their sources must differ.

    Raises
    ------
    DataError
        If two collections have a source of the same name.
    """

    parts: tuple[Maps, ...]
    """The collections."""

    def __post_init__(self) -> None:
        names = [name for part in self.parts for name in part.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"two collections of maps both have a source {', '.join(map(repr, twice))}; rename one")

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Source -> the findings that it must answer for."""
        return {name: findings for part in self.parts for name, findings in part.sources.items()}

    def maps_for(self, radiograph: str) -> Iterator[SaliencyMap]:
        """Yield the maps of one radiograph.

        Parameters
        ----------
        radiograph : str
            Identifier of the radiograph.

        Returns
        -------
        iterable of SaliencyMap
            Its maps, collection by collection.
        """
        for part in self.parts:
            yield from part.maps_for(radiograph)


@dataclass(frozen=True)
class RenamedMaps:
    """Some sources of a collection under other names."""

    maps: Maps
    """The maps."""
    names: Mapping[str, str]
    """Source -> its new name; sources that are not named are left out."""

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """New name -> the findings that the source must answer for."""
        return {self.names[name]: findings for name, findings in self.maps.sources.items() if name in self.names}

    def maps_for(self, radiograph: str) -> Iterator[SaliencyMap]:
        """Yield the maps of one radiograph.

        Parameters
        ----------
        radiograph : str
            Identifier of the radiograph.

        Returns
        -------
        iterable of SaliencyMap
            Its maps, each with the new name of its source.
        """
        for m in self.maps.maps_for(radiograph):
            if m.source in self.names:
                yield replace(m, source=self.names[m.source])
