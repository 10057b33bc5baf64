"""Runs: a folder with a manifest (run.json), maps (Zarr), tables (Parquet and CSV), figures and a report.

Work is stored in parts. A part is written under a temporary name and renamed, so that it is either whole or absent;
the same command continues after the last whole part. One process at a time may write to a folder.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from sightline._util import html
from sightline.core import Dataset, Maps, SaliencyMap
from sightline.errors import RunError
from sightline.maps.storage import _attributes, _index_parts, read_maps
from sightline.runs.manifest import RunManifest, disk_errors, refuse_other_options, to_json


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Run:
    """A run folder. Open one with `Run.open`; make or continue one with `Run.start`."""

    path: Path
    """The folder."""
    manifest: RunManifest
    """Its run.json."""
    inputs: tuple[Dataset, Maps | None] | None = field(default=None, compare=False, repr=False)
    """Data set and, if others than those stored in the run were scored, maps that this process opened and checked."""

    @property
    def info(self) -> Mapping[str, Any]:
        """Fields of run.json: study, options, dataset, models, methods, protocols, versions, created."""
        return self.manifest.fields

    @classmethod
    def start(cls, path: str | Path, study: str, options: Mapping[str, Any]) -> Run:
        """Make a run folder, or continue the run that the same study and options began.

        Parameters
        ----------
        path
            The folder.
        study
            Name of the study, or of the command that makes the run.
        options
            Every option that can change a number of the run.

        Returns
        -------
        Run
            The run.

        Raises
        ------
        RunError
            If the folder holds something else, or a run with other options; each of them is named.
        """
        path = Path(path)
        requested = json.loads(to_json({"study": study, "options": options}))
        if (path / "run.json").exists():
            run = cls.open(path)
            refuse_other_options(path, run.info, requested)
            return run
        if path.exists() and (not path.is_dir() or not all(p.name.startswith(".lock") for p in path.iterdir())):
            raise RunError(f"{path} exists and is not a run; give --out a new or empty folder")
        return cls(path, RunManifest.create(path, requested))

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open an existing run.

        Parameters
        ----------
        path
            Folder of the run.

        Returns
        -------
        Run
            The run.

        Raises
        ------
        RunError
            If there is none, or its run.json is damaged or of another format.
        """
        return cls(Path(path), RunManifest.read(Path(path)))

    def update_info(self, **fields: Any) -> Run:
        """Set fields of run.json and write it; fields that another process wrote since are kept.

        Parameters
        ----------
        fields
            Values that JSON can hold; NaN and infinity are refused.

        Returns
        -------
        Run
            The run itself.
        """
        self.manifest.refresh()
        self.manifest.update(**fields)
        return self

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for writing; the system releases the lock when the process ends, however that happens.

        Yields
        ------
        None

        Raises
        ------
        RunError
            If another process has the lock.
        """
        # Windows lets no other process read a locked file, so the name of the holder is in a file beside the lock.
        holder = self.path / ".lock-holder"
        try:
            lock = FileLock(self.path / ".lock").acquire(blocking=False)
        except Timeout as error:
            name = holder.read_text("utf-8") if holder.is_file() else ""
            raise RunError(
                f"{self.path} is being written by another process ({name or 'unknown'}); "
                "wait for it, stop it, or give --out another folder"
            ) from error
        with lock:
            self.manifest.refresh()
            holder.write_text(f"process {os.getpid()}", "utf-8")
            yield

    def _repr_html_(self) -> str:
        """Return title, main results with intervals, and the commands that show more, for notebooks."""
        data, report = self.info.get("dataset", {}), self.path / "report.html"
        lines = (
            [
                f"{self.info.get('study', 'a run')} on {data['title']}; radiographs: {data['radiographs']}, "
                f"patients: {data['patients']}"
            ]
            if "patients" in data
            else []
        )
        table = ""
        if self.has_table("estimates"):
            rows = self.table("estimates", where=("finding", "average")).to_dict("records")
            table = html.estimates_html(rows)
        link = report.resolve().as_uri() if report.is_file() else ""
        commands = [f"sightline {verb} {shlex.quote(str(self.path))}" for verb in ("show", "view")]
        return html.run_html(str(self.info.get("title") or self.path.name), lines, table, link, commands)

    # -- parts: units of work that are either whole or absent -----------------------------------------------------

    def part(self, kind: str, key: str) -> Path:
        """Return the path of a part, whether it exists or not.

        Parameters
        ----------
        kind, key
            Folder below `parts`, and name of the part in it.

        Returns
        -------
        Path
            The path.
        """
        return self.path / "parts" / kind / key

    def write_part(self, kind: str, key: str, write: Callable[[Path], None]) -> None:
        """Store a part: `write` fills a temporary path, which is then renamed.

        Parameters
        ----------
        kind, key
            Folder below `parts`, and name of the part in it.
        write
            Function that writes a file or folder at the path that it is given.
        """
        target = self.part(kind, key)
        temporary = target.with_name(f".{target.name}.partial")
        with disk_errors(self.path):
            target.parent.mkdir(parents=True, exist_ok=True)
            if temporary.is_dir():
                shutil.rmtree(temporary)  # left by a run that was killed
            write(temporary)
            temporary.replace(target)

    # -- tables ---------------------------------------------------------------------------------------------------

    def has_table(self, name: str) -> bool:
        """Return True if the run has a table.

        Parameters
        ----------
        name
            Name of the table.

        Returns
        -------
        bool
            True if it exists.
        """
        return (self.path / "tables" / f"{name}.parquet").exists()

    def table(
        self, name: str, columns: Sequence[str] | None = None, where: tuple[str, str | Collection[str]] | None = None
    ) -> pd.DataFrame:
        """Read a table, or some of its columns and rows.

        Parameters
        ----------
        name
            Name of the table.
        columns
            Columns to read; all by default.
        where
            (column, value or values): only the rows with one of the values in the column, which `columns` must name.

        Returns
        -------
        pandas.DataFrame
            The table.

        Raises
        ------
        RunError
            If there is no such table; the error names those that exist.
        """
        with pq.ParquetFile(self._table_file(name)) as parquet:
            # One row group at a time: only the rows that match stay in memory.
            groups = (parquet.read_row_group(i, columns and list(columns)) for i in range(parquet.num_row_groups))
            if where is not None:
                values = [where[1]] if isinstance(where[1], str) else list(where[1])
                allowed = pa.array(values, parquet.schema_arrow.field(where[0]).type)
                groups = (group.filter(pc.is_in(group[where[0]], allowed)) for group in groups)
            empty = parquet.schema_arrow.empty_table()
            empty = empty if columns is None else empty.select(list(columns))
            frame: pd.DataFrame = pa.concat_tables([empty, *groups]).to_pandas()
        return frame

    def read_arrow(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table, or some of its columns, with every text stored once.

        Parameters
        ----------
        name
            Name of the table.
        columns
            Columns to read; all by default.

        Returns
        -------
        pyarrow.Table
            The table; columns of texts are dictionaries, each in one chunk.

        Raises
        ------
        RunError
            If there is no such table.
        """
        with self._table_file(name).open("rb") as file:
            texts = [field.name for field in pq.read_schema(file) if _is_text(field.type)]
            table = pq.read_table(file, columns=columns and list(columns), read_dictionary=texts)
        return table.unify_dictionaries().combine_chunks()

    def _table_file(self, name: str) -> Path:
        file = self.path / "tables" / f"{name}.parquet"
        if not file.exists():
            names = ", ".join(sorted(p.stem for p in file.parent.glob("*.parquet"))) or "none"
            raise RunError(f"{self.path} has no table {name!r}; it has: {names}")
        return file

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table as Parquet and as CSV, each replaced whole.

        Parameters
        ----------
        name
            Name of the table.
        frame
            Its rows.
        """
        self._write_batches(name, iter([pa.Table.from_pandas(frame, preserve_index=False)]))

    def join_parts(self, kind: str, keys: Sequence[str], name: str) -> None:
        """Concatenate Parquet parts into a table, with one part in memory at a time.

        Parameters
        ----------
        kind, keys
            Folder below `parts`, and names of the parts in it, in the order of their rows.
        name
            Name of the table.
        """
        self._write_batches(name, (pq.read_table(self.part(kind, key)) for key in keys))

    def _write_batches(self, name: str, batches: Iterator[pa.Table]) -> None:
        folder = self.path / "tables"
        with disk_errors(self.path):
            folder.mkdir(exist_ok=True)
            first = next(batches)
            partial = {suffix: folder / f".{name}{suffix}.partial" for suffix in (".parquet", ".csv")}
            with (
                pq.ParquetWriter(partial[".parquet"], first.schema, compression="zstd") as parquet,
                pa_csv.CSVWriter(partial[".csv"], first.schema) as csv,
            ):
                for batch in chain([first], batches):
                    parquet.write_table(batch)
                    csv.write(batch)
            for suffix, file in partial.items():
                file.replace(folder / f"{name}{suffix}")

    # -- maps -----------------------------------------------------------------------------------------------------

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Sources with stored maps -> the findings that they explain, in the order in which they were written."""
        sources: dict[str, tuple[str, ...]] = {}
        for folder in self._map_folders():
            part = next((p for p in sorted(folder.iterdir()) if not p.name.startswith(".")), None)
            if part is not None:
                attributes = _attributes(part)
                sources |= dict.fromkeys(attributes["sources"], tuple(attributes["findings"]))
        return sources

    def _map_folders(self) -> list[Path]:
        root = self.path / "parts"
        return sorted(p for p in root.glob("maps-*") if p.is_dir()) if root.exists() else []

    def maps_for(
        self, radiograph: str, sources: Collection[str] | None = None, finding: str | None = None
    ) -> Iterator[SaliencyMap]:
        """Yield the stored maps of a radiograph, by source, then by finding.

        Parameters
        ----------
        radiograph
            Id of the radiograph.
        sources
            Sources whose maps are read; all by default.
        finding
            Finding whose maps are read; all by default.

        Yields
        ------
        SaliencyMap
            The maps.
        """
        for folder in self._map_folders():
            part = _index_parts(str(folder), folder.stat().st_mtime_ns).get(radiograph)
            if part is not None:
                yield from read_maps(folder / part, radiograph, sources, finding)

    def map_attributes(self) -> Iterator[dict[str, Any]]:
        """Yield what is stored with every part of the maps, values aside.

        Yields
        ------
        dict
            Attributes as `sightline.maps.storage.write_maps` stored them.
        """
        for folder in self._map_folders():
            for part in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
                yield _attributes(part)

    def map(self, source: str, radiograph: str, finding: str) -> SaliencyMap | None:
        """Return one stored map.

        Parameters
        ----------
        source, radiograph, finding
            What the map is of.

        Returns
        -------
        SaliencyMap or None
            The map; None if the run stores none.
        """
        return next(self.maps_for(radiograph, (source,), finding), None)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))  # pandas writes large strings
