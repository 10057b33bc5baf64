from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from sightline.errors import DataError
from sightline.metrics.classification import auroc, average_precision

ROWS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0.0, 1.0])), min_size=2, max_size=40)


@given(ROWS)
def test_both_are_scikit_learns_also_with_ties(rows: list[tuple[int, float]]) -> None:
    scores, labels = (np.array(column, float) for column in zip(*rows, strict=True))
    assume(0 < labels.sum() < len(labels))
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


@given(ROWS)
def test_a_monotone_change_of_the_scores_changes_nothing_and_a_reversal_mirrors(rows: list[tuple[int, float]]) -> None:
    scores, labels = (np.array(column, float) for column in zip(*rows, strict=True))
    assume(0 < labels.sum() < len(labels))
    assert auroc(np.exp(scores), labels) == pytest.approx(auroc(scores, labels))
    assert auroc(-scores, labels) == pytest.approx(1 - auroc(scores, labels))


def test_unknown_labels_are_left_out_and_undefined_is_nan() -> None:
    scores, labels = np.array([0.1, np.nan, 0.9, 0.5]), np.array([0, np.nan, 1, np.nan])
    assert auroc(scores, labels) == average_precision(scores, labels) == 1
    assert np.isnan(auroc(np.ones(3), np.ones(3))) and np.isnan(average_precision(np.ones(3), np.zeros(3)))
    assert np.isnan(auroc(np.array([]), np.array([])))


def test_wrong_input() -> None:
    with pytest.raises(DataError, match="a label is -1; allowed"):
        auroc(np.zeros(2), np.array([1, -1]))
    with pytest.raises(DataError, match="1 scores are not finite"):
        auroc(np.array([np.nan, 0]), np.array([1, 0]))
    with pytest.raises(DataError, match="one length"):
        average_precision(np.zeros(2), np.zeros(3))
