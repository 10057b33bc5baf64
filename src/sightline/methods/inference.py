"""Run models on radiographs: batches, logits, and maps by methods, for `explain` and for studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline._util.rng import key_digest
from sightline.core import NAN, Array, Dataset, Frame, Radiograph, Status
from sightline.errors import DataError, SightlineError
from sightline.imaging.preprocess import fit_image
from sightline.methods import BatchContext, MapFlags, TargetOutput, run_method, target_indices
from sightline.methods.registry import parse_method
from sightline.methods.types import BatchMemoryError
from sightline.models import Model
from sightline.models.precision import Precision

N_BACKGROUND_IMAGES = 8
"""Images that stand for the data set where a method compares with it."""
LOGIT_BATCH_SIZE = 32
"""Images per forward where logits alone are computed."""


class ModelInput(NamedTuple):
    """A radiograph in the input frame of a model."""

    image: Array | None
    """float32 (side, side) in [0, 1], before normalization; None where the radiograph cannot be read."""
    frame: Frame
    """Part of the radiograph that the image shows."""
    reason: str = ""
    """Reason why it cannot be read."""


def preprocess(radiograph: Radiograph, model: Model) -> ModelInput:
    """Read a radiograph and fit it to the input of a model.

    Parameters
    ----------
    radiograph : Radiograph
        The radiograph. One that cannot be read gives an input without image, and the reason.
    model : Model
        The model; its side and its way to resize count.

    Returns
    -------
    ModelInput
    """
    try:
        return ModelInput(*fit_image(radiograph.read(), model.side, model.resize))
    except DataError as error:
        return ModelInput(None, Frame.whole(radiograph.size or (1, 1)), str(error))


@dataclass(frozen=True, slots=True)
class Batch:
    """Readable radiographs in the input frame of a model."""

    ids: tuple[str, ...]
    """Ids of the radiographs."""
    x: Tensor
    """float32 (N, C, side, side): normalized, on the model's device."""
    images: Array
    """float32 (N, side, side) in [0, 1], before normalization."""
    frames: tuple[Frame, ...]
    """Part of each radiograph that its image shows."""


def make_batch(model: Model, radiographs: Sequence[Radiograph]) -> Batch | None:
    """Read radiographs into a batch of a model.

    Parameters
    ----------
    model : Model
        The model that the images are prepared for.
    radiographs : sequence of Radiograph
        The radiographs; repeated ones enter once, and unreadable ones are left out.

    Returns
    -------
    Batch or None
        None where no radiograph is readable.
    """
    distinct = {radiograph.id: radiograph for radiograph in radiographs}
    inputs = {name: preprocess(radiograph, model) for name, radiograph in distinct.items()}
    readable = {name: (image, frame) for name, (image, frame, _) in inputs.items() if image is not None}
    if not readable:
        return None
    images, frames = zip(*readable.values(), strict=True)
    stacked = np.stack(images)
    x = model.normalize(torch.from_numpy(stacked)).to(model.device)
    return Batch(tuple(readable), x, stacked, frames)


def sample_background(data: Dataset, model: Model, methods: Sequence[str], seed: int) -> Array | None:
    """Sample images of a data set if one of the methods compares with them (baseline=data).

    Parameters
    ----------
    data : Dataset
        The data set; its images are drawn by (seed, id), whatever their order.
    model : Model
        The model that the images are prepared for.
    methods : sequence of str
        Methods with their options.
    seed : int
        Seed of the draw.

    Returns
    -------
    ndarray or None
        float32 (M, side, side) in [0, 1], M up to `N_BACKGROUND_IMAGES`; None if no method needs them or no image is
        readable.
    """
    if not any("baseline=data" in method for method in methods):
        return None
    drawn = sorted(data.radiographs, key=lambda r: key_digest(seed, r.id))
    inputs = (preprocess(radiograph, model).image for radiograph in drawn)
    images = list(islice((image for image in inputs if image is not None), N_BACKGROUND_IMAGES))
    return np.stack(images) if images else None


def compute_logits(model: Model, x: Tensor) -> Array:
    """Compute the logits of images, `LOGIT_BATCH_SIZE` at a time.

    Parameters
    ----------
    model : Model
        The model.
    x : Tensor, (N, C, side, side) float32
        Normalized images on the model's device.

    Returns
    -------
    ndarray, (N, F) float64
    """
    if model.supports_fast_gradients:
        x = x.contiguous(memory_format=torch.channels_last)
    with model.eval_mode() as net, torch.no_grad():
        parts = [net(x[start : start + LOGIT_BATCH_SIZE]) for start in range(0, len(x), LOGIT_BATCH_SIZE)]
    logits: Array = torch.cat(parts).double().cpu().numpy()
    return logits


@dataclass(frozen=True, slots=True, eq=False)
class ExplainOptions:
    """Options of explaining images, shared by all methods."""

    findings: tuple[str, ...]
    """Findings that are explained."""
    target_output: TargetOutput = "logit"
    """Output that is explained: the logit or the probability of a finding."""
    seed: int = 0
    """Seed of methods that draw random numbers."""
    batch_size: int = 8
    """Most images per batch; fewer where the memory is too small for them. No map depends on it."""
    background: Array | None = None
    """float32 (M, side, side): images of the data set, for methods that compare with them (baseline=data)."""
    bfloat16_methods: frozenset[str] = frozenset()
    """Methods that are computed in bfloat16."""
    include_probabilities: bool = False
    """True to compute probabilities, too: one more forward where no method needs one."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SightlineError(f"batch={self.batch_size}; allowed: from 1")


@dataclass(frozen=True, slots=True)
class MethodResult:
    """Maps of a batch by one method."""

    maps: Array | None
    """float32 (B, T, h, w), NaN for a map that the method refuses; None where it refuses the model."""
    reason: str = ""
    """Reason why it refuses the model."""
    flags: dict[tuple[int, int], tuple[Status, str]] = field(default_factory=dict)
    """(row, column) -> 'refused' and the reason; or 'ok' and the axiom that the map violates."""


class BatchResults(NamedTuple):
    """Results of a model on one batch of the images that are explained."""

    rows: slice
    """Indices of the images of this batch."""
    probabilities: Array
    """float64 (B, T); (B, 0) if they were not requested."""
    results: dict[str, MethodResult]
    """Result of each method."""


def open_context(
    model: Model, x: Tensor, ids: Sequence[str], options: ExplainOptions, precision: Precision = "float32"
) -> BatchContext:
    """Return the context of a batch with the options of explaining, ready for a `with` block.

    Parameters
    ----------
    model : Model
        The model.
    x : Tensor, (B, C, side, side) float32
        Normalized images on the model's device.
    ids : sequence of str
        Ids of the radiographs.
    options : ExplainOptions
        Options of explaining.
    precision : {'float32', 'bfloat16'}
        Arithmetic of the network.

    Returns
    -------
    BatchContext
    """
    images = None if options.background is None else torch.from_numpy(options.background)
    background = None if images is None else model.normalize(images).to(model.device)
    return BatchContext(
        model,
        x,
        ids=ids,
        seed=options.seed,
        target_output=options.target_output,
        precision=precision,
        background=background,
    )


def explain_batches(
    model: Model, x: Tensor, ids: Sequence[str], methods: Sequence[str], options: ExplainOptions
) -> Iterator[BatchResults]:
    """Explain images batch by batch, in their order.

    The size of a batch depends on the methods and the device: it is halved until the batch fits. A method that refuses
    the model or the images gives a result with the reason.

    Parameters
    ----------
    model : Model
        The model.
    x : Tensor, (N, C, side, side) float32
        Normalized images, on any device.
    ids : sequence of str
        Ids of the radiographs.
    methods : sequence of str
        Methods: 'NAME' or 'NAME?option=value'. An unknown name is an `UnknownNameError`, an unknown option a
        `SightlineError`.
    options : ExplainOptions
        Options of explaining.

    Yields
    ------
    BatchResults

    Raises
    ------
    BatchMemoryError
        If a single image does not fit into the memory of the device.
    """
    for method in methods:
        parse_method(method)  # a method that does not exist is an error, and no refusal
    start, size = 0, options.batch_size
    while start < len(x):
        rows = slice(start, min(start + size, len(x)))
        try:
            results = _explain_batch(model, x[rows].to(model.device), ids[rows], methods, options)
        except BatchMemoryError:
            if rows.stop - start == 1:
                raise
            size = (rows.stop - start) // 2
            continue
        yield BatchResults(rows, *results)
        start = rows.stop


def _explain_batch(
    model: Model, x: Tensor, ids: Sequence[str], methods: Sequence[str], options: ExplainOptions
) -> tuple[Array, dict[str, MethodResult]]:
    """Return probabilities and results of one batch, with one context for each precision."""
    targets = target_indices(model, options.findings)
    probabilities: Array = np.zeros((len(x), 0))
    bfloat16_methods = [method for method in methods if method in options.bfloat16_methods]
    float32_methods = [method for method in methods if method not in options.bfloat16_methods]
    with open_context(model, x, ids, options) as context:
        if options.include_probabilities:
            probabilities = context.probabilities[:, targets].double().cpu().numpy()
        results = {method: _run_method(context, method, targets) for method in float32_methods}
    if bfloat16_methods:
        with open_context(model, x, ids, options, "bfloat16") as context:
            results |= {method: _run_method(context, method, targets) for method in bfloat16_methods}
    return probabilities, results


def _run_method(context: BatchContext, method: str, targets: Tensor) -> MethodResult:
    try:
        maps = run_method(context, method, targets).cpu().numpy()
    except SightlineError as error:
        return MethodResult(None, str(error))
    refusals = _list_flags(context.refusals, "refused")
    return MethodResult(maps, "", refusals | _list_flags(context.axiom_violations, "ok", "axiom violated: "))


def _list_flags(flags: MapFlags | None, status: Status, prefix: str = "") -> dict[tuple[int, int], tuple[Status, str]]:
    if flags is None:
        return {}
    return dict.fromkeys(map(tuple, flags.mask.nonzero().tolist()), (status, prefix + flags.reason))


def maps_at_input_size(
    model: Model, x: Tensor, ids: Sequence[str], methods: Sequence[str], options: ExplainOptions
) -> dict[str, Array]:
    """Explain images, and enlarge all maps to the size of the input (bilinear).

    Parameters
    ----------
    model : Model
        The model.
    x : Tensor, (N, C, side, side) float32
        Normalized images, on any device.
    ids : sequence of str
        Ids of the radiographs.
    methods : sequence of str
        Methods: 'NAME' or 'NAME?option=value'.
    options : ExplainOptions
        Options of explaining.

    Returns
    -------
    dict of str to ndarray, (N, T, side, side) float32
        Method to maps; all NaN for a method that refuses any batch.
    """
    parts: dict[str, list[Array | None]] = {method: [] for method in methods}
    for batch in explain_batches(model, x, ids, methods, options):
        for method, result in batch.results.items():
            parts[method].append(result.maps)
    shape = (len(x), len(options.findings), *x.shape[2:])
    return {method: _upsample_parts(maps, shape) for method, maps in parts.items()}


def _upsample_parts(parts: Sequence[Array | None], shape: tuple[int, ...]) -> Array:
    maps = [part for part in parts if part is not None]
    if len(maps) < len(parts):
        return np.full(shape, NAN, np.float32)
    joined = torch.from_numpy(np.concatenate(maps))
    upsampled: Array = F.interpolate(joined, shape[2:], mode="bilinear", align_corners=False).numpy()
    return upsampled
