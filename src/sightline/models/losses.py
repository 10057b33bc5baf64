"""Losses over labels and annotations of which some are unknown."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean binary cross-entropy over the labels that are known.

    Parameters
    ----------
    logits : (B, F)
        Logits of a network.
    labels : (B, F)
        1, 0, or NaN for unknown.

    Returns
    -------
    Tensor : ()
        Loss; 0 if no label is known.
    """
    known = ~labels.isnan()
    losses = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def label_loss(outputs: Tensor, labels: Tensor, task: str) -> Tensor:
    """Compute `masked_loss` for a classification, the mean squared error over known values for a regression.

    Parameters
    ----------
    outputs : (B, F)
        Logits or values of a network.
    labels : (B, F)
        Labels or values, NaN for unknown.
    task
        'classification' or 'regression'.

    Returns
    -------
    Tensor : ()
        Loss; 0 if nothing is known.
    """
    if task == "classification":
        return masked_loss(outputs, labels)
    known = ~labels.isnan()
    return ((outputs - labels.nan_to_num()) ** 2 * known).sum() / known.sum().clamp(min=1)


def mask_loss(logits: Tensor, mask_targets: Tensor) -> Tensor:
    """Compute the binary cross-entropy and the soft Dice loss over positions.

    Parameters
    ----------
    logits : (B, F, h, w)
        Logits of positions.
    mask_targets : (B, F, h, w)
        Annotated share of each position in [0, 1], NaN for unknown.

    Returns
    -------
    Tensor : ()
        Cross-entropy plus 0.2 times the Dice loss, which counts findings with an annotation only.
    """
    known = ~mask_targets.isnan()
    truth = mask_targets.nan_to_num()
    losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    entropy = (losses * known).sum() / known.sum().clamp(min=1)
    predicted = logits.sigmoid() * known
    overlap, total = (predicted * truth).sum((2, 3)), (predicted + truth).sum((2, 3))  # (B, F)
    positive = truth.sum((2, 3)) > 0
    dice = ((1 - (2 * overlap + 1) / (total + 1)) * positive).sum() / positive.sum().clamp(min=1)
    return entropy + 0.2 * dice


def three_class_loss(triples: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean cross-entropy over the classes uncertain, negative and positive.

    Parameters
    ----------
    triples : (B, 3 F)
        Logits of the three classes of each finding.
    labels : (B, F)
        -1 (uncertain), 0, 1, or NaN for unknown.

    Returns
    -------
    Tensor : ()
        Loss; 0 if no label is known.

    Examples
    --------
    >>> round(float(three_class_loss(Tensor([[0, 0, 0]]), Tensor([[-1]]))), 4)  # log 3
    1.0986
    """
    known = ~labels.isnan()
    classes = (labels.nan_to_num() + 1).long().flatten()  # (B F,)
    losses = F.cross_entropy(triples.reshape(-1, 3), classes, reduction="none").reshape(labels.shape)
    return (losses * known).sum() / known.sum().clamp(min=1)
