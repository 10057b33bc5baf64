"""The helpers of every loader: what they accept, and that errors name file, row and what was expected."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data.loaders.annotation_index import ScaledBoxAnnotations, group_boxes
from sightline.data.loaders.csv_tables import parse_size, read_csv, read_json
from sightline.data.loaders.lazy_sequence import LazySequence
from sightline.errors import DataError


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_cells_are_trimmed_text_indexed_by_their_row_in_the_file(tmp_path: Path) -> None:
    table = read_csv(written(tmp_path / "a.csv", "a, b\n1 , x\n\n007,\n"), ("a", "b"))
    assert table.rows.index.tolist() == [2, 4]  # the blank row 3 counts
    assert table.text("a") == ["1", "007"]
    assert table.text("b") == ["x", ""]


def test_a_byte_order_mark_and_quoted_commas_are_understood(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('\ufeffimage,note\n"a,b",é\n'.encode())
    assert read_csv(tmp_path / "a.csv", ("image",)).text("image") == ["a,b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "has a header but no rows"),
        ("A,c\n1,2\n", r"has no column 'a' \(did you mean 'A'\?\); it has A, c"),
        ("a,b\n1,2\n1,2,3\n", "line 3, saw 3"),
        ("a,b\n1,2,3\n", "row 2: there are more cells"),
    ],
)
def test_broken_tables_say_how(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_csv(written(tmp_path / "a.csv", text), ("a",))
    assert str(tmp_path / "a.csv") in str(caught.value)


def test_missing_and_binary_tables_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv does not exist; it should be a CSV file with columns a, b"):
        read_csv(tmp_path / "gone.csv", ("a", "b"))
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="UTF-8"):
        read_csv(tmp_path / "a.csv")


def test_numbers_and_labels_name_the_row_of_what_is_none(tmp_path: Path) -> None:
    table = read_csv(written(tmp_path / "a.csv", "x,y,z\n1,-1,2\n,,\nnan,1.0,0\n 2e1,0,inf\n"))
    np.testing.assert_array_equal(table.numbers("x"), [1, np.nan, 20])  # the row of blanks is skipped
    np.testing.assert_array_equal(table.labels("y"), [-1, 1, 0])
    with pytest.raises(DataError, match=r"a\.csv, row 5: z is 'inf'; a number was expected"):
        table.numbers("z")
    with pytest.raises(DataError, match=r"a\.csv, row 5: x is 20; allowed: 1, 0, -1"):
        table.labels("x")


def test_duplicates_name_both_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv, row 4: id 'b' is already in row 3"):
        read_csv(written(tmp_path / "a.csv", "id\na\nb\nb\n")).require_unique("id")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,2,-3,4", r"row 3: the box is -3 × 4 \(width × height\); both must be above 0"),
        ("1,2,3,0", "both must be above 0"),
        ("1,2,3,", "incomplete; it needs all of x, y, w, h"),
        ("1,2,three,4", "w is 'three'; a number"),
        ("90,2,20,4", r"x 90 to 110, y 2 to 6 leaves the image, which is 100 wide and 50 high"),
        ("1,-2,3,4", "leaves the image"),
    ],
)
def test_boxes_that_cannot_be_are_refused(tmp_path: Path, row: str, message: str) -> None:
    table = read_csv(written(tmp_path / "a.csv", f"x,y,w,h\n1,2,3,4\n{row}\n"))
    with pytest.raises(DataError, match=message):
        table.boxes(("x", "y", "w", "h"), (50, 100))


def test_boxes_become_edges_and_rows_of_one_finding_one_mark(tmp_path: Path) -> None:
    table = read_csv(written(tmp_path / "a.csv", "id,x,y,w,h\na,1,2,3,4\nb,,,,\na,5,6,1,1\n"))
    boxes = table.boxes(("x", "y", "w", "h"))
    grouped = group_boxes([(name, "Mass") for name in table.text("id")], boxes)
    assert list(grouped) == [("a", "Mass")]
    np.testing.assert_array_equal(grouped["a", "Mass"], [[2, 1, 6, 4], [6, 5, 7, 6]])


def test_boxes_are_scaled_to_the_image_and_reading_twice_gives_copies(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((256, 512), np.uint8)).save(tmp_path / "a.png")
    boxes = {("a", "Mass"): np.float64([[100, 200, 300, 400]]), ("gone", "Mass"): np.float64([[0, 0, 1, 1]])}
    marks = ScaledBoxAnnotations(boxes, {"a": tmp_path / "a.png"}, (1024, 1024))
    mark = marks("a", "Mass", "truth")
    assert mark is not None
    assert mark.size == (256, 512)
    mark.read()[:] = 0
    np.testing.assert_array_equal(mark.read(), [[25, 100, 75, 200]])
    assert marks("a", "Mass", "somebody") is None
    missing = marks("gone", "Mass", "truth")
    assert missing is not None
    assert missing.size == (1024, 1024)
    assert "256 × 512): boxes are scaled" in marks.scaling_warnings()[0]


def test_json_must_be_an_object(tmp_path: Path) -> None:
    assert read_json(written(tmp_path / "a.json", '{"a": 1}')) == {"a": 1}
    for text, message in [("[1]", "holds a list"), ('{"a": ', "cannot be read as JSON"), ("[" * 100_000, "JSON")]:
        with pytest.raises(DataError, match=message):
            read_json(written(tmp_path / "a.json", text))


@pytest.mark.parametrize("value", [None, [1], [0, 5], [1.5, 2], [200_000, 200_000], "12"])
def test_impossible_sizes_are_refused(value: object) -> None:
    with pytest.raises(DataError, match="here: the size is"):
        parse_size(value, "here")


def test_lazy_makes_items_when_asked_and_slices_like_a_tuple() -> None:
    calls = []
    lazy = LazySequence(5, lambda i: calls.append(i) or i * 10)
    assert len(lazy) == 5
    assert not calls
    assert lazy[-1] == 40
    assert calls == [4]
    assert list(lazy[1:4][::-1]) == [30, 20, 10]
    assert list(lazy) == [0, 10, 20, 30, 40]
    with pytest.raises(IndexError):
        lazy[5]
