"""Configuration of a training: `TrainingConfig` for the optimization, `SamplingConfig` for patients and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sightline.errors import SightlineError
from sightline.models.precision import Precision
from sightline.training.labels import BlankPolicy, UncertaintyPolicy

Trainable = Literal["all", "head"]
"""Weights that are trained: the whole network, or its head alone on fixed features (linear evaluation)."""
LearningRateSchedule = Literal["cosine", "constant", "plateau"]
"""Schedule of the learning rate: one cosine cycle, none, or halved on plateaus of the validation loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Options of the optimization: everything that changes the weights, and which of them are saved.

    Raises
    ------
    SightlineError
        Names every value that is not allowed.

    Examples
    --------
    >>> from dataclasses import replace
    >>> short = TrainingConfig(epochs=9, batch_size=16, augment=False)
    >>> [replace(short, seed=seed).seed for seed in range(3)]
    [0, 1, 2]
    >>> TrainingConfig(epochs=0)
    Traceback (most recent call last):
    sightline.errors.SightlineError: epochs=0; allowed: from 1
    """

    epochs: int = 10
    """Passes over the training data."""
    batch_size: int = 32
    """Radiographs per step, on all devices together."""
    lr: float = 3e-3
    """Highest learning rate of AdamW."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    schedule: LearningRateSchedule = "cosine"
    """Schedule of the learning rate."""
    seed: int = 0
    """Seed of order, augmentation and dropout, and of the split unless `SamplingConfig.split_seed` is set."""
    augment: bool = True
    """True to rotate, shift and zoom images and change their exposure a little."""
    precision: Precision = "float32"
    """Precision of the forward pass; weights are float32."""
    validation_interval: float = 1.0
    """Share of an epoch between two validations."""
    max_checkpoints: int = 0
    """Number of best checkpoints that are saved in kept/, each with its validation probabilities."""
    selection_findings: tuple[str, ...] = ()
    """Findings whose mean AUROC selects the best weights; all of the model by default."""
    trainable: Trainable = "all"
    """Weights that are trained."""
    head_only_steps: int = 0
    """First steps in which only the head is trained; of a short training no more than half."""
    layer_decay: float = 1.0
    """Learning rate of each block of layers as a share of that of the next block towards the logits."""
    patience: int = 0
    """Validations without a higher mean AUROC after which the training ends; 0: never."""

    def __post_init__(self) -> None:
        _require_valid(
            self,
            epochs=(self.epochs >= 1, "from 1"),
            batch_size=(self.batch_size >= 2, "from 2, because batch norm breaks on one"),
            lr=(0 < self.lr < math.inf, "above 0"),
            weight_decay=(0 <= self.weight_decay < math.inf, "from 0"),
            schedule=_check_choice(self.schedule, LearningRateSchedule),
            precision=_check_choice(self.precision, Precision),
            validation_interval=(0 < self.validation_interval <= 1, "above 0 up to 1"),
            max_checkpoints=(self.max_checkpoints >= 0, "from 0"),
            trainable=_check_choice(self.trainable, Trainable),
            head_only_steps=(self.head_only_steps >= 0, "from 0"),
            layer_decay=(0 < self.layer_decay <= 1, "above 0 up to 1"),
            patience=(self.patience >= 0, "from 0"),
        )

    @property
    def validations_per_epoch(self) -> int:
        """Validations per epoch."""
        return max(1, round(1 / self.validation_interval))


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """Options of the training data: which patients and labels are used.

    Raises
    ------
    SightlineError
        Names every value that is not allowed.
    """

    fraction: float = 1.0
    """Share of the training patients; a smaller one is a subset of every larger one."""
    validation_fraction: float = 0.15
    """Share of the patients used for validation if the data set has no validation split."""
    uncertainty_policy: UncertaintyPolicy = "ignore"
    """Value of uncertain labels."""
    blank_policy: BlankPolicy = "ignore"
    """Value of blank labels."""
    split_seed: int | None = None
    """Seed of the split of the patients; by default that of the `TrainingConfig`."""
    stratified: bool = False
    """True if every fraction has each finding about as often as the whole."""
    prevalence: tuple[str, float] | None = None
    """Finding and the share of the training radiographs that show it, see `sightline.training.split.set_prevalence`."""

    def __post_init__(self) -> None:
        _require_valid(
            self,
            fraction=(0 < self.fraction <= 1, "above 0 up to 1"),
            validation_fraction=(0 <= self.validation_fraction < 1, "from 0 below 1"),
            uncertainty_policy=_check_choice(self.uncertainty_policy, UncertaintyPolicy),
            blank_policy=_check_choice(self.blank_policy, BlankPolicy),
            prevalence=(self.prevalence is None or 0 < self.prevalence[1] < 1, "a finding and a share between 0 and 1"),
        )


def _check_choice(value: str, names: object) -> tuple[bool, str]:
    allowed = get_args(names)
    return value in allowed, ", ".join(map(repr, allowed))


def _require_valid(config: TrainingConfig | SamplingConfig, **rules: tuple[bool, str]) -> None:
    """Raise `SightlineError` for fields that break their rule: (is valid, what is allowed)."""
    wrong = [
        f"{name}={getattr(config, name)!r}; allowed: {allowed}" for name, (valid, allowed) in rules.items() if not valid
    ]
    if wrong:
        raise SightlineError(". ".join(wrong))
