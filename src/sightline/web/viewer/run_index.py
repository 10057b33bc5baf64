"""What a run can show: its radiographs and findings, its sources, and who holds the maps of which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from sightline.core import Dataset, Maps, SaliencyMap, Source
from sightline.data import dataset
from sightline.data.gaze import watched
from sightline.errors import SightlineError
from sightline.maps.folder import maps_in
from sightline.maps.references import Controls
from sightline.runs.provenance import refuse_derived, since
from sightline.runs.run import Run

REMADE = ("center", "noise", "edges")
"""Controls that are made again when asked for. The average mask would read every mark of the data set first."""


@dataclass(frozen=True)
class Atlas:
    """A run, and what of the things it was made from is still there."""

    run: Run
    data: Dataset | None
    """None where it cannot be opened any more."""
    notes: tuple[str, ...]
    """What is missing, and why: sentences."""
    others: tuple[Maps, ...]
    """Maps that the run scored and does not store."""

    @classmethod
    def of(cls, run: Run) -> Atlas:
        """Open what a run was made from. What is gone is noted and done without."""
        spec, options = run.info.get("dataset", {}).get("spec", ""), run.info.get("options", {})
        data, notes = None, []
        others: list[Maps] = []
        try:
            refuse_derived(run)
            data = dataset(spec) if spec else None
            if data is not None and options.get("seconds"):
                begin, end = options["seconds"]
                data = watched(data, begin, end, pupil=bool(options.get("pupil")))
        except SightlineError as error:
            data = None
            notes.append(f"Radiographs and marks cannot be shown: {error}.")
        if not spec:
            notes.append("Radiographs and marks cannot be shown: the run does not say which data set it is of.")
        if data is not None:
            folder = None
            try:
                folder = maps_in(options["maps"], data) if options.get("maps") else None
            except SightlineError as error:
                notes.append(f"Maps cannot be shown: {error}.")
            told = since(run, data, folder)
            if told:
                notes.append(f"Radiographs, marks and maps in files cannot be shown: they changed since ({told}).")
                return cls(run, None, tuple(notes), ())
            others += [folder] if folder is not None else []
            again = tuple(name for name in options.get("controls", ()) if name in REMADE)
            if again and data.readers:
                others.append(Controls(data, again, int(options.get("seed", 0))))
        return cls(run, data, tuple(notes), tuple(others))

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """In the order of the data set, then those that only the run knows."""
        named = [*(self.run.info.get("findings") or ()), *(self.data.findings if self.data else ())]
        known = self.run.info.get("dataset", {}).get("findings", ())
        there = dict.fromkeys([*self._told("finding"), *(f for part in self._parts for f in part["findings"])])
        return tuple(dict.fromkeys(f for f in [*known, *named, *there] if f in there))

    @cached_property
    def radiographs(self) -> tuple[str, ...]:
        """Ids that the run has maps or scores of, in the order of the data set."""
        there = dict.fromkeys([*self._told("radiograph"), *(r for part in self._parts for r in part["radiographs"])])
        if self.data is None:
            return tuple(there)
        ordered = [id_ for id_ in self.places if id_ in there]
        return tuple(ordered) if len(ordered) == len(there) else tuple(dict.fromkeys([*ordered, *there]))

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Every source that has a map or a score; those of models first."""
        told = [*self._told("source"), *(s for part in self._parts for s in part["sources"])]
        rank = {"control": 1, "ceiling": 2, "reader": 3}
        return tuple(sorted(dict.fromkeys(told), key=lambda s: rank.get(Source.parse(s).kind, 0)))

    @cached_property
    def _parts(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.run.stored())

    def parts(self) -> tuple[Mapping[str, Any], ...]:
        """What the run's parts say of their maps."""
        return self._parts

    def _told(self, column: str) -> list[str]:
        """Distinct values of a column of the tables maps and scores, in order."""
        found: dict[str, None] = {}
        for name in ("maps", "scores"):
            if not self.run.has_table(name) or (found and name == "scores" and column != "source"):
                continue
            for batch in batches(self.run, name, [column]):
                found |= dict.fromkeys(batch.column(0).dictionary.to_pylist())
        return list(found)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Radiograph -> where it stands in the data set."""
        return {} if self.data is None else {r.id: i for i, r in enumerate(self.data.radiographs)}

    def maps(self, radiograph: str, finding: str | None = None, *, known: bool = True) -> Iterator[SaliencyMap]:
        """Every map of a radiograph, or of one of its findings; those of readers aside, which are marks.

        known: whether the data set still holds the radiograph, so that what is made from it can be made again.
        """
        yield from self.run.of(radiograph, finding=finding)
        for other in self.others if known else ():
            yield from (m for m in other.of(radiograph) if finding in (None, m.finding))


def batches(run: Run, name: str, columns: list[str], rows: int = 1 << 16) -> Iterator[Any]:
    """Record batches of a table, text as dictionaries: memory does not grow with its rows."""
    path = run.path / "tables" / f"{name}.parquet"
    with pq.ParquetFile(path, memory_map=True) as told:
        texts = [c for c in columns if str(told.schema_arrow.field(c).type) in ("string", "large_string")]
    with pq.ParquetFile(path, read_dictionary=texts, memory_map=True) as file:
        yield from file.iter_batches(rows, columns=columns)


def codes(column: Any, known: dict[str, int], *, grow: bool = False) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A dictionary-encoded column as numbers of `known`: int64; −1 for what it does not hold (or, growing, adds it)."""
    names = column.dictionary.to_pylist()
    if grow:
        for name in names:
            known.setdefault(name, len(known))
    numbers = np.array([known.get(name, -1) for name in names], np.int64)
    found: np.ndarray[Any, np.dtype[np.int64]] = numbers[column.indices.to_numpy(zero_copy_only=False).astype(np.int64)]
    return found
