"""Labels and the losses they call for: what an uncertain label counts as is a choice with a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from sightline.controls import generator
from sightline.core import Array, DataError, Dataset, Radiograph

Uncertain = Literal["ignore", "zeros", "ones", "3-class"]
"""What an uncertain label (-1) becomes: unknown, absent, present, or a class of its own. Irvin et al. 2019,
doi:10.1609/aaai.v33i01.3301590."""
UNCERTAIN: tuple[Uncertain, ...] = ("ignore", "zeros", "ones", "3-class")
Blank = Literal["ignore", "zeros"]
"""What a blank label becomes: unknown, or absent, as CheXpert's own training has it."""


def label_matrix(
    radiographs: Sequence[Radiograph], findings: Sequence[str], uncertain: Uncertain, blank: Blank = "ignore"
) -> Array:
    """float32 (n, F) of 1, 0 and NaN = unknown; with '3-class' also -1.

    Errors: `DataError` for a label that is none of 1, 0, -1 and NaN.
    """
    labels = np.array([[r.labels.get(f, np.nan) for f in findings] for r in radiographs], np.float32)
    labels = labels.reshape(len(radiographs), len(findings))
    odd = np.argwhere(~np.isnan(labels) & ~np.isin(labels, (0, 1, -1)))
    if len(odd):
        row, column = odd[0]
        raise DataError(
            f"radiograph {radiographs[row].id!r} has the label {labels[row, column]:g} for {findings[column]!r}; "
            f"allowed: 1, 0, -1 (uncertain) and NaN (unknown)"
        )
    if blank == "zeros":
        labels[np.isnan(labels)] = 0
    labels[labels == -1] = {"ignore": np.nan, "zeros": 0, "ones": 1, "3-class": -1}[uncertain]
    return labels


def dealt_anew(data: Dataset, seed: int) -> Dataset:
    """The same radiographs, each with the labels of another one of its split, drawn by (seed, split).

    What a network learns from it cannot be where findings are: label randomization, Adebayo et al. 2018,
    arXiv:1810.03292.
    """
    radiographs = list(data.radiographs)
    given = [r.labels for r in radiographs]
    for split in sorted({r.split for r in radiographs}):
        places = [i for i, r in enumerate(radiographs) if r.split == split]
        order = generator(seed, "labels", split).permutation(len(places))
        for place, other in zip(places, order.tolist(), strict=True):
            radiographs[place] = replace(radiographs[place], labels=given[places[other]])
    return replace(data, radiographs=tuple(radiographs), spec=f"{data.spec or data.name}, labels dealt anew ({seed})")


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits (B, F) over the labels (B, F) that are not NaN; 0 if none is known."""
    known = ~labels.isnan()
    each = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def three_class_loss(triples: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of triples (B, 3 F): uncertain, negative, positive; labels (B, F) of -1, 0, 1, NaN = unknown.

    >>> round(float(three_class_loss(Tensor([[0, 0, 0]]), Tensor([[-1]]))), 4)  # log 3
    1.0986
    """
    known = ~labels.isnan()
    classes = (labels.nan_to_num() + 1).long().flatten()  # (B F,)
    each = F.cross_entropy(triples.reshape(-1, 3), classes, reduction="none").reshape(labels.shape)
    return (each * known).sum() / known.sum().clamp(min=1)
