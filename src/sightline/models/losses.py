"""Losses over labels of which some are unknown."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits (B, F) over the labels (B, F) that are not NaN; 0 if none is known."""
    known = ~labels.isnan()
    each = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def label_loss(outputs: Tensor, labels: Tensor, task: str) -> Tensor:
    """Of a classification `masked_loss`; of a regression the mean squared error over the values that are not NaN."""
    if task == "classification":
        return masked_loss(outputs, labels)
    known = ~labels.isnan()
    return ((outputs - labels.nan_to_num()) ** 2 * known).sum() / known.sum().clamp(min=1)


def mask_loss(logits: Tensor, mask_targets: Tensor) -> Tensor:
    """Binary cross-entropy and soft Dice over places: logits and marks (B, F, h, w), marks in [0, 1], NaN = unknown."""
    known = ~mask_targets.isnan()
    truth = mask_targets.nan_to_num()
    each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    entropy = (each * known).sum() / known.sum().clamp(min=1)
    found = logits.sigmoid() * known
    overlap, total = (found * truth).sum((2, 3)), (found + truth).sum((2, 3))  # (B, F)
    positive = truth.sum((2, 3)) > 0
    dice = ((1 - (2 * overlap + 1) / (total + 1)) * positive).sum() / positive.sum().clamp(min=1)
    return entropy + 0.2 * dice


def three_class_loss(triples: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of triples (B, 3 F): uncertain, negative, positive; labels (B, F) of -1, 0, 1, NaN = unknown.

    >>> round(float(three_class_loss(Tensor([[0, 0, 0]]), Tensor([[-1]]))), 4)  # log 3
    1.0986
    """
    known = ~labels.isnan()
    classes = (labels.nan_to_num() + 1).long().flatten()  # (B F,)
    each = F.cross_entropy(triples.reshape(-1, 3), classes, reduction="none").reshape(labels.shape)
    return (each * known).sum() / known.sum().clamp(min=1)
