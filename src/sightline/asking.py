"""What studies ask a model: radiographs as it sees them, its logits, and maps of all findings at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.nn import functional as F

from sightline.casework import Case
from sightline.controls import digest
from sightline.core import NAN, Array, DataError, Dataset, Frame, Radiograph, SightlineError
from sightline.engine import run_units
from sightline.evaluate import as_table, blocks, schema_of
from sightline.inputs import fit_image
from sightline.methods import Of, Pass, run_method, target_indices
from sightline.models import Model
from sightline.store import Run


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
            found[radiograph.id] = fit_image(radiograph.read(), model.side, model.resize)
        except DataError:
            continue
    if not found:
        return None
    seen = np.stack([image for image, _ in found.values()])
    x = model.normalize(torch.from_numpy(seen)).to(model.device)
    return Batch(tuple(found), x, seen, tuple(frame for _, frame in found.values()))


def logits(model: Model, x: torch.Tensor) -> Array:
    """Of images (N, C, side, side) on the model's device, thirty-two at a time: float64 (N, F)."""
    if model.is_swift:
        x = x.contiguous(memory_format=torch.channels_last)
    with model.borrowed() as net, torch.no_grad():
        parts = [net(x[start : start + 32]) for start in range(0, len(x), 32)]
    found: Array = torch.cat(parts).double().cpu().numpy()
    return found


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
            enlarged = F.interpolate(maps, x.shape[2:], mode="bilinear", align_corners=False)
            found[method] = enlarged.cpu().numpy()
    return found


class Prediction(NamedTuple):
    """What a model says of a radiograph."""

    model: str
    radiograph: str
    patient: str
    study: str
    finding: str
    probability: float
    """NaN where the image could not be read."""
    label: float
    """1, 0, -1 or NaN, as the data set has it."""


def predict(
    run: Run, data: Dataset, models: Sequence[Model], findings: Sequence[str], kind: str = "predictions"
) -> list[str]:
    """Store what models say of every radiograph, each read once for all of them; the keys of the parts of `kind`."""
    units = blocks(len(data.radiographs), 32)
    team = digest(*(m.name for m in models)).hex()[:8]

    def work(key: str) -> None:
        radiographs = [data.radiographs[i] for i in units[key.rpartition("/")[2]]]
        seen: dict[tuple[int, str], Batch | None] = {}
        rows: list[Prediction] = []
        for model in models:
            how = (model.side, model.resize)
            if how not in seen:
                seen[how] = prepared(model, [Case(r, "") for r in radiographs])
            rows += _said(model, seen[how], radiographs, findings)
        run.write_part(kind, key, lambda path: pq.write_table(as_table(rows, schema_of(Prediction)), path))

    keys = [f"{team}/{unit}" for unit in units]
    run_units("asking the models", keys, lambda key: run.part(kind, key).exists(), work)
    return keys


def _said(
    model: Model, batch: Batch | None, radiographs: Sequence[Radiograph], findings: Sequence[str]
) -> list[Prediction]:
    columns = [model.index(finding) for finding in findings]
    said: Array = np.zeros((0, len(columns)))
    ids: tuple[str, ...] = ()
    if batch is not None:
        x = model.normalize(torch.from_numpy(batch.seen)).to(model.device)
        said, ids = 1 / (1 + np.exp(-logits(model, x)[:, columns])), batch.ids
    rows = []
    for r in radiographs:
        values = said[ids.index(r.id)].tolist() if r.id in ids else [NAN] * len(columns)
        for finding, p in zip(findings, values, strict=True):
            label = r.labels.get(finding, NAN)
            rows.append(Prediction(model.name, r.id, r.patient, r.study or r.id, finding, p, label))
    return rows
