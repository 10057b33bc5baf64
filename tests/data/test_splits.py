"""Splits that a release does not give are drawn by patient, the same everywhere."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sightline.core import Radiograph
from sightline.data.splits import apply_split, read_published_split, split_of_patient
from sightline.errors import DataError


def make_radiograph(number: int, patient: str) -> Radiograph:
    return Radiograph(id=f"image{number}", patient=patient, read=lambda: np.zeros((2, 2), np.float32))


def test_a_patient_has_one_split_and_shares_are_as_announced() -> None:
    radiographs = [make_radiograph(n, f"person{n // 2}") for n in range(8000)]
    divided_films = apply_split(radiographs, {}, "all")
    splits = {r.patient: {s.split for s in divided_films[2 * n : 2 * n + 2]} for n, r in enumerate(divided_films[::2])}
    assert all(len(s) == 1 for s in splits.values())
    shares = Counter(r.split for r in divided_films)
    assert shares["train"] / 8000 == pytest.approx(0.8, abs=0.02)
    assert shares["test"] / 8000 == pytest.approx(0.1, abs=0.02)
    assert apply_split(radiographs, {}, "test") == tuple(r for r in divided_films if r.split == "test")


def test_more_data_moves_nobody() -> None:
    assert [split_of_patient(str(n)) for n in range(50)] == [split_of_patient(str(n)) for n in range(100)][:50]


def test_a_published_list_is_the_only_authority(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text(",Image_ID,Split\n0,image0.png,train\n1,image1.png,Validation\n")
    known = read_published_split(tmp_path / "splits.csv")
    radiographs = [make_radiograph(n, str(n)) for n in range(3)]
    assert [r.split for r in apply_split(radiographs, known, "all")] == ["train", "val", ""]
    assert read_published_split(tmp_path / "none.csv") == {}


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text(",Image_ID,Split\n0,film0.png,holdout\n")
    with pytest.raises(DataError, match="row 2: Split is 'holdout'; allowed: train, val"):
        read_published_split(tmp_path / "splits.csv")
    with pytest.raises(DataError, match="takes all, train, val or test, not 'valid'"):
        apply_split([make_radiograph(0, "p")], {}, "valid")
