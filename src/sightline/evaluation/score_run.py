"""Score the maps of a run in parts, and draw the tables a report is made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sightline.core import Dataset, Maps, Radiograph
from sightline.evaluation.case_table import IOU_SWEEP
from sightline.evaluation.scoring import (
    AnnotationShape,
    MapOutcome,
    PixelCounts,
    Score,
    require_annotations,
    score_radiograph,
)
from sightline.protocol import Protocol
from sightline.runs.chunks import ChunkedTask, schema_for, write_chunks
from sightline.runs.run import Run
from sightline.stats.estimates import differences, estimates

METRICS = (
    "iou",
    "dice",
    "pointing-game",
    "precision",
    "recall",
    "specificity",
    "pixel-auroc",
    "average-precision",
    "pr-area",
    "relevance-mass",
    "relevance-rank",
    "box-iou",
    *IOU_SWEEP,
)

_SCHEMAS = {
    "scores": schema_for(Score),
    "maps": schema_for(MapOutcome),
    "pixel_counts": schema_for(PixelCounts),
    "shapes": schema_for(AnnotationShape),
}


def score_run(
    run: Run,
    maps: Maps,
    data: Dataset,
    *,
    metrics: Sequence[str] = METRICS,
    protocols: Sequence[Protocol],
    findings: Sequence[str],
    seed: int,
    include_unannotated: bool = False,
    workers: int | None = None,
) -> None:
    """Score every map of a data set into the run's tables: scores, maps, pixel_counts, shapes, and their summaries.

    Continues after the last whole part. Memory does not grow with the number of radiographs until the tables are
    summarized, and then by eight bytes a score.
    """
    require_annotations(data)

    def rows_of(radiographs: Sequence[Radiograph]) -> dict[str, list[Any]]:
        scored = [
            score_radiograph(r, data, maps, metrics, protocols, findings, include_unannotated) for r in radiographs
        ]
        return {name: [row for each in scored for row in getattr(each, name)] for name in _SCHEMAS}

    task = ChunkedTask("scoring", data.radiographs, rows_of)
    write_chunks(run, "scores", _SCHEMAS, task, workers=workers or _default_workers())
    summarize(run, metrics, protocols, seed)


def summarize(run: Run, metrics: Sequence[str], protocols: Sequence[Protocol], seed: int) -> None:
    """Write the tables estimates, differences and status from scores and maps."""
    needed = ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"]
    means, gaps = [], []
    for name in metrics:  # one metric in memory at a time
        scores = run.table("scores", needed, where=("metric", name))
        means.append(estimates(scores, protocols, seed=seed))
        gaps.append(differences(scores, protocols, seed=seed))
    run.write_table("estimates", pd.concat(means, ignore_index=True))
    run.write_table("differences", pd.concat(gaps, ignore_index=True))
    ledger = run.table("maps", ["source", "status", "annotated"])
    counts = ledger.groupby(["source", "status", "annotated"], sort=False).size().rename("maps").reset_index()
    run.write_table("status", counts)


def _default_workers() -> int:
    return min(4, os.cpu_count() or 1)
