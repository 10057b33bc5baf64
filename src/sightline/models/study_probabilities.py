"""Studies of several views: one probability per study."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np

from sightline.core import Array
from sightline.errors import DataError

StudyKey = TypeVar("StudyKey", bound=Hashable)


def study_probabilities(probabilities: Array, studies: Sequence[StudyKey]) -> tuple[tuple[StudyKey, ...], Array]:
    """Take the highest probability among the views of each study, as CheXpert and CheXlocalize evaluate.

    Parameters
    ----------
    probabilities : (N, F)
        Probabilities, one row per radiograph.
    studies
        `Radiograph.study` of each row, or (patient, study) if study names repeat between patients.

    Returns
    -------
    studies : tuple
        The S studies in the order of their first row.
    probabilities : (S, F)
        Highest probability of each study.

    Raises
    ------
    DataError
        For an empty study, or another number of studies than rows.

    Examples
    --------
    >>> study_probabilities(np.array([[0.1, 0.9], [0.4, 0.2], [0.3, 0.3]]), ["a", "a", "b"])[1].tolist()
    [[0.4, 0.9], [0.3, 0.3]]
    """
    values = np.asarray(probabilities)
    if values.ndim != 2 or len(values) != len(studies):
        raise DataError(f"probabilities {values.shape} and {len(studies)} studies; give (N, F) and N studies")
    nameless = [row for row, study in enumerate(studies) if study == ""]
    if nameless:
        raise DataError(f"row {nameless[0]} has no study; group such a radiograph by its own id")
    names = tuple(dict.fromkeys(studies))
    position = {name: i for i, name in enumerate(names)}
    best = np.full((len(names), values.shape[1]), -np.inf, values.dtype)
    np.maximum.at(best, [position[study] for study in studies], values)
    return names, best
