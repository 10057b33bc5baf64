"""Tables computed in chunks: each chunk is stored whole or not at all, and all are joined at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from sightline._util.parallel import run_resumable
from sightline.runs.run import Run

T = TypeVar("T")
CHUNK_SIZE = 8
"""Items per chunk: what a kill can cost."""
Rows = Iterable[tuple[Any, ...]]
_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


@dataclass(frozen=True, slots=True)
class ChunkedTask(Generic[T]):
    """Rows of one or more tables, computed for a few items at a time."""

    title: str
    """Title of the progress bar."""
    items: Sequence[T]
    """Items in the order of their rows, such as radiographs."""
    rows_of: Callable[[Sequence[T]], Mapping[str, Rows]]
    """Computes the rows of every table for some of the items."""
    size: int = CHUNK_SIZE
    """Items per chunk."""
    folder: str = ""
    """Subfolder of the stored chunks, where several tasks share a kind of part."""


def write_chunks(
    run: Run, kind: str, schemas: Mapping[str, pa.Schema], *tasks: ChunkedTask[Any], workers: int = 1
) -> None:
    """Compute tables chunk by chunk, store every chunk, and join them into tables of the run.

    Continues after the last whole chunk. Memory holds one chunk for each worker.

    Parameters
    ----------
    run
        Run locked by the caller.
    kind
        Folder of the stored chunks, below `parts`.
    schemas
        Table name -> its columns.
    tasks
        Tasks whose rows follow each other in the tables.
    workers
        Threads that compute chunks.
    """
    keys = [key for task in tasks for key in _write_parts(run, kind, schemas, task, workers)]
    for name in schemas:
        run.join_parts(kind, [f"{key}/{name}.parquet" for key in keys], name)


def _write_parts(
    run: Run, kind: str, schemas: Mapping[str, pa.Schema], task: ChunkedTask[Any], workers: int
) -> list[str]:
    """Store every chunk of a task; return the keys of its parts."""
    prefix = f"{task.folder}/" if task.folder else ""
    chunks = {prefix + key: positions for key, positions in split_into_chunks(len(task.items), task.size).items()}

    def work(key: str) -> None:
        tables = task.rows_of([task.items[i] for i in chunks[key]])
        batches = {name: rows_to_table(list(rows), schemas[name]) for name, rows in tables.items()}
        run.write_part(kind, key, lambda folder: _write_tables(folder, batches))

    run_resumable(task.title, list(chunks), lambda key: run.part(kind, key).exists(), work, workers=workers)
    return list(chunks)


def split_into_chunks(count: int, size: int = CHUNK_SIZE) -> dict[str, range]:
    """Split items into chunks.

    Parameters
    ----------
    count
        Number of items.
    size
        Items per chunk.

    Returns
    -------
    dict
        Name of the chunk -> positions of its items.

    Examples
    --------
    >>> split_into_chunks(10, 8)
    {'000000': range(0, 8), '000008': range(8, 10)}
    """
    return {f"{start:06d}": range(start, min(start + size, count)) for start in range(0, count, size)}


def schema_for(row_type: type) -> pa.Schema:
    """Return the schema of a table whose rows are named tuples.

    Parameters
    ----------
    row_type
        Class of the rows, with fields of type bool, int, float or str.

    Returns
    -------
    pyarrow.Schema
        A column for each field.
    """
    return pa.schema([(field, _TYPES[kind]) for field, kind in get_type_hints(row_type).items()])


def rows_to_table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Convert rows to an Arrow table.

    Parameters
    ----------
    rows
        Rows in the order of the schema's columns; NaN becomes null.
    schema
        Columns of the table.

    Returns
    -------
    pyarrow.Table
        The table.
    """
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [pa.array(values, field.type, from_pandas=True) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _write_tables(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    folder.mkdir()
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
