"""Score the maps of a run in parts, and draw the tables a report is made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sightline.core import Dataset, Maps
from sightline.engine import run_units
from sightline.protocol import Protocol
from sightline.scoring import Ledger, Score, require_marks, score_radiograph
from sightline.stats.tables import differences, estimates
from sightline.store import Run

BLOCK = 8
"""Radiographs per part: what a kill can cost."""
METRICS = (
    "iou", "dice", "hit", "precision", "recall", "specificity",
    "pixel-auroc", "average-precision", "pr-area", "mass", "rank",
)  # fmt: skip

_SCORE = pa.schema(
    [(name, pa.float64() if name in ("value", "probability", "area") else pa.string()) for name in Score._fields]
)
_LEDGER = pa.schema(
    [
        (name, {"probability": pa.float64(), "marked": pa.bool_()}.get(name, pa.string()))
        for name in Ledger._fields
    ]
)  # fmt: skip


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
    workers: int | None = None,
) -> None:
    """Score every map of a data set into the run's tables: scores, maps, estimates, differences, status.

    Continues after the last whole part. Memory does not grow with the number of radiographs until the tables are
    summarized, and then by eight bytes a score.
    """
    require_marks(data)
    units = blocks(len(data.radiographs))

    def work(key: str) -> None:
        scores: list[Score] = []
        ledger: list[Ledger] = []
        for position in units[key]:
            rows, notes = score_radiograph(data.radiographs[position], data, maps, names, chosen, findings)
            scores += rows
            ledger += notes

        def write(folder: Path) -> None:
            folder.mkdir()
            pq.write_table(_table(scores, _SCORE), folder / "scores.parquet")
            pq.write_table(_table(ledger, _LEDGER), folder / "maps.parquet")

        run.write_part("scores", key, write)

    run_units("scoring", list(units), lambda key: run.part("scores", key).exists(), work, workers=workers or _workers())
    for name in ("scores", "maps"):
        run.join_parts("scores", [f"{key}/{name}.parquet" for key in units], name)
    summarize(run, names, chosen, seed)


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


def _table(rows: Sequence[Score] | Sequence[Ledger], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [pa.array(values, field.type, from_pandas=True) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _workers() -> int:
    return min(4, os.cpu_count() or 1)
