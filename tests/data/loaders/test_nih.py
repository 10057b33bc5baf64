"""NIH ChestX-ray14: labels, patients, splits and boxes in either edition."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data import open_dataset
from sightline.errors import DataError

REAL = Path(__file__).resolve().parents[3] / "../shared/data"
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)
ROWS = (
    "00000820_000.png,Cardiomegaly|Effusion,0,820,57,M,PA,2682,2749,0.143,0.143\n"
    "00000821_003.png,No Finding,3,00000821,60,F,AP,2682,2749,0.143,0.143\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images of 256² over two folders, as the release is unpacked."""
    (tmp_path / "Data_Entry_2017.csv").write_text(HEADER + ROWS)
    for folder, name in (("images_001", "00000820_000.png"), ("images_002", "00000821_003.png")):
        file = tmp_path / folder / "images" / name
        file.parent.mkdir(parents=True)
        Image.fromarray(np.zeros((256, 256), np.uint8)).save(file)
    return tmp_path


def test_labels_patients_and_splits(root: Path) -> None:
    (root / "test_list.txt").write_text("00000821_003.png\n")
    (root / "train_val_list.txt").write_text("00000820_000.png\n")
    data = open_dataset(f"nih:{root}")
    first, second = data.radiographs
    assert {name for name, value in first.labels.items() if value == 1} == {"Cardiomegaly", "Pleural Effusion"}
    assert {name for name, value in second.labels.items() if value == 1} == {"No Finding"}
    assert "No Finding" not in data.findings
    assert (first.patient, second.patient) == ("820", "821")
    assert (first.split, second.split) == ("train", "test")
    assert (second.study, second.metadata["sex"]) == ("821_3", "F")
    assert first.read().shape == (256, 256)
    assert data.readers == ()


def test_boxes_are_scaled_from_the_frame_of_the_release(root: Path) -> None:
    (root / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000820_000.png,Effusion,100,200,300,400,,,\n"
        "00099999_000.png,Infiltrate,1,2,3,4,,,\n"
    )
    data = open_dataset(f"nih:{root}")
    mark = data.annotation("00000820_000.png", "Pleural Effusion", "truth")
    assert mark is not None
    assert mark.size == (256, 256)
    np.testing.assert_array_equal(mark.read(), [[50, 25, 150, 100]])
    text = "\n".join(data.metadata["warnings"])
    assert "1 boxed findings in BBox_List_2017.csv are on images not listed" in text
    assert "boxes are scaled" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Cardiomegaly|Effusion", "Cardiomegaly|Rickets", "row 2: Finding Labels names 'Rickets'"),
        ("00000821_003.png", "00000820_000.png", "row 3: Image Index '00000820_000.png' is already in row 2"),
        ("Patient ID", "Patient", r"no column 'Patient ID' \(did you mean 'Patient'\?\)"),
    ],
)
def test_broken_rows_are_named(root: Path, old: str, new: str, message: str) -> None:
    (root / "Data_Entry_2017.csv").write_text((HEADER + ROWS).replace(old, new))
    with pytest.raises(DataError, match=message):
        open_dataset(f"nih:{root}")


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither Data_Entry_2017\.csv nor Data_Entry_2017_v2020\.csv"):
        open_dataset(f"nih:{tmp_path}")


def test_the_edition_of_2020_and_partial_downloads(root: Path) -> None:
    file = REAL / "formats/nih_Data_Entry_2017_v2020.csv"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    (root / "Data_Entry_2017.csv").unlink()
    (root / "Data_Entry_2017_v2020.csv").symlink_to(file.resolve())
    with pytest.raises(DataError, match="holds none of the 500 images"):
        open_dataset(f"nih:{root}")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "images_001/images/00000001_000.png")
    assert len(open_dataset(f"nih:{root}").radiographs) == 500
    (only,) = open_dataset(f"nih:{root}?missing=drop").radiographs
    assert (only.patient, only.labels["Cardiomegaly"]) == ("1", 1)


def test_published_excerpt_shares_patients_with_rsna() -> None:
    if not (REAL / "nih").is_dir():
        pytest.skip(f"{REAL / 'nih'} is not there")
    data = open_dataset(f"nih:{REAL / 'nih'}")
    assert len(data.radiographs) == 1266
    patients = {radiograph.patient for radiograph in data.radiographs}
    assert len(patients) == 1053
    marks = [data.annotation(r.id, finding, "truth") for r in data.radiographs for finding in data.findings]
    boxes = [mark for mark in marks if mark is not None]
    assert len(boxes) == 46
    assert all(mark.size == (256, 256) and (mark.read() <= 256).all() for mark in boxes)
    assert patients & {radiograph.patient for radiograph in open_dataset(f"rsna:{REAL / 'rsna_nih'}").radiographs}
