from __future__ import annotations

import numpy as np
import pytest

from sightline.errors import DataError
from sightline.models import study_probabilities


def test_the_greatest_of_each_study_in_first_seen_order() -> None:
    names, best = study_probabilities(np.array([[0.2, 0.5], [0.9, 0.1], [0.3, 0.4]]), ["s2", "s1", "s2"])
    assert names == ("s2", "s1")
    assert best.tolist() == [[0.3, 0.5], [0.9, 0.1]]
    pairs, best = study_probabilities(np.array([[0.2], [0.9]]), [("p1", "1"), ("p2", "1")])
    assert pairs == (("p1", "1"), ("p2", "1")) and best.tolist() == [[0.2], [0.9]]


def test_wrong_input() -> None:
    with pytest.raises(DataError, match="row 1 has no study"):
        study_probabilities(np.zeros((2, 1)), ["a", ""])
    with pytest.raises(DataError, match=r"give \(N, F\) and N studies"):
        study_probabilities(np.zeros((2, 1)), ["a"])
