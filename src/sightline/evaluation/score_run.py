"""Score the maps of a run in chunks, and summarize the scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sightline.core import Dataset, Maps, Radiograph
from sightline.evaluation.score_rows import AnnotationShape, MapOutcome, PixelCounts, Score, ScoringOptions
from sightline.evaluation.score_table import ScoreTable
from sightline.evaluation.scoring import require_annotations, score_radiograph
from sightline.protocol import Protocol
from sightline.runs.chunks import ChunkedTask, schema_for, write_chunks
from sightline.runs.run import Run
from sightline.stats.estimates import differences, estimates

_SCHEMAS = {
    "scores": schema_for(Score),
    "maps": schema_for(MapOutcome),
    "pixel_counts": schema_for(PixelCounts),
    "shapes": schema_for(AnnotationShape),
}


def score_run(
    run: Run, maps: Maps, data: Dataset, options: ScoringOptions, *, workers: int | None = None
) -> ScoreTable:
    """Score every map of a data set into the run's tables: scores, maps, pixel_counts, shapes, and their summaries.

    Continues after the last whole chunk. Memory does not grow with the number of radiographs until the tables are
    summarized.

    Parameters
    ----------
    run
        Run locked by the caller, into which tables are written.
    maps
        Maps that are scored.
    data
        Data set with annotations.
    options
        Options of scoring.
    workers
        Threads that score; by default one for each processor, at most four.

    Returns
    -------
    ScoreTable
        The tables.

    Raises
    ------
    DataError
        If nobody annotated anything.
    """
    require_annotations(data)
    sources = maps.sources

    def rows_of(radiographs: Sequence[Radiograph]) -> dict[str, list[Any]]:
        scored = [score_radiograph(radiograph, data, maps, options, sources) for radiograph in radiographs]
        return {name: [row for scores in scored for row in getattr(scores, name)] for name in _SCHEMAS}

    task = ChunkedTask("scoring", data.radiographs, rows_of)
    write_chunks(run, "scores", _SCHEMAS, task, workers=workers or _default_workers())
    scores = ScoreTable(run)
    summarize(scores, options.metrics, options.protocols, options.seed)
    return scores


def summarize(scores: ScoreTable, metrics: Sequence[str], protocols: Sequence[Protocol], seed: int) -> None:
    """Write the tables estimates, differences and status from scores and maps.

    Parameters
    ----------
    scores
        Tables of the run.
    metrics
        Names of metrics.
    protocols
        Protocols of scoring.
    seed
        Seed of the bootstrap.
    """
    means, gaps = [], []
    for name in metrics:  # one metric at a time: only its rows have their texts written out
        rows = scores.scores([name])
        means.append(estimates(rows, protocols, seed=seed))
        gaps.append(differences(rows, protocols, seed=seed))
    scores.run.write_table("estimates", pd.concat(means, ignore_index=True))
    scores.run.write_table("differences", pd.concat(gaps, ignore_index=True))
    outcomes = scores.run.table("maps", ["source", "status", "annotated"])
    counts = outcomes.groupby(["source", "status", "annotated"], sort=False).size().rename("maps").reset_index()
    scores.run.write_table("status", counts)


def _default_workers() -> int:
    return min(4, os.cpu_count() or 1)
