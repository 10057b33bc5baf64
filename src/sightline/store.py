"""A run is a folder: what was asked (run.json), maps (Zarr), tables (Parquet and CSV), figures and a report.

Work is stored in parts. A part is written under a temporary name and renamed, so it is either there, whole, or not
there; the same command continues after the last whole part. One process at a time may write to a folder.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shlex
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import zarr
from filelock import FileLock, Timeout
from zarr.codecs import BloscCodec

from sightline import notebook, packing
from sightline._util.files import write_text_atomic
from sightline._util.formats import check_format
from sightline.core import Array, Frame, RunError, SaliencyMap, Status

STATUSES: tuple[Status, ...] = ("ok", "flat", "non-finite", "missing", "refused", "unreadable")
RUN_FORMAT = 2
"""Format of a run folder: run.json, its parts and tables. Raise it when any of them changes its meaning."""
MAPS_FORMAT = 2
"""Format of a part of stored maps: its arrays and attributes."""
_FULL = "the disk is full; free some space and give the same command again: what is done is kept"


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
        asked = json.loads(_json({"study": study, "options": options}))
        if (path / "run.json").exists():
            run = cls.open(path)
            _refuse_other_options(path, run.info, asked)
            return run
        if path.exists() and (not path.is_dir() or not all(p.name.startswith(".lock") for p in path.iterdir())):
            raise RunError(f"{path} exists and is not a run; give --out a new or empty folder")
        with _disk(path):
            path.mkdir(parents=True, exist_ok=True)
            created = datetime.now(UTC).isoformat(timespec="seconds")
            write_text_atomic(path / "run.json", _json({"format": RUN_FORMAT, **asked, "created": created}))
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

    def describe(self, **facts: Any) -> Run:
        """Add facts to run.json, whoever added others since this run was opened; returns the run with all of them."""
        info = {**Run.open(self.path).info, **json.loads(_json(facts))}
        with _disk(self.path):
            write_text_atomic(self.path / "run.json", _json(info))
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
        lines = [f"{self.info.get('study', 'a run')} on {data['title']}; radiographs: {data['radiographs']}, "
                 f"patients: {data['patients']}"] if "patients" in data else []  # fmt: skip
        table = ""
        if self.has_table("estimates"):
            rows = self.table("estimates", where=("finding", "average")).to_dict("records")
            table = notebook.estimates_html(rows)
        link = report.resolve().as_uri() if report.is_file() else ""
        words = [f"sightline {verb} {shlex.quote(str(self.path))}" for verb in ("show", "view")]
        return notebook.run_html(str(self.info.get("title") or self.path.name), lines, table, link, words)

    # -- parts: units of work that are either whole or absent -----------------------------------------------------

    def part(self, kind: str, key: str) -> Path:
        return self.path / "parts" / kind / key

    def write_part(self, kind: str, key: str, write: Callable[[Path], None]) -> None:
        """Let `write` fill a temporary path, then put it in place at once."""
        target = self.part(kind, key)
        temporary = target.with_name(f".{target.name}.partial")
        with _disk(self.path):
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
        with _disk(self.path):
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

    def of(
        self, radiograph: str, sources: Collection[str] | None = None, finding: str | None = None
    ) -> Iterator[SaliencyMap]:
        """Every stored map of one radiograph, or those of some sources or one finding, by source, then by finding."""
        for folder in self._map_folders():
            part = _index(str(folder), folder.stat().st_mtime_ns).get(radiograph)
            if part is not None:
                yield from read_maps(folder / part, radiograph, sources, finding)

    def stored(self) -> Iterator[dict[str, Any]]:
        """What every part of stored maps says of them (see `write_maps`), values aside."""
        for folder in self._map_folders():
            for part in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
                yield _attributes(part)

    def map(self, source: str, radiograph: str, finding: str) -> SaliencyMap | None:
        """One stored map, or None."""
        return next(self.of(radiograph, (source,), finding), None)


def write_maps(
    path: Path, radiographs: Sequence[str], findings: Sequence[str], maps: Mapping[str, Sequence[SaliencyMap]]
) -> None:
    """Store maps of some radiographs as one Zarr group, an array per source: float32 (N, F, h, w).

    Lossless, but for maps as fine as an image, which take sixteen bits a pixel (see `sightline.packing`).

    maps: source -> N × F maps in row-major order (radiograph, finding). All maps of a source that are not failures
    have one shape; a failure is stored as zeros and its status.
    """
    n, f = len(radiographs), len(findings)
    group = zarr.open_group(str(path), mode="w")
    attributes: dict[str, Any] = {
        "format": MAPS_FORMAT,
        "radiographs": list(radiographs),
        "findings": list(findings),
        "sources": {},
    }
    for number, (source, flat) in enumerate(maps.items()):
        shapes = {m.values.shape for m in flat if m.values.size}
        if len(shapes) > 1:
            raise RunError(f"maps of {source!r} have different shapes {sorted(shapes)}; one part holds one shape")
        h, w = shapes.pop() if shapes else (1, 1)
        values = np.zeros((n, f, h, w), np.float32)
        for i, m in enumerate(flat):
            if m.values.size:
                values[divmod(i, f)] = m.values
        packed = _packed(values)
        stored = values if packed is None else packed.pop("codes")
        array = group.create_array(
            f"map{number}", shape=values.shape, chunks=(1, 1, h, w), shards=values.shape, dtype=stored.dtype,
            compressors=BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), fill_value=0,
        )  # fmt: skip
        array[:] = stored
        attributes["sources"][source] = {
            "array": f"map{number}",
            "packed": packed,
            "frames": [[*m.frame.size, *m.frame.box] for m in flat[::f]],
            "probabilities": [None if math.isnan(m.probability) else m.probability for m in flat],
            "statuses": [STATUSES.index(m.status) for m in flat],
            "whys": {str(i): m.why for i, m in enumerate(flat) if m.why},
            "kind": flat[0].kind,
            "empty": [i for i, m in enumerate(flat) if not m.values.size],
        }
    group.attrs.update(attributes)


def _packed(values: Array) -> dict[str, Any] | None:
    """Codes and scales of maps (N, F, h, w) too fine to be kept lossless, or None."""
    n, f, h, w = values.shape
    if h * w <= packing.LARGE:
        return None
    codes, step, lowest = packing.pack(values.reshape(n * f, h, w))
    steps = [None if math.isnan(s) else s for s in step.tolist()]
    return {"codes": codes.reshape(values.shape), "step": steps, "lowest": lowest.tolist()}


def _unpacked(stored: Array, packed: Mapping[str, Any] | None, start: int) -> Array:
    """Maps, float32 (K, h, w), of which the first is map number `start` of the part."""
    if packed is None:
        return np.asarray(stored, np.float32)
    part = slice(start, start + len(stored))
    steps = [math.nan if s is None else s for s in packed["step"][part]]
    return packing.unpack(stored, np.array(steps), np.array(packed["lowest"][part]))


@lru_cache(maxsize=16)
def _open_maps(path: str) -> tuple[zarr.Group, dict[str, Any]]:
    group = zarr.open_group(path, mode="r")
    attributes = dict(group.attrs)
    _check_maps(attributes, path)
    return group, attributes


def _attributes(part: Path) -> dict[str, Any]:
    """Attributes of a part of stored maps, without opening its arrays."""
    attributes: dict[str, Any] = json.loads((part / "zarr.json").read_text("utf-8"))["attributes"]
    _check_maps(attributes, part)
    return attributes


def _check_maps(attributes: Mapping[str, Any], path: Path | str) -> None:
    remedy = "remove the part and give the same command again, or start the run again in a new folder"
    check_format(attributes.get("format"), MAPS_FORMAT, "part of stored maps", path, RunError, remedy)


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise RunError(f"{group.store} has no array {name!r}; the part is damaged: remove it and run again")
    return array


@lru_cache(maxsize=8)
def _index(folder: str, _changed: int) -> dict[str, str]:
    """radiograph -> part of a folder of map parts."""
    parts = sorted(p.name for p in Path(folder).iterdir() if not p.name.startswith("."))
    return {radiograph: part for part in parts for radiograph in _attributes(Path(folder) / part)["radiographs"]}


def read_maps(
    path: Path, radiograph: str, sources: Collection[str] | None = None, finding: str | None = None
) -> Iterator[SaliencyMap]:
    """The maps of one radiograph in a part: all, or those of some sources or one finding."""
    group, attributes = _open_maps(str(path))
    row, findings = attributes["radiographs"].index(radiograph), attributes["findings"]
    if finding is not None and finding not in findings:
        return
    columns = range(len(findings)) if finding is None else [findings.index(finding)]
    for source, facts in attributes["sources"].items():
        if sources is not None and source not in sources:
            continue
        first = row * len(findings) + columns[0]
        stored = np.asarray(_array(group, facts["array"])[row, columns[0] : columns[-1] + 1])
        values = _unpacked(stored, facts.get("packed"), first)  # (K, h, w)
        height, width, *box = facts["frames"][row]
        frame = Frame((height, width), (box[0], box[1], box[2], box[3]))
        for i, column in enumerate(columns, first):
            probability = facts["probabilities"][i]
            yield SaliencyMap(
                radiograph,
                findings[column],
                source,
                np.zeros((0, 0), np.float32) if i in facts["empty"] else values[i - first],
                frame,
                math.nan if probability is None else probability,
                STATUSES[facts["statuses"][i]],
                facts["whys"].get(str(i), ""),
                facts["kind"],
            )


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False, default=str)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into a `RunError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"{path}: {_FULL}") from error
        raise RunError(f"{path} cannot be written: {error.strerror}; give --out a folder you may write to") from error


def _refuse_other_options(path: Path, info: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    if info.get("study") != asked["study"]:
        raise RunError(f"{path} holds a {info.get('study')!r} run, not {asked['study']!r}; give --out another folder")
    old, new = info.get("options", {}), asked["options"]
    other = [f"{k} was {old.get(k)!r}, now {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if other:
        raise RunError(f"{path} holds a run with other options ({'; '.join(other)}); give --out another folder")
