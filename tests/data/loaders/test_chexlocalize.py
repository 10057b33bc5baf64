"""The CheXlocalize download: the published sample, and handmade folders with each part missing or wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.imaging import masks

REAL = Path(__file__).resolve().parents[3] / "../shared/data/chexlocalize"
ONE, TWO = "patient1_study1_view1_frontal", "patient2_study1_view2_lateral"
SIZE = (20, 30)


def block(top: int, left: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + 5, left : left + 6] = True
    return mask


def rle(mask: np.ndarray) -> dict[str, object]:
    return masks.mask_to_rle(mask)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two test radiographs with blinded labels (no sex, age or view) and no annotation."""
    for path in ("patient1/study1/view1_frontal.jpg", "patient2/study1/view2_lateral.jpg"):
        file = tmp_path / "CheXpert/test" / path
        file.parent.mkdir(parents=True)
        Image.fromarray(np.full(SIZE, 99, np.uint8)).save(file)
    (tmp_path / "CheXpert/test_labels.csv").write_text(
        "Path,Lung Opacity,Edema\n"
        "test/patient1/study1/view1_frontal.jpg,1.0,-1.0\n"
        "test/patient2/study1/view2_lateral.jpg,0.0,\n"
    )
    (tmp_path / "CheXlocalize").mkdir()
    return tmp_path


def put(root: Path, name: str, entries: dict[str, Any]) -> None:
    (root / "CheXlocalize" / name).write_text(json.dumps(entries))


def test_blinded_test_labels_alone(root: Path) -> None:
    data = open_dataset(f"chexlocalize:{root}")
    first, second = data.radiographs
    assert (first.id, first.patient, first.view, first.split) == (ONE, "patient1", "frontal", "test")
    assert (second.id, second.study, second.view) == (TWO, "patient2_study1", "lateral")
    assert first.labels == {"Lung Opacity": 1.0, "Edema": -1.0}
    assert np.isnan(second.labels["Edema"])
    assert first.read().shape == SIZE
    assert data.readers == ()
    assert data.metadata["warnings"] == ()


def test_masks_of_truth_and_human_benchmark(root: Path) -> None:
    truth, human = block(3, 4), block(5, 6)
    put(root, "gt_segmentations_test.json", {ONE: {"Airspace Opacity": rle(truth), "Edema": rle(truth & False)}})
    put(root, "hb_segmentations_test.json", {ONE: {"Airspace Opacity": rle(human)}})
    data = open_dataset(f"chexlocalize:{root}?split=test")
    assert data.readers == ("truth", "radiologist")
    for reader, mask in (("truth", truth), ("radiologist", human)):
        mark = data.annotation(ONE, "Lung Opacity", reader)
        assert mark is not None
        assert (mark.kind, mark.size) == ("region", SIZE)
        np.testing.assert_array_equal(mark.read(), mask)
    assert data.annotation(ONE, "Edema", "truth") is None  # a mask without a pixel
    assert data.radiographs[0].size == SIZE
    assert data.radiographs[1].size is None


def test_points_are_row_and_column_truncated_like_int(root: Path) -> None:
    put(root, "gt_segmentations_test.json", {ONE: {"Edema": rle(block(3, 4))}})
    put(root, "hb_salient_pt_test.json", {ONE: {"Edema": [[7.9, 2.2], [0.5, 11]], "Cardiomegaly": []}})
    data = open_dataset(f"chexlocalize:{root}")
    mark = data.annotation(ONE, "Edema", "radiologist points")
    assert mark is not None
    assert (mark.kind, mark.size) == ("points", SIZE)
    np.testing.assert_array_equal(mark.read(), [[2, 7], [11, 0]])
    assert data.annotation(ONE, "Cardiomegaly", "radiologist points") is None


def test_annotations_serve_where_there_are_no_segmentations(root: Path) -> None:
    square = [[4, 3], [9, 3], [9, 7], [4, 7]]  # x, y
    put(root, "gt_annotations_test.json", {ONE: {"img_size": list(SIZE), "Edema": [square]}})
    mark = open_dataset(f"chexlocalize:{root}").annotation(ONE, "Edema", "truth")
    assert mark is not None
    np.testing.assert_array_equal(mark.read(), block(3, 4))
    put(root, "gt_segmentations_test.json", {ONE: {"Edema": rle(block(0, 0))}})
    mark = open_dataset(f"chexlocalize:{root}").annotation(ONE, "Edema", "truth")
    assert mark is not None
    np.testing.assert_array_equal(mark.read(), block(0, 0))


def test_human_marks_without_truth_are_not_taken_for_it(root: Path) -> None:
    put(root, "hb_segmentations_test.json", {ONE: {"Edema": rle(block(0, 0))}})
    data = open_dataset(f"chexlocalize:{root}")
    assert data.readers == ("truth", "radiologist")
    assert data.annotation(ONE, "Edema", "truth") is None
    assert "the reference standard, does not exist; there are only radiologist" in data.metadata["warnings"][0]


def test_what_does_not_fit_together_is_listed(root: Path) -> None:
    (root / "CheXpert/test/patient2/study1/view2_lateral.jpg").unlink()
    extra = root / "CheXpert/test/patient3/study1/view1_frontal.jpg"
    extra.parent.mkdir(parents=True)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(extra)
    mask = rle(block(0, 0))
    kept, dropped = "patient3_study1_view1_frontal", "patient4_study1_view1_frontal"
    put(root, "gt_segmentations_test.json", {name: {"Edema": mask, "Rickets": mask} for name in (ONE, kept, dropped)})
    put(root, "hb_salient_pt_test.json", {TWO: {"Edema": [[1, 1]]}})
    data = open_dataset(f"chexlocalize:{root}")
    assert [radiograph.id for radiograph in data.radiographs] == [ONE, TWO, kept]
    assert data.annotation(dropped, "Edema", "truth") is None
    text = "\n".join(data.metadata["warnings"])
    for part in (
        "1 image without a file: reading will fail",
        f"1 radiograph with annotations but no row in test_labels.csv: kept, labels unknown ({kept})",
        f"1 radiograph with annotations but neither a row in test_labels.csv nor an image: left out ({dropped})",
        "Rickets",
        f"1 radiograph with points, but no file states the size of the image: points left out ({TWO})",
    ):
        assert part in text
    with pytest.raises(DataError, match="does not exist"):
        data.radiographs[1].read()


def test_outlines_are_counted_as_they_were_drawn(root: Path) -> None:
    square = [[1, 1], [1, 6], [6, 6], [6, 1]]
    beside = [[4, 4], [4, 8], [8, 8], [8, 4]]
    put(
        root, "gt_segmentations_test.json", {ONE: {"Edema": rle(block(1, 1))}, TWO: {"Edema": rle(block(9, 9) & False)}}
    )
    put(root, "gt_annotations_test.json", {ONE: {"img_size": list(SIZE), "Edema": [square, beside]}})
    data = open_dataset(f"chexlocalize:{root}")
    mark = data.annotation(ONE, "Edema", "truth")
    assert mark is not None and mark.n_outlines == 2 and (mark.read() == block(1, 1)).all()
    assert data.annotation(TWO, "Edema", "truth") is None
    assert (
        f"1 radiograph in gt_segmentations_test.json without a single annotated pixel ({TWO})"
        in data.metadata["warnings"]
    )


def test_contours_beyond_the_border_are_cut_off_and_told(root: Path) -> None:
    far = [[-5, 2], [-5, 6], [3, 6], [3, 2]]
    put(root, "gt_annotations_test.json", {ONE: {"img_size": list(SIZE), "Edema": [far]}})
    data = open_dataset(f"chexlocalize:{root}")
    mark = data.annotation(ONE, "Edema", "truth")
    assert mark is not None and mark.read()[2:7, :4].all() and mark.read().sum() == 20
    assert any("1 annotation in gt_annotations_test.json beyond the border" in w for w in data.metadata["warnings"])


def test_three_readers_are_three_sources(root: Path) -> None:
    put(root, "gt_segmentations_test.json", {ONE: {"Edema": rle(block(0, 0))}})
    for number, name in enumerate(("hb", "hb2", "hb_resident")):
        put(root, f"{name}_segmentations_test.json", {ONE: {"Edema": rle(block(number, 0))}})
    put(root, "hb2_salient_pt_test.json", {ONE: {"Edema": [[1, 1]]}})
    data = open_dataset(f"chexlocalize:{root}")
    assert data.readers == ("truth", "radiologist", "radiologist 2", "radiologist 2 points", "radiologist resident")
    second = data.annotation(ONE, "Edema", "radiologist 2")
    assert second is not None and (second.read() == block(1, 0)).all()


def test_files_of_the_other_split_are_recognized(root: Path) -> None:
    put(root, "gt_segmentations_val.json", {ONE: {"Edema": rle(block(0, 0))}})
    data = open_dataset(f"chexlocalize:{root}?split=test")
    assert data.readers == () and any("did you mean ?split=val?" in w for w in data.metadata["warnings"])


def test_without_a_label_file_the_images_on_disk_are_listed(root: Path) -> None:
    (root / "CheXpert/test_labels.csv").unlink()
    data = open_dataset(f"chexlocalize:{root}")
    assert [radiograph.id for radiograph in data.radiographs] == [ONE, TWO]
    assert data.radiographs[0].labels == {}
    assert "labels unknown" in data.metadata["warnings"][0]


def test_val_comes_before_test_and_valid_is_another_name_for_it(root: Path) -> None:
    (root / "CheXpert/test").rename(root / "CheXpert/valid")
    (root / "CheXpert/val_labels.csv").write_text(
        "Path,Sex,Age,Frontal/Lateral,AP/PA,Edema\n"
        "CheXpert-v1.0/valid/patient1/study1/view1_frontal.jpg,Male,73,Frontal,AP,1.0\n"
    )
    data = open_dataset(f"chexlocalize:{root}")
    assert data.metadata["split"] == "val"
    assert data.radiographs[0].metadata["sex"] == "Male"
    assert data.radiographs[0].read().shape == SIZE


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({ONE: {"Edema": {"size": [20, 31], "counts": rle(block(0, 0))["counts"]}}}, "covers 600 pixels"),
        ({ONE: {"Edema": {"size": [20], "counts": "x"}}}, "the size is"),
        ({ONE: {"Edema": {"size": [90_000, 90_000], "counts": "x"}}}, "at most 200,000,000 pixels"),
        ({ONE: {"Edema": {"size": [20, 30]}}}, "counts of type NoneType"),
        ({ONE: {"Edema": "mask"}}, "run-length encoding"),
        ({ONE: ["Edema"]}, "findings were expected, not a"),
    ],
)
def test_broken_masks_name_file_radiograph_and_finding(root: Path, entries: dict[str, Any], message: str) -> None:
    put(root, "gt_segmentations_test.json", entries)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(f"chexlocalize:{root}")
    assert f"gt_segmentations_test.json, {ONE}" in str(caught.value)


def test_broken_points_and_contours_name_their_place(root: Path) -> None:
    put(root, "gt_annotations_test.json", {ONE: {"img_size": list(SIZE), "Edema": [[[1, 2, 3]]]}})
    with pytest.raises(DataError, match=rf"gt_annotations_test\.json, {ONE}, Edema: a list of \[x, y\] pairs"):
        open_dataset(f"chexlocalize:{root}")
    put(root, "gt_annotations_test.json", {ONE: {"img_size": list(SIZE), "Edema": [[[1, 2]]]}})
    mark = open_dataset(f"chexlocalize:{root}").annotation(ONE, "Edema", "truth")
    assert mark is not None
    with pytest.raises(DataError, match=rf"{ONE}, Edema: a contour has 1 point"):
        mark.read()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("test/patient1/view1_frontal.jpg,1.0", r"row 2: Path is 'test/patient1/view1"),
        ("test/patient1/study1/view1_frontal.jpg,2", r"row 2: Edema is 2; allowed: 1, 0, -1"),
        ("a/patient1/study1/view1_frontal.jpg,1\nb/patient1/study1/view1_frontal.jpg,1", "row 3: .* already in row 2"),
    ],
)
def test_broken_label_rows_are_named(root: Path, rows: str, message: str) -> None:
    (root / "CheXpert/test_labels.csv").write_text(f"Path,Edema\n{rows}\n")
    with pytest.raises(DataError, match=message):
        open_dataset(f"chexlocalize:{root}")


def test_other_folders_and_splits_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match="allowed: val, test"):
        open_dataset(f"chexlocalize:{root}?split=train")
    with pytest.raises(DataError, match="give the folder into which CheXpert/ and CheXlocalize/ were downloaded"):
        open_dataset(f"chexlocalize:{root / 'CheXpert'}")


def test_published_sample_to_the_pixel() -> None:
    if not REAL.is_dir():
        pytest.skip(f"the published sample is not in {REAL}")
    data = open_dataset(f"chexlocalize:{REAL}")
    (radiograph,) = data.radiographs
    assert (radiograph.patient, radiograph.size, radiograph.split) == ("patient64541", (2320, 2828), "val")
    assert data.metadata["warnings"] == ()
    marks = {finding: data.annotation(radiograph.id, finding, "truth") for finding in data.findings}
    areas = {finding: int(mark.read().sum()) for finding, mark in marks.items() if mark is not None}
    assert areas == {"Enlarged Cardiomediastinum": 962252, "Cardiomegaly": 867107, "Lung Opacity": 163040}
    assert {name for name in data.findings if radiograph.labels[name] == 1} == set(areas)


def test_published_annotations_redraw_the_published_masks(tmp_path: Path) -> None:
    if not REAL.is_dir():
        pytest.skip(f"the published sample is not in {REAL}")
    (tmp_path / "CheXpert").symlink_to((REAL / "CheXpert").resolve())
    (tmp_path / "CheXlocalize").mkdir()
    name = "gt_annotations_val.json"
    (tmp_path / "CheXlocalize" / name).symlink_to((REAL / "CheXlocalize" / name).resolve())
    drawn, published = open_dataset(f"chexlocalize:{tmp_path}"), open_dataset(f"chexlocalize:{REAL}")
    for finding in ("Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity"):
        one, other = (
            data.annotation("patient64541_study1_view1_frontal", finding, "truth") for data in (drawn, published)
        )
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.read(), other.read())
