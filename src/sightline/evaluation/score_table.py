"""The tables of a scored run, each read once: scores by metric or source, and the cases of a source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
LEAVE_ONE_OUT = "leave_one_out"
"""Table of scores against the references that leave a reader out, of a run whose reference combines readers."""
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
    _reader_frames: dict[tuple[str, tuple[str, ...]], tuple[pd.DataFrame, ...]] = field(
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

    @cached_property
    def _leave_one_out(self) -> pa.Table | None:
        if not self.run.has_table(LEAVE_ONE_OUT):
            return None
        return self.run.read_arrow(LEAVE_ONE_OUT, (*SCORE_COLUMNS, "reader"))

    def leave_one_out(self, metrics: Collection[str]) -> pd.DataFrame:
        """Select the scores of some metrics against the references that leave a reader out.

        Parameters
        ----------
        metrics
            Names of metrics.

        Returns
        -------
        pandas.DataFrame
            The columns `SCORE_COLUMNS` and reader, the name of the reference; no row if the reference combines none.
        """
        if self._leave_one_out is None:
            return pd.DataFrame(columns=[*SCORE_COLUMNS, "reader"])
        return _decode(_filter(self._leave_one_out, "metric", metrics))

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

    def cases(self, protocol: Protocol, source: str, readers: Sequence[str] = ()) -> CaseTable:
        """Join what is known of every case of a source of maps or masks.

        Parameters
        ----------
        protocol
            Protocol of scoring.
        source
            Source of maps or masks.
        readers
            Sources of the second readers, as 'reader/NAME', whose points are the sources 'reader/NAME points'. Their
            columns are means over them.

        Returns
        -------
        CaseTable
            A row per radiograph and finding.
        """
        table = self._pixel_counts(protocol.name, source)
        table = table.merge(self._scores_by_case(protocol.name, source), on=CASE_COLUMNS, how="outer")
        if readers:
            for columns in (*self._reader_columns(protocol.name, tuple(readers)), self._paired(protocol.name, source)):
                table = table.merge(columns, on=CASE_COLUMNS, how="left")
        for column in (
            "iou",
            "pointing-game",
            "human_iou",
            "human_hit",
            "human_predicted_pixels",
            "human_overlap_pixels",
            "paired_iou",
            "paired_hit",
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
        return _spread_metrics(rows.set_index([*CASE_COLUMNS, "metric"])["value"])

    def _paired(self, protocol: str, source: str) -> pd.DataFrame:
        """Return the means of a source over the references that leave a reader out."""
        rows = self.leave_one_out(("iou", "pointing-game"))
        rows = rows[(rows["protocol"] == protocol) & (rows["source"] == source)]
        wide = _spread_metrics(rows.groupby([*CASE_COLUMNS, "metric"], sort=False)["value"].mean())
        return wide.rename(columns={"iou": "paired_iou", "pointing-game": "paired_hit"})

    def _reader_columns(self, protocol: str, readers: tuple[str, ...]) -> tuple[pd.DataFrame, ...]:
        """Return overlap, hits and pixel counts of the second readers, joined once for all sources."""
        if (protocol, readers) not in self._reader_frames:
            points = [str(replace(Source.parse(reader), method="points")) for reader in readers]
            pixels = {"predicted_pixels": "human_predicted_pixels", "overlap_pixels": "human_overlap_pixels"}
            self._reader_frames[protocol, readers] = (
                _mean_by_case([self._scores_by_case(protocol, r) for r in readers], {"iou": "human_iou"}),
                _mean_by_case([self._scores_by_case(protocol, p) for p in points], {"pointing-game": "human_hit"}),
                _mean_by_case([self._pixel_counts(protocol, r) for r in readers], pixels),
            )
        return self._reader_frames[protocol, readers]


def _spread_metrics(values: pd.Series[float]) -> pd.DataFrame:
    """Return a row per case and a column per metric."""
    wide = values.unstack("metric").rename_axis(columns=None).reset_index()  # noqa: PD010
    return wide.reindex(columns=list(dict.fromkeys([*CASE_COLUMNS, *wide.columns, "iou", "pointing-game"])))


def _mean_by_case(frames: Sequence[pd.DataFrame], names: Mapping[str, str]) -> pd.DataFrame:
    """Return the means over readers of some columns, under new names."""
    rows = pd.concat([frame[[*CASE_COLUMNS, *names]] for frame in frames], ignore_index=True)
    if len(frames) > 1:
        rows = rows.groupby(CASE_COLUMNS, sort=False, as_index=False).mean()
    return rows.rename(columns=dict(names))


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
