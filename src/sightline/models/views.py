"""Studies of several views: one probability per study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sightline.core import Array, DataError


def study_probabilities(probabilities: Array, studies: Sequence[str]) -> tuple[tuple[str, ...], Array]:
    """The greatest probability among the views of each study, as CheXpert and CheXlocalize evaluate.

    probabilities (N, F), one row per radiograph; studies: `Radiograph.study` of each row. Returns the S studies in the
    order they first occur, and (S, F). Errors: `DataError` for an empty study or another number of them than rows.

    >>> study_probabilities(np.array([[0.1, 0.9], [0.4, 0.2], [0.3, 0.3]]), ["a", "a", "b"])[1].tolist()
    [[0.4, 0.9], [0.3, 0.3]]
    """
    values = np.asarray(probabilities)
    if values.ndim != 2 or len(values) != len(studies):
        raise DataError(f"probabilities {values.shape} and {len(studies)} studies; give (N, F) and N studies")
    if "" in studies:
        raise DataError(f"row {list(studies).index('')} has no study; group such a radiograph by its own id")
    names = tuple(dict.fromkeys(studies))
    place = {name: i for i, name in enumerate(names)}
    best = np.full((len(names), values.shape[1]), -np.inf, values.dtype)
    np.maximum.at(best, [place[study] for study in studies], values)
    return names, best
