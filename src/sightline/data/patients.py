"""Check that no patient is on both sides: among those something was learned from, and among those it is tested on."""

from __future__ import annotations

from collections.abc import Collection

from sightline.core import Dataset
from sightline.data.registry import dataset_identity
from sightline.errors import DataError


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
