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
from sightline.methods import BatchContext, TargetOutput, run_method, target_indices
from sightline.methods.context import BatchMemoryError
from sightline.methods.registry import parse_method
from sightline.models import Model
from sightline.runs.chunks import ChunkedTask, schema_for, write_chunks
from sightline.runs.run import Run

N_BACKGROUND_IMAGES = 8
"""Images that stand for the data set where a method compares with it."""


class ModelInput(NamedTuple):
    """A radiograph as a model sees it."""

    image: Array | None
    """float32 (side, side) in [0, 1], before the network's own units; None where it cannot be read."""
    frame: Frame
    reason: str = ""
    """It cannot be read."""


def preprocess(radiograph: Radiograph, model: Model) -> ModelInput:
    """Read a radiograph; one that cannot be read says why."""
    try:
        return ModelInput(*fit_image(radiograph.read(), model.side, model.resize))
    except DataError as error:
        return ModelInput(None, Frame.whole(radiograph.size or (1, 1)), str(error))


@dataclass(frozen=True, slots=True)
class Batch:
    """Radiographs as a model sees them."""

    ids: tuple[str, ...]
    x: Tensor
    """(N, C, side, side)."""
    images: Array
    """float32 (N, side, side) in [0, 1], before the network's own units."""
    frames: tuple[Frame, ...]


def make_batch(model: Model, cases: Sequence[Case]) -> Batch | None:
    """The readable radiographs, each once; None without any. The others have their status from `explain`."""
    each = {case.radiograph.id: case.radiograph for case in cases}
    found = {name: preprocess(radiograph, model) for name, radiograph in each.items()}
    readable = {name: (one.image, one.frame) for name, one in found.items() if one.image is not None}
    if not readable:
        return None
    images, frames = zip(*readable.values(), strict=True)
    seen = np.stack(images)
    x = model.normalize(torch.from_numpy(seen)).to(model.device)
    return Batch(tuple(readable), x, seen, frames)


def sample_background(data: Dataset, model: Model, methods: Sequence[str], seed: int) -> Array | None:
    """Images of the data set, drawn by their ids, if a method compares with them; float32 (M, side, side)."""
    if not any("baseline=data" in method for method in methods):
        return None
    drawn = sorted(data.radiographs, key=lambda r: key_digest(seed, r.id))
    found = (preprocess(radiograph, model).image for radiograph in drawn)
    images = list(islice((image for image in found if image is not None), N_BACKGROUND_IMAGES))
    return np.stack(images) if images else None


def compute_logits(model: Model, x: Tensor) -> Array:
    """Of images (N, C, side, side) on the model's device, thirty-two at a time: float64 (N, F)."""
    if model.supports_fast_gradients:
        x = x.contiguous(memory_format=torch.channels_last)
    with model.eval_mode() as net, torch.no_grad():
        parts = [net(x[start : start + 32]) for start in range(0, len(x), 32)]
    found: Array = torch.cat(parts).double().cpu().numpy()
    return found


@dataclass(frozen=True, slots=True, eq=False)
class ExplainOptions:
    """How methods are asked."""

    findings: tuple[str, ...]
    target_output: TargetOutput = "logit"
    seed: int = 0
    batch_size: int = 8
    """Images per pass at most; fewer where the memory does not hold so many. No map depends on it."""
    background: Array | None = None
    """float32 (M, side, side): images of the data set for methods that compare with them (baseline=data)."""
    bfloat16_methods: frozenset[str] = frozenset()
    """Methods that are computed in bfloat16."""
    include_probabilities: bool = False
    """Whether they are asked for, too: a forward more where no method needs one."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SightlineError(f"batch={self.batch_size}; allowed: from 1")


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What a method says of a batch."""

    maps: Array | None
    """float32 (B, T, h, w), NaN where it does not answer for one; None where it refuses."""
    reason: str = ""
    """It refuses."""
    flags: dict[tuple[int, int], tuple[Status, str]] = field(default_factory=dict)
    """(row, column) -> refused and why; or ok, and which promise the map breaks."""


class BatchResults(NamedTuple):
    """What a model and methods say of some of the images that were asked about."""

    rows: slice
    """Of the images."""
    probabilities: Array
    """float64 (B, T); (B, 0) where they were not asked for."""
    results: dict[str, MethodResult]
    """By method."""


def explain_batches(
    model: Model, x: Tensor, ids: Sequence[str], methods: Sequence[str], options: ExplainOptions
) -> Iterator[BatchResults]:
    """Ask about images (N, C, side, side) as the network takes them, on any device, batch by batch in their order.

    What a batch holds depends on the methods and the device: it is halved until it fits.
    Errors: as `parse_method`; `BatchMemoryError` for an image that does not fit alone. A method that refuses the
    model or the
    images says so in its answer.
    """
    for method in methods:
        parse_method(method)  # what does not exist is no refusal
    start, size = 0, options.batch_size
    while start < len(x):
        rows = slice(start, min(start + size, len(x)))
        try:
            found = _explain_batch(model, x[rows].to(model.device), ids[rows], methods, options)
        except BatchMemoryError:
            if rows.stop - start == 1:
                raise
            size = (rows.stop - start) // 2
            continue
        yield BatchResults(rows, *found)
        start = rows.stop


def _explain_batch(
    model: Model, x: Tensor, ids: Sequence[str], methods: Sequence[str], options: ExplainOptions
) -> tuple[Array, dict[str, MethodResult]]:
    """Of one batch, in as many passes as there are precisions."""
    targets = target_indices(model, options.findings)
    images = None if options.background is None else torch.from_numpy(options.background)
    others = None if images is None else model.normalize(images).to(model.device)
    probabilities: Array = np.zeros((len(x), 0))
    opened = partial(
        BatchContext, model, x, target_output=options.target_output, ids=ids, seed=options.seed, background=others
    )
    with opened() as p:
        if options.include_probabilities:
            probabilities = p.probabilities[:, targets].double().cpu().numpy()
        told = {method: _run_method(p, method, targets) for method in methods if method not in options.bfloat16_methods}
    fast = [method for method in methods if method in options.bfloat16_methods]
    if fast:
        with opened(precision="bfloat16") as p:
            told |= {method: _run_method(p, method, targets) for method in fast}
    return probabilities, told


def _run_method(p: BatchContext, method: str, targets: Tensor) -> MethodResult:
    """Of one method on an open pass."""
    try:
        maps = run_method(p, method, targets).cpu().numpy()
    except SightlineError as error:
        return MethodResult(None, str(error))
    return MethodResult(
        maps, "", _collect_flags(p.refusals, "refused") | _collect_flags(p.axiom_violations, "ok", "axiom violated: ")
    )


def _collect_flags(
    flagged: tuple[Tensor, str] | None, status: Status, prefix: str = ""
) -> dict[tuple[int, int], tuple[Status, str]]:
    if flagged is None:
        return {}
    return dict.fromkeys(map(tuple, flagged[0].nonzero().tolist()), (status, prefix + flagged[1]))


def maps_at_input_size(
    model: Model, x: Tensor, ids: Sequence[str], methods: Sequence[str], options: ExplainOptions
) -> dict[str, Array]:
    """Method -> float32 (N, T, side, side) of images as in `explain_batches`, NaN where it refuses any of them."""
    parts: dict[str, list[Array | None]] = {method: [] for method in methods}
    for some in explain_batches(model, x, ids, methods, options):
        for method, answer in some.results.items():
            parts[method].append(answer.maps)
    return {
        method: _upsample_parts(maps, (len(x), len(options.findings), *x.shape[2:])) for method, maps in parts.items()
    }


def _upsample_parts(parts: Sequence[Array | None], shape: tuple[int, ...]) -> Array:
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
                batches[how] = make_batch(model, [Case(r, "") for r in radiographs])
            rows += _predict_batch(model, batches[how], radiographs, findings)
        return {table: rows}

    folder = key_digest(*(m.name for m in models)).hex()[:8]
    task = ChunkedTask("asking the models", data.radiographs, rows_of, 32, folder)
    write_chunks(run, table, {table: schema_for(Prediction)}, task)


def _predict_batch(
    model: Model, batch: Batch | None, radiographs: Sequence[Radiograph], findings: Sequence[str]
) -> list[Prediction]:
    columns = [model.index(finding) for finding in findings]
    said: Array = np.zeros((0, len(columns)))
    ids: tuple[str, ...] = ()
    if batch is not None:
        x = model.normalize(torch.from_numpy(batch.images)).to(model.device)
        said, ids = expit(compute_logits(model, x)[:, columns]), batch.ids
    rows = []
    for r in radiographs:
        values = said[ids.index(r.id)].tolist() if r.id in ids else [NAN] * len(columns)
        for finding, p in zip(findings, values, strict=True):
            label = r.labels.get(finding, NAN)
            rows.append(Prediction(model.name, r.id, r.patient, r.study or r.id, finding, p, label))
    return rows
