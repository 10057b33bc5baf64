"""Score the maps of a run in parts, and draw the tables a report is made of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sightline.cases import SWEEP
from sightline.core import Dataset, Maps
from sightline.engine import run_units
from sightline.protocol import Protocol
from sightline.scoring import Extent, Ledger, Score, Shape, require_marks, score_radiograph
from sightline.stats.tables import differences, estimates
from sightline.store import Run

BLOCK = 8
"""Radiographs per part: what a kill can cost."""
METRICS = (
    "iou", "dice", "hit", "precision", "recall", "specificity",
    "pixel-auroc", "average-precision", "pr-area", "mass", "rank", "box-iou", *SWEEP,
)  # fmt: skip

_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
_TABLES = {"scores": Score, "maps": Ledger, "extents": Extent, "shapes": Shape}


def schema_of(row: type) -> pa.Schema:
    """Columns of a table whose rows are named tuples."""
    return pa.schema([(field, _TYPES[kind]) for field, kind in get_type_hints(row).items()])


_SCHEMAS = {name: schema_of(row) for name, row in _TABLES.items()}


def blocks(count: int, size: int = BLOCK) -> dict[str, range]:
    """Names of parts -> the positions of their radiographs.

    >>> blocks(10, 8)
    {'000000': range(0, 8), '000008': range(8, 10)}
    """
    return {f"{start:06d}": range(start, min(start + size, count)) for start in range(0, count, size)}


def evaluate(
    run: Run,
    maps: Maps,
    data: Dataset,
    *,
    names: Sequence[str] = METRICS,
    chosen: Sequence[Protocol],
    findings: Sequence[str],
    seed: int,
    full: bool = False,
    workers: int | None = None,
) -> None:
    """Score every map of a data set into the run's tables: scores, maps, extents, shapes, and their summaries.

    Continues after the last whole part. Memory does not grow with the number of radiographs until the tables are
    summarized, and then by eight bytes a score.
    """
    require_marks(data)
    units = blocks(len(data.radiographs))

    def work(key: str) -> None:
        told: dict[str, list[Any]] = {name: [] for name in _TABLES}
        for position in units[key]:
            rows = score_radiograph(data.radiographs[position], data, maps, names, chosen, findings, full)
            for name, some in rows._asdict().items():
                told[name] += some
        store(run, "scores", key, told, _SCHEMAS)

    run_units("scoring", list(units), lambda key: run.part("scores", key).exists(), work, workers=workers or _workers())
    for name in _TABLES:
        run.join_parts("scores", [f"{key}/{name}.parquet" for key in units], name)
    summarize(run, names, chosen, seed)


def store(
    run: Run, kind: str, key: str, told: Mapping[str, Sequence[tuple[Any, ...]]], schemas: Mapping[str, pa.Schema]
) -> None:
    """Write the rows of several tables as one part."""

    def write(folder: Path) -> None:
        folder.mkdir()
        for name, rows in told.items():
            pq.write_table(as_table(rows, schemas[name]), folder / f"{name}.parquet")

    run.write_part(kind, key, write)


def summarize(run: Run, names: Sequence[str], chosen: Sequence[Protocol], seed: int) -> None:
    """Write the tables estimates, differences and status from scores and maps."""
    needed = ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"]
    means, gaps = [], []
    for name in names:  # one metric in memory at a time
        scores = run.table("scores", needed, where=("metric", name))
        means.append(estimates(scores, chosen, seed=seed))
        gaps.append(differences(scores, chosen, seed=seed))
    run.write_table("estimates", pd.concat(means, ignore_index=True))
    run.write_table("differences", pd.concat(gaps, ignore_index=True))
    ledger = run.table("maps", ["source", "status", "marked"])
    counts = ledger.groupby(["source", "status", "marked"], sort=False).size().rename("maps").reset_index()
    run.write_table("status", counts)


def as_table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows as columns of the schema; NaN is null."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [pa.array(values, field.type, from_pandas=True) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _workers() -> int:
    return min(4, os.cpu_count() or 1)
