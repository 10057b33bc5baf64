"""Case tables: one row per radiograph and finding with prediction, annotations and scores.

The score table has one number per row; slices of the data, regressions and tuning need the numbers of a case side by
side. A slice defines which cases count and how an empty prediction scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from sightline.core import Source
from sightline.metrics.registry import parse_metric
from sightline.protocol import Protocol
from sightline.stats.reader_average import ALL_READERS, readers_behind

Slice = Literal["gt_positive", "gt&pred", "gt&pred&human", "model_positive&gt", "full"]
SLICES: dict[Slice, str] = {
    "gt_positive": "cases that the reference reader annotated; an empty prediction overlaps by 0",
    "gt&pred": "of those, the cases with a prediction that is not empty (the published choice for IoU)",
    "gt&pred&human": "of those, the cases that a second reader annotated, too",
    "model_positive&gt": "annotated cases that the model calls positive",
    "full": "all images: an annotation without prediction and a prediction without annotation overlap by 0",
}
DEFAULT_CUTOFF = 0.5
"""Probability from which a model calls a finding present, if no cutoff is given."""
THRESHOLD_GRID = tuple(round(0.2 + 0.1 * i, 1) for i in range(7))
"""0.2 to 0.8: the grid on which CheXlocalize tunes thresholds."""
IOU_SWEEP = tuple(f"iou@above:{t:g}" for t in THRESHOLD_GRID)
CASE_COLUMNS = ["radiograph", "finding"]
"""Columns that identify a case."""


@dataclass(frozen=True)
class CaseTable:
    """Cases of one source under one protocol, with those of a second reader and the shapes of the annotations."""

    protocol: Protocol
    """Protocol of scoring."""
    source: str
    """Source of the maps or masks."""
    table: pd.DataFrame
    """Columns radiograph, patient, finding, probability, status; counts of pixels: image_pixels, annotated_pixels,
    predicted_pixels, overlap_pixels, human_predicted_pixels, human_overlap_pixels; a column per metric (NaN without
    annotation); human_iou, human_hit, the means over the second readers, and paired_iou, paired_hit, those of the
    source against the references of these readers, if they are others; instances, size, elongation, irrectangularity
    of the annotation."""

    @property
    def is_annotated(self) -> pd.Series[bool]:
        """True where the reference reader annotated the finding."""
        return self.table["annotated_pixels"] > 0

    @property
    def is_predicted(self) -> pd.Series[bool]:
        """True where the prediction is not empty: it has pixels, and a probability not below the finding's cutoff."""
        cutoff = self.table["finding"].map(dict(self.protocol.probability_cutoffs)).fillna(-1.0)
        below = self.table["probability"] < cutoff  # NaN: no cutoff can be applied
        return (self.table["predicted_pixels"] > 0) & ~below

    def overlap(self, case_slice: Slice) -> pd.Series[float]:
        """Return the IoU of the cases of a slice.

        Parameters
        ----------
        case_slice
            Name of the slice.

        Returns
        -------
        pandas.Series
            IoU in [0, 1]; NaN for a case that does not belong to the slice.
        """
        iou = self.table["iou"].fillna(0.0)
        if case_slice == "full":
            return iou.where(self.is_annotated & self.is_predicted, 0.0).where(self.is_annotated | self.is_predicted)
        return iou.where(self._in_slice(case_slice))

    def hits(self, case_slice: Slice) -> pd.Series[float]:
        """Return the hits of the cases of a slice.

        A peak needs no threshold, so that `gt&pred` and `full` are `gt_positive`.

        Parameters
        ----------
        case_slice
            Name of the slice.

        Returns
        -------
        pandas.Series
            0 or 1; NaN for a case that does not belong to the slice.
        """
        points: dict[Slice, Slice] = {"gt&pred": "gt_positive", "full": "gt_positive"}
        return self.table["pointing-game"].where(self._in_slice(points.get(case_slice, case_slice)))

    def outcomes(self, case_slice: Slice) -> pd.DataFrame:
        """Return the annotated cases with the outcomes of regressions.

        Parameters
        ----------
        case_slice
            Slice that the IoU is of.

        Returns
        -------
        pandas.DataFrame
            The table with columns iou, pointing-game, and the gaps to the second reader, iou-gap and
            pointing-game-gap.
        """
        t = self.table.assign(iou=self.overlap(case_slice))[self.is_annotated]
        gaps = {}
        for metric, of_reader in (("iou", "iou"), ("pointing-game", "hit")):
            scores, paired = t[metric], t.get(f"paired_{of_reader}", t[metric])
            gaps[f"{metric}-gap"] = t[f"human_{of_reader}"] - paired.fillna(scores).where(scores.notna())
        return t.assign(**gaps)

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


def slice_scores(case_tables: Sequence[CaseTable], case_slice: Slice) -> pd.DataFrame:
    """Return the scores of a slice, as `sightline.stats.estimates.estimates` takes them.

    Parameters
    ----------
    case_tables
        Cases of several sources.
    case_slice
        Name of the slice.

    Returns
    -------
    pandas.DataFrame
        Columns radiograph, patient, finding, value, metric (iou and pointing-game), protocol, source.
    """
    frames = []
    for cases in case_tables:
        for metric, values in (("iou", cases.overlap(case_slice)), ("pointing-game", cases.hits(case_slice))):
            rows = cases.table[["radiograph", "patient", "finding"]].assign(value=values, metric=metric)
            frames.append(rows.assign(protocol=cases.protocol.name, source=cases.source))
    return pd.concat(frames, ignore_index=True)


def tune_thresholds(case_table: CaseTable) -> pd.DataFrame:
    """Choose the map threshold and the probability cutoff with the highest mean IoU per finding; of equals the lowest.

    The published protocol starts the grid of cutoffs for Lung Lesion at 0.1 and rounds means to three digits, as its
    scripts do.

    Parameters
    ----------
    case_table
        Cases of one source.

    Returns
    -------
    pandas.DataFrame
        Columns finding, threshold, iou, n, cutoff, cutoff_iou, cutoff_n: the threshold on the annotated cases, the
        cutoff on all images with the protocol's own masks (a probability must lie above the cutoff).
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
    """Compute the IoU on all images if only maps with a probability above a cutoff, or without one, predict anything.

    Parameters
    ----------
    table
        Table of a `CaseTable`.
    cutoff
        Probability in [0, 1].

    Returns
    -------
    pandas.Series
        IoU in [0, 1]; NaN where neither is anything annotated nor predicted.
    """
    annotated, predicted = (
        table["annotated_pixels"] > 0,
        (table["predicted_pixels"] > 0) & ~(table["probability"] <= cutoff),
    )
    return table["iou"].fillna(0.0).where(annotated & predicted, 0.0).where(annotated | predicted)


def cutoff_grid(finding: str, *, published: bool) -> tuple[float, ...]:
    """Return the grid of probability cutoffs: 0, 0.1, ... 0.8.

    Parameters
    ----------
    finding
        Name of the finding.
    published
        Start at 0.1 for Lung Lesion, an exception of the published script.

    Returns
    -------
    tuple of float
        The cutoffs.
    """
    grid = tuple(round(0.1 * i, 1) for i in range(9))
    return grid[1:] if published and finding == "Lung Lesion" else grid


def model_sources(names: Sequence[str]) -> list[str]:
    """Return the sources that are maps of a model.

    Parameters
    ----------
    names
        Names of sources.

    Returns
    -------
    list of str
        Those of the kind 'model', in their order.
    """
    return [s for s in names if Source.parse(s).kind == "model"]


def best_source(estimates: pd.DataFrame, protocol: str, metric: str) -> str:
    """Return the model source with the best mean over the findings that all have, as the paper chooses one per metric.

    Parameters
    ----------
    estimates
        Table of estimates.
    protocol, metric
        Names of the protocol and the metric.

    Returns
    -------
    str
        The source; empty if there is none.
    """
    rows = estimates[(estimates["protocol"] == protocol) & (estimates["metric"] == metric)]
    rows = rows[(rows["source_kind"] == "model") & rows["mean"].notna()]
    info = parse_metric(metric)[0].info
    if rows.empty or not info.is_score:
        return ""
    sources = list(dict.fromkeys(rows["source"]))
    by_finding = rows.pivot_table(index="finding", columns="source", values="mean")[sources]
    shared = by_finding.drop(index="average", errors="ignore").dropna()
    means = (by_finding if shared.empty else shared).mean()  # averages over different findings cannot be compared
    return str(means.sort_values(ascending=not info.higher_is_better, kind="stable").index[0])


def second_readers(sources: Iterable[str], *, points: bool = False) -> list[str]:
    """Return the sources of second readers, without the mean over them.

    Parameters
    ----------
    sources
        Names of sources.
    points
        Look for readers of points instead of masks.

    Returns
    -------
    list of str
        The sources, in their order.
    """
    return list(readers_behind(tuple(sources), str(Source("reader", ALL_READERS, "points" if points else ""))))
