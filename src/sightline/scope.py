"""What maps made elsewhere are scored on: one set of findings for every source, told before any work is done."""

from __future__ import annotations

from collections.abc import Sequence

from sightline.core import DataError, Dataset
from sightline.findings import choose
from sightline.mapfiles import MapFolder
from sightline.scoring import require_marks

_FIRST = 3


def findings_to_score(maps: MapFolder, named: str = "") -> tuple[str, ...]:
    """The findings that every source of a folder, every control and every reader is scored on.

    named: a comma-separated list, each of which counts whether there are maps of it or not; without one those that
    any map is of.
    Errors: `DataError` if nothing in the folder can be used, if no map is of a finding that was named, or if nobody
    marked any of the findings; `UnknownNameError` for a finding that the data set does not have.
    """
    data = maps.data
    require_marks(data)
    asked = choose(named or None, data.findings)
    if not len(maps):
        raise DataError(_nothing_usable(maps))
    there = {finding for covered in maps.sources.values() for finding in covered}
    covered = tuple(finding for finding in data.findings if finding in there)
    if named and not there & set(asked):
        raise DataError(
            f"no map in {maps.path} is of {' or '.join(asked) or 'any finding'}; it has maps of {', '.join(covered)}"
        )
    wanted = asked if named else covered
    if not any(_is_marked(data, finding) for finding in wanted):
        raise DataError(_nothing_marked(data, wanted))
    return wanted


def told(maps: MapFolder, wanted: Sequence[str]) -> list[str]:
    """What a user should know of the findings that are scored: which, which not, and which have no maps or no marks."""
    there = {finding for covered in maps.sources.values() for finding in covered}
    others = len(maps.data.findings) - len(wanted)
    lines = [
        f"findings scored: {', '.join(wanted)}"
        + (f" ({others} other{'s are' if others > 1 else ' is'} not)" if others else "")
    ]
    for finding in wanted:
        if not _is_marked(maps.data, finding):
            lines.append(f"nobody marked {finding} in {maps.data.spec}: it has no score")
        elif finding not in there:
            lines.append(f"no map is of {finding}: each of its marks counts as a missing map, the worst score")
        else:
            without = [source for source, covered in maps.sources.items() if finding not in covered]
            if without:
                lines.append(f"no map of {', '.join(without)} is of {finding}: each of its marks counts as missing")
    return lines


def _is_marked(data: Dataset, finding: str) -> bool:
    return any(data.marks(r.id, finding, data.truth) is not None for r in data.radiographs)


def _nothing_usable(maps: MapFolder) -> str:
    data, count = maps.data, len(maps.problems)
    if not count:
        return f"{maps.path} holds no file; give a folder of maps named RADIOGRAPH_FINDING"
    example = f"{data.radiographs[0].id}_{data.findings[0]}.npz"
    files = f"none of the {count:,} files in" if count > 1 else "the only file in"
    head = f"{files} {maps.path} is a map of {data.spec}; names must be RADIOGRAPH_FINDING, such as {example}"
    more = [f"and {count - _FIRST:,} more"] if count > _FIRST else []
    return "\n".join([f"{head}:", *maps.problems[:_FIRST], *more])


def _nothing_marked(data: Dataset, wanted: Sequence[str]) -> str:
    counts = {f: sum(data.marks(r.id, f, data.truth) is not None for r in data.radiographs) for f in data.findings}
    there = ", ".join(f"{finding} ({count:,})" for finding, count in counts.items() if count)
    return f"{data.spec} has no mark of {' or '.join(wanted)} to score against; it has marks of: {there or 'nothing'}"
