"""CheXpert's CSV files: labels as read, views, and no image touched."""

from pathlib import Path

import numpy as np
import pytest

from sightline.data import open_dataset
from sightline.errors import DataError

REAL = Path(__file__).resolve().parents[3] / "../shared/data/formats/chexpert_train.csv"
HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Pleural Effusion\n"
ROWS = (
    "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,,-1.0,1.0\n"
    "CheXpert-v1.0-small/train/patient00001/study1/view2_lateral.jpg,Female,68,Lateral,,0.0,,\n"
    "CheXpert-v1.0-small/train/patient00002/study5/view1_frontal.jpg,Male,40,Frontal,PA,1.0,0.0,0.0\n"
)


def test_labels_stay_as_read_and_images_are_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(HEADER + ROWS)
    data = open_dataset(f"chexpert:{tmp_path}")
    assert data.findings == ("No Finding", "Edema", "Pleural Effusion")
    first, second, third = data.radiographs
    assert (first.id, first.patient, first.study) == (
        "patient00001_study1_view1_frontal",
        "patient00001",
        "patient00001_study1",
    )
    assert (first.view, second.view, first.split) == ("frontal", "lateral", "train")
    assert first.labels["Edema"] == -1
    assert np.isnan(first.labels["No Finding"])
    assert third.labels == {"No Finding": 1, "Edema": 0, "Pleural Effusion": 0}
    assert third.metadata["projection"] == "PA"
    assert data.annotation(first.id, "Edema", "truth") is None
    with pytest.raises(DataError, match=r"train/patient00002/study5/view1_frontal\.jpg does not exist"):
        third.read()


def test_views_and_splits_are_chosen(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        (tmp_path / f"{name}.csv").write_text(HEADER + ROWS)
    frontal = open_dataset(f"chexpert:{tmp_path}?split=valid&views=frontal")
    assert [radiograph.view for radiograph in frontal.radiographs] == ["frontal", "frontal"]
    assert {radiograph.split for radiograph in frontal.radiographs} == {"val"}
    both = open_dataset(f"chexpert:{tmp_path}?views=lateral").radiographs
    assert [radiograph.split for radiograph in both] == ["train", "val"]
    for option, message in (("views=oblique", "allowed: frontal"), ("split=dev", "allowed: train, valid")):
        with pytest.raises(DataError, match=message):
            open_dataset(f"chexpert:{tmp_path}?{option}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "train/patient1/view1.jpg,,,,,,,\n", "row 2: Path is 'train/patient1/view1.jpg'"),
        (HEADER + ROWS + ROWS.splitlines()[0] + "\n", "row 5: Path .* is listed twice"),
        (HEADER + ROWS.replace("-1.0", "maybe"), "row 2: Edema is 'maybe'; a number was expected"),
        ("Path,Sex\nx,y\n", "none of the label columns"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset(f"chexpert:{tmp_path}")


def test_the_folder_above_is_recognized(tmp_path: Path) -> None:
    (tmp_path / "CheXpert-v1.0-small").mkdir()
    (tmp_path / "CheXpert-v1.0-small/train.csv").write_text(HEADER + ROWS)
    with pytest.raises(DataError, match=r"holds no train\.csv.*did you mean .*CheXpert-v1\.0-small\?"):
        open_dataset(f"chexpert:{tmp_path}")


def test_published_rows(tmp_path: Path) -> None:
    if not REAL.is_file():
        pytest.skip(f"{REAL} is not there")
    (tmp_path / "train.csv").symlink_to(REAL.resolve())
    data = open_dataset(f"chexpert:{tmp_path}")
    assert len(data.radiographs) == 500
    assert len(data.findings) == 14
    values = np.array([list(radiograph.labels.values()) for radiograph in data.radiographs])
    assert set(np.unique(values[~np.isnan(values)])) == {-1, 0, 1}
