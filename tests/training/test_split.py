from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.core import Radiograph
from sightline.errors import DataError
from sightline.training.split import set_prevalence, split_by_patient


def radiographs(patients: list[int], splits: list[str] | None = None) -> list[Radiograph]:
    named = splits or [""] * len(patients)
    return [Radiograph(f"r{i}", f"p{p}", lambda: np.zeros(0), split=s) for i, (p, s) in enumerate(zip(patients, named))]


@given(st.lists(st.integers(0, 12), min_size=3, max_size=60), st.sampled_from([0.0, 0.2, 0.5]), st.integers(0, 3))
def test_no_patient_on_both_sides_and_nobody_lost(patients: list[int], share: float, seed: int) -> None:
    if len(set(patients)) < 3:
        return
    split = split_by_patient(radiographs(patients), share, 1.0, seed)
    train, val = ({patients[i] for i in rows} for rows in (split.train, split.val))
    assert not train & val
    assert sorted([*split.train, *split.val]) == list(range(len(patients)))
    assert len(val) == int(np.ceil(share * len(set(patients))))


def test_smaller_fractions_are_part_of_larger_ones_and_validate_the_same() -> None:
    pool = radiographs(list(range(50)))
    splits = [split_by_patient(pool, 0.2, fraction, 0) for fraction in (0.05, 0.5, 1.0)]
    assert [len(s.train) for s in splits] == [2, 20, 40]
    assert set(splits[0].train) < set(splits[1].train) < set(splits[2].train)
    assert all(np.array_equal(s.val, splits[0].val) for s in splits)


def test_more_data_moves_no_patient_to_the_other_side_needlessly() -> None:
    few, many = (split_by_patient(radiographs(list(range(n))), 0.2, 1.0, 0) for n in (200, 220))
    moved = set(few.train) & set(many.val) | set(few.val) & set(many.train)
    assert len(moved) <= 12


def test_the_data_sets_own_splits_are_kept() -> None:
    pool = radiographs([0, 1, 2, 3, 4], ["train", "val", "test", "", "train"])
    split = split_by_patient(pool, 0.5, 1.0, 0)
    assert (split.train.tolist(), split.val.tolist()) == ([0, 4], [1])
    with pytest.raises(DataError, match="is of split 'valid'; allowed"):
        split_by_patient(radiographs([0, 1], ["train", "valid"]), 0.5, 1.0, 0)
    with pytest.raises(DataError, match="no radiograph is left"):
        split_by_patient(radiographs([0, 1], ["test", "test"]), 0.5, 1.0, 0)


def test_prevalence_is_set_with_as_many_radiographs_at_every_share() -> None:
    values = [1.0] * 40 + [0.0] * 110 + [-1.0, np.nan]
    pool = [Radiograph(f"r{i}", f"p{i}", lambda: np.zeros(0), labels={"Edema": v}) for i, v in enumerate(values)]
    train = np.random.default_rng(0).permutation(len(pool))
    chosen = {share: set_prevalence(pool, train, "Edema", share, 3) for share in (0.1, 0.25, 0.5, 0.9)}
    for share, rows in chosen.items():
        assert len(rows) == 40 and np.mean([values[i] for i in rows]) == pytest.approx(share)
        assert [i for i in train if i in set(rows)] == rows.tolist(), "in the order of the training radiographs"
    positive = [{i for i in rows if values[i] == 1} for rows in chosen.values()]
    assert positive[0] < positive[1] < positive[2] < positive[3]
    assert set(set_prevalence(pool, train, "Edema", 0.5, 4)) != set(chosen[0.5])
    with pytest.raises(DataError, match=r"0\.001 of 40 radiographs is 0 with 'Edema'.*40 with it and 110 without"):
        set_prevalence(pool, train, "Edema", 0.001, 3)
