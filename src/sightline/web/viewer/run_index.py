"""What a run can show: its radiographs and findings, its sources, and who holds the maps of which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from sightline.core import Dataset, Maps, SaliencyMap, Source
from sightline.data import open_dataset
from sightline.data.gaze import filter_gaze
from sightline.errors import SightlineError
from sightline.maps.folder import open_maps
from sightline.maps.references import ControlMaps
from sightline.runs.provenance import changed_inputs, refuse_derived
from sightline.runs.run import Run

RECOMPUTED_CONTROLS = ("center", "noise", "edges")
"""Controls that are made again when asked for. The average mask would read every mark of the data set first."""


@dataclass(frozen=True)
class RunIndex:
    """A run, and what of the things it was made from is still there."""

    run: Run
    data: Dataset | None
    """None where it cannot be opened any more."""
    notes: tuple[str, ...]
    """What is missing, and why: sentences."""
    other_maps: tuple[Maps, ...]
    """Maps that the run scored and does not store."""

    @classmethod
    def from_run(cls, run: Run) -> RunIndex:
        """Open what a run was made from. What is gone is noted and done without."""
        spec, options = run.info.get("dataset", {}).get("spec", ""), run.info.get("options", {})
        data, notes = None, []
        others: list[Maps] = []
        try:
            refuse_derived(run)
            data = open_dataset(spec) if spec else None
            if data is not None and options.get("seconds"):
                begin, end = options["seconds"]
                data = filter_gaze(data, begin, end, require_pupil=bool(options.get("pupil")))
        except SightlineError as error:
            data = None
            notes.append(f"Radiographs and marks cannot be shown: {error}.")
        if not spec:
            notes.append("Radiographs and marks cannot be shown: the run does not say which data set it is of.")
        if data is not None:
            folder = None
            try:
                folder = open_maps(options["maps"], data) if options.get("maps") else None
            except SightlineError as error:
                notes.append(f"Maps cannot be shown: {error}.")
            told = changed_inputs(run, data, folder)
            if told:
                notes.append(f"Radiographs, marks and maps in files cannot be shown: they changed since ({told}).")
                return cls(run, None, tuple(notes), ())
            others += [folder] if folder is not None else []
            again = tuple(name for name in options.get("controls", ()) if name in RECOMPUTED_CONTROLS)
            if again and data.readers:
                others.append(ControlMaps(data, again, int(options.get("seed", 0))))
        return cls(run, data, tuple(notes), tuple(others))

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """In the order of the data set, then those that only the run knows."""
        named = [*(self.run.info.get("findings") or ()), *(self.data.findings if self.data else ())]
        known = self.run.info.get("dataset", {}).get("findings", ())
        there = dict.fromkeys(
            [*self._distinct("finding"), *(f for part in self._map_attributes for f in part["findings"])]
        )
        return tuple(dict.fromkeys(f for f in [*known, *named, *there] if f in there))

    @cached_property
    def radiographs(self) -> tuple[str, ...]:
        """Ids that the run has maps or scores of, in the order of the data set."""
        there = dict.fromkeys(
            [*self._distinct("radiograph"), *(r for part in self._map_attributes for r in part["radiographs"])]
        )
        if self.data is None:
            return tuple(there)
        ordered = [id_ for id_ in self.positions if id_ in there]
        return tuple(ordered) if len(ordered) == len(there) else tuple(dict.fromkeys([*ordered, *there]))

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Every source that has a map or a score; those of models first."""
        told = [*self._distinct("source"), *(s for part in self._map_attributes for s in part["sources"])]
        rank = {"control": 1, "ceiling": 2, "reader": 3}
        return tuple(sorted(dict.fromkeys(told), key=lambda s: rank.get(Source.parse(s).kind, 0)))

    @cached_property
    def _map_attributes(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.run.map_attributes())

    def map_attributes(self) -> tuple[Mapping[str, Any], ...]:
        """What the run's parts say of their maps."""
        return self._map_attributes

    def _distinct(self, column: str) -> list[str]:
        """Distinct values of a column of the tables maps and scores, in order."""
        found: dict[str, None] = {}
        for name in ("maps", "scores"):
            if not self.run.has_table(name) or (found and name == "scores" and column != "source"):
                continue
            for batch in read_batches(self.run, name, [column]):
                found |= dict.fromkeys(batch.column(0).dictionary.to_pylist())
        return list(found)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Radiograph -> where it stands in the data set."""
        return {} if self.data is None else {r.id: i for i, r in enumerate(self.data.radiographs)}

    def maps_for(
        self, radiograph: str, finding: str | None = None, *, in_dataset: bool = True
    ) -> Iterator[SaliencyMap]:
        """Every map of a radiograph, or of one of its findings; those of readers aside, which are marks.

        known: whether the data set still holds the radiograph, so that what is made from it can be made again.
        """
        yield from self.run.maps_for(radiograph, finding=finding)
        for other in self.other_maps if in_dataset else ():
            yield from (m for m in other.maps_for(radiograph) if finding in (None, m.finding))


def read_batches(run: Run, table: str, columns: list[str], batch_size: int = 1 << 16) -> Iterator[Any]:
    """Record batches of a table, text as dictionaries: memory does not grow with its rows."""
    path = run.path / "tables" / f"{table}.parquet"
    with pq.ParquetFile(path, memory_map=True) as told:
        texts = [c for c in columns if str(told.schema_arrow.field(c).type) in ("string", "large_string")]
    with pq.ParquetFile(path, read_dictionary=texts, memory_map=True) as file:
        yield from file.iter_batches(batch_size, columns=columns)


def encode_categories(
    column: Any, code_by_name: dict[str, int], *, add_new: bool = False
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A dictionary-encoded column as numbers of `known`: int64; −1 for what it does not hold (or, growing, adds it)."""
    names = column.dictionary.to_pylist()
    if add_new:
        for name in names:
            code_by_name.setdefault(name, len(code_by_name))
    numbers = np.array([code_by_name.get(name, -1) for name in names], np.int64)
    found: np.ndarray[Any, np.dtype[np.int64]] = numbers[column.indices.to_numpy(zero_copy_only=False).astype(np.int64)]
    return found
