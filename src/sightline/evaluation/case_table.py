"""One row per radiograph and finding: what the model claimed, what the readers marked, how well they agree.

The score table holds one number a row; questions about slices of the data, regressions and tuning need the numbers of
a case side by side. A slice says which cases count and what an empty prediction is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.metrics.registry import parse_metric
from sightline.protocol import Protocol
from sightline.runs.run import Run

Slice = Literal["gt_positive", "gt&pred", "gt&pred&human", "model_positive&gt", "full"]
SLICES: dict[Slice, str] = {
    "gt_positive": "cases that the reference reader marked; an empty prediction overlaps by 0",
    "gt&pred": "of those, the cases with a prediction that is not empty (the published choice for IoU)",
    "gt&pred&human": "of those, the cases that the second reader marked, too",
    "model_positive&gt": "marked cases that the model calls positive",
    "full": "all images: a mark without prediction and a prediction without mark overlap by 0",
}
DEFAULT_CUTOFF = 0.5
"""Probability from which a model calls a finding present, where no cutoff is given."""
THRESHOLD_GRID = tuple(round(0.2 + 0.1 * i, 1) for i in range(7))
"""0.2 to 0.8: the grid on which CheXlocalize tunes thresholds."""
IOU_SWEEP = tuple(f"iou@above:{t:g}" for t in THRESHOLD_GRID)
_CASE_COLUMNS = ["radiograph", "finding"]


@dataclass(frozen=True)
class CaseTable:
    """The cases of one source under one protocol, beside those of a reader and the shapes of the marks."""

    protocol: Protocol
    source: str
    table: pd.DataFrame
    """radiograph, patient, finding, probability, status; counts of pixels: image_pixels, annotated_pixels,
    predicted_pixels, overlap_pixels, human_predicted_pixels, human_overlap_pixels; a column per metric
    (NaN without mark); human_iou, human_hit; instances, size, elongation, irrectangularity of the mark."""

    @property
    def is_annotated(self) -> pd.Series[bool]:
        return self.table["annotated_pixels"] > 0

    @property
    def is_predicted(self) -> pd.Series[bool]:
        """Whether the prediction is not empty: a mask, and a probability not below the finding's cutoff."""
        cutoff = self.table["finding"].map(dict(self.protocol.probability_cutoffs)).fillna(-1.0)
        below = self.table["probability"] < cutoff  # NaN: no cutoff can be applied
        return (self.table["predicted_pixels"] > 0) & ~below

    def overlap(self, case_slice: Slice) -> pd.Series[float]:
        """IoU of the cases of a slice; NaN where a case does not belong to it."""
        iou = self.table["iou"].fillna(0.0)
        if case_slice == "full":
            return iou.where(self.is_annotated & self.is_predicted, 0.0).where(self.is_annotated | self.is_predicted)
        return iou.where(self._in_slice(case_slice))

    def hits(self, case_slice: Slice) -> pd.Series[float]:
        """Hits of the cases of a slice. A peak needs no threshold, so that `gt&pred` and `full` are `gt_positive`."""
        points: dict[Slice, Slice] = {"gt&pred": "gt_positive", "full": "gt_positive"}
        return self.table["pointing-game"].where(self._in_slice(points.get(case_slice, case_slice)))

    def outcomes(self, case_slice: Slice) -> pd.DataFrame:
        """The marked cases with what regressions explain: iou on a slice, pointing-game, and their gaps to readers."""
        t = self.table.assign(iou=self.overlap(case_slice))[self.is_annotated]
        return t.assign(
            **{
                "iou-gap": t["human_iou"] - t["iou"],
                "pointing-game-gap": t["human_hit"] - t["pointing-game"],
            }
        )

    def _in_slice(self, case_slice: Slice) -> pd.Series[bool]:
        t = self.table
        if case_slice == "gt_positive":
            return self.is_annotated
        if case_slice == "gt&pred":
            return self.is_annotated & self.is_predicted
        if case_slice == "gt&pred&human":
            return self.is_annotated & self.is_predicted & (t["human_predicted_pixels"].fillna(0) > 0)
        cutoff = t["finding"].map(dict(self.protocol.probability_cutoffs)).fillna(DEFAULT_CUTOFF)
        return self.is_annotated & (t["probability"] >= cutoff)


def load_case_table(run: Run, protocol: Protocol, source: str, reader: str = "") -> CaseTable:
    """Read the cases of one source of maps or masks. reader: 'reader/NAME', whose points are 'reader/NAME points'."""
    table = _read_pixel_counts(run, protocol.name, source)
    table = table.merge(_pivot_scores(run, protocol.name, source), on=_CASE_COLUMNS, how="outer")
    if reader:
        human = _pivot_scores(run, protocol.name, reader)[[*_CASE_COLUMNS, "iou"]].rename(columns={"iou": "human_iou"})
        pointing = str(replace(Source.parse(reader), method="points"))
        points = _pivot_scores(run, protocol.name, pointing)[[*_CASE_COLUMNS, "pointing-game"]].rename(
            columns={"pointing-game": "human_hit"}
        )
        extents = _read_pixel_counts(run, protocol.name, reader)[[*_CASE_COLUMNS, "predicted_pixels", "overlap_pixels"]]
        extents = extents.rename(
            columns={"predicted_pixels": "human_predicted_pixels", "overlap_pixels": "human_overlap_pixels"}
        )
        for some in (human, points, extents):
            table = table.merge(some, on=_CASE_COLUMNS, how="left")
    for column in ("iou", "pointing-game", "human_iou", "human_hit", "human_predicted_pixels", "human_overlap_pixels"):
        table[column] = table.get(column, np.nan)
    shapes = run.table("shapes", where=("protocol", protocol.name)).drop(columns=["protocol", "patient"])
    return CaseTable(protocol, source, table.merge(shapes, on=_CASE_COLUMNS, how="left"))


def _read_pixel_counts(run: Run, protocol: str, source: str) -> pd.DataFrame:
    table = run.table("pixel_counts", where=("source", source))
    return table[table["protocol"] == protocol].drop(columns=["protocol", "source"]).reset_index(drop=True)


def _pivot_scores(run: Run, protocol: str, source: str) -> pd.DataFrame:
    """A row per case, a column per metric, those that an overlap or a hit needs."""
    names = [*_CASE_COLUMNS, "protocol", "metric", "value"]
    rows = run.table("scores", [*names, "source"], where=("source", source))
    rows = rows[(rows["protocol"] == protocol) & rows["metric"].isin(["iou", "pointing-game", *IOU_SWEEP])]
    wide = rows.set_index([*_CASE_COLUMNS, "metric"])["value"].unstack("metric").rename_axis(columns=None).reset_index()  # noqa: PD010
    return wide.reindex(columns=list(dict.fromkeys([*wide.columns, "iou", "pointing-game"])))


def slice_scores(case_tables: Sequence[CaseTable], case_slice: Slice) -> pd.DataFrame:
    """Score rows of a slice for several sources, as `stats.tables.estimates` takes them."""
    frames = []
    for c in case_tables:
        for metric, values in (("iou", c.overlap(case_slice)), ("pointing-game", c.hits(case_slice))):
            rows = c.table[["radiograph", "patient", "finding"]].assign(value=values, metric=metric)
            frames.append(rows.assign(protocol=c.protocol.name, source=c.source))
    return pd.concat(frames, ignore_index=True)


def tune_thresholds(case_table: CaseTable) -> pd.DataFrame:
    """Per finding the threshold of the map and the probability cutoff with the highest mean IoU; of equals the lowest.

    Columns finding, threshold, iou, n, cutoff, cutoff_iou, cutoff_n: the threshold on the marked cases, the cutoff on
    all images with the protocol's own masks (a probability must lie above the cutoff). The published protocol starts
    the grid of cutoffs for Lung Lesion at 0.1 and rounds means to three digits, as its scripts do.
    """
    rows = []
    for finding, t in case_table.table.groupby("finding", sort=False):
        sweep = t.loc[t["annotated_pixels"] > 0, [s for s in IOU_SWEEP if s in t]].mean()  # NaN leaves the mean
        threshold = THRESHOLD_GRID[int(np.argmax(sweep))] if len(sweep) and sweep.notna().any() else np.nan
        cutoff, mean, n = _best_cutoff(str(finding), t, published=case_table.protocol.definitions == "published")
        best = float(sweep.max()) if len(sweep) else np.nan
        rows.append((finding, threshold, best, int((t["annotated_pixels"] > 0).sum()), cutoff, mean, n))
    names = ("finding", "threshold", "iou", "n", "cutoff", "cutoff_iou", "cutoff_n")
    return pd.DataFrame(rows, columns=pd.Index(names))


def _best_cutoff(finding: str, t: pd.DataFrame, *, published: bool) -> tuple[float, float, int]:
    best: tuple[float, float, int] = (np.nan, np.nan, 0)
    for cutoff in cutoff_grid(finding, published=published):
        values = iou_on_all_images(t, cutoff)
        mean = round(float(values.mean()), 3) if published else float(values.mean())
        if not np.isnan(mean) and not mean <= best[1]:
            best = (cutoff, mean, int(values.notna().sum()))
    return best


def iou_on_all_images(table: pd.DataFrame, cutoff: float) -> pd.Series[float]:
    """IoU on all images when only maps with a probability above the cutoff (or none at all) claim anything."""
    marked, claimed = table["annotated_pixels"] > 0, (table["predicted_pixels"] > 0) & ~(table["probability"] <= cutoff)
    return table["iou"].fillna(0.0).where(marked & claimed, 0.0).where(marked | claimed)


def cutoff_grid(finding: str, *, published: bool) -> tuple[float, ...]:
    """0, 0.1, ... 0.8; in the published form from 0.1 for Lung Lesion, an exception its script makes by hand."""
    grid = tuple(round(0.1 * i, 1) for i in range(9))
    return grid[1:] if published and finding == "Lung Lesion" else grid


def model_sources(names: Sequence[str]) -> list[str]:
    return [s for s in names if Source.parse(s).kind == "model"]


def best_source(estimates: pd.DataFrame, protocol: str, metric: str) -> str:
    """The model source with the best mean over findings, '' where there is none: how the paper picks per metric."""
    rows = estimates[(estimates["protocol"] == protocol) & (estimates["metric"] == metric)]
    rows = rows[(rows["source_kind"] == "model") & (rows["finding"] == "average") & rows["mean"].notna()]
    if rows.empty:
        return ""
    ordered = rows.sort_values("mean", ascending=not parse_metric(metric)[0].info.higher_is_better, kind="stable")
    return str(ordered["source"].iloc[0])


def find_second_reader(sources: Iterable[str], *, points: bool = False) -> str:
    """The first second reader among sources: of masks, or of points; '' where there is none."""
    wanted = ("reader", "points" if points else "")
    return next((s for s in sources if (Source.parse(s).kind, Source.parse(s).method) == wanted), "")
