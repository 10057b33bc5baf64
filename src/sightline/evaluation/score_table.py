"""The tables of a scored run, each read once: scores by metric or source, and the cases of a source."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sightline.core import Source
from sightline.evaluation.case_table import CASE_COLUMNS, IOU_SWEEP, CaseTable
from sightline.protocol import Protocol
from sightline.runs.run import Run
from sightline.stats.estimates import ScoreMatrix, arrange_scores

SCORE_COLUMNS = ("protocol", "source", "radiograph", "patient", "finding", "metric", "value")
"""Columns of the table `scores` that statistics are computed from."""
_CASE_METRICS = ("iou", "pointing-game", *IOU_SWEEP)


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores, pixel counts and annotation shapes of a run, each column read from disk once.

    Memory holds 32 bytes a score: texts are stored once, and numbered.
    """

    run: Run
    """The scored run."""
    extra_columns: tuple[str, ...] = ()
    """Columns of the table `scores` beyond `SCORE_COLUMNS`."""
    _reader_frames: dict[tuple[str, str], tuple[pd.DataFrame, ...]] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def _scores(self) -> pa.Table:
        return self.run.read_arrow("scores", (*SCORE_COLUMNS, *self.extra_columns))

    def scores(self, metrics: Collection[str] | None = None) -> pd.DataFrame:
        """Select the scores of some metrics.

        Parameters
        ----------
        metrics
            Names of metrics; all by default.

        Returns
        -------
        pandas.DataFrame
            The columns `SCORE_COLUMNS` and `extra_columns`.
        """
        return _decode(self._scores if metrics is None else _filter(self._scores, "metric", metrics))

    def matrix(self, metric: str, protocol: Protocol, seed: int, resamples: int = 1000) -> ScoreMatrix:
        """Arrange the scores of one metric under one protocol as a matrix.

        Parameters
        ----------
        metric
            Name of the metric.
        protocol
            Protocol of scoring.
        seed
            Seed of the bootstrap.
        resamples
            Number of bootstrap resamples.

        Returns
        -------
        ScoreMatrix
            A row per radiograph, a column per source and finding.
        """
        return arrange_scores(self.scores([metric]), metric, protocol, resamples, seed)

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """The table `estimates`."""
        return self.run.table("estimates")

    @cached_property
    def sources(self) -> list[str]:
        """Sources with estimates, in the order of the table."""
        return list(dict.fromkeys(self.estimates["source"]))

    def cases(self, protocol: Protocol, source: str, reader: str = "") -> CaseTable:
        """Join what is known of every case of a source of maps or masks.

        Parameters
        ----------
        protocol
            Protocol of scoring.
        source
            Source of maps or masks.
        reader
            Source of the second reader, as 'reader/NAME', whose points are the source 'reader/NAME points'.

        Returns
        -------
        CaseTable
            A row per radiograph and finding.
        """
        table = self._pixel_counts(protocol.name, source)
        table = table.merge(self._scores_by_case(protocol.name, source), on=CASE_COLUMNS, how="outer")
        for columns in self._reader_columns(protocol.name, reader) if reader else ():
            table = table.merge(columns, on=CASE_COLUMNS, how="left")
        for column in (
            "iou",
            "pointing-game",
            "human_iou",
            "human_hit",
            "human_predicted_pixels",
            "human_overlap_pixels",
        ):
            table[column] = table.get(column, np.nan)
        return CaseTable(protocol, source, table.merge(self._shapes(protocol.name), on=CASE_COLUMNS, how="left"))

    @cached_property
    def _all_pixel_counts(self) -> pa.Table:
        return self.run.read_arrow("pixel_counts")

    @cached_property
    def _all_shapes(self) -> pa.Table:
        return self.run.read_arrow("shapes")

    @cached_property
    def _case_scores(self) -> pa.Table:
        scores = self._scores.select([*CASE_COLUMNS, "protocol", "metric", "value", "source"])
        return _filter(scores, "metric", _CASE_METRICS)

    def _shapes(self, protocol: str) -> pd.DataFrame:
        return _decode(_filter(self._all_shapes, "protocol", [protocol])).drop(columns=["protocol", "patient"])

    def _pixel_counts(self, protocol: str, source: str) -> pd.DataFrame:
        rows = _decode(_filter(self._all_pixel_counts, "source", [source]))
        return rows[rows["protocol"] == protocol].drop(columns=["protocol", "source"]).reset_index(drop=True)

    def _scores_by_case(self, protocol: str, source: str) -> pd.DataFrame:
        """Return a row per case and a column per metric, of those that an overlap or a hit needs."""
        rows = _decode(_filter(self._case_scores, "source", [source]))
        rows = rows[rows["protocol"] == protocol]
        values = rows.set_index([*CASE_COLUMNS, "metric"])["value"]
        wide = values.unstack("metric").rename_axis(columns=None).reset_index()  # noqa: PD010
        return wide.reindex(columns=list(dict.fromkeys([*wide.columns, "iou", "pointing-game"])))

    def _reader_columns(self, protocol: str, reader: str) -> tuple[pd.DataFrame, ...]:
        """Return overlap, hits and pixel counts of the second reader, joined once for all sources."""
        if (protocol, reader) not in self._reader_frames:
            points = str(replace(Source.parse(reader), method="points"))
            frames = (
                (self._scores_by_case(protocol, reader), {"iou": "human_iou"}),
                (self._scores_by_case(protocol, points), {"pointing-game": "human_hit"}),
                (
                    self._pixel_counts(protocol, reader),
                    {"predicted_pixels": "human_predicted_pixels", "overlap_pixels": "human_overlap_pixels"},
                ),
            )
            self._reader_frames[protocol, reader] = tuple(
                frame[[*CASE_COLUMNS, *names]].rename(columns=names) for frame, names in frames
            )
        return self._reader_frames[protocol, reader]


def _filter(table: pa.Table, column: str, values: Collection[str]) -> pa.Table:
    """Return the rows with one of the values in a column of numbered texts."""
    if not table.num_rows:
        return table
    texts = table[column].chunk(0)
    codes = [i for i, text in enumerate(texts.dictionary.to_pylist()) if text in values]
    return table.filter(pc.is_in(texts.indices, pa.array(codes, texts.indices.type))).combine_chunks()


def _decode(table: pa.Table) -> pd.DataFrame:
    """Return a data frame with texts as texts."""
    types = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in table.schema]
    schema = pa.schema([field.with_type(kind) for field, kind in zip(table.schema, types, strict=True)])
    frame: pd.DataFrame = table.cast(schema).to_pandas()
    return frame
