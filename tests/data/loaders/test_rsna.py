"""RSNA's boxes: which patients, which images, which size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data import open_dataset
from sightline.errors import DataError

REAL = Path(__file__).resolve().parents[3] / "../shared/data/rsna_nih"
HEADER = "patientId,x,y,width,height,Target\n"
ROWS = "a,100,200,300,400,1\na,600,200,100,100,1\nb,,,,,0\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "stage_2_train_labels.csv").write_text(HEADER + ROWS)
    (tmp_path / "stage_2_train_images").mkdir()
    for name in "ab":
        Image.fromarray(np.zeros((512, 512), np.uint8)).save(tmp_path / f"stage_2_train_images/{name}.png")
    return tmp_path


def test_boxes_of_a_patient_are_one_mark_at_the_size_of_the_image(root: Path) -> None:
    data = open_dataset(f"rsna:{root}")
    assert [radiograph.labels for radiograph in data.radiographs] == [{"Pneumonia": 1}, {"Pneumonia": 0}]
    mark = data.annotation("a", "Pneumonia", "truth")
    assert mark is not None
    assert (mark.kind, mark.size) == ("boxes", (512, 512))
    np.testing.assert_array_equal(mark.read(), [[100, 50, 300, 200], [100, 300, 150, 350]])
    assert data.annotation("b", "Pneumonia", "truth") is None
    text = "\n".join(data.metadata["warnings"])
    assert "boxes are scaled" in text
    assert "patient of its own" in text


def test_optional_files_and_the_name_of_the_finding(root: Path) -> None:
    (root / "patients.csv").write_text("patientId,nih_image,nih_patient\na,00000820_000.png,00000820\n")
    (root / "stage_2_detailed_class_info.csv").write_text("patientId,class\na,Lung Opacity\na,Lung Opacity\nb,Normal\n")
    data = open_dataset(f"rsna:{root}?finding=airspace opacity")
    assert data.findings == ("Lung Opacity",)
    first, second = data.radiographs
    assert (first.patient, second.patient) == ("820", "b")
    assert (first.metadata["class"], second.metadata["class"]) == ("Lung Opacity", "Normal")
    assert data.annotation("a", "Lung Opacity", "truth") is not None


def test_missing_images_are_kept_or_dropped_but_never_silently(root: Path) -> None:
    (root / "stage_2_train_images/b.png").unlink()
    kept = open_dataset(f"rsna:{root}")
    assert len(kept.radiographs) == 2
    assert "1 of 2 images are not in" in kept.metadata["warnings"][0]
    with pytest.raises(DataError, match="does not exist"):
        kept.radiographs[1].read()
    assert [radiograph.id for radiograph in open_dataset(f"rsna:{root}?missing=drop").radiographs] == ["a"]
    (root / "stage_2_train_images/a.png").unlink()
    with pytest.raises(DataError, match="holds none of the 2 images"):
        open_dataset(f"rsna:{root}")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,1,2,3,4,2\n", "row 2: Target is 2; allowed: 0, 1"),
        ("a,,,,,1\n", "row 2: Target is 1, but the row has no box"),
        ("a,1,2,3,4,0\n", "row 2: Target is 0, but the row has a box"),
        ("a,1,2,3,4,1\na,,,,,0\n", "row 3: Target of a is 0 here and 1 before"),
        ("a,1,2,3,4,1\na,1,2,3,4,1\n", "row 3: the same box"),
        ("a,1000,2,30,4,1\n", "leaves the image, which is 1024 wide"),
        (",1,2,3,4,1\n", "row 2: patientId is blank"),
    ],
)
def test_broken_rows_are_named(root: Path, rows: str, message: str) -> None:
    (root / "stage_2_train_labels.csv").write_text(HEADER + rows)
    with pytest.raises(DataError, match=message):
        open_dataset(f"rsna:{root}")


def test_published_boxes() -> None:
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    data = open_dataset(f"rsna:{REAL}")
    marks = [data.annotation(radiograph.id, "Pneumonia", "truth") for radiograph in data.radiographs]
    assert len(marks) == 180
    assert sum(mark is not None for mark in marks) == 80
    assert all(mark.size == (1024, 1024) for mark in marks if mark is not None)
    assert all(radiograph.patient.isdigit() for radiograph in data.radiographs)
    assert data.metadata["warnings"] == ()
