"""A run is a folder: what was asked (run.json), maps (Zarr), tables (Parquet and CSV), figures and a report.

Work is stored in parts. A part is written under a temporary name and renamed, so it is either there, whole, or not
there; the same command continues after the last whole part. One process at a time may write to a folder.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
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
from sightline._util.files import write_text_atomic
from sightline._util.formats import check_format
from sightline.core import SaliencyMap
from sightline.errors import RunError
from sightline.maps.storage import _attributes, _index_parts, _open_maps, read_maps

RUN_FORMAT = 2
"""Format of a run folder: run.json, its parts and tables. Raise it when any of them changes its meaning."""
_DISK_FULL = "the disk is full; free some space and give the same command again: what is done is kept"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Run:
    """A run folder. Open one with `Run.open`; make or continue one with `Run.start`."""

    path: Path
    info: Mapping[str, Any]
    """run.json: study, options, dataset, models, methods, protocols, versions, created."""

    @classmethod
    def start(cls, path: str | Path, study: str, options: Mapping[str, Any]) -> Run:
        """Make a run folder, or continue the one that the same study and options began.

        Errors: `RunError` if the folder holds something else, or a run with other options (each is named).
        """
        path = Path(path)
        asked = json.loads(_to_json({"study": study, "options": options}))
        if (path / "run.json").exists():
            run = cls.open(path)
            _refuse_other_options(path, run.info, asked)
            return run
        if path.exists() and (not path.is_dir() or not all(p.name.startswith(".lock") for p in path.iterdir())):
            raise RunError(f"{path} exists and is not a run; give --out a new or empty folder")
        with _disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            created = datetime.now(UTC).isoformat(timespec="seconds")
            write_text_atomic(path / "run.json", _to_json({"format": RUN_FORMAT, **asked, "created": created}))
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Read an existing run. Errors: `RunError` if there is none, or run.json is damaged or of another format."""
        file = Path(path) / "run.json"
        try:
            info = json.loads(file.read_text("utf-8"))
        except FileNotFoundError as error:
            raise RunError(f"{path} is not a run folder: it has no run.json; give the folder named by --out") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{file} is damaged: {error}; start the run again in a new folder") from error
        if not isinstance(info, dict):
            raise RunError(f"{file} is damaged: it holds no object; start the run again in a new folder")
        check_format(info.get("format"), RUN_FORMAT, "run", path, RunError, "start it again in a new folder")
        return cls(Path(path), info)

    def update_info(self, **fields: Any) -> Run:
        """Add facts to run.json, whoever added others since this run was opened; returns the run with all of them."""
        info = {**Run.open(self.path).info, **json.loads(_to_json(fields))}
        with _disk_errors(self.path):
            write_text_atomic(self.path / "run.json", _to_json(info))
        return Run(self.path, info)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for writing; the system releases the lock when the process ends, however that happens.

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
            holder.write_text(f"process {os.getpid()}", "utf-8")
            yield

    def _repr_html_(self) -> str:
        """Title, headline numbers with intervals, and where to look on: for notebooks."""
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
        words = [f"sightline {verb} {shlex.quote(str(self.path))}" for verb in ("show", "view")]
        return html.run_html(str(self.info.get("title") or self.path.name), lines, table, link, words)

    # -- parts: units of work that are either whole or absent -----------------------------------------------------

    def part(self, kind: str, key: str) -> Path:
        return self.path / "parts" / kind / key

    def write_part(self, kind: str, key: str, write: Callable[[Path], None]) -> None:
        """Let `write` fill a temporary path, then put it in place at once."""
        target = self.part(kind, key)
        temporary = target.with_name(f".{target.name}.partial")
        with _disk_errors(self.path):
            target.parent.mkdir(parents=True, exist_ok=True)
            if temporary.is_dir():
                shutil.rmtree(temporary)  # left by a run that was killed
            write(temporary)
            temporary.replace(target)

    # -- tables ---------------------------------------------------------------------------------------------------

    def has_table(self, name: str) -> bool:
        return (self.path / "tables" / f"{name}.parquet").exists()

    def table(
        self, name: str, columns: Sequence[str] | None = None, where: tuple[str, str] | None = None
    ) -> pd.DataFrame:
        """Read a table: some columns, the rows with one value in a column. Errors: `RunError` names those there are."""
        file = self.path / "tables" / f"{name}.parquet"
        if not file.exists():
            there = ", ".join(sorted(p.stem for p in file.parent.glob("*.parquet"))) or "none"
            raise RunError(f"{self.path} has no table {name!r}; it has: {there}")
        with pq.ParquetFile(file) as parquet:  # a part at a time: only the rows that are wanted stay in memory
            groups = (parquet.read_row_group(i, columns and list(columns)) for i in range(parquet.num_row_groups))
            if where is not None:
                groups = (group.filter(pc.equal(group[where[0]], where[1])) for group in groups)
            empty = parquet.schema_arrow.empty_table()
            kept = empty if columns is None else empty.select(list(columns))
            frame: pd.DataFrame = pa.concat_tables([kept, *groups]).to_pandas()
        return frame

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table as Parquet and CSV, each replaced whole."""
        self._write_batches(name, iter([pa.Table.from_pandas(frame, preserve_index=False)]))

    def join_parts(self, kind: str, keys: Sequence[str], name: str) -> None:
        """Concatenate Parquet parts, in the order of `keys`, into a table, one part in memory at a time."""
        self._write_batches(name, (pq.read_table(self.part(kind, key)) for key in keys))

    def _write_batches(self, name: str, batches: Iterator[pa.Table]) -> None:
        folder = self.path / "tables"
        with _disk_errors(self.path):
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
        """Sources with stored maps -> the findings they explain, in the order they were written."""
        found: dict[str, tuple[str, ...]] = {}
        for folder in self._map_folders():
            part = next((p for p in sorted(folder.iterdir()) if not p.name.startswith(".")), None)
            if part is not None:
                attributes = _open_maps(str(part))[1]
                found |= dict.fromkeys(attributes["sources"], tuple(attributes["findings"]))
        return found

    def _map_folders(self) -> list[Path]:
        root = self.path / "parts"
        return sorted(p for p in root.glob("maps-*") if p.is_dir()) if root.exists() else []

    def maps_for(
        self, radiograph: str, sources: Collection[str] | None = None, finding: str | None = None
    ) -> Iterator[SaliencyMap]:
        """Every stored map of one radiograph, or those of some sources or one finding, by source, then by finding."""
        for folder in self._map_folders():
            part = _index_parts(str(folder), folder.stat().st_mtime_ns).get(radiograph)
            if part is not None:
                yield from read_maps(folder / part, radiograph, sources, finding)

    def map_attributes(self) -> Iterator[dict[str, Any]]:
        """What every part of stored maps says of them (see `write_maps`), values aside."""
        for folder in self._map_folders():
            for part in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
                yield _attributes(part)

    def map(self, source: str, radiograph: str, finding: str) -> SaliencyMap | None:
        """One stored map, or None."""
        return next(self.maps_for(radiograph, (source,), finding), None)


def _to_json(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False, default=str)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a `RunError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"{path}: {_DISK_FULL}") from error
        raise RunError(f"{path} cannot be written: {error.strerror}; give --out a folder you may write to") from error


def _refuse_other_options(path: Path, info: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    if info.get("study") != requested["study"]:
        raise RunError(
            f"{path} holds a {info.get('study')!r} run, not {requested['study']!r}; give --out another folder"
        )
    old, new = info.get("options", {}), requested["options"]
    other = [f"{k} was {old.get(k)!r}, now {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if other:
        raise RunError(f"{path} holds a run with other options ({'; '.join(other)}); give --out another folder")
