"""A reference that combines readers, and who is scored against what."""

import numpy as np
import pytest

from sightline.core import Annotation, Array, Dataset, Radiograph
from sightline.data import open_dataset
from sightline.data.combined_reference import combine_readers
from sightline.errors import DataError

PHANTOM = "phantom:6?size=64"


def three_readers(boxes: dict[tuple[str, str], Array | None], kind: str = "region") -> Dataset:
    """Two images of 4 × 4 pixels and a finding; the second image was read by A and B alone."""
    masks = {key: mask for key, mask in boxes.items() if mask is not None}

    def annotation(radiograph: str, finding: str, reader: str) -> Annotation | None:
        mask = masks.get((radiograph, reader))
        return None if mask is None else Annotation(radiograph, finding, reader, kind, (4, 4), mask.copy)  # type: ignore[arg-type]

    def read_by(radiograph: str) -> tuple[str, ...]:
        return ("A", "B", "C") if radiograph == "one" else ("A", "B")

    radiographs = [Radiograph(name, name, lambda: np.zeros((4, 4), np.float32)) for name in ("one", "two")]
    return Dataset("toy", "toy", ("Edema",), radiographs, annotation, ("truth", "A", "B", "C"), readers_of=read_by)


def square(top: int, left: int) -> Array:
    mask = np.zeros((4, 4), bool)
    mask[top : top + 2, left : left + 2] = True
    return mask


DATA = three_readers(
    {
        ("one", "A"): square(0, 0),
        ("one", "B"): square(0, 1),
        ("one", "C"): square(0, 1),
        ("two", "A"): square(2, 2),
        ("two", "B"): None,
    }
)


def test_the_majority_with_all_readers_and_without_each() -> None:
    data = combine_readers(DATA, "majority")
    assert data.combined_readers == ("A", "B", "C")
    truth = data.annotation("one", "Edema", "truth")
    assert truth is not None
    assert (truth.read() == square(0, 1)).all()
    without_a, without_b = (data.annotation("one", "Edema", data.reference_for(reader)) for reader in "AB")
    assert without_a is not None
    assert without_b is not None
    assert (without_a.read() == square(0, 1)).all()
    assert (without_b.read() == (square(0, 0) & square(0, 1))).all()  # of two readers, both
    assert data.annotation("two", "Edema", "truth") is None  # one of the two who read it is no majority
    assert data.annotation("two", "Edema", data.reference_for("B")) is not None  # A alone: the only other reader


def test_points_of_a_reader_are_scored_without_the_contours_of_this_reader() -> None:
    data = open_dataset("phantom:6?size=64&readers=3&reference=staple")
    assert data.reference_for("simulated radiologist 2 points") == "truth without simulated radiologist 2"
    assert data.metadata["reference"] == "staple of 3 readers"
    plain = open_dataset("phantom:6?size=64&readers=3")
    assert plain.reference_for("simulated radiologist 2 points") == "truth"
    for name in ("Right Lung", "Heart"):
        region = data.annotation("phantom000000", name, "truth")
        assert region is not None
        assert (region.read() == plain.annotation("phantom000000", name, "truth").read()).all()  # type: ignore[union-attr]


def test_a_combination_that_is_not_possible_is_refused() -> None:
    with pytest.raises(DataError, match="needs at least two readers who annotated regions, and simulated radiologist"):
        open_dataset(f"{PHANTOM}&reference=majority")
    with pytest.raises(DataError, match="no reference is called 'mean'; allowed: union, majority, staple"):
        open_dataset(f"{PHANTOM}&readers=3&reference=mean")
    with pytest.raises(DataError, match="readers=0"):
        open_dataset(f"{PHANTOM}&readers=0")


def test_further_simulated_readers_move_no_number_of_the_others() -> None:
    alone, many = open_dataset(PHANTOM), open_dataset(f"{PHANTOM}&readers=3")
    assert many.readers[:3] == alone.readers
    assert len(many.readers) == 7
    differs = 0
    for radiograph in alone.radiographs:
        for finding in (f for f, label in radiograph.labels.items() if label == 1):
            for reader in alone.readers:
                pair = [data.annotation(radiograph.id, finding, reader) for data in (alone, many)]
                assert (pair[0] is None) == (pair[1] is None)
                if pair[0] is not None and pair[1] is not None:
                    assert (pair[0].read() == pair[1].read()).all()
            other = many.annotation(radiograph.id, finding, "simulated radiologist 3")
            first = many.annotation(radiograph.id, finding, "simulated radiologist")
            differs += other is not None and first is not None and (other.read() != first.read()).any()
    assert differs
