"""Cases: radiographs that show a finding, worked through in parts that survive a kill, each giving rows of a table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn import functional as F

from sightline.controls import generator
from sightline.core import Array, DataError, Dataset, Frame, Radiograph, SaliencyMap, SightlineError
from sightline.engine import run_units
from sightline.evaluate import blocks
from sightline.geometry import cut, place_whole
from sightline.methods import Of, Pass, run_method, target_indices
from sightline.models import Model
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

    def drawn(radiograph: Radiograph) -> bytes:
        return hashlib.sha256(f"{seed} {radiograph.id}".encode()).digest()

    positive = [r for r in data.radiographs if any(r.labels.get(f) == 1 for f in findings)]
    chosen = sorted(sorted(positive, key=drawn)[:most], key=lambda r: r.id)
    return [Case(r, f) for r in chosen for f in findings if r.labels.get(f) == 1]


def another(case: Case, some: Sequence[Case], seed: int) -> Case | None:
    """Another patient's case of the same finding, keyed by (seed, id, finding); None without any."""
    there = [c for c in some if c.finding == case.finding and c.radiograph.patient != case.radiograph.patient]
    if not there:
        return None
    return there[int(generator(seed, "pair", case.radiograph.id, case.finding).integers(len(there)))]


def worked(
    run: Run, kind: str, title: str, schema: pa.Schema, some: Sequence[Case], made: Callable[[Sequence[Case]], Rows]
) -> list[str]:
    """Store what `made(cases of a few radiographs)` gives, part by part; the keys of the parts of `kind`."""
    radiographs = list(dict.fromkeys(c.radiograph.id for c in some))
    units = blocks(len(radiographs), UNIT)

    def work(key: str) -> None:
        ids = {radiographs[i] for i in units[key.rpartition("/")[2]]}
        rows = list(made([c for c in some if c.radiograph.id in ids]))
        run.write_part(kind, key, lambda path: _write(path, schema, rows))

    keys = [f"{title.replace(' ', '-')}/{unit}" for unit in units]
    run_units(title, keys, lambda key: run.part(kind, key).exists(), work)
    return keys


def _write(path: Path, schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> None:
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [pa.array(values, field.type, from_pandas=True) for values, field in zip(columns, schema, strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)


@dataclass(frozen=True, slots=True)
class Batch:
    """Radiographs as a model sees them."""

    ids: tuple[str, ...]
    x: torch.Tensor
    """(N, C, side, side)."""
    seen: Array
    """float32 (N, side, side) in [0, 1], before the network's own units."""
    frames: tuple[Frame, ...]


def prepared(model: Model, some: Sequence[Case]) -> Batch | None:
    """The readable radiographs, each once; None without any. The others have their status from `explain`."""
    found = {}
    for radiograph in {case.radiograph.id: case.radiograph for case in some}.values():
        try:
            found[radiograph.id] = model.prepare(radiograph.read())
        except DataError:
            continue
    if not found:
        return None
    x = torch.stack([x for x, _ in found.values()])
    seen = x[:, 0] * model.std[0] + model.mean[0]  # (N, side, side)
    return Batch(tuple(found), x.to(model.device), seen.numpy(), tuple(frame for _, frame in found.values()))


def fine_maps(
    model: Model, methods: Sequence[str], x: torch.Tensor, ids: Sequence[str], seed: int, of: Of
) -> dict[str, Array]:
    """Method -> float32 (N, F, side, side), NaN where it refuses."""
    targets = target_indices(model, None)
    found: dict[str, Array] = {}
    with Pass(model, x, ids=ids, seed=seed, of=of) as p:
        for method in methods:
            try:
                maps = run_method(p, method, targets)
            except SightlineError:
                maps = x.new_full((len(x), len(targets), *x.shape[2:]), torch.nan)
            fine = F.interpolate(maps, x.shape[2:], mode="bilinear", align_corners=False)
            found[method] = fine.cpu().numpy()
    return found


def as_seen(stored: SaliencyMap, frame: Frame, side: int) -> Array:
    """A stored map on the pixels that a model sees, float32 (side, side)."""
    if stored.frame == frame:
        return np.asarray(cv2.resize(stored.values, (side, side), interpolation=cv2.INTER_LINEAR))
    return cut(place_whole(stored.values, stored.frame), frame, (side, side))
