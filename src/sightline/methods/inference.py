"""What is asked of a model: how it sees radiographs, its logits, and maps by methods, of `explain` and of studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn import functional as F

from sightline._util.rng import key_digest
from sightline.core import NAN, Array, Case, Dataset, Frame, Radiograph, Status
from sightline.errors import DataError, SightlineError
from sightline.imaging.preprocess import fit_image
from sightline.methods import Of, Pass, run_method, target_indices
from sightline.methods.context import NoMemoryError
from sightline.methods.registry import method_of
from sightline.models import Model
from sightline.runs.chunks import ChunkedTask, schema_of, write_chunks
from sightline.runs.run import Run

BACKGROUND = 8
"""Images that stand for the data set where a method compares with it."""


class Seen(NamedTuple):
    """A radiograph as a model sees it."""

    image: Array | None
    """float32 (side, side) in [0, 1], before the network's own units; None where it cannot be read."""
    frame: Frame
    why: str = ""
    """It cannot be read."""


def see(radiograph: Radiograph, model: Model) -> Seen:
    """Read a radiograph; one that cannot be read says why."""
    try:
        return Seen(*fit_image(radiograph.read(), model.side, model.resize))
    except DataError as error:
        return Seen(None, Frame.whole(radiograph.size or (1, 1)), str(error))


@dataclass(frozen=True, slots=True)
class Batch:
    """Radiographs as a model sees them."""

    ids: tuple[str, ...]
    x: Tensor
    """(N, C, side, side)."""
    seen: Array
    """float32 (N, side, side) in [0, 1], before the network's own units."""
    frames: tuple[Frame, ...]


def prepared(model: Model, some: Sequence[Case]) -> Batch | None:
    """The readable radiographs, each once; None without any. The others have their status from `explain`."""
    each = {case.radiograph.id: case.radiograph for case in some}
    found = {name: see(radiograph, model) for name, radiograph in each.items()}
    readable = {name: (one.image, one.frame) for name, one in found.items() if one.image is not None}
    if not readable:
        return None
    images, frames = zip(*readable.values(), strict=True)
    seen = np.stack(images)
    x = model.normalize(torch.from_numpy(seen)).to(model.device)
    return Batch(tuple(readable), x, seen, frames)


def background(data: Dataset, model: Model, methods: Sequence[str], seed: int) -> Array | None:
    """Images of the data set, drawn by their ids, if a method compares with them; float32 (M, side, side)."""
    if not any("baseline=data" in method for method in methods):
        return None
    drawn = sorted(data.radiographs, key=lambda r: key_digest(seed, r.id))
    found = (see(radiograph, model).image for radiograph in drawn)
    images = list(islice((image for image in found if image is not None), BACKGROUND))
    return np.stack(images) if images else None


def logits(model: Model, x: Tensor) -> Array:
    """Of images (N, C, side, side) on the model's device, thirty-two at a time: float64 (N, F)."""
    if model.is_swift:
        x = x.contiguous(memory_format=torch.channels_last)
    with model.borrowed() as net, torch.no_grad():
        parts = [net(x[start : start + 32]) for start in range(0, len(x), 32)]
    found: Array = torch.cat(parts).double().cpu().numpy()
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """How methods are asked."""

    findings: tuple[str, ...]
    of: Of = "logit"
    seed: int = 0
    batch: int = 8
    """Images per pass at most; fewer where the memory does not hold so many. No map depends on it."""
    background: Array | None = None
    """float32 (M, side, side): images of the data set for methods that compare with them (baseline=data)."""
    fast: frozenset[str] = frozenset()
    """Methods that are computed in bfloat16."""
    probabilities: bool = False
    """Whether they are asked for, too: a forward more where no method needs one."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise SightlineError(f"batch={self.batch}; allowed: from 1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a method says of a batch."""

    maps: Array | None
    """float32 (B, T, h, w), NaN where it does not answer for one; None where it refuses."""
    why: str = ""
    """It refuses."""
    flags: dict[tuple[int, int], tuple[Status, str]] = field(default_factory=dict)
    """(row, column) -> refused and why; or ok, and which promise the map breaks."""


class Answers(NamedTuple):
    """What a model and methods say of some of the images that were asked about."""

    rows: slice
    """Of the images."""
    probabilities: Array
    """float64 (B, T); (B, 0) where they were not asked for."""
    told: dict[str, Answer]
    """By method."""


def answers(model: Model, x: Tensor, ids: Sequence[str], methods: Sequence[str], asked: Asked) -> Iterator[Answers]:
    """Ask about images (N, C, side, side) as the network takes them, on any device, batch by batch in their order.

    What a batch holds depends on the methods and the device: it is halved until it fits.
    Errors: as `method_of`; `NoMemoryError` for an image that does not fit alone. A method that refuses the model or the
    images says so in its answer.
    """
    for method in methods:
        method_of(method)  # what does not exist is no refusal
    start, size = 0, asked.batch
    while start < len(x):
        rows = slice(start, min(start + size, len(x)))
        try:
            found = _answers(model, x[rows].to(model.device), ids[rows], methods, asked)
        except NoMemoryError:
            if rows.stop - start == 1:
                raise
            size = (rows.stop - start) // 2
            continue
        yield Answers(rows, *found)
        start = rows.stop


def _answers(
    model: Model, x: Tensor, ids: Sequence[str], methods: Sequence[str], asked: Asked
) -> tuple[Array, dict[str, Answer]]:
    """Of one batch, in as many passes as there are precisions."""
    targets = target_indices(model, asked.findings)
    images = None if asked.background is None else torch.from_numpy(asked.background)
    others = None if images is None else model.normalize(images).to(model.device)
    probabilities: Array = np.zeros((len(x), 0))
    opened = partial(Pass, model, x, of=asked.of, ids=ids, seed=asked.seed, background=others)
    with opened() as p:
        if asked.probabilities:
            probabilities = p.probabilities[:, targets].double().cpu().numpy()
        told = {method: _answer(p, method, targets) for method in methods if method not in asked.fast}
    fast = [method for method in methods if method in asked.fast]
    if fast:
        with opened(precision="bfloat16") as p:
            told |= {method: _answer(p, method, targets) for method in fast}
    return probabilities, told


def _answer(p: Pass, method: str, targets: Tensor) -> Answer:
    """Of one method on an open pass."""
    try:
        maps = run_method(p, method, targets).cpu().numpy()
    except SightlineError as error:
        return Answer(None, str(error))
    return Answer(maps, "", _flags(p.refused, "refused") | _flags(p.doubted, "ok", "axiom violated: "))


def _flags(
    places: tuple[Tensor, str] | None, status: Status, of: str = ""
) -> dict[tuple[int, int], tuple[Status, str]]:
    if places is None:
        return {}
    return dict.fromkeys(map(tuple, places[0].nonzero().tolist()), (status, of + places[1]))


def fine_maps(model: Model, x: Tensor, ids: Sequence[str], methods: Sequence[str], asked: Asked) -> dict[str, Array]:
    """Method -> float32 (N, T, side, side) of images as in `answers`, NaN where it refuses any of them."""
    parts: dict[str, list[Array | None]] = {method: [] for method in methods}
    for some in answers(model, x, ids, methods, asked):
        for method, answer in some.told.items():
            parts[method].append(answer.maps)
    return {method: _fine(maps, (len(x), len(asked.findings), *x.shape[2:])) for method, maps in parts.items()}


def _fine(parts: Sequence[Array | None], shape: tuple[int, ...]) -> Array:
    maps = [part for part in parts if part is not None]
    if len(maps) < len(parts):
        return np.full(shape, NAN, np.float32)
    whole = torch.from_numpy(np.concatenate(maps))
    fine: Array = F.interpolate(whole, shape[2:], mode="bilinear", align_corners=False).numpy()
    return fine


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
    run: Run, data: Dataset, models: Sequence[Model], findings: Sequence[str], table: str = "predictions"
) -> None:
    """Write a table of what models say of every radiograph, each read once for all of them."""

    def rows_of(radiographs: Sequence[Radiograph]) -> dict[str, list[Prediction]]:
        batches: dict[tuple[int, str], Batch | None] = {}
        rows: list[Prediction] = []
        for model in models:
            how = (model.side, model.resize)
            if how not in batches:
                batches[how] = prepared(model, [Case(r, "") for r in radiographs])
            rows += _said(model, batches[how], radiographs, findings)
        return {table: rows}

    folder = key_digest(*(m.name for m in models)).hex()[:8]
    task = ChunkedTask("asking the models", data.radiographs, rows_of, 32, folder)
    write_chunks(run, table, {table: schema_of(Prediction)}, task)


def _said(
    model: Model, batch: Batch | None, radiographs: Sequence[Radiograph], findings: Sequence[str]
) -> list[Prediction]:
    columns = [model.index(finding) for finding in findings]
    said: Array = np.zeros((0, len(columns)))
    ids: tuple[str, ...] = ()
    if batch is not None:
        x = model.normalize(torch.from_numpy(batch.seen)).to(model.device)
        said, ids = expit(logits(model, x)[:, columns]), batch.ids
    rows = []
    for r in radiographs:
        values = said[ids.index(r.id)].tolist() if r.id in ids else [NAN] * len(columns)
        for finding, p in zip(findings, values, strict=True):
            label = r.labels.get(finding, NAN)
            rows.append(Prediction(model.name, r.id, r.patient, r.study or r.id, finding, p, label))
    return rows
