"""`fit`: train a multi-label classifier, surviving a kill at any moment with the same result."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sightline.core import Array, DataError, Dataset, Radiograph, SightlineError
from sightline.engine import progress
from sightline.metrics.classification import auroc
from sightline.models import Model, TrainingRecord, state_hash
from sightline.models.checkpoint import load_safely, load_weights, save_checkpoint, save_whole
from sightline.store import Run
from sightline.training.augment import augment
from sightline.training.cache import decoded
from sightline.training.split import split_by_patient

Uncertain = Literal["ignore", "zeros", "ones"]
Precision = Literal["float32", "bfloat16"]
WARM_UP = 0.1
"""Share of the steps over which the learning rate rises; then it falls along a cosine."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything about the optimization that changes the weights."""

    epochs: int
    batch: int
    lr: float
    weight_decay: float
    seed: int
    augmented: bool
    precision: Precision


@dataclass(frozen=True, slots=True)
class Examples:
    """The images and labels of one training."""

    images: Array
    """uint8 (n, side, side)."""
    labels: Array
    """float32 (n, F): 1, 0, or NaN where unknown."""
    train: Array
    val: Array
    """Rows, int64."""


@dataclass(slots=True)
class State:
    """How far a training has come."""

    epoch: int = 0
    best: float = -math.inf
    """Validation AUROC of best.pt; NaN validations count as -infinity."""
    history: list[dict[str, float | None]] = field(default_factory=list)


def fit(
    model: Model,
    data: Dataset,
    out: str | Path,
    *,
    epochs: int = 10,
    batch: int = 32,
    lr: float = 3e-3,
    weight_decay: float = 0.01,
    seed: int = 0,
    fraction: float = 1.0,
    val_share: float = 0.15,
    uncertain: Uncertain = "ignore",
    augmented: bool = True,
    precision: Precision = "float32",
    workers: int = 1,
) -> Model:
    """Train a copy of `model` and return it with the weights of the epoch that validated best.

    Loss: binary cross-entropy with logits over the labels that are known; uncertain ones (-1) are ignored, zeros or
    ones. Radiographs are split by patient (`sightline.training.split`) and decoded once; unreadable ones are left out
    and named in run.json. Validation: mean AUROC over the findings of which both labels occur. AdamW, one cosine
    cycle, all random numbers keyed by (seed, epoch), on the device of the model.

    The run folder `out` gets best.pt (for `sightline.models.open_model`), last.pt (to continue from), and in run.json
    the loss and AUROC of each epoch. The same call continues a run that was killed, and ends with the same weights on
    the same machine. workers: processes that decode images; more than 1 only from a program whose main module may be
    imported again (`if __name__ == "__main__":`).

    Errors: `DataError` for a patient in two splits, a label that is none, or a finding without any known label;
    `RunError` if the folder is in use or belongs to other options.
    """
    _check(epochs, batch, fraction, val_share, uncertain)
    recipe = Recipe(epochs, batch, lr, weight_decay, seed, augmented, precision)
    source = data.spec or data.name
    facts = {"data": source, "fraction": fraction, "val_share": val_share, "uncertain": uncertain}
    run = Run.start(out, "fit", {**asdict(recipe), **facts, "model": model.name, "initial": state_hash(model.net)})
    with run.lock():
        examples = _examples(run, model, list(data.radiographs), facts, seed, workers)
        student = replace(model, net=copy.deepcopy(model.net))
        _lay_out(student, torch.channels_last)  # convolutions and batch norm train faster
        record = TrainingRecord(source, fraction, seed)
        _train(run, student, examples, recipe, record)
        content = load_safely(run.path / "best.pt")
        load_weights(student.net, run.path / "best.pt", content)
    _lay_out(student, torch.contiguous_format)
    return replace(student, training=TrainingRecord(**content["training"]))


def _lay_out(model: Model, memory_format: torch.memory_format) -> None:
    for parameter in model.net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)


def _check(epochs: int, batch: int, fraction: float, val_share: float, uncertain: str) -> None:
    if epochs < 1 or batch < 2 or not 0 < fraction <= 1 or not 0 <= val_share < 1:
        raise SightlineError(
            f"epochs={epochs}, batch={batch}, fraction={fraction}, val_share={val_share}; allowed: epochs from 1, "
            f"batch from 2, fraction above 0 up to 1, val_share from 0 below 1"
        )
    if uncertain not in ("ignore", "zeros", "ones"):
        raise SightlineError(f"uncertain={uncertain!r}; allowed: 'ignore', 'zeros', 'ones'")


def _examples(
    run: Run, model: Model, radiographs: Sequence[Radiograph], facts: dict[str, Any], seed: int, workers: int
) -> Examples:
    split = split_by_patient(radiographs, facts["val_share"], facts["fraction"], seed)
    used = np.concatenate([split.train, split.val])
    chosen = [radiographs[i] for i in used]
    labels = label_matrix(chosen, model.findings, facts["uncertain"])
    for finding, column in zip(model.findings, labels[: len(split.train)].T, strict=True):
        if np.isnan(column).all():
            raise DataError(f"no training radiograph has a known label for {finding!r}; leave it out of the findings")
    images, reasons = decoded(run, model, chosen, workers)
    readable = np.array([i not in reasons for i in range(len(chosen))])
    _note(run, unreadable=list(reasons.values()), radiographs=[len(split.train), len(split.val)])
    places = np.arange(len(chosen))
    training = places < len(split.train)
    return Examples(images, labels, places[training & readable], places[~training & readable])


def label_matrix(radiographs: Sequence[Radiograph], findings: Sequence[str], uncertain: Uncertain) -> Array:
    """float32 (n, F) of 1, 0 and NaN = unknown; what uncertain labels (-1) become is the caller's choice.

    Errors: `DataError` for a label that is none of 1, 0, -1 and NaN.
    """
    labels = np.array([[r.labels.get(f, np.nan) for f in findings] for r in radiographs], np.float32)
    odd = np.argwhere(~np.isnan(labels) & ~np.isin(labels, (0, 1, -1)))
    if len(odd):
        row, column = odd[0]
        raise DataError(
            f"radiograph {radiographs[row].id!r} has the label {labels[row, column]:g} for {findings[column]!r}; "
            f"allowed: 1, 0, -1 (uncertain) and NaN (unknown)"
        )
    labels[labels == -1] = {"ignore": np.nan, "zeros": 0, "ones": 1}[uncertain]
    return labels


def _train(run: Run, model: Model, examples: Examples, recipe: Recipe, record: TrainingRecord) -> None:
    """Epochs until `recipe.epochs`, from wherever last.pt stands."""
    last = run.path / "last.pt"
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    state = _resume(last, model, optimizer) if last.is_file() else State()
    steps = max(1, len(examples.train) // recipe.batch)
    with progress() as bar:
        task = bar.add_task("train", total=steps * recipe.epochs, completed=steps * state.epoch, unit="batches")
        for epoch in range(state.epoch, recipe.epochs):
            loss = 0.0
            with _randomness(recipe.seed, epoch) as generator:
                for step, rows in enumerate(_batches(examples.train, recipe.batch, generator)):
                    rate = _rate(recipe, (epoch * steps + step) / (steps * recipe.epochs))
                    loss += _step(model, optimizer, examples, rows, rate, recipe, generator) / steps
                    bar.advance(task)
            quality = validation_auroc(model, examples, recipe.batch)
            state.epoch = epoch + 1
            state.history.append({"epoch": state.epoch, "loss": loss, "val_auroc": _or_none(quality)})
            if state.epoch == 1 or (quality > state.best) or (math.isnan(quality) and state.best == -math.inf):
                state.best = -math.inf if math.isnan(quality) else quality
                sealed = replace(
                    record, epochs=state.epoch, checkpoint=state_hash(model.net), val_auroc=_or_none(quality)
                )
                save_checkpoint(replace(model, training=sealed), run.path / "best.pt")
            save_whole({**asdict(state), "net": model.net.state_dict(), "optimizer": optimizer.state_dict()}, last)
            _note(run, history=state.history)
            bar.update(task, description=f"train (loss {loss:.3f}, validation AUROC {quality:.3f})")


def _resume(path: Path, model: Model, optimizer: torch.optim.Optimizer) -> State:
    content = load_safely(path)
    load_weights(model.net, path, {"state": content["net"]})
    optimizer.load_state_dict(content["optimizer"])
    return State(content["epoch"], content["best"], content["history"])


@contextmanager
def _randomness(seed: int, epoch: int) -> Iterator[torch.Generator]:
    """Everything random in one epoch, keyed by (seed, epoch): continuing needs no stored generator state."""
    key = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
    with torch.random.fork_rng():
        torch.manual_seed(key)  # dropout draws from the global generator
        yield torch.Generator().manual_seed(key)


def _batches(rows: Array, batch: int, generator: torch.Generator) -> Iterator[Array]:
    """Shuffled whole batches; what is left over waits for another epoch, because a batch of one breaks batch norm."""
    order = rows[torch.randperm(len(rows), generator=generator).numpy()]
    for start in range(0, max(len(order) - batch, 0) + 1, batch):
        yield order[start : start + batch]


def _rate(recipe: Recipe, done: float) -> float:
    """Learning rate after the share `done` of all steps."""
    if done < WARM_UP:
        return recipe.lr * (0.1 + 0.9 * done / WARM_UP)
    return recipe.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2)


def _step(
    model: Model,
    optimizer: torch.optim.Optimizer,
    examples: Examples,
    rows: Array,
    rate: float,
    recipe: Recipe,
    generator: torch.Generator,
) -> float:
    model.net.train()
    images = torch.from_numpy(examples.images[rows]).float() / 255  # (B, side, side)
    if recipe.augmented:
        images = augment(images, generator)
    x = model.normalize(images.to(model.device)).contiguous(memory_format=torch.channels_last)
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast(model.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        logits = model.net(x).float()  # (B, F)
    loss = masked_loss(logits, torch.from_numpy(examples.labels[rows]).to(logits.device))
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return float(loss.detach())


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits (B, F) over the labels (B, F) that are not NaN; 0 if none is known."""
    known = ~labels.isnan()
    each = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def validation_auroc(model: Model, examples: Examples, batch: int) -> float:
    """Mean AUROC over the findings of which both labels occur among the validation rows; NaN if there are none."""
    model.net.eval()
    logits = []
    with torch.inference_mode():
        for start in range(0, len(examples.val), batch):
            images = torch.from_numpy(examples.images[examples.val[start : start + batch]]).float() / 255
            logits.append(model.net(model.normalize(images.to(model.device))).cpu())
    if not logits:
        return math.nan
    scores = torch.cat(logits).double().numpy()  # (V, F)
    if not np.isfinite(scores).all():
        raise SightlineError("the network's logits are no longer finite; train with a smaller lr, in a new folder")
    each = np.array([auroc(s, y) for s, y in zip(scores.T, examples.labels[examples.val].T, strict=True)])
    return float(each[~np.isnan(each)].mean()) if (~np.isnan(each)).any() else math.nan


def _note(run: Run, **facts: Any) -> None:
    """Add to run.json as it stands now, so that no earlier note is lost."""
    Run.open(run.path).describe(**facts)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
