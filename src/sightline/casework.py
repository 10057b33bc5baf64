"""Cases: radiographs that show a finding, drawn, paired, and worked through a few radiographs at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sightline._util.rng import PAIRED_CASE, key_digest, keyed_rng
from sightline.core import Array, Dataset, Frame, Radiograph, SaliencyMap
from sightline.geometry import cut, place_whole
from sightline.runs.chunks import ChunkedTask, Rows


@dataclass(frozen=True, slots=True)
class Case:
    """A radiograph and a finding that it shows."""

    radiograph: Radiograph
    finding: str


def cases(data: Dataset, findings: Sequence[str], most: int, seed: int) -> list[Case]:
    """The positive findings of at most `most` radiographs, drawn by their ids whatever the order of the data set."""
    positive = [r for r in data.radiographs if any(r.labels.get(f) == 1 for f in findings)]
    chosen = sorted(sorted(positive, key=lambda r: key_digest(seed, r.id))[:most], key=lambda r: r.id)
    return [Case(r, f) for r in chosen for f in findings if r.labels.get(f) == 1]


def another(case: Case, some: Sequence[Case], seed: int) -> Case | None:
    """Another patient's case of the same finding, keyed by (seed, id, finding); None without any."""
    there = [c for c in some if c.finding == case.finding and c.radiograph.patient != case.radiograph.patient]
    if not there:
        return None
    return there[int(keyed_rng(seed, PAIRED_CASE, case.radiograph.id, case.finding).integers(len(there)))]


def case_task(
    table: str, title: str, cases: Sequence[Case], rows_of: Callable[[Sequence[Case]], Rows]
) -> ChunkedTask[str]:
    """Return the task that computes rows of a table for the cases of a few radiographs at a time."""

    def rows_of_radiographs(ids: Sequence[str]) -> dict[str, Rows]:
        return {table: rows_of([c for c in cases if c.radiograph.id in ids])}

    radiographs = list(dict.fromkeys(c.radiograph.id for c in cases))
    return ChunkedTask(title, radiographs, rows_of_radiographs, folder=title.replace(" ", "-"))


def fine(stored: SaliencyMap, side: int) -> Array:
    """A stored map enlarged in its own frame, float32 (side, side)."""
    return np.asarray(cv2.resize(stored.values, (side, side), interpolation=cv2.INTER_LINEAR))


def as_seen(stored: SaliencyMap, frame: Frame, side: int) -> Array:
    """A stored map on the pixels that a model sees in `frame`, float32 (side, side)."""
    if stored.frame == frame:
        return fine(stored, side)
    return cut(place_whole(stored.values, stored.frame), frame, (side, side))
