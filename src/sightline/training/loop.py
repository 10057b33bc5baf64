"""The loop of a training: stretches of batches, each followed by a validation, a few files, and a place to resume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from sightline._util.formats import check_format
from sightline._util.progress import progress_bar
from sightline.core import Array
from sightline.errors import RunError, SightlineError
from sightline.metrics.classification import auroc
from sightline.models import Model, TrainingRecord, state_hash, study_probabilities
from sightline.models.checkpoint import load_safely, load_weights, save_atomically, save_checkpoint
from sightline.models.losses import masked_loss, three_class_loss
from sightline.models.map_collapse import find_collapsed_maps, record_maps
from sightline.models.memory_format import preferred_memory_format, set_memory_format
from sightline.models.multiclass_heads import ThreeClassHead
from sightline.models.weight_randomization import find_blocks
from sightline.runs.run import Run
from sightline.training.augmentation import augment
from sightline.training.config import TrainingConfig
from sightline.training.distributed import ProcessGroup
from sightline.training.prefetch import DataWait, prefetch_timed

STATE_FORMAT = 2
"""Format of last.pt, from which a training continues."""
WARM_UP_SHARE = 0.1
"""Share of the steps over which the learning rate rises; then it falls along a cosine."""
MIN_EVAL_BATCH = 32
"""Images validated at once at least: a training of few labels has batches of few, in which a network is slow."""
PLATEAU_PATIENCE, STOP_AFTER = 3, 10
"""Of 'plateau': validations without a lower loss after which the learning rate is halved, and the training ends
(CheXclusion, Seyyed-Kalantari et al. 2021, arXiv:2003.00827)."""


@dataclass(frozen=True, slots=True)
class Examples:
    """The images and labels of one training. Images stay on disk, so that it travels to other processes."""

    file: Path
    """uint8 (n, side, side), .npy."""
    labels: Array
    """float32 (n, F): 1, 0, NaN where unknown; -1 = uncertain where that is a class."""
    train: Array
    val: Array
    """Rows, int64."""
    studies: tuple[tuple[str, str], ...]
    """Patient and study of each validation row: names of studies may repeat between patients."""
    mask_targets: Path | None = None
    """int8 (n, F, g, g) in percent, -1 where unknown, .npy; for a network that learns from marks."""

    def load_images(self, rows: Array) -> Tensor:
        """float32 (B, side, side) in [0, 1]."""
        return torch.from_numpy(np.load(self.file, mmap_mode="r")[rows]).float() / 255

    def load_mask_targets(self, rows: Array) -> Tensor | None:
        """float32 (B, F, g, g) in [0, 1], NaN where unknown; None for a network that learns from labels alone."""
        if self.mask_targets is None:
            return None
        percent = torch.from_numpy(np.load(self.mask_targets, mmap_mode="r")[rows]).float()
        return torch.where(percent < 0, torch.nan, percent / 100)


@dataclass(slots=True)
class TrainingProgress:
    """How far a training has come."""

    n_intervals: int = 0
    """Stretches."""
    best_auroc: float = -math.inf
    """Validation AUROC of best.pt; NaN validations count as -infinity."""
    history: list[dict[str, Any]] = field(default_factory=list)
    kept_checkpoints: list[tuple[float, str]] = field(default_factory=list)
    """The best checkpoints: validation AUROC and name, best first; of equals the earlier."""


@dataclass(slots=True)
class Training:
    """One training under way: what learns, from what, by which rules, with whom."""

    process_group: ProcessGroup
    model: Model
    net: nn.Module
    """The model's network as the team calls it in training."""
    optimizer: torch.optim.Optimizer
    examples: Examples
    config: TrainingConfig
    progress: TrainingProgress
    memory_format: torch.memory_format
    head_layers: tuple[str, ...] = ()
    """Paths of the modules that learn where the rest does not."""
    collapse_reason: str | None = None
    """Why the maps that the network shows say nothing ('' where they do), as last validated; None of one without."""


def train(
    process_group: ProcessGroup,
    out: Path,
    model: Model,
    examples: Examples,
    config: TrainingConfig,
    record: TrainingRecord,
) -> None:
    """Stretch after stretch, from wherever last.pt stands. Only the first process of the team writes."""
    form = preferred_memory_format(model.net)
    set_memory_format(model.net, form)
    optimizer = torch.optim.AdamW(param_groups(model, config), lr=config.lr, weight_decay=config.weight_decay)
    last = out / "last.pt"
    state = _resume(last, model, optimizer) if last.is_file() else TrainingProgress()
    head = find_blocks(model)[0].layers if config.trainable == "head" else ()
    course = Training(
        process_group,
        model,
        process_group.wrap_network(model.net, optimizer),
        optimizer,
        examples,
        config,
        state,
        form,
        head,
    )
    steps = max(1, len(examples.train) // config.batch_size)
    seen = [math.nan if (loss := h.get("val_loss")) is None else loss for h in state.history]  # of every process
    quality_seen = [math.nan if (q := h["val_auroc"]) is None else q for h in state.history]
    wait = DataWait()
    with progress_bar() as bar:
        before = round(steps * state.n_intervals / config.validations_per_epoch)
        task = bar.add_task("train", total=steps * config.epochs, completed=before, unit="batches")
        for index in range(state.n_intervals, config.epochs * config.validations_per_epoch):
            losses, (halvings, stale) = [], count_plateaus(seen)
            tired = config.patience and count_plateaus([-q for q in quality_seen])[1] >= config.patience
            if tired or (config.schedule == "plateau" and stale >= STOP_AFTER):
                break
            with seeded_generator(config, index) as generator:
                drawn = partial(_draw_batch, examples, config, generator)
                for share, rows, images, marks in prefetch_timed(
                    iterate_batches(examples.train, config, index), drawn, wait
                ):
                    alone = round(share * steps * config.epochs) < min(
                        config.head_only_steps, steps * config.epochs // 2
                    )
                    losses.append(
                        _train_step(course, rows, images, marks, learning_rate(config, share, halvings), alone)
                    )
                    bar.advance(task)
            state.n_intervals = index + 1
            with record_maps(model.net) as heard:
                result = validate(process_group, model, examples, max(config.batch_size, MIN_EVAL_BATCH))
            course.collapse_reason = _find_collapse(course, heard)
            seen.append(cross_entropy(result[0], examples.labels[examples.val]))
            loss = float(np.mean(losses)) if losses else math.nan
            if process_group.rank == 0:
                _save_interval(out, course, record, loss, *result)
                update_info(out, data_wait=wait.summary)
            quality = _mean_auroc(result[1], config.selection_findings)
            quality_seen.append(quality)
            said = f", maps {course.collapse_reason}" if course.collapse_reason else ""
            bar.update(task, description=f"train (loss {loss:.3f}, validation AUROC {quality:.3f}{said})")
            process_group.synchronize()
    set_memory_format(model.net, torch.contiguous_format)


def _save_interval(
    out: Path, training: Training, record: TrainingRecord, loss: float, probabilities: Array, aurocs: dict[str, float]
) -> None:
    """Write what a stretch has come to. Files that a kill leaves unfinished are written again, alike."""
    state, recipe, model = training.progress, training.config, training.model
    quality, epoch, name = (
        _mean_auroc(aurocs, recipe.selection_findings),
        state.n_intervals / recipe.validations_per_epoch,
        f"{state.n_intervals:06d}",
    )
    val_loss = cross_entropy(probabilities, training.examples.labels[training.examples.val])
    facts = {
        "epoch": epoch,
        "loss": _none_if_nan(loss),
        "val_auroc": _none_if_nan(quality),
        "val_loss": _none_if_nan(val_loss),
        "checkpoint": name,
    }
    if training.collapse_reason is not None:
        facts["collapsed"] = training.collapse_reason
    state.history.append({**facts, "aurocs": {finding: _none_if_nan(value) for finding, value in aurocs.items()}})
    rank = -math.inf if math.isnan(quality) else quality
    sealed = replace(record, epochs=epoch, weights_hash=state_hash(model.net), val_auroc=_none_if_nan(quality))
    state.kept_checkpoints = sorted([*state.kept_checkpoints, (rank, name)], key=lambda one: -one[0])[
        : recipe.max_checkpoints
    ]
    if (rank, name) in state.kept_checkpoints:
        _save_kept_checkpoint(out / "kept", name, replace(model, training_record=sealed), probabilities)
    if state.n_intervals == 1 or rank > state.best_auroc:
        state.best_auroc = rank
        if training.collapse_reason is not None:
            update_info(out, collapsed=training.collapse_reason)
        save_checkpoint(replace(model, training_record=sealed), out / "best.pt")
    weights = {"net": model.net.state_dict(), "optimizer": training.optimizer.state_dict()}
    save_atomically({"format": STATE_FORMAT, **asdict(state), **weights}, out / "last.pt")
    update_info(out, history=state.history, kept=[name for _, name in state.kept_checkpoints])
    for file in (out / "kept").glob("*.*"):
        if file.stem not in {name for _, name in state.kept_checkpoints}:
            file.unlink()


def _save_kept_checkpoint(folder: Path, name: str, model: Model, probabilities: Array) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", probabilities)
    save_checkpoint(model, folder / f"{name}.pt")


def _resume(path: Path, model: Model, optimizer: torch.optim.Optimizer) -> TrainingProgress:
    content = load_state(path)
    load_weights(model.net, path, {"state": content["net"]})
    optimizer.load_state_dict(content["optimizer"])
    return TrainingProgress(
        content["n_intervals"],
        content["best_auroc"],
        content["history"],
        [tuple(entry) for entry in content["kept_checkpoints"]],
    )


def load_state(path: Path) -> dict[str, Any]:
    """Read the state of a training. Errors: as `load_safely`; `RunError` for one of another format."""
    content = load_safely(path)
    remedy = "start the training again in a new folder"
    check_format(content.get("format"), STATE_FORMAT, "state of a training", path, RunError, remedy)
    return content


def _seed_from(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def iterate_batches(rows: Array, config: TrainingConfig, interval: int) -> Iterator[tuple[float, Array]]:
    """The batches of one stretch: (share of the training done, rows), in an order keyed by (seed, epoch).

    Batches are whole; what is left over waits for another epoch, because a batch of one breaks batch norm.
    """
    epoch, stretch = divmod(interval, config.validations_per_epoch)
    order = rows[
        torch.randperm(len(rows), generator=torch.Generator().manual_seed(_seed_from(config.seed, epoch))).numpy()
    ]
    steps = max(1, len(order) // config.batch_size)
    first, end = (round(steps * part / config.validations_per_epoch) for part in (stretch, stretch + 1))
    for step in range(first, end):
        yield (
            (epoch * steps + step) / (steps * config.epochs),
            order[step * config.batch_size : (step + 1) * config.batch_size],
        )


@contextmanager
def seeded_generator(config: TrainingConfig, interval: int) -> Iterator[torch.Generator]:
    """Random numbers of one stretch, keyed by (seed, epoch, stretch): continuing needs no stored state."""
    epoch, stretch = divmod(interval, config.validations_per_epoch)
    key = _seed_from(config.seed, epoch, stretch + 1)
    with torch.random.fork_rng():
        torch.manual_seed(key)  # dropout draws from the global generator
        yield torch.Generator().manual_seed(key)


def count_plateaus(losses: Sequence[float]) -> tuple[int, int]:
    """How often validation losses stood still for `PLATEAU_PATIENCE` validations, and for how many they stand still
    now.

    >>> count_plateaus([0.5, 0.4, 0.4, 0.41, 0.42, 0.3])
    (1, 0)
    """
    best, stale, waited, halvings = math.inf, 0, 0, 0
    for loss in losses:
        if loss < best:
            best, stale, waited = loss, 0, 0
            continue
        stale, waited = stale + 1, waited + 1
        if waited == PLATEAU_PATIENCE:
            halvings, waited = halvings + 1, 0
    return halvings, stale


def cross_entropy(probabilities: Array, labels: Array) -> float:
    """Mean binary cross-entropy over the labels that are 0 or 1; NaN without any."""
    known = np.isin(labels, (0, 1))
    p = np.clip(np.where(labels == 1, probabilities, 1 - probabilities)[known], 1e-7, 1)
    return float(-np.log(p).mean()) if p.size else math.nan


def learning_rate(config: TrainingConfig, share_done: float, halvings: int) -> float:
    """Learning rate after the share `done` of all steps, and so many plateaus."""
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "plateau":
        return float(config.lr * 0.5**halvings)
    if share_done < WARM_UP_SHARE:
        return config.lr * (0.1 + 0.9 * share_done / WARM_UP_SHARE)
    return config.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * (share_done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))) / 2)


def param_groups(model: Model, config: TrainingConfig) -> list[dict[str, Any]]:
    """Parameters that learn, for an optimizer: with `scale`, the share of the learning rate, and whether of the `head`.

    The head is the block of layers nearest to the logits (`sightline.models.weight_randomization.find_blocks`). What
    does
    not learn is
    frozen.
    """
    if config.trainable == "all" and config.layer_decay == 1 and not config.head_only_steps:
        return [{"params": list(model.net.parameters()), "scale": 1.0, "head": True}]
    depth = {name: at for at, block in enumerate(find_blocks(model)) for name in block.layers}
    made: dict[int, list[nn.Parameter]] = {}
    for name, module in model.net.named_modules():
        for parameter in module.parameters(recurse=False):
            at = depth.get(name, len(depth))  # of no block: nothing depends on it
            parameter.requires_grad_(at == 0 or config.trainable == "all")
            made.setdefault(at, []).append(parameter)
    kept = [at for at in sorted(made) if at == 0 or config.trainable == "all"]
    return [{"params": made[at], "scale": config.layer_decay**at, "head": at == 0} for at in kept]


def _draw_batch(
    examples: Examples, config: TrainingConfig, generator: torch.Generator, one: tuple[float, Array]
) -> tuple[float, Array, Tensor, Tensor | None]:
    """(share of the training done, rows, images (B, side, side), marks (B, F, g, g)) of a batch."""
    share, rows = one
    images, marks = examples.load_images(rows), examples.load_mask_targets(rows)
    if config.augment:
        images, marks = augment(images, generator, marks)
    return share, rows, images, marks


def _train_step(
    training: Training, rows: Array, images: Tensor, mask_targets: Tensor | None, lr: float, head_only: bool
) -> float:
    """One batch, shared out over the team. Returns the loss of this process's share. alone: the head learns alone."""
    model, recipe, team, device = training.model, training.config, training.process_group, training.model.device
    training.net.train(
        not training.head_layers
    )  # where the head learns alone, the rest stays as it is, statistics included
    for name in training.head_layers:
        model.net.get_submodule(name).train()
    mine = slice(team.rank, None, team.size)
    x = model.normalize(images[mine].to(device)).contiguous(memory_format=training.memory_format)
    for group in training.optimizer.param_groups:
        group["lr"] = lr * group["scale"] * (group["head"] or not head_only)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        outputs = training.net(x).float()  # (B, F), or what the network's own loss takes
    labels = torch.from_numpy(training.examples.labels[rows][mine]).to(device)
    loss = _loss(model.net, outputs, labels, None if mask_targets is None else mask_targets[mine].to(device))
    training.optimizer.zero_grad()
    team.backward(loss)
    training.optimizer.step()
    return float(loss.detach())


def _loss(net: nn.Module, outputs: Tensor, labels: Tensor, mask_targets: Tensor | None) -> Tensor:
    if hasattr(net, "loss"):
        own: Tensor = net.loss(outputs, labels, mask_targets)  # type: ignore[operator]
        return own
    return three_class_loss(outputs, labels) if isinstance(net, ThreeClassHead) else masked_loss(outputs, labels)


def validate(
    process_group: ProcessGroup, model: Model, examples: Examples, batch: int
) -> tuple[Array, dict[str, float]]:
    """Probabilities (V, F) of the validation rows, and the AUROC of each finding over studies; NaN if undefined."""
    model.net.eval()
    logits = torch.zeros((len(examples.val), len(model.findings)), device=model.device)
    with torch.inference_mode():
        for mine in _process_batches(process_group, len(examples.val), batch):
            images = examples.load_images(examples.val[mine])
            logits[mine] = model.net(model.normalize(images.to(model.device))).float()
    scores = process_group.sum_over_processes(logits).double().cpu().numpy()  # (V, F)
    if not np.isfinite(scores).all():
        raise SightlineError("the network's logits are no longer finite; train with a smaller lr, in a new folder")
    probabilities: Array = expit(scores)
    return probabilities, compute_study_aurocs(
        probabilities, examples.labels[examples.val], examples.studies, model.findings
    )


def _process_batches(process_group: ProcessGroup, count: int, batch: int) -> Iterator[slice]:
    """The batches of `count` rows that this process takes."""
    return (
        slice(start, start + batch) for start in range(process_group.rank * batch, count, process_group.size * batch)
    )


def _find_collapse(training: Training, recorded: Sequence[Tensor]) -> str | None:
    """Which maps of a validation say nothing, judged by the images that show the finding; None of a network without."""
    if not recorded:
        return None
    maps, examples, findings = torch.cat(list(recorded)), training.examples, training.model.findings
    if maps.shape[1] != len(findings):  # one map for all findings
        return find_collapsed_maps(maps)
    turns = _process_batches(training.process_group, len(examples.val), max(training.config.batch_size, MIN_EVAL_BATCH))
    shown = np.concatenate([examples.labels[examples.val[mine]] == 1 for mine in turns])
    return find_collapsed_maps(maps, findings, torch.from_numpy(shown).to(maps.device))


def compute_study_aurocs(
    probabilities: Array, labels: Array, studies: tuple[tuple[str, str], ...], findings: tuple[str, ...]
) -> dict[str, float]:
    """AUROC per finding of the greatest probability (V, F) and label (V, F) among the views of each study."""
    if not studies:
        return dict.fromkeys(findings, math.nan)
    _, scores = study_probabilities(probabilities, studies)
    known = np.isfinite(labels)
    _, truth = study_probabilities(np.where(known, labels, -1.0), studies)  # -1: no view has a label
    truth[truth < 0] = np.nan
    return {finding: auroc(scores[:, i], truth[:, i]) for i, finding in enumerate(findings)}


def _mean_auroc(aurocs: dict[str, float], select: tuple[str, ...]) -> float:
    """Over the findings that decide, of those that are defined; NaN if none is."""
    values = [aurocs[f] for f in select if f in aurocs and not math.isnan(aurocs[f])]
    return float(np.mean(values)) if values else math.nan


def update_info(out: Path, **fields: Any) -> None:
    """Add to run.json as it stands now, so that no earlier note is lost."""
    Run.open(out).update_info(**fields)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
