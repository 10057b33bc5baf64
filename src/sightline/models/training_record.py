"""`TrainingRecord`: what a model was trained on, and how well it then did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """Data and result of the training of a model.

    A model without a record counts as untrained, and every comparison with it is labeled a control.
    """

    data: str
    """Spec of the training data set, or a sentence if the model was trained elsewhere."""
    fraction: float = 1.0
    """Share of the training patients that was used."""
    seed: int | None = None
    """Seed of the training."""
    epochs: float | None = None
    """Passes over the training data after which the weights were saved."""
    weights_hash: str = ""
    """SHA-256 of the weights, as `state_hash` computes it."""
    val_auroc: float | None = None
    """Mean AUROC over the findings on the validation patients, of the saved weights."""
    derived: tuple[str, ...] = ()
    """Changes that were made to the data set before training, as in `Dataset.derived`."""
    prevalence: tuple[tuple[str, float], ...] = ()
    """Findings with the share of positive among the known training labels, in [0, 1]; empty if it was not recorded."""

    @property
    def description(self) -> str:
        """Spec of the data set and the changes made to it, in one line."""
        return "; ".join((self.data, *self.derived))
