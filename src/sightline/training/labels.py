"""Labels of a training: matrices under policies for uncertain and blank labels, and controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from sightline._util.rng import ANNOTATED_SUBSET, SHUFFLED_GAZE, SHUFFLED_LABELS, key_digest, keyed_rng
from sightline.core import Annotation, Array, Dataset, Radiograph
from sightline.errors import DataError

UncertaintyPolicy = Literal["ignore", "zeros", "ones", "3-class"]
"""Value of an uncertain label (-1): unknown, absent, present, or a class of its own. Irvin et al. 2019,
doi:10.1609/aaai.v33i01.3301590."""
UNCERTAINTY_POLICIES: tuple[UncertaintyPolicy, ...] = ("ignore", "zeros", "ones", "3-class")
BlankPolicy = Literal["ignore", "zeros"]
"""Value of a blank label: unknown, or absent, as in CheXpert's own training."""


def make_label_matrix(
    radiographs: Sequence[Radiograph],
    findings: Sequence[str],
    uncertainty_policy: UncertaintyPolicy,
    blank_policy: BlankPolicy = "ignore",
) -> Array:
    """Make the matrix of labels under policies for uncertain and blank labels.

    Parameters
    ----------
    radiographs
        The n radiographs.
    findings
        The F findings.
    uncertainty_policy
        Value of uncertain labels.
    blank_policy
        Value of blank labels.

    Returns
    -------
    Array : (n, F) float32
        1, 0, and NaN for unknown; with '3-class' also -1.

    Raises
    ------
    DataError
        For a label that is none of 1, 0, -1 and NaN.
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
    if blank_policy == "zeros":
        labels[np.isnan(labels)] = 0
    labels[labels == -1] = {"ignore": np.nan, "zeros": 0, "ones": 1, "3-class": -1}[uncertainty_policy]
    return labels


def shuffle_labels(data: Dataset, seed: int) -> Dataset:
    """Permute the labels of the radiographs within each split: the label-randomization control.

    A network that learns from the result cannot learn where findings are: Adebayo et al. 2018, arXiv:1810.03292.

    Parameters
    ----------
    data
        Data set whose labels are permuted.
    seed
        Seed of the permutations, one for each split.

    Returns
    -------
    Dataset
        The same radiographs with other labels; `derived` states the seed.
    """
    radiographs = list(data.radiographs)
    labels = [r.labels for r in radiographs]
    for split in sorted({r.split for r in radiographs}):
        rows = [i for i, r in enumerate(radiographs) if r.split == split]
        order = keyed_rng(seed, SHUFFLED_LABELS, split).permutation(len(rows))
        for row, other in zip(rows, order.tolist(), strict=True):
            radiographs[row] = replace(radiographs[row], labels=labels[rows[other]])
    return replace(data, radiographs=tuple(radiographs), derived=(*data.derived, f"labels shuffled, seed {seed}"))


def limit_annotations(data: Dataset, count: int, seed: int) -> Dataset:
    """Keep the annotations of a number of training radiographs only.

    The radiographs are drawn by seed and id, so that a smaller number is a subset of a larger one.

    Parameters
    ----------
    data
        Data set with annotations.
    count
        Number of annotated radiographs to keep.
    seed
        Seed of the draw.

    Returns
    -------
    Dataset
        The same radiographs and labels, which still state what is absent; `derived` states the number and the seed.

    Raises
    ------
    DataError
        If fewer radiographs of the training split are annotated.
    """

    def is_annotated(r: Radiograph) -> bool:
        return any(
            r.labels.get(f) == 1 and data.annotation(r.id, f, data.reference_reader) is not None for f in data.findings
        )

    annotated = [r.id for r in data.radiographs if r.split in ("", "train") and is_annotated(r)]
    if not 0 <= count <= len(annotated):
        raise DataError(f"annotations of {count} training radiographs of {data.spec!r}; allowed: 0 to {len(annotated)}")
    kept = set(sorted(annotated, key=lambda name: key_digest(seed, ANNOTATED_SUBSET, name))[:count])

    def annotation(radiograph: str, finding: str, reader: str) -> Annotation | None:
        return data.annotation(radiograph, finding, reader) if radiograph in kept else None

    phrase = f"annotations of {count} radiographs, seed {seed}"
    return replace(data, annotation=annotation, derived=(*data.derived, phrase))


def shuffle_gaze(data: Dataset, seed: int) -> Dataset:
    """Exchange the gaze between patients: the control of training on gaze.

    A network that learns from the result can only learn where readers look on any radiograph.

    Parameters
    ----------
    data
        Data set with gaze.
    seed
        Seed of the order in which patients pass their gaze on.

    Returns
    -------
    Dataset
        The same radiographs and labels, each radiograph with the gaze at one of another patient; `derived` states the
        seed.
    """
    radiographs = sorted(data.radiographs, key=lambda r: key_digest(seed, SHUFFLED_GAZE, r.id))
    patients = list(dict.fromkeys(r.patient for r in radiographs))
    first = {r.patient: r.id for r in reversed(radiographs)}
    after = dict(zip(patients, [*patients[1:], *patients[:1]], strict=True))
    source = {r.id: first[after[r.patient]] for r in radiographs}

    def annotation(radiograph: str, finding: str, reader: str) -> Annotation | None:
        if reader not in data.gaze_readers:
            return data.annotation(radiograph, finding, reader)
        gaze = data.annotation(source[radiograph], finding, reader)
        return None if gaze is None else replace(gaze, radiograph=radiograph)

    return replace(data, annotation=annotation, derived=(*data.derived, f"gaze shuffled, seed {seed}"))
