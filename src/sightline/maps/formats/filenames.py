"""Names of map files: the radiograph, finding and source that a path stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sightline.core import Dataset
from sightline.findings import KNOWN_FINDINGS, canonical_name


@dataclass(frozen=True, slots=True)
class ParsedName:
    """Radiograph, finding and source of a path."""

    folders: tuple[str, ...]
    """Parts of the path before radiograph and finding, which name the source."""
    radiograph: str
    """Identifier of the radiograph."""
    finding: str
    """Canonical name of the finding."""


@dataclass(frozen=True, slots=True)
class DatasetNames:
    """Identifiers and findings of a data set, by which paths are resolved."""

    data: Dataset
    """Data set."""
    index: dict[str, int] = field(init=False)
    """Identifier of a radiograph -> its position in the data set."""
    _findings: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {r.id: position for position, r in enumerate(self.data.radiographs)})
        object.__setattr__(self, "_findings", {_finding_key(name): name for name in self.data.findings})

    def match_finding(self, text: str) -> str | None:
        """Find the finding of the data set that a text names, in any spelling.

        Parameters
        ----------
        text : str
            Part of a path.

        Returns
        -------
        str or None
            Finding, or None where the text names none.
        """
        return self._findings.get(_finding_key(text))

    def resolve(self, parts: Sequence[str]) -> ParsedName | str:
        """Resolve a path to the radiograph and finding that it stands for.

        Identifiers and findings are compared as a whole, so that both may contain underscores, spaces and slashes, and
        findings may be written as any of their aliases.

        Parameters
        ----------
        parts : sequence of str
            (SOURCE..., RADIOGRAPH, FINDING), (SOURCE..., RADIOGRAPH_FINDING), or the latter with '__' or '_map'.

        Returns
        -------
        ParsedName or str
            The only meaning of the path, or a sentence for a path that has none or several.
        """
        *folders, stem = parts
        nested = self._parse_nested(folders, stem)
        names = [stem] if not stem.endswith("_map") else [stem, stem.removesuffix("_map")]
        readings = [nested] if nested else [reading for name in names for reading in self._parse_flat(folders, name)]
        distinct = list(dict.fromkeys(readings))
        if len(distinct) == 1:
            return distinct[0]
        if distinct:
            both = " or ".join(f"{reading.finding!r} on {reading.radiograph!r}" for reading in distinct[:2])
            return f"means {both}; write RADIOGRAPH__FINDING, or RADIOGRAPH/FINDING"
        return self._mismatch_reason(names[-1], folders)

    def _parse_nested(self, folders: list[str], finding: str) -> ParsedName | None:
        name = self.match_finding(finding) or self.match_finding(finding.removesuffix("_map"))
        if name is None:
            return None
        starts = (i for i in range(len(folders)) if "/".join(folders[i:]) in self.index)
        start = next(starts, None)
        return None if start is None else ParsedName(tuple(folders[:start]), "/".join(folders[start:]), name)

    def _parse_flat(self, folders: list[str], stem: str) -> Iterator[ParsedName]:
        """Yield every reading of 'RADIOGRAPH__FINDING', otherwise of 'RADIOGRAPH_FINDING'."""
        for separator in ("__", "_"):
            readings = [self._match_split(folders, *split) for split in _split_everywhere(stem, separator)]
            if any(readings):
                yield from filter(None, readings)
                return

    def _match_split(self, folders: list[str], head: str, tail: str) -> ParsedName | None:
        name = self.match_finding(tail)
        if name is None:
            return None
        starts = (i for i in range(len(folders) + 1) if "/".join([*folders[i:], head]) in self.index)
        start = next(starts, None)  # of two identifiers, the one that explains more of the path
        return None if start is None else ParsedName(tuple(folders[:start]), "/".join([*folders[start:], head]), name)

    def _mismatch_reason(self, stem: str, folders: list[str]) -> str:
        splits = [split for separator in ("__", "_") for split in _split_everywhere(stem, separator)]
        if folders:
            splits.append((folders[-1], stem))
        if folders and self.match_finding(folders[-1]) is not None and stem in self.index:
            return "lies as FINDING/RADIOGRAPH; write RADIOGRAPH/FINDING, or RADIOGRAPH_FINDING"
        for head, tail in splits:
            if self.match_finding(tail) is not None:
                return f"is of {head!r}, which is no radiograph of {self.data.name}"
        for head, tail in splits:
            if head in self.index or canonical_name(tail) in KNOWN_FINDINGS:
                findings = ", ".join(self.data.findings)
                return f"shows {tail!r}, which is no finding of {self.data.name} ({findings})"
        return "has a name that is not RADIOGRAPH_FINDING"


def _finding_key(text: str) -> str:
    return canonical_name(text).casefold().replace("_", " ")


def _split_everywhere(text: str, separator: str) -> Iterator[tuple[str, str]]:
    """Yield every way to split a text in two at a separator.

    >>> list(_split_everywhere("a_b_Edema", "_"))
    [('a', 'b_Edema'), ('a_b', 'Edema')]
    """
    position = text.find(separator)
    while position >= 0:
        yield text[:position], text[position + len(separator) :]
        position = text.find(separator, position + 1)
