"""SIIM-ACR's run lengths: relative, down the columns, and refused with their row when they are none."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from sightline.data import open_dataset
from sightline.data.loaders.siim import mask_to_runs, runs_to_mask
from sightline.errors import DataError
from sightline.imaging import dicom, masks

REAL = Path(__file__).resolve().parents[3] / "../shared/data/formats"
# 2 rows down column 0, then (after 1022 more) 3 rows down column 1 from its row 0
ROWS = "a,0 2 1022 3\nb,-1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "train-rle.csv").write_text("ImageId, EncodedPixels\n" + ROWS)
    (tmp_path / "images/deep").mkdir(parents=True)
    for name in "ab":
        Image.fromarray(np.zeros((1024, 1024), np.uint8)).save(tmp_path / f"images/deep/{name}.png")
    return tmp_path


def test_runs_count_from_the_last_and_go_down_the_columns(root: Path) -> None:
    data = open_dataset(f"siim:{root}")
    assert [r.labels for r in data.radiographs] == [{"Pneumothorax": 1}, {"Pneumothorax": 0}]
    mark = data.annotation("a", "Pneumothorax", "truth")
    assert mark is not None
    assert np.argwhere(mark.read()).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 1]]
    assert data.annotation("b", "Pneumothorax", "truth") is None


def slow_mask(runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The challenge's definition, a pixel at a time."""
    flat, at = np.zeros(size[0] * size[1], bool), 0
    for start, length in runs.tolist():
        at += start
        for _ in range(length):
            flat[at] = True
            at += 1
    return flat.reshape(size[1], size[0]).T


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_runs_and_masks_are_each_others_reverse(mask: np.ndarray) -> None:
    runs = mask_to_runs(mask)
    np.testing.assert_array_equal(runs_to_mask(runs, mask.shape), mask)
    np.testing.assert_array_equal(slow_mask(runs, mask.shape), mask)


def test_both_spellings_several_regions_and_smaller_images(root: Path) -> None:
    (root / "train-rle.csv").unlink()
    (root / "stage_2_train.csv").write_text("ImageId,EncodedPixels\na,0 512\na,0 512\na,1024 1024\nb,-1\n")
    Image.fromarray(np.zeros((512, 512), np.uint8)).save(root / "images/deep/a.png")
    mark = open_dataset(f"siim:{root}").annotation("a", "Pneumothorax", "truth")
    assert mark is not None
    assert mark.size == (512, 512)
    mask = masks.rasterize_annotation(mark)
    assert mask[:, 1:].sum() == 0
    assert mask[:, 0].all()  # nearest to column 1 of 1024, which is marked whole


def test_patients_of_a_header_have_pseudonyms_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(f"f{n},-1\n" for n in range(4))
    (tmp_path / "train-rle.csv").write_text(f"ImageId,EncodedPixels\n{rows}")
    for n in range(4):
        dicom.write_dicom(np.zeros((4, 4), np.uint8), tmp_path / f"f{n}.dcm", f"f{n}", patient_id=f"MRN4711{n // 2}")
    radiographs = open_dataset(f"siim:{tmp_path}").radiographs
    assert "MRN4711" not in repr(radiographs) and len({r.patient for r in radiographs}) == 2
    named = open_dataset(f"siim:{tmp_path}?identify=true").radiographs
    assert [r.patient for r in named] == ["MRN47110", "MRN47110", "MRN47111", "MRN47111"]
    assert [r.split for r in radiographs] == [r.split for r in named]  # drawn by the id itself
    monkeypatch.setenv("SIGHTLINE_KEY", "secret")
    keyed = open_dataset(f"siim:{tmp_path}").radiographs
    assert not {r.patient for r in keyed} & {r.patient for r in radiographs}


def test_splits_published_or_drawn_by_patient(root: Path) -> None:
    assert {r.split for r in open_dataset(f"siim:{root}").radiographs} <= {"train", "val", "test"}
    (root / "pneumothorax_splits.csv").write_text(",Image_ID,Split\n0,a.png,valid\n1,b.png,test\n")
    assert [r.split for r in open_dataset(f"siim:{root}").radiographs] == ["val", "test"]
    assert [r.id for r in open_dataset(f"siim:{root}?split=test").radiographs] == ["b"]
    with pytest.raises(DataError, match="none of the 2 radiographs is of split 'train'"):
        open_dataset(f"siim:{root}?split=train")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,1 2 3\n", "row 2: EncodedPixels has 3 numbers"),
        ("a,\n", "row 2: EncodedPixels has 0 numbers"),
        ("a,1 two\n", "row 2: EncodedPixels is '1 two'"),
        ("a,1 0\n", "row 2: .*an empty run"),
        ("a,-5 2\n", "row 2: .*a negative start"),
        ("a,1048570 10\n", "row 2: the runs end at pixel 1,048,580"),
        ("a,1 2\na,-1\n", "row 3: a has a region in one row and -1 in another"),
        (",1 2\n", "row 2: ImageId is blank"),
    ],
)
def test_broken_rows_are_named(root: Path, rows: str, message: str) -> None:
    (root / "train-rle.csv").write_text("ImageId, EncodedPixels\n" + rows)
    with pytest.raises(DataError, match=message):
        open_dataset(f"siim:{root}")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither train-rle\.csv nor stage_2_train\.csv"):
        open_dataset(f"siim:{tmp_path}")


@pytest.mark.skipif(not REAL.is_dir(), reason="real excerpts are not at hand")
def test_the_published_excerpt(tmp_path: Path) -> None:
    (tmp_path / "train-rle.csv").write_bytes((REAL / "siim_train-rle.csv").read_bytes())
    name = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819"
    (tmp_path / f"{name}.dcm").symlink_to(REAL.resolve() / f"{name}.dcm")
    data = open_dataset(f"siim:{tmp_path}")
    assert len(data.radiographs) == 400
    assert sum(r.labels["Pneumothorax"] for r in data.radiographs) == 122
    first = data.radiographs[0]
    assert (first.id, first.metadata["sex"], first.metadata["projection"]) == (name, "M", "PA")
    assert first.patient != name
    assert first.read().shape == (1024, 1024)
    positive = next(r for r in data.radiographs if r.labels["Pneumothorax"] == 1)
    mark = data.annotation(positive.id, "Pneumothorax", "truth")
    assert mark is not None
    assert 0 < mark.read().mean() < 0.1
