"""A newcomer's own folder: what is understood, and how mistakes are answered."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.imaging import masks


def save(file: Path, pixels: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg", "1.2.840.png"):
        save(tmp_path / "images" / name, np.full((20, 30), 99, np.uint8))
    return tmp_path


def test_images_alone_are_a_data_set(root: Path) -> None:
    data = open_dataset(f"folder:{root}")
    assert [radiograph.id for radiograph in data.radiographs] == ["1.2.840", "a", "b"]
    assert (data.readers, data.findings) == ((), ())
    assert "each image counts as a patient of its own" in data.metadata["warnings"][0]


def test_masks_by_finding_and_by_reader(root: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 5:9] = 1  # 0 and 1, as many tools save masks
    save(root / "masks/Effusion/a.png", mask)
    save(root / "masks/Effusion/1.2.840.png", mask * 255)
    save(root / "masks_resident/Effusion/a.png", mask[::-1].copy())
    data = open_dataset(f"folder:{root}")
    assert data.findings == ("Pleural Effusion",)
    assert data.readers == ("truth", "resident")
    for name in ("a", "1.2.840"):
        mark = data.annotation(name, "Pleural Effusion", "truth")
        assert mark is not None
        assert mark.size == (20, 30)
        np.testing.assert_array_equal(mark.read(), mask > 0)
    assert data.annotation("b", "Pleural Effusion", "truth") is None


def test_masks_of_one_finding_need_its_name(root: Path) -> None:
    save(root / "masks/a.png", np.ones((20, 30), np.uint8))
    with pytest.raises(DataError, match=r"does not name its finding.*\?finding=FINDING"):
        open_dataset(f"folder:{root}")
    data = open_dataset(f"folder:{root}?finding=Mass")
    assert data.annotation("a", "Mass", "truth") is not None


def test_boxes_and_points_by_several_readers(root: Path) -> None:
    (root / "boxes.csv").write_text(
        "image,finding,x,y,width,height,reader\na.png,Mass,1,2,3,4,\na,Mass,10,2,3,4,truth\nb,Mass,1,2,3,4,resident\n"
    )
    (root / "points.csv").write_text("image,finding,x,y,reader\nb.jpg,Mass,7,8,clicker\n")
    data = open_dataset(f"folder:{root}")
    assert data.readers == ("truth", "resident", "clicker")
    boxes, points = data.annotation("a", "Mass", "truth"), data.annotation("b", "Mass", "clicker")
    assert boxes is not None
    assert points is not None
    np.testing.assert_array_equal(boxes.read(), [[2, 1, 6, 4], [2, 10, 6, 13]])
    assert masks.rasterize_annotation(boxes).sum() == 24
    np.testing.assert_array_equal(points.read(), [[8, 7]])


def test_labels_describe_images_and_name_findings(root: Path) -> None:
    (root / "labels.csv").write_text(
        "image,patient,study,view,split,Airspace Opacity,Scoliosis\n"
        "a.png,p1,s1,frontal,test,1,\n"
        "b,p1,s2,lateral,test,0,-1\n"
    )
    data = open_dataset(f"folder:{root}")
    assert data.findings == ("Lung Opacity", "Scoliosis")
    unlisted, first, second = data.radiographs
    assert (first.patient, first.study, first.view, first.split) == ("p1", "s1", "frontal", "test")
    assert second.labels == {"Lung Opacity": 0, "Scoliosis": -1}
    assert np.isnan(first.labels["Scoliosis"])
    assert (unlisted.patient, unlisted.labels) == ("1.2.840", {})
    assert "1 images are not in" in data.metadata["warnings"][0]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("boxes.csv", "image,finding,x,y,width,height\na.pgn,Mass,1,2,3,4\n", r"row 2: no image .* 'a\.pgn'"),
        ("boxes.csv", "image,finding,x,y,width,height\na,,1,2,3,4\n", "row 2: finding is blank"),
        ("boxes.csv", "image,finding,x,y,width,height\na,Mass,,,,\n", "row 2: a coordinate is blank"),
        ("boxes.csv", "image,finding,x,y,width,height\na,Mass,28,2,3,4\n", "which is 30 wide and 20 high"),
        ("boxes.csv", "image,finding,x,y,w,h\na,Mass,1,2,3,4\n", "no column 'width'"),
        ("points.csv", "image,finding,x,y\na,Mass,30,2\n", "row 2: x 30, y 2 leaves the image"),
        ("points.csv", "image,finding,x,y\na,Mass,left,2\n", "row 2: x is 'left'; a number"),
        ("labels.csv", "image,Mass\na,1\na.png,0\n", "row 3: image 'a' is already in row 2"),
        ("labels.csv", "image,Mass\na,yes\n", "row 2: Mass is 'yes'; a number"),
        ("labels.csv", "image,patient,Mass\na,,1\n", "row 2: patient is blank"),
    ],
)
def test_mistakes_in_tables_name_file_and_row(root: Path, file: str, text: str, message: str) -> None:
    (root / file).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(f"folder:{root}")
    assert str(root / file) in str(caught.value)


def test_mistakes_in_files_name_the_file(root: Path) -> None:
    cases = [
        (root / "masks/Mass/c.png", r"c\.png: no image in images/ is called 'c'; an image is, for example"),
        (root / "masks/Mass/a.jpg", "is not a PNG; masks need a format that keeps every pixel"),
        (root / "images/a.jpeg", "would share the id 'a'; rename one"),
    ]
    for file, message in cases:
        save(file, np.ones((20, 30), np.uint8))
        with pytest.raises(DataError, match=message):
            open_dataset(f"folder:{root}")
        file.unlink()
    with pytest.raises(DataError, match=r"images is not a folder; put the radiographs there"):
        open_dataset(f"folder:{root / 'images'}")
    (root / "none/images").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds no image; allowed: \.png"):
        open_dataset(f"folder:{root / 'none'}")


def test_marked_twice_by_one_reader_is_refused_and_a_mask_of_another_size_noticed(root: Path) -> None:
    save(root / "masks/Mass/a.png", np.ones((20, 31), np.uint8))
    mark = open_dataset(f"folder:{root}").annotation("a", "Mass", "truth")
    assert mark is not None
    with pytest.raises(DataError, match=r"\(20, 31\)"):
        masks.rasterize_annotation(mark)
    (root / "points.csv").write_text("image,finding,x,y\na,Mass,1,2\n")
    with pytest.raises(DataError, match="'Mass' on 'a' is annotated a second time by 'truth'"):
        open_dataset(f"folder:{root}")


def test_views_sex_and_age_of_the_label_file_are_read(tmp_path):
    (tmp_path / "images").mkdir()
    for name in "abcd":
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "images" / f"{name}.png")
    rows = "a,PA,F,61,1\nb,LL,,,0\nc,frontal,M,7,\nd,,,,0\n"
    (tmp_path / "labels.csv").write_text("image,view,sex,age,Edema\n" + rows)
    data = open_dataset(f"folder:{tmp_path}")
    assert [r.view for r in data.radiographs] == ["frontal", "lateral", "frontal", ""]
    assert data.radiographs[0].metadata["sex"] == "F" and data.radiographs[0].metadata["age"] == "61"
    assert "sex" not in data.radiographs[1].metadata and data.findings == ("Edema",)
    (tmp_path / "labels.csv").write_text("image,view\na,oblique\n")
    with pytest.raises(DataError, match=r"view is 'oblique'; allowed: frontal, lateral"):
        open_dataset(f"folder:{tmp_path}")
