"""Split radiographs into training and validation, always by patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightline._util.rng import PREVALENCE_SUBSET, key_digest
from sightline.core import NAN, Array, Radiograph
from sightline.errors import DataError


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of the radiographs of each part."""

    train: Array
    """Training radiographs, int64 (n,)."""
    val: Array
    """Validation radiographs, int64 (m,)."""


def split_by_patient(
    radiographs: Sequence[Radiograph],
    validation_fraction: float,
    fraction: float,
    seed: int,
    findings: Sequence[str] = (),
) -> Split:
    """Split by patient: the data set's own 'train' and 'val' if it has them, otherwise at random.

    Radiographs of the split 'test' are never used. Patients are drawn by a hash of (seed, patient), so more data does
    not reshuffle them.

    Parameters
    ----------
    radiographs
        Radiographs with patient, split and labels.
    validation_fraction
        Share of the patients used for validation if the data set has no validation split.
    fraction
        Share of the training patients to keep; a smaller one is a subset of every larger one.
    seed
        Seed of the draw.
    findings
        If given, every fraction has each of them about as often as the whole (`order_stratified`).

    Returns
    -------
    Split
        Indices of training and validation radiographs.

    Raises
    ------
    DataError
        If a patient is in two splits, a split has another name, no training radiograph is left, or a fraction has no
        case of a finding that the whole has.
    """
    patients, splits = [r.patient for r in radiographs], [r.split for r in radiographs]
    _refuse_shared_patients(radiographs)
    usable = "train" if "train" in splits else ""
    pool = [i for i, split in enumerate(splits) if split == usable]
    val = [i for i, split in enumerate(splits) if split == "val"]
    ordered = sorted({patients[i] for i in pool}, key=lambda patient: key_digest(seed, patient))
    held_out = set() if val else set(ordered[: math.ceil(validation_fraction * len(ordered))])
    kept = [patient for patient in reversed(ordered) if patient not in held_out]  # from the end val is not taken from
    if findings:
        kept = order_stratified(kept, [radiographs[i] for i in pool], findings)
    kept_set = set(kept[: math.ceil(fraction * len(kept))])
    train = [i for i in pool if patients[i] in kept_set]
    val = val or [i for i in pool if patients[i] in held_out]
    if findings and fraction < 1:
        _require_cases([radiographs[i] for i in pool if patients[i] in set(kept)], kept_set, findings, fraction)
    if not train:
        raise DataError(
            f"no radiograph is left to train on: {len(radiographs)} in all, {len(val)} of them for validation"
        )
    return Split(np.array(train, np.int64), np.array(val, np.int64))


def set_prevalence(
    radiographs: Sequence[Radiograph], train: Array, finding: str, prevalence: float, seed: int
) -> Array:
    """Choose training radiographs of which a given share shows a finding.

    The number of radiographs is the same at every share: that of the radiographs with the finding, or of those without
    it, whichever are fewer. So trainings at several shares differ in prevalence alone. The radiographs with the finding
    at a lower share are part of those at a higher one. A radiograph without a known label is left out.

    Parameters
    ----------
    radiographs
        All radiographs.
    train
        Indices of the training radiographs, int64 (n,).
    finding
        The finding.
    prevalence
        Share of the chosen radiographs that show it, between 0 and 1.
    seed
        Seed of the choice.

    Returns
    -------
    Array
        Indices, int64 (m,), in the order of `train`.

    Raises
    ------
    DataError
        If the share of so many radiographs leaves none with the finding, or none without it.
    """
    groups: dict[float, list[int]] = {1.0: [], 0.0: []}
    for i in train.tolist():
        groups.get(radiographs[i].labels.get(finding, NAN), []).append(i)
    total = min(len(group) for group in groups.values())
    positive = round(prevalence * total)
    if not 0 < positive < total:
        raise DataError(
            f"{prevalence:g} of {total} radiographs is {positive} with {finding!r}, and both kinds are needed; the "
            f"training data have {len(groups[1.0])} with it and {len(groups[0.0])} without it"
        )
    kept = set[int]()
    for label, count in ((1.0, positive), (0.0, total - positive)):
        order = sorted(groups[label], key=lambda i: key_digest(seed, PREVALENCE_SUBSET, finding, radiographs[i].id))
        kept.update(order[:count])
    return np.array([i for i in train.tolist() if i in kept], np.int64)


def _refuse_shared_patients(radiographs: Sequence[Radiograph]) -> None:
    first_radiographs: dict[str, Radiograph] = {}
    for radiograph in radiographs:
        if radiograph.split not in ("train", "val", "test", ""):
            raise DataError(
                f"radiograph {radiograph.id!r} is of split {radiograph.split!r}; allowed: train, val, test or empty"
            )
        first = first_radiographs.setdefault(radiograph.patient, radiograph)
        if first.split != radiograph.split:
            raise DataError(
                f"patient {radiograph.patient!r} is in two splits: {first.split!r} (radiograph {first.id!r}) and "
                f"{radiograph.split!r} ({radiograph.id!r}); keep each patient in one split"
            )


STRATIFICATION_WINDOW = 64
"""Number of patients compared for each next position of `order_stratified`."""


def order_stratified(patients: Sequence[str], radiographs: Sequence[Radiograph], findings: Sequence[str]) -> list[str]:
    """Order patients so that every first part has each finding in about its share of the whole.

    Greedy: of the next `STRATIFICATION_WINDOW` patients the one that brings the counts so far nearest to their shares
    comes first, of equals the earlier. After the iterative stratification of Sechidis et al. 2011,
    10.1007/978-3-642-23808-6_10.

    Parameters
    ----------
    patients
        Patients in random order.
    radiographs
        Their radiographs, with labels.
    findings
        Findings to stratify by.

    Returns
    -------
    list of str
        The patients in another order.
    """
    position = {patient: index for index, patient in enumerate(patients)}
    counts = np.zeros((len(patients), len(findings) + 1))  # cases of each finding, and radiographs
    for r in radiographs:
        if r.patient in position:
            counts[position[r.patient]] += [*(r.labels.get(f) == 1 for f in findings), 1]
    total = counts.sum(0)
    weight = 1 / np.maximum(total[:-1], 1)
    so_far, ordered, waiting = np.zeros(len(total)), list[str](), list(range(len(patients)))
    while waiting:
        near = waiting[:STRATIFICATION_WINDOW]
        after = so_far + counts[near]  # (w, F + 1)
        expected = after[:, -1:] / total[-1] * total[:-1]
        gap = (((after[:, :-1] - expected) * weight) ** 2).sum(1)
        best = near[int(gap.argmin())]
        waiting.remove(best)
        so_far += counts[best]
        ordered.append(patients[best])
    return ordered


def _require_cases(pool: Sequence[Radiograph], kept: set[str], findings: Sequence[str], fraction: float) -> None:
    for finding in findings:
        cases = [r.patient for r in pool if r.labels.get(finding) == 1]
        if cases and not kept & set(cases):
            raise DataError(
                f"{fraction:.2%} of the training patients have no case of {finding!r}, of which the whole has "
                f"{len(cases)}; take a larger fraction, or leave the finding out"
            )
