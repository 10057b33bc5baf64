"""What a network learned from says nothing about it: the patients that a study explains must be new to all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sightline.core import Dataset
from sightline.data import open_dataset
from sightline.data.registry import dataset_identity
from sightline.errors import DataError, SightlineError
from sightline.models import Model
from sightline.models.ensemble import Ensemble


def require_held_out(models: Sequence[Model | Ensemble], data: Dataset) -> None:
    """Errors: `DataError` for networks whose training or validation had patients of `data`.

    As far as the records tell, and the data they name can be opened here.
    """
    for spec in dict.fromkeys(m.training_record.data for m in models if m.training_record):
        if dataset_identity(spec) == dataset_identity(data.spec):
            names = ", ".join(m.name for m in models if m.training_record and m.training_record.data == spec)
            require_disjoint_patients(names, spec, training_patients(data if spec == data.spec else spec), data)


def require_disjoint_patients(learner: str, training_spec: str, patients: Collection[str], data: Dataset) -> None:
    """Errors: `DataError` if `patients`, whom `who` learned from, of the data set `spec`, are among those of `data`.

    Names of patients are compared within one folder and loader (of the phantom, one seed): elsewhere the same name is
    another person.
    """
    there = {r.patient for r in data.radiographs}
    shared = there & set(patients)
    if shared and dataset_identity(training_spec) == dataset_identity(data.spec):
        raise DataError(
            f"{learner} learned from {training_spec}, and {len(shared)} of the {len(there)} patients of "
            f"{data.spec} are part "
            f"of it, such as {min(shared)}; explain what was held out, as {data.name}:…?split=test"
        )


def training_patients(data: Dataset | str) -> set[str]:
    """Patients that train or validate in `sightline.training.split`; none where the data cannot be opened."""
    try:
        radiographs = (open_dataset(data) if isinstance(data, str) else data).radiographs
    except SightlineError:
        return set()
    splits = {(r.patient, r.split) for r in radiographs}
    usable = "train" if any(split == "train" for _, split in splits) else ""
    return {patient for patient, split in splits if split in (usable, "val")}
