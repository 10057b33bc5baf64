"""Checks that no model learned from the patients of a study."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.data.registry import dataset_identity
from sightline.errors import DataError, SightlineError
from sightline.models import Model
from sightline.models.ensemble import Ensemble


def require_held_out(
    models: Sequence[Model | Ensemble], data: Dataset, open_data: Callable[[str], Dataset] = open_dataset
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
            require_disjoint_patients(names, spec, patients, data)


def require_disjoint_patients(learner: str, training_spec: str, patients: Collection[str], data: Dataset) -> None:
    """Refuse a data set with patients that something was learned from.

    Names of patients are compared within one folder and loader (of the phantom, one seed): elsewhere the same name is
    another person.

    Parameters
    ----------
    learner
        Name of the models, or of what was tuned, for the error.
    training_spec
        Data set that was learned from.
    patients
        Its patients.
    data
        Data set of the study.

    Raises
    ------
    DataError
        If patients are in both.
    """
    study_patients = {r.patient for r in data.radiographs}
    shared = study_patients & set(patients)
    if shared and dataset_identity(training_spec) == dataset_identity(data.spec):
        raise DataError(
            f"{learner} learned from {training_spec}, and {len(shared)} of the {len(study_patients)} patients of "
            f"{data.spec} are part of it, such as {min(shared)}; explain data that was held out, as "
            f"{data.name}:…?split=test"
        )


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
