"""Training of a classifier in one or several processes, with its checkpoints and the state to continue from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline.core import Array
from sightline.models import Model, TrainingRecord, state_hash
from sightline.models.checkpoint import load_weights, save_atomically, save_checkpoint
from sightline.models.losses import masked_loss, three_class_loss
from sightline.models.map_collapse import find_collapsed_maps, record_maps
from sightline.models.memory_format import preferred_memory_format, set_memory_format
from sightline.models.multiclass_heads import ThreeClassHead
from sightline.models.weight_randomization import find_blocks
from sightline.training.augmentation import augment
from sightline.training.config import TrainingConfig
from sightline.training.distributed import ProcessGroup
from sightline.training.examples import Examples
from sightline.training.loop import STATE_FORMAT, count_steps, load_state, run_training, update_info
from sightline.training.prefetch import DataWait
from sightline.training.schedule import STOP_AFTER, count_plateaus, learning_rate, param_groups
from sightline.training.validation import cross_entropy, mean_auroc, process_batches, validate

MIN_EVAL_BATCH = 32
"""Least number of images validated at once: with few labels batches are small, in which a network is slow."""
Batch = tuple[Array, Tensor, Tensor | None]
"""Rows, images (B, side, side) and targets of maps (B, F, g, g)."""


@dataclass(slots=True)
class TrainingProgress:
    """State of a training after some intervals."""

    n_intervals: int = 0
    """Number of intervals that are done."""
    best_auroc: float = -math.inf
    """Validation AUROC of best.pt; NaN counts as -infinity."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Result of each interval, as in run.json."""
    kept_checkpoints: list[tuple[float, str]] = field(default_factory=list)
    """Validation AUROC and name of the best checkpoints, best first; of equals the earlier."""


@dataclass(slots=True)
class ClassifierTrainer:
    """A classifier in training: a `sightline.training.loop.Trainer`."""

    process_group: ProcessGroup
    """Processes that train together."""
    out: Path
    """Run folder."""
    model: Model
    """Model in training."""
    net: nn.Module
    """Network to call in training, with gradients of all processes."""
    optimizer: torch.optim.Optimizer
    """Optimizer of the network."""
    examples: Examples
    """Images and labels."""
    config: TrainingConfig
    """Options of the optimization."""
    record: TrainingRecord
    """Record of the training, completed in every checkpoint."""
    progress: TrainingProgress
    """State of the training."""
    memory_format: torch.memory_format
    """Memory format of the weights and inputs."""
    head_layers: tuple[str, ...] = ()
    """Paths of the modules that are trained if the others are not."""
    val_losses: list[float] = field(default_factory=list)
    """Validation loss of each interval, known to every process."""
    val_aurocs: list[float] = field(default_factory=list)
    """Mean validation AUROC of each interval, known to every process."""
    title: str = "train"

    def is_finished(self) -> bool:
        """Return True after too many validations without a better result.

        Returns
        -------
        bool
        """
        if self.config.patience and count_plateaus([-q for q in self.val_aurocs])[1] >= self.config.patience:
            return True
        return self.config.schedule == "plateau" and count_plateaus(self.val_losses)[1] >= STOP_AFTER

    def draw_batch(self, rows: Array, interval: int, generator: torch.Generator) -> Batch:
        """Load and augment one batch.

        Parameters
        ----------
        rows : (B,) int64
            Rows of the examples.
        interval
            Not used.
        generator
            Random numbers of the interval.

        Returns
        -------
        Batch
        """
        images, targets = self.examples.load_images(rows), self.examples.load_mask_targets(rows)
        if self.config.augment:
            images, targets = augment(images, generator, targets)
        return rows, images, targets

    def step(self, batch: Batch, share_done: float) -> float:
        """Train on this process's share of one batch.

        Parameters
        ----------
        batch
            Result of `draw_batch`.
        share_done
            Share of the training that is done.

        Returns
        -------
        float
            Loss of this process.
        """
        rows, images, targets = batch
        device, group = self.model.device, self.process_group
        # If only the head is trained, the rest stays as it is, statistics included
        self.net.train(not self.head_layers)
        for name in self.head_layers:
            self.model.net.get_submodule(name).train()
        share = slice(group.rank, None, group.size)
        x = self.model.normalize(images[share].to(device)).contiguous(memory_format=self.memory_format)
        lr = learning_rate(self.config, share_done, count_plateaus(self.val_losses)[0])
        head_only = self.is_head_only(share_done)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = lr * parameters["scale"] * (parameters["head"] or not head_only)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            outputs = self.net(x).float()  # (B, F), or what the network's own loss takes
        labels = torch.from_numpy(self.examples.labels[rows][share]).to(device)
        loss = _loss(self.model.net, outputs, labels, None if targets is None else targets[share].to(device))
        self.optimizer.zero_grad()
        group.backward(loss)
        self.optimizer.step()
        return float(loss.detach())

    def is_head_only(self, share_done: float) -> bool:
        """Return True in the first steps, in which only the head is trained.

        Parameters
        ----------
        share_done
            Share of the training that is done.

        Returns
        -------
        bool
        """
        total = count_steps(len(self.examples.train), self.config) * self.config.epochs
        return round(share_done * total) < min(self.config.head_only_steps, total // 2)

    def finish_interval(self, losses: Sequence[float], wait: DataWait) -> str:
        """Validate and save.

        Parameters
        ----------
        losses
            Losses of the interval.
        wait
            Time that was spent waiting for data.

        Returns
        -------
        str
            Result for the progress bar.
        """
        self.progress.n_intervals += 1
        with record_maps(self.model.net) as maps:
            probabilities, aurocs = validate(self.process_group, self.model, self.examples, self._eval_batch)
        collapsed = self._collapse_reason(maps)
        self.val_losses.append(cross_entropy(probabilities, self.examples.labels[self.examples.val]))
        self.val_aurocs.append(mean_auroc(aurocs, self.config.selection_findings))
        loss = float(np.mean(losses)) if losses else math.nan
        if self.process_group.rank == 0:
            self._save(loss, probabilities, aurocs, collapsed)
            update_info(self.out, data_wait=wait.summary)
        suffix = f", maps {collapsed}" if collapsed else ""
        return f"loss {loss:.3f}, validation AUROC {self.val_aurocs[-1]:.3f}{suffix}"

    @property
    def _eval_batch(self) -> int:
        return max(self.config.batch_size, MIN_EVAL_BATCH)

    def _collapse_reason(self, recorded: Sequence[Tensor]) -> str | None:
        """Which maps of a validation are collapsed and why, judged by images with the finding; None without maps."""
        if not recorded:
            return None
        maps, examples, findings = torch.cat(list(recorded)), self.examples, self.model.findings
        if maps.shape[1] != len(findings):  # one map for all findings
            return find_collapsed_maps(maps)
        batches = process_batches(self.process_group, len(examples.val), self._eval_batch)
        present = np.concatenate([examples.labels[examples.val[rows]] == 1 for rows in batches])
        return find_collapsed_maps(maps, findings, torch.from_numpy(present).to(maps.device))

    def _save(self, loss: float, probabilities: Array, aurocs: dict[str, float], collapsed: str | None) -> None:
        """Write checkpoints, state and run.json; files that a kill leaves unfinished are written again, alike."""
        state, quality = self.progress, self.val_aurocs[-1]
        epoch, name = state.n_intervals / self.config.validations_per_epoch, f"{state.n_intervals:06d}"
        row = {
            "epoch": epoch,
            "loss": _none_if_nan(loss),
            "val_auroc": _none_if_nan(quality),
            "val_loss": _none_if_nan(self.val_losses[-1]),
            "checkpoint": name,
        }
        if collapsed is not None:
            row["collapsed"] = collapsed
        state.history.append({**row, "aurocs": {finding: _none_if_nan(value) for finding, value in aurocs.items()}})
        rank = -math.inf if math.isnan(quality) else quality
        weights_hash = state_hash(self.model.net)
        record = replace(self.record, epochs=epoch, weights_hash=weights_hash, val_auroc=_none_if_nan(quality))
        sealed = replace(self.model, training_record=record)
        self._keep_checkpoint(rank, name, sealed, probabilities)
        if state.n_intervals == 1 or rank > state.best_auroc:
            state.best_auroc = rank
            if collapsed is not None:
                update_info(self.out, collapsed=collapsed)
            save_checkpoint(sealed, self.out / "best.pt")
        weights = {"net": self.model.net.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_atomically({"format": STATE_FORMAT, **asdict(state), **weights}, self.out / "last.pt")
        kept = [name for _, name in state.kept_checkpoints]
        update_info(self.out, history=state.history, kept=kept)
        for file in (self.out / "kept").glob("*.*"):
            if file.stem not in kept:
                file.unlink()

    def _keep_checkpoint(self, rank: float, name: str, model: Model, probabilities: Array) -> None:
        """Save the checkpoint in kept/ if it is among the best."""
        best = sorted([*self.progress.kept_checkpoints, (rank, name)], key=lambda entry: -entry[0])
        self.progress.kept_checkpoints = best[: self.config.max_checkpoints]
        if (rank, name) in self.progress.kept_checkpoints:
            folder = self.out / "kept"
            folder.mkdir(exist_ok=True)
            np.save(folder / f"{name}.npy", probabilities)
            save_checkpoint(model, folder / f"{name}.pt")


def train_classifier(
    process_group: ProcessGroup,
    out: Path,
    model: Model,
    examples: Examples,
    config: TrainingConfig,
    record: TrainingRecord,
) -> None:
    """Train a classifier from where last.pt is; only the first process writes.

    Parameters
    ----------
    process_group
        Processes that train together.
    out
        Run folder.
    model
        Model whose network is trained in place.
    examples
        Images and labels.
    config
        Options of the optimization.
    record
        Record of the training.
    """
    memory_format = preferred_memory_format(model.net)
    set_memory_format(model.net, memory_format)
    optimizer = torch.optim.AdamW(param_groups(model, config), lr=config.lr, weight_decay=config.weight_decay)
    last = out / "last.pt"
    progress = _resume(last, model, optimizer) if last.is_file() else TrainingProgress()
    head_layers = find_blocks(model)[0].layers if config.trainable == "head" else ()
    trainer = ClassifierTrainer(
        process_group,
        out,
        model,
        process_group.wrap_network(model.net, optimizer),
        optimizer,
        examples,
        config,
        record,
        progress,
        memory_format,
        head_layers,
        [_nan_if_none(row.get("val_loss")) for row in progress.history],
        [_nan_if_none(row["val_auroc"]) for row in progress.history],
    )
    run_training(trainer, config, examples.train, progress.n_intervals, process_group)
    set_memory_format(model.net, torch.contiguous_format)


def _resume(path: Path, model: Model, optimizer: torch.optim.Optimizer) -> TrainingProgress:
    content = load_state(path)
    load_weights(model.net, path, {"state": content["net"]})
    optimizer.load_state_dict(content["optimizer"])
    kept = [tuple(entry) for entry in content["kept_checkpoints"]]
    return TrainingProgress(content["n_intervals"], content["best_auroc"], content["history"], kept)


def _loss(net: nn.Module, outputs: Tensor, labels: Tensor, mask_targets: Tensor | None) -> Tensor:
    if hasattr(net, "loss"):
        loss: Tensor = net.loss(outputs, labels, mask_targets)  # type: ignore[operator]
        return loss
    return three_class_loss(outputs, labels) if isinstance(net, ThreeClassHead) else masked_loss(outputs, labels)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else value
