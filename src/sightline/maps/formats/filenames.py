"""Which radiograph and finding a map shows, told from its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sightline.core import Dataset
from sightline.findings import KNOWN, canonical


@dataclass(frozen=True, slots=True)
class Shown:
    """What a name means."""

    folders: tuple[str, ...]
    """What stands before radiograph and finding: the source."""
    radiograph: str
    finding: str


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a data set."""

    data: Dataset
    index: dict[str, int] = field(init=False)
    """Radiograph id -> where it stands in the data set."""
    _findings: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {r.id: at for at, r in enumerate(self.data.radiographs)})
        object.__setattr__(self, "_findings", {_key(name): name for name in self.data.findings})

    def finding(self, text: str) -> str | None:
        """The finding of the data set that a text names, in whatever spelling."""
        return self._findings.get(_key(text))

    def resolve(self, parts: Sequence[str]) -> Shown | str:
        """What a path (SOURCE..., RADIOGRAPH, FINDING), (SOURCE..., RADIOGRAPH_FINDING) or with '__' or '_map' means.

        Ids and findings are compared whole, so both may hold underscores, spaces and slashes, and findings may be
        written as any of their aliases. Returns a sentence that says why, if the path means nothing, or two things.
        """
        *folders, stem = parts
        shown = self._nested(folders, stem)
        names = [stem] if not stem.endswith("_map") else [stem, stem.removesuffix("_map")]
        found = [shown] if shown else [one for name in names for one in self._flat(folders, name)]
        meant = list(dict.fromkeys(found))
        if len(meant) == 1:
            return meant[0]
        if meant:
            both = " or ".join(f"{one.finding!r} on {one.radiograph!r}" for one in meant[:2])
            return f"means {both}; write RADIOGRAPH__FINDING, or RADIOGRAPH/FINDING"
        return self._why_not(names[-1], folders)

    def _nested(self, folders: list[str], finding: str) -> Shown | None:
        name = self.finding(finding) or self.finding(finding.removesuffix("_map"))
        if name is None:
            return None
        starts = (at for at in range(len(folders)) if "/".join(folders[at:]) in self.index)
        at = next(starts, None)
        return None if at is None else Shown(tuple(folders[:at]), "/".join(folders[at:]), name)

    def _flat(self, folders: list[str], stem: str) -> Iterator[Shown]:
        """Every reading of 'RADIOGRAPH__FINDING', else of 'RADIOGRAPH_FINDING'."""
        for separator in ("__", "_"):
            readings = [self._reading(folders, *split) for split in _splits(stem, separator)]
            if any(readings):
                yield from filter(None, readings)
                return

    def _reading(self, folders: list[str], head: str, tail: str) -> Shown | None:
        name = self.finding(tail)
        if name is None:
            return None
        starts = (at for at in range(len(folders) + 1) if "/".join([*folders[at:], head]) in self.index)
        at = next(starts, None)  # of two ids, the one that explains more of the path
        return None if at is None else Shown(tuple(folders[:at]), "/".join([*folders[at:], head]), name)

    def _why_not(self, stem: str, folders: list[str]) -> str:
        splits = [split for separator in ("__", "_") for split in _splits(stem, separator)]
        if folders:
            splits.append((folders[-1], stem))
        if folders and self.finding(folders[-1]) is not None and stem in self.index:
            return "lies as FINDING/RADIOGRAPH; write RADIOGRAPH/FINDING, or RADIOGRAPH_FINDING"
        for head, tail in splits:
            if self.finding(tail) is not None:
                return f"is of {head!r}, which is no radiograph of {self.data.name}"
        for head, tail in splits:
            if head in self.index or canonical(tail) in KNOWN:
                findings = ", ".join(self.data.findings)
                return f"shows {tail!r}, which is no finding of {self.data.name} ({findings})"
        return "has a name that is not RADIOGRAPH_FINDING"


def _key(text: str) -> str:
    return canonical(text).casefold().replace("_", " ")


def _splits(text: str, separator: str) -> Iterator[tuple[str, str]]:
    """Every way to cut a text in two at a separator.

    >>> list(_splits("a_b_Edema", "_"))
    [('a', 'b_Edema'), ('a_b', 'Edema')]
    """
    at = text.find(separator)
    while at >= 0:
        yield text[:at], text[at + len(separator) :]
        at = text.find(separator, at + 1)
