"""Which radiograph and finding a map shows, told from its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sightline.core import Dataset
from sightline.findings import KNOWN_FINDINGS, canonical_name


@dataclass(frozen=True, slots=True)
class ParsedName:
    """What a name means."""

    folders: tuple[str, ...]
    """What stands before radiograph and finding: the source."""
    radiograph: str
    finding: str


@dataclass(frozen=True, slots=True)
class DatasetNames:
    """The names of a data set."""

    data: Dataset
    index: dict[str, int] = field(init=False)
    """Radiograph id -> where it stands in the data set."""
    _findings: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {r.id: at for at, r in enumerate(self.data.radiographs)})
        object.__setattr__(self, "_findings", {_finding_key(name): name for name in self.data.findings})

    def match_finding(self, text: str) -> str | None:
        """The finding of the data set that a text names, in whatever spelling."""
        return self._findings.get(_finding_key(text))

    def resolve(self, parts: Sequence[str]) -> ParsedName | str:
        """What a path (SOURCE..., RADIOGRAPH, FINDING), (SOURCE..., RADIOGRAPH_FINDING) or with '__' or '_map' means.

        Ids and findings are compared whole, so both may hold underscores, spaces and slashes, and findings may be
        written as any of their aliases. Returns a sentence that says why, if the path means nothing, or two things.
        """
        *folders, stem = parts
        shown = self._parse_nested(folders, stem)
        names = [stem] if not stem.endswith("_map") else [stem, stem.removesuffix("_map")]
        found = [shown] if shown else [one for name in names for one in self._parse_flat(folders, name)]
        meant = list(dict.fromkeys(found))
        if len(meant) == 1:
            return meant[0]
        if meant:
            both = " or ".join(f"{one.finding!r} on {one.radiograph!r}" for one in meant[:2])
            return f"means {both}; write RADIOGRAPH__FINDING, or RADIOGRAPH/FINDING"
        return self._mismatch_reason(names[-1], folders)

    def _parse_nested(self, folders: list[str], finding: str) -> ParsedName | None:
        name = self.match_finding(finding) or self.match_finding(finding.removesuffix("_map"))
        if name is None:
            return None
        starts = (at for at in range(len(folders)) if "/".join(folders[at:]) in self.index)
        at = next(starts, None)
        return None if at is None else ParsedName(tuple(folders[:at]), "/".join(folders[at:]), name)

    def _parse_flat(self, folders: list[str], stem: str) -> Iterator[ParsedName]:
        """Every reading of 'RADIOGRAPH__FINDING', else of 'RADIOGRAPH_FINDING'."""
        for separator in ("__", "_"):
            readings = [self._match_split(folders, *split) for split in _split_everywhere(stem, separator)]
            if any(readings):
                yield from filter(None, readings)
                return

    def _match_split(self, folders: list[str], head: str, tail: str) -> ParsedName | None:
        name = self.match_finding(tail)
        if name is None:
            return None
        starts = (at for at in range(len(folders) + 1) if "/".join([*folders[at:], head]) in self.index)
        at = next(starts, None)  # of two ids, the one that explains more of the path
        return None if at is None else ParsedName(tuple(folders[:at]), "/".join([*folders[at:], head]), name)

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
    """Every way to cut a text in two at a separator.

    >>> list(_split_everywhere("a_b_Edema", "_"))
    [('a', 'b_Edema'), ('a_b', 'Edema')]
    """
    at = text.find(separator)
    while at >= 0:
        yield text[:at], text[at + len(separator) :]
        at = text.find(separator, at + 1)
