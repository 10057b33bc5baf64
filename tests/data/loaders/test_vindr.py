"""VinDr-CXR: who boxed what, when they agree, and boxes of images that were resized."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.evaluation.scoring import score
from sightline.maps.references import ReaderMaps

REAL = Path(__file__).resolve().parents[3] / "../shared/data/formats"
HEADER = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
ROWS = (
    "a,Cardiomegaly,3,R10,10,20,30,40\na,Cardiomegaly,3,R2,12,20,34,44\na,Pleural effusion,10,R2,1,2,3,4\n"
    "a,No finding,14,R8,,,,\nb,No finding,14,R8,,,,\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(HEADER + ROWS)
    (tmp_path / "train").mkdir()
    for name in "ab":
        Image.fromarray(np.zeros((64, 48), np.uint8)).save(tmp_path / f"train/{name}.png")
    return tmp_path


def test_truth_is_what_enough_radiologists_boxed(root: Path) -> None:
    data = open_dataset(f"vindr:{root}")
    assert data.readers == ("truth", "R2", "R8", "R10")
    assert data.findings == ("Cardiomegaly", "Pleural Effusion")
    assert data.radiographs[0].labels == {"Cardiomegaly": 1, "Pleural Effusion": 0}
    truth, one = (data.annotation("a", "Cardiomegaly", reader) for reader in ("truth", "R10"))
    assert truth is not None
    assert one is not None
    assert truth.read().tolist() == [[20, 10, 40, 30], [20, 12, 44, 34]]
    assert (one.kind, one.size, one.read().tolist()) == ("boxes", (64, 48), [[20, 10, 40, 30]])
    assert data.annotation("a", "Pleural Effusion", "truth") is None
    assert data.annotation("a", "Pleural Effusion", "R2") is not None
    assert open_dataset(f"vindr:{root}?agree=1").radiographs[0].labels["Pleural Effusion"] == 1
    assert data.annotation("b", "Cardiomegaly", "truth") is None


def test_splits_of_the_release_with_a_consensus_for_the_test(root: Path) -> None:
    (root / "train.csv").rename(root / "annotations_train.csv")
    (root / "test").mkdir()
    Image.fromarray(np.zeros((64, 48), np.uint8)).save(root / "test/c.png")
    (root / "annotations_test.csv").write_text("image_id,class_name,x_min,y_min,x_max,y_max\nc,Cardiomegaly,1,2,3,4\n")
    data = open_dataset(f"vindr:{root}?split=test")
    assert [r.id for r in data.radiographs] == ["c"]
    assert data.radiographs[0].labels["Cardiomegaly"] == 1
    assert "consensus" not in data.readers
    (root / "annotations_test.csv").write_text("image_id,class_name,x_min,y_min,x_max,y_max\na,Cardiomegaly,1,2,3,4\n")
    with pytest.raises(DataError, match="names a, which is a training image"):
        open_dataset(f"vindr:{root}")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,Cardiomegaly,3,R1,10,20,30,\n", "row 2: the box of 'Cardiomegaly' is incomplete"),
        ("a,Cardiomegaly,3,R1,30,20,30,40\n", "row 2: the box is 0 × 20"),
        ("a,No finding,14,R1,1,2,3,4\n", "row 2: No finding has a box"),
        (",Cardiomegaly,3,R1,10,20,30,40\n", "row 2: image_id is blank"),
    ],
)
def test_broken_rows_are_named(root: Path, rows: str, message: str) -> None:
    (root / "train.csv").write_text(HEADER + rows)
    with pytest.raises(DataError, match=message):
        open_dataset(f"vindr:{root}")


def test_boxes_of_a_resized_image_are_refused_when_read(root: Path) -> None:
    (root / "train.csv").write_text(HEADER + "a,Cardiomegaly,3,R1,10,20,300,400\n")
    mark = open_dataset(f"vindr:{root}?agree=1").annotation("a", "Cardiomegaly", "truth")
    assert mark is not None
    with pytest.raises(DataError, match="images that were not resized"):
        mark.read()


def test_options_and_missing_files(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="agree is 0"):
        open_dataset(f"vindr:{root}?agree=0")
    with pytest.raises(DataError, match=r"holds none of annotations_train\.csv"):
        open_dataset(f"vindr:{tmp_path / 'train'}")


@pytest.mark.skipif(not REAL.is_dir(), reason="real excerpts are not at hand")
def test_the_published_excerpt(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes((REAL / "vinbigdata_train.csv").read_bytes())
    (tmp_path / "train").mkdir()
    name = "9a5094b2563a1ef3ff50dc5c7ff71345"
    Image.fromarray(np.zeros((2336, 2080), np.uint8)).save(tmp_path / f"train/{name}.png")
    data = open_dataset(f"vindr:{tmp_path}")
    assert len(data.findings) == 14
    mark = data.annotation(name, "Cardiomegaly", "R10")
    assert mark is not None
    assert mark.read().tolist() == [[1375, 691, 1831, 1653]]


def test_readers_who_draw_at_random_are_not_right(tmp_path: Path) -> None:
    """Three of four radiologists box every image anywhere: each against the boxes of the other two, by pixels."""
    rng = np.random.default_rng(0)
    (tmp_path / "train").mkdir()
    rows = []
    for i in range(20):
        Image.fromarray(np.zeros((60, 60), np.uint8)).save(tmp_path / f"train/i{i}.png")
        for reader in rng.choice(4, 3, replace=False):
            x, y = rng.integers(5, 35, 2)
            rows.append((f"i{i}", f"R{reader}", x, y, x + 20, y + 20))
    lines = [f"{name},Cardiomegaly,3,{reader},{','.join(map(str, box))}\n" for name, reader, *box in rows]
    (tmp_path / "train.csv").write_text(HEADER + "".join(lines))
    data = open_dataset(f"vindr:{tmp_path}")
    table = score(ReaderMaps(data), data, ["iou", "precision"])
    assert len(table) == 2 * len(rows)  # a radiograph that a radiologist did not read is not missed
    assert table.loc[table["metric"] == "precision", "value"].mean() < 0.6

    def mask(boxes: list[tuple]) -> np.ndarray:
        drawn = np.zeros((60, 60), bool)
        for _, _, left, top, right, bottom in boxes:
            drawn[top:bottom, left:right] = True
        return drawn

    for (name, reader), value in table[table["metric"] == "iou"].set_index(["radiograph", "source"])["value"].items():
        own = mask([row for row in rows if row[0] == name and f"reader/{row[1]}" == reader])
        others = mask([row for row in rows if row[0] == name and f"reader/{row[1]}" != reader])
        assert value == pytest.approx((own & others).sum() / (own | others).sum())


def test_the_majority_of_the_same_boxes(root: Path) -> None:
    truth = open_dataset(f"vindr:{root}?reference=majority").annotation("a", "Cardiomegaly", "truth")
    assert truth is not None  # R10 and R2 of the three who read the image
    mask = truth.read()
    assert np.argwhere(mask).min(0).tolist() == [20, 12]  # where both of their boxes are
    assert np.argwhere(mask).max(0).tolist() == [39, 29]
