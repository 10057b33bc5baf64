"""Which radiographs train and which validate: by patient, always."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightline.controls import digest
from sightline.core import Array, DataError, Radiograph


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of radiographs, int64."""

    train: Array
    val: Array


def split_by_patient(radiographs: Sequence[Radiograph], val_share: float, fraction: float, seed: int) -> Split:
    """The data set's own 'train' and 'val' where it has them; else `val_share` of the patients validate.

    Radiographs of the split 'test' are never used. fraction: share of the training patients kept; a smaller share is
    part of every larger one. Patients are drawn by a hash of (seed, patient), so more data does not reshuffle them.
    Errors: `DataError` if a patient is in two splits, a split has another name, or nothing is left to train on.
    """
    patients, splits = [r.patient for r in radiographs], [r.split for r in radiographs]
    _refuse_shared_patients(radiographs)
    usable = "train" if "train" in splits else ""
    pool = [i for i, split in enumerate(splits) if split == usable]
    val = [i for i, split in enumerate(splits) if split == "val"]
    ordered = sorted({patients[i] for i in pool}, key=lambda patient: digest(seed, patient))
    held = set() if val else set(ordered[: math.ceil(val_share * len(ordered))])
    kept = [patient for patient in reversed(ordered) if patient not in held]  # from the end val is not taken from
    kept_set = set(kept[: math.ceil(fraction * len(kept))])
    train = [i for i in pool if patients[i] in kept_set]
    val = val or [i for i in pool if patients[i] in held]
    if not train:
        raise DataError(f"no radiograph is left to train on: {len(radiographs)} in all, {len(val)} of them validate")
    return Split(np.array(train, np.int64), np.array(val, np.int64))


def _refuse_shared_patients(radiographs: Sequence[Radiograph]) -> None:
    home: dict[str, Radiograph] = {}
    for radiograph in radiographs:
        if radiograph.split not in ("train", "val", "test", ""):
            raise DataError(
                f"radiograph {radiograph.id!r} is of split {radiograph.split!r}; allowed: train, val, test or empty"
            )
        first = home.setdefault(radiograph.patient, radiograph)
        if first.split != radiograph.split:
            raise DataError(
                f"patient {radiograph.patient!r} is in two splits: {first.split!r} (radiograph {first.id!r}) and "
                f"{radiograph.split!r} ({radiograph.id!r}); a patient must not validate what it trained"
            )
