"""Cases: radiographs that show a finding, worked through in parts that survive a kill, each giving rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sightline._util.rng import PAIRED_CASE, key_digest, keyed_rng
from sightline.core import Array, Dataset, Frame, Radiograph, SaliencyMap
from sightline.engine import run_units
from sightline.evaluate import as_table, blocks
from sightline.geometry import cut, place_whole
from sightline.store import Run

UNIT = 8
"""Radiographs per stored part."""
Rows = Iterable[tuple[Any, ...]]


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


def worked(
    run: Run, kind: str, title: str, schema: pa.Schema, some: Sequence[Case], made: Callable[[Sequence[Case]], Rows]
) -> list[str]:
    """Store what `made(cases of a few radiographs)` gives, part by part; the keys of the parts of `kind`."""
    radiographs = list(dict.fromkeys(c.radiograph.id for c in some))
    units = blocks(len(radiographs), UNIT)

    def work(key: str) -> None:
        ids = {radiographs[i] for i in units[key.rpartition("/")[2]]}
        rows = list(made([c for c in some if c.radiograph.id in ids]))
        run.write_part(kind, key, lambda path: pq.write_table(as_table(rows, schema), path))

    keys = [f"{title.replace(' ', '-')}/{unit}" for unit in units]
    run_units(title, keys, lambda key: run.part(kind, key).exists(), work)
    return keys


def fine(stored: SaliencyMap, side: int) -> Array:
    """A stored map enlarged in its own frame, float32 (side, side)."""
    return np.asarray(cv2.resize(stored.values, (side, side), interpolation=cv2.INTER_LINEAR))


def as_seen(stored: SaliencyMap, frame: Frame, side: int) -> Array:
    """A stored map on the pixels that a model sees in `frame`, float32 (side, side)."""
    if stored.frame == frame:
        return fine(stored, side)
    return cut(place_whole(stored.values, stored.frame), frame, (side, side))
