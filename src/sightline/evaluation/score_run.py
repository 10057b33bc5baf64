"""Score the maps of a run in parts, and draw the tables a report is made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sightline.core import Dataset, Maps, Radiograph
from sightline.evaluation.case_table import SWEEP
from sightline.evaluation.scoring import Extent, Ledger, Score, Shape, require_marks, score_radiograph
from sightline.protocol import Protocol
from sightline.runs.chunks import ChunkedTask, schema_of, write_chunks
from sightline.runs.run import Run
from sightline.stats.estimates import differences, estimates

METRICS = (
    "iou", "dice", "hit", "precision", "recall", "specificity",
    "pixel-auroc", "average-precision", "pr-area", "mass", "rank", "box-iou", *SWEEP,
)  # fmt: skip

_SCHEMAS = {
    "scores": schema_of(Score),
    "maps": schema_of(Ledger),
    "extents": schema_of(Extent),
    "shapes": schema_of(Shape),
}


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

    def rows_of(radiographs: Sequence[Radiograph]) -> dict[str, list[Any]]:
        scored = [score_radiograph(r, data, maps, names, chosen, findings, full) for r in radiographs]
        return {name: [row for each in scored for row in getattr(each, name)] for name in _SCHEMAS}

    task = ChunkedTask("scoring", data.radiographs, rows_of)
    write_chunks(run, "scores", _SCHEMAS, task, workers=workers or _workers())
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


def _workers() -> int:
    return min(4, os.cpu_count() or 1)
