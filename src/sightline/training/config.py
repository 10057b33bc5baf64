"""What a training is told: `TrainingConfig`, how it optimizes, and `SamplingConfig`, which labels teach."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sightline.errors import SightlineError
from sightline.models.precision import Precision
from sightline.training.labels import BlankPolicy, UncertaintyPolicy

Trainable = Literal["all", "head"]
"""What learns: the whole network, or the block of the logits alone, on features that stay (linear evaluation)."""
LearningRateSchedule = Literal["cosine", "constant", "plateau"]
"""Of the learning rate: one cycle, none, or one halved on plateaus of the validation loss (`loop.PATIENCE`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Everything about the optimization that changes the weights, and which of them stay.

    Errors: `SightlineError` names every value that is not allowed.

    >>> from dataclasses import replace
    >>> short = TrainingConfig(epochs=9, batch=16, augmented=False)
    >>> [replace(short, seed=seed).seed for seed in range(3)]
    [0, 1, 2]
    >>> TrainingConfig(epochs=0)
    Traceback (most recent call last):
    sightline.errors.SightlineError: epochs=0; allowed: from 1
    """

    epochs: int = 10
    batch_size: int = 32
    """Radiographs per step; of several devices, of all of them together."""
    lr: float = 3e-3
    """The greatest learning rate, of AdamW."""
    weight_decay: float = 0.01
    schedule: LearningRateSchedule = "cosine"
    seed: int = 0
    """Of order, augmentation and dropout; the split is drawn by it, too, where `Sample.split_seed` names no other."""
    augment: bool = True
    """Whether images are turned, shifted, zoomed and exposed a little."""
    precision: Precision = "float32"
    """Of the forward; weights are float32."""
    validation_interval: float = 1.0
    """Share of an epoch between two validations."""
    max_checkpoints: int = 0
    """How many of the best checkpoints stay under kept/, each with its validation probabilities."""
    selection_findings: tuple[str, ...] = ()
    """Findings whose mean AUROC decides which weights are best; all of the model by default."""
    trainable: Trainable = "all"
    head_only_steps: int = 0
    """Steps at the beginning in which the head learns alone; of a short training no more than half."""
    layer_decay: float = 1.0
    """The learning rate of each block of layers as a share of that of the block nearer to the logits."""
    patience: int = 0
    """Validations without a better mean AUROC after which the training ends; 0: never."""

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
    """Which patients and labels of a data set teach. Errors: `SightlineError` names every value that is not allowed."""

    fraction: float = 1.0
    """Share of the training patients; a smaller one is part of every larger one."""
    validation_fraction: float = 0.15
    """Share of the patients that validate, where the data set has no validation split."""
    uncertainty_policy: UncertaintyPolicy = "ignore"
    blank_policy: BlankPolicy = "ignore"
    split_seed: int | None = None
    """By which patients are drawn; by default the seed of the recipe."""
    stratified: bool = False
    """Whether every fraction holds every finding about as often as the whole."""

    def __post_init__(self) -> None:
        _require_valid(
            self,
            fraction=(0 < self.fraction <= 1, "above 0 up to 1"),
            validation_fraction=(0 <= self.validation_fraction < 1, "from 0 below 1"),
            uncertainty_policy=_check_choice(self.uncertainty_policy, UncertaintyPolicy),
            blank_policy=_check_choice(self.blank_policy, BlankPolicy),
        )


def _check_choice(value: str, names: object) -> tuple[bool, str]:
    allowed = get_args(names)
    return value in allowed, ", ".join(map(repr, allowed))


def _require_valid(config: TrainingConfig | SamplingConfig, **rules: tuple[bool, str]) -> None:
    """rules: of each field, whether it is as it must be, and what is allowed."""
    wrong = [f"{name}={getattr(config, name)!r}; allowed: {told}" for name, (fits, told) in rules.items() if not fits]
    if wrong:
        raise SightlineError(". ".join(wrong))
