"""Readings with a map against readings without it: accuracy and time, paired by reader and case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from sightline.core import Annotation, Dataset
from sightline.data.reader_study.annotations import CompletedReading
from sightline.imaging.masks import contours_to_mask, rasterize_annotation
from sightline.stats.intervals import UNBOUNDED, mean_with_ci

ALL_READERS = "all"
"""Name in the table for all readers together."""
_COLUMNS = ("task", "measure", "reader", "unaided", "aided", "mean", "low", "high", "p", "n", "patients", "reason")


def compare_arms(readings: Sequence[CompletedReading], data: Dataset) -> pd.DataFrame:
    """Compare the readings of the same cases by the same readers with a map and without it.

    Each reader reads each case in both arms, in independent readings (Schalekamp et al. 2014,
    10.1117/1.JMI.1.1.015501). Measures, for each pair of readings: 'presence', 1 if the reader is right about whether
    the finding is there; 'iou' of the outlines and 'pointing-game' of the point with the annotation of the reference
    reader, where there is one: 0 if the reader drew nothing; 'seconds' of active time.

    Parameters
    ----------
    readings : sequence of CompletedReading
        Finished readings of both arms. Cases that a reader has finished in one arm only are left out.
    data : Dataset
        Data set with the annotations of the reference reader.

    Returns
    -------
    pandas.DataFrame
        Columns task, measure, reader ('all' for all together), unaided and aided (means), mean (of the paired
        differences, aided minus unaided), low, high (95 % interval over patients; the readers are these ones), p,
        n (pairs), patients, reason (why there is no interval, or ''). Empty without pairs.
    """
    rows = pd.DataFrame(list(_compare_pairs(readings, data)), columns=pd.Index((*_COLUMNS[:5], "patient")))
    results = []
    for (task, measure), group in rows.groupby(["task", "measure"], sort=False):
        readers = list(dict.fromkeys(group["reader"]))
        for reader in [*readers, *([ALL_READERS] if len(readers) > 1 else [])]:
            part = group if reader == ALL_READERS else group[group["reader"] == reader]
            gap = part["aided"] - part["unaided"]
            means = {"unaided": part["unaided"].mean(), "aided": part["aided"].mean()}
            head = {"task": task, "measure": measure, "reader": reader}
            bounds = UNBOUNDED if measure == "seconds" else (-1.0, 1.0)
            results.append({**head, **means, **mean_with_ci(gap, part["patient"], "linear", bounds)})
    return pd.DataFrame(results, columns=pd.Index(_COLUMNS))


def _compare_pairs(
    readings: Sequence[CompletedReading], data: Dataset
) -> Iterator[tuple[str, str, str, float, float, str]]:
    """Yield (task, measure, reader, unaided, aided, patient) of every pair."""
    arms: dict[tuple[str, str, str, str], dict[bool, CompletedReading]] = {}
    for r in readings:
        arms.setdefault((r.reader, r.case.task, r.case.radiograph, r.case.finding), {})[r.is_aided] = r
    for (reader, task, radiograph, finding), both in arms.items():
        if len(both) < 2:
            continue
        reference = data.annotation(radiograph, finding, data.reference_reader)
        unaided, aided = _measure(both[False], reference), _measure(both[True], reference)
        yield from ((task, name, reader, unaided[name], aided[name], both[True].case.patient) for name in unaided)


def _measure(r: CompletedReading, reference: Annotation | None) -> dict[str, float]:
    """Return the measures of one reading that are defined for its case."""
    measures = {"presence": float(r.has_annotation == (reference is not None))}
    if reference is not None:
        mask = rasterize_annotation(reference)
        if r.case.task == "contour":
            drawn = contours_to_mask(r.contours, mask.shape)
            measures["iou"] = float((drawn & mask).sum() / max((drawn | mask).sum(), 1))
        else:
            row, col = np.minimum(r.points[0].astype(int), np.array(mask.shape) - 1) if len(r.points) else (0, 0)
            measures["pointing-game"] = float(len(r.points) > 0 and mask[row, col])
    return measures | {"seconds": r.state.seconds}
