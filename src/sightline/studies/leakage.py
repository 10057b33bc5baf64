"""Checks that no model learned from the patients of a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.data.patients import require_disjoint_patients
from sightline.data.registry import dataset_identity
from sightline.errors import SightlineError
from sightline.models import Model
from sightline.models.ensemble import Ensemble


def require_held_out(
    models: Sequence[Model | Ensemble],
    data: Dataset,
    open_data: Callable[[str], Dataset] = open_dataset,
    *,
    allow_validation: bool = False,
) -> None:
    """Refuse models whose training or validation data had patients of a data set.

    Only as far as the training records state it, and the data that they name can be opened.

    Parameters
    ----------
    models
        The models.
    data
        Data set of the study.
    open_data
        Function that opens a data set by its spec.
    allow_validation
        Allow patients of the split 'val', for data on which something else is chosen and nothing is tested.

    Raises
    ------
    DataError
        If a model learned from patients of `data`.
    """
    for spec in dict.fromkeys(m.training_record.data for m in models if m.training_record):
        if dataset_identity(spec) == dataset_identity(data.spec):
            names = ", ".join(m.name for m in models if m.training_record and m.training_record.data == spec)
            try:
                patients = training_patients(data if spec == data.spec else open_data(spec))
            except SightlineError:
                continue
            if allow_validation:
                patients -= {r.patient for r in data.radiographs if r.split == "val"}
            require_disjoint_patients(names, spec, patients, data)


def training_patients(data: Dataset) -> set[str]:
    """Return the patients of the training and validation part of a data set, as `sightline.training.split` divides it.

    Parameters
    ----------
    data
        The data set.

    Returns
    -------
    set of str
        The patients.
    """
    splits = {(r.patient, r.split) for r in data.radiographs}
    usable = "train" if any(split == "train" for _, split in splits) else ""
    return {patient for patient, split in splits if split in (usable, "val")}
