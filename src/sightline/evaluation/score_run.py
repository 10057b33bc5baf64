"""Score the maps of a run in chunks, and summarize the scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sightline.core import Dataset, Maps, Radiograph
from sightline.evaluation.chance_levels import ChanceMaps
from sightline.evaluation.score_rows import AnnotationShape, MapOutcome, PixelCounts, Score, ScoringOptions
from sightline.evaluation.score_table import LEAVE_ONE_OUT, ScoreTable
from sightline.evaluation.scoring import require_annotations, score_radiograph
from sightline.protocol import Protocol
from sightline.runs.chunks import ChunkedTask, schema_for, write_chunks
from sightline.runs.run import Run
from sightline.stats.estimates import differences, estimates
from sightline.stats.reader_average import average_readers, differences_from_readers, readers_in_reference

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

    Where the reference combines readers, the table leave_one_out has the scores against the others of each reader.
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
    sources, chance = maps.sources, ChanceMaps.from_dataset(data, options.metrics)
    schemas = {**_SCHEMAS, **({LEAVE_ONE_OUT: schema_for(Score)} if data.combined_readers else {})}

    def rows_of(radiographs: Sequence[Radiograph]) -> dict[str, list[Any]]:
        scored = [score_radiograph(radiograph, data, maps, options, sources, chance) for radiograph in radiographs]
        return {name: [row for scores in scored for row in getattr(scores, name)] for name in schemas}

    task = ChunkedTask("scoring", data.radiographs, rows_of)
    write_chunks(run, "scores", schemas, task, workers=workers or _default_workers())
    scores = ScoreTable(run)
    summarize(scores, options.metrics, options.protocols, options.seed)
    return scores


def summarize(scores: ScoreTable, metrics: Sequence[str], protocols: Sequence[Protocol], seed: int) -> None:
    """Write the tables estimates, differences and status from scores and maps.

    Two or more readers are one more source, 'reader/all readers': their mean, with intervals for readers in general.

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
        rows, left_out = scores.scores([name]), scores.leave_one_out([name])
        means += [estimates(rows, protocols, seed=seed), average_readers(rows, protocols)]
        independent = rows[~rows["source"].isin(readers_in_reference(rows, left_out))]
        gaps += [differences(independent, protocols, seed=seed), differences_from_readers(rows, left_out, protocols)]
    scores.run.write_table("estimates", _join(means))
    scores.run.write_table("differences", _join(gaps))
    outcomes = scores.run.table("maps", ["source", "status", "annotated"])
    counts = outcomes.groupby(["source", "status", "annotated"], sort=False).size().rename("maps").reset_index()
    scores.run.write_table("status", counts)


def _join(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all tables; the columns of the first if none has any."""
    joined = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    return joined.fillna({"reason": ""})


def _default_workers() -> int:
    return min(4, os.cpu_count() or 1)
