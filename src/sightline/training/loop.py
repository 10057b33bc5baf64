"""The loop of a training: intervals of batches, each followed by a validation and a state to continue from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from sightline._util.formats import check_format
from sightline._util.progress import progress_bar
from sightline.core import Array
from sightline.errors import RunError
from sightline.models.checkpoint import load_safely
from sightline.runs.run import Run
from sightline.training.config import TrainingConfig
from sightline.training.distributed import ProcessGroup
from sightline.training.prefetch import DataWait, prefetch_timed

STATE_FORMAT = 2
"""Format of last.pt, from which a training continues."""


class Trainer(Protocol):
    """A kind of training: what `run_training` calls in every step and after every interval."""

    title: str
    """Title of the progress bar."""

    def is_finished(self) -> bool:
        """Return True if the training ends before its last interval.

        Returns
        -------
        bool
        """

    def draw_batch(self, rows: Array, interval: int, generator: torch.Generator) -> Any:
        """Load and augment one batch; called in a thread, one batch after the other.

        Parameters
        ----------
        rows : (B,) int64
            Rows of the examples.
        interval
            Number of the interval.
        generator
            Random numbers of the interval.

        Returns
        -------
        Any
            Batch for `step`.
        """

    def step(self, batch: Any, share_done: float) -> float:
        """Train on one batch.

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

    def finish_interval(self, losses: Sequence[float], wait: DataWait) -> str:
        """Validate and save; only the first process writes.

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


def run_training(
    trainer: Trainer, config: TrainingConfig, rows: Array, n_done: int, process_group: ProcessGroup
) -> None:
    """Run a training from its first interval that is not done.

    Parameters
    ----------
    trainer
        Kind of training, with its network and optimizer.
    config
        Options of the optimization.
    rows : (n,) int64
        Rows of the training examples.
    n_done
        Number of intervals that are done.
    process_group
        Processes that train together.
    """
    steps, wait = count_steps(len(rows), config), DataWait()
    with progress_bar() as bar:
        completed = round(steps * n_done / config.validations_per_epoch)
        task = bar.add_task(trainer.title, total=steps * config.epochs, completed=completed, unit="batches")
        for interval in range(n_done, config.epochs * config.validations_per_epoch):
            if trainer.is_finished():
                break
            losses = []
            with seeded_generator(config, interval) as generator:
                draw = partial(_draw_batch, trainer, interval, generator)
                for share_done, batch in prefetch_timed(iterate_batches(rows, config, interval), draw, wait):
                    losses.append(trainer.step(batch, share_done))
                    bar.advance(task)
            result = trainer.finish_interval(losses, wait)
            bar.update(task, description=f"{trainer.title} ({result})")
            process_group.synchronize()


def _draw_batch(
    trainer: Trainer, interval: int, generator: torch.Generator, place: tuple[float, Array]
) -> tuple[float, Any]:
    return place[0], trainer.draw_batch(place[1], interval, generator)


def count_steps(n_examples: int, config: TrainingConfig) -> int:
    """Return the number of steps of an epoch: batches are whole, but there is at least one.

    Parameters
    ----------
    n_examples
        Number of training examples.
    config
        Options of the optimization.

    Returns
    -------
    int
    """
    return max(1, n_examples // config.batch_size)


def iterate_batches(rows: Array, config: TrainingConfig, interval: int) -> Iterator[tuple[float, Array]]:
    """Yield the batches of one interval, in an order keyed by (seed, epoch).

    Batches are whole: the rest waits for another epoch, because a batch of one breaks batch norm.

    Parameters
    ----------
    rows : (n,) int64
        Rows of the training examples.
    config
        Options of the optimization.
    interval
        Number of the interval.

    Yields
    ------
    share_done : float
        Share of the training that is done before the batch.
    rows : (B,) int64
        Rows of the batch.
    """
    epoch, part = divmod(interval, config.validations_per_epoch)
    order = rows[
        torch.randperm(len(rows), generator=torch.Generator().manual_seed(_seed_from(config.seed, epoch))).numpy()
    ]
    steps = count_steps(len(order), config)
    first, end = (round(steps * i / config.validations_per_epoch) for i in (part, part + 1))
    for step in range(first, end):
        batch = order[step * config.batch_size : (step + 1) * config.batch_size]
        yield (epoch * steps + step) / (steps * config.epochs), batch


@contextmanager
def seeded_generator(config: TrainingConfig, interval: int) -> Iterator[torch.Generator]:
    """Create the random numbers of one interval, keyed by (seed, epoch, part): continuing needs no stored state.

    Parameters
    ----------
    config
        Options of the optimization.
    interval
        Number of the interval.

    Yields
    ------
    torch.Generator
        Generator of the interval; torch's global one is seeded, too, and restored on leaving.
    """
    epoch, part = divmod(interval, config.validations_per_epoch)
    key = _seed_from(config.seed, epoch, part + 1)
    with torch.random.fork_rng():
        torch.manual_seed(key)  # dropout draws from the global generator
        yield torch.Generator().manual_seed(key)


def _seed_from(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def load_state(path: Path) -> dict[str, Any]:
    """Read the state from which a training continues.

    Parameters
    ----------
    path
        File last.pt.

    Returns
    -------
    dict
        Content of the file.

    Raises
    ------
    RunError
        For a state of another format; also `DataError` as in `sightline.models.checkpoint.load_safely`.
    """
    content = load_safely(path)
    remedy = "start the training again in a new folder"
    check_format(content.get("format"), STATE_FORMAT, "state of a training", path, RunError, remedy)
    return content


def update_info(out: Path, **fields: Any) -> None:
    """Add fields to run.json as it is on disk now, so that no earlier field is lost.

    Parameters
    ----------
    out
        Run folder.
    **fields
        Fields to add or replace.
    """
    Run.open(out).update_info(**fields)
