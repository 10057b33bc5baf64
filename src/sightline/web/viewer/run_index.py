"""Content of a run for the viewer: radiographs, findings, sources, and the collections that hold its maps."""

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
"""Controls that are computed on request. The average mask is not: it would read all annotations first."""


@dataclass(frozen=True)
class RunIndex:
    """Run with the data set and the maps that it was computed from, as far as they are still available."""

    run: Run
    data: Dataset | None
    """Data set of the run; None if it cannot be opened."""
    notes: tuple[str, ...]
    """Sentences on what is not available, and why."""
    other_maps: tuple[Maps, ...]
    """Maps that the run has scored and does not store."""

    @classmethod
    def from_run(cls, run: Run) -> RunIndex:
        """Open the data set and the maps of a run. What is not available is noted, and the rest is shown.

        Parameters
        ----------
        run : Run
            Run to show.

        Returns
        -------
        RunIndex
        """
        options, notes = run.info.get("options", {}), list[str]()
        data = _open_dataset(run, notes)
        if data is None:
            return cls(run, None, tuple(notes), ())
        folder = None
        try:
            folder = open_maps(options["maps"], data) if options.get("maps") else None
        except SightlineError as error:
            notes.append(f"Maps cannot be shown: {error}.")
        if changes := changed_inputs(run, data, folder):
            notes.append(
                f"Radiographs, annotations and maps in files cannot be shown: they changed after the run ({changes})."
            )
            return cls(run, None, tuple(notes), ())
        other_maps: list[Maps] = [folder] if folder is not None else []
        controls = tuple(name for name in options.get("controls", ()) if name in RECOMPUTED_CONTROLS)
        if controls and data.readers:
            other_maps.append(ControlMaps(data, controls, int(options.get("seed", 0))))
        return cls(run, data, tuple(notes), tuple(other_maps))

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """Findings of the run, in the order of the data set; those that only the run names come last."""
        named = [*(self.run.info.get("findings") or ()), *(self.data.findings if self.data else ())]
        known = self.run.info.get("dataset", {}).get("findings", ())
        present = dict.fromkeys(
            [*self._distinct("finding"), *(f for part in self._map_attributes for f in part["findings"])]
        )
        return tuple(dict.fromkeys(f for f in [*known, *named, *present] if f in present))

    @cached_property
    def radiographs(self) -> tuple[str, ...]:
        """Ids of radiographs with maps or scores, in the order of the data set."""
        present = dict.fromkeys(
            [*self._distinct("radiograph"), *(r for part in self._map_attributes for r in part["radiographs"])]
        )
        if self.data is None:
            return tuple(present)
        ordered = [id_ for id_ in self.positions if id_ in present]
        return tuple(ordered) if len(ordered) == len(present) else tuple(dict.fromkeys([*ordered, *present]))

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Sources with a map or a score; those of models come first."""
        names = [*self._distinct("source"), *(s for part in self._map_attributes for s in part["sources"])]
        rank = {"control": 1, "ceiling": 2, "reader": 3}
        return tuple(sorted(dict.fromkeys(names), key=lambda s: rank.get(Source.parse(s).kind, 0)))

    @cached_property
    def _map_attributes(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.run.map_attributes())

    def map_attributes(self) -> tuple[Mapping[str, Any], ...]:
        """Return the attributes of the parts that store the run's maps.

        Returns
        -------
        tuple of mapping
            Radiographs, findings and sources of each part, with statuses, reasons and probabilities.
        """
        return self._map_attributes

    def _distinct(self, column: str) -> list[str]:
        """Return the distinct values of a column of the tables maps and scores, in order."""
        values: dict[str, None] = {}
        for name in ("maps", "scores"):
            if not self.run.has_table(name) or (values and name == "scores" and column != "source"):
                continue
            for batch in read_batches(self.run, name, [column]):
                values |= dict.fromkeys(batch.column(0).dictionary.to_pylist())
        return list(values)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Positions of radiographs in the data set, by id."""
        return {} if self.data is None else {r.id: i for i, r in enumerate(self.data.radiographs)}

    def maps_for(
        self, radiograph: str, finding: str | None = None, *, in_dataset: bool = True
    ) -> Iterator[SaliencyMap]:
        """Yield the maps of a radiograph, except for those of readers, which are shown as annotations.

        Parameters
        ----------
        radiograph : str
            Id of the radiograph.
        finding : str, optional
            Finding of the maps; None yields those of all findings.
        in_dataset : bool, default True
            False if the data set no longer holds the radiograph, so that controls cannot be computed.

        Yields
        ------
        SaliencyMap
        """
        yield from self.run.maps_for(radiograph, finding=finding)
        for other in self.other_maps if in_dataset else ():
            yield from (m for m in other.maps_for(radiograph) if finding in (None, m.finding))


def _open_dataset(run: Run, notes: list[str]) -> Dataset | None:
    """Open the data set of a run with its filter of gaze, or add to the notes why it cannot be opened."""
    spec, options = run.info.get("dataset", {}).get("spec", ""), run.info.get("options", {})
    if not spec:
        notes.append("Radiographs and annotations cannot be shown: the run does not name its data set.")
        return None
    try:
        refuse_derived(run)
        data = open_dataset(spec)
        if options.get("time_window"):
            begin, end = options["time_window"]
            data = filter_gaze(data, begin, end, require_pupil=bool(options.get("require_pupil")))
    except SightlineError as error:
        notes.append(f"Radiographs and annotations cannot be shown: {error}.")
        return None
    return data


def read_batches(run: Run, table: str, columns: list[str], batch_size: int = 1 << 16) -> Iterator[Any]:
    """Read a table in batches, so that memory does not grow with its rows.

    Parameters
    ----------
    run : Run
        Run with the table.
    table : str
        Name of the table.
    columns : list of str
        Columns to read.
    batch_size : int
        Greatest number of rows of a batch.

    Yields
    ------
    pyarrow.RecordBatch
        Columns of text are dictionary-encoded.
    """
    path = run.path / "tables" / f"{table}.parquet"
    with pq.ParquetFile(path, memory_map=True) as file:
        texts = [c for c in columns if str(file.schema_arrow.field(c).type) in ("string", "large_string")]
    with pq.ParquetFile(path, read_dictionary=texts, memory_map=True) as file:
        yield from file.iter_batches(batch_size, columns=columns)


def encode_categories(
    column: Any, code_by_name: dict[str, int], *, add_new: bool = False
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Convert a dictionary-encoded column to numbers.

    Parameters
    ----------
    column : pyarrow.DictionaryArray
        Column of text.
    code_by_name : dict of str to int
        Numbers of the known values.
    add_new : bool, default False
        Give unknown values the next numbers, which are added to `code_by_name`.

    Returns
    -------
    (rows,) int64
        Number of each value, -1 for an unknown one.
    """
    names = column.dictionary.to_pylist()
    if add_new:
        for name in names:
            code_by_name.setdefault(name, len(code_by_name))
    numbers = np.array([code_by_name.get(name, -1) for name in names], np.int64)
    codes: np.ndarray[Any, np.dtype[np.int64]] = numbers[column.indices.to_numpy(zero_copy_only=False).astype(np.int64)]
    return codes
