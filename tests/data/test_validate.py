"""Each thing that can be wrong with a data set is found once, and a good one is silent."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.core import Annotation, AnnotationKind, Dataset, Radiograph
from sightline.data.loaders.csv_tables import AnnotationIndex
from sightline.data.validate import count_contents, count_problems, find_problems, problems_table
from sightline.imaging import image_files

SIZE = (10, 12)


BARE = {"nothing marked": "note"}


def radiograph(number: int, **changes: object) -> Radiograph:
    def read() -> np.ndarray:
        return np.random.default_rng(number).random(SIZE, np.float32)

    made = Radiograph(f"r{number}", f"p{number}", read=read, size=SIZE, split="test", labels={"Mass": 1.0})
    return replace(made, **changes)  # type: ignore[arg-type]  # fields under test


def marked(
    value: object, kind: AnnotationKind = "region", size: tuple[int, int] = SIZE, name: str = "r0"
) -> Annotation:
    return Annotation(name, "Mass", "truth", kind, size, lambda: value)


def found(
    *radiographs: Radiograph, marks: tuple[Annotation, ...] | None = None, read_images: bool = True
) -> dict[str, str]:
    """kind -> severity of every problem; by default every radiograph has a good mark."""
    if marks is None:
        marks = tuple(marked(np.eye(*SIZE, dtype=bool), name=name) for name in {r.id for r in radiographs})
    index = AnnotationIndex({(mark.radiograph, mark.finding, mark.reader): mark for mark in marks})
    data = Dataset("small", "small:", ("Mass",), radiographs, index, ("truth",))
    problems = find_problems(data, read_images)
    assert all(problem.what and problem.remedy for problem in problems)
    return {problem.kind: problem.severity for problem in problems}


def test_a_good_data_set_is_silent() -> None:
    assert found(radiograph(0), radiograph(1), radiograph(2)) == {}


def test_identity() -> None:
    assert found() == {"no radiographs": "error", **BARE}
    again = radiograph(1, id="r0")
    assert found(radiograph(0), again) == {"duplicate id": "error"}
    assert found(radiograph(0, patient="")) == {"no patient": "error"}
    moved = radiograph(1, patient="p0", split="train")
    assert found(radiograph(0), moved) == {"patient in two splits": "error"}
    assert found(radiograph(0), radiograph(1, patient="p0")) == {}


def test_images(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "blank.png")

    def file(name: str) -> Radiograph:
        return radiograph(0, read=partial(image_files.read_image, tmp_path / name))

    assert found(file("gone.png")) == {"missing image": "error"}
    assert found(file("bad.png")) == {"unreadable image": "error"}
    assert found(file("blank.png")) == {"blank image": "warning"}
    assert found(file("gone.png"), read_images=False) == {}
    large = radiograph(0, read=lambda: np.random.default_rng(0).random((10, 13), np.float32))
    assert found(large) == {"image of another size": "error", "mark of another size": "error"}
    bright = radiograph(0, read=lambda: np.eye(*SIZE, dtype=np.float32) * 255)
    assert found(bright) == {"image of another form": "error"}
    holes = radiograph(0, read=lambda: np.full(SIZE, np.nan, np.float32))
    assert found(holes) == {"image of another form": "error"}


def test_identical_images_matter_most_between_patients() -> None:
    twin = radiograph(1, read=radiograph(0).read)
    assert found(radiograph(0), twin) == {"duplicate image": "error"}
    assert found(radiograph(0), replace(twin, patient="p0")) == {"duplicate image": "warning"}


@pytest.mark.parametrize("value", [2, 0.5, -2])
def test_labels_out_of_range(value: float) -> None:
    assert found(radiograph(0, labels={"Mass": value})) == {"label out of range": "error"}


@pytest.mark.parametrize(
    ("mark", "kind", "severity"),
    [
        (marked(np.zeros(SIZE, bool)), "empty mark", "error"),
        (marked(np.zeros((0, 2)), "points"), "empty mark", "error"),
        (marked(np.ones((10, 13), bool)), "mark of another size", "error"),
        (marked(np.ones((20, 24), bool), size=(20, 24)), "mark of another size", "error"),
        (marked(np.array([[1, 1, 10, 12.5]]), "boxes"), "mark outside image", "error"),
        (marked(np.array([[3, -1.0]]), "points"), "mark outside image", "error"),
        (marked([np.array([[1, 1], [11, 3], [4, 4.0]])], "contours"), "mark outside image", "error"),
        (marked([np.array([[1.0, 1]])], "contours"), "unreadable mark", "error"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_marks(mark: Annotation, kind: str, severity: str) -> None:
    assert found(radiograph(0), marks=(mark,)) == {kind: severity}


def test_marks_that_touch_the_edges_are_inside() -> None:
    assert found(radiograph(0), marks=(marked(np.array([[0, 0, 10, 12.0]]), "boxes"),)) == {}
    assert found(radiograph(0), marks=(marked([np.array([[0, 0], [10, 12], [4, 4.0]])], "contours"),)) == {}


def test_marks_against_labels() -> None:
    assert found(radiograph(0), marks=()) == {"positive label without mark": "note", **BARE}
    for label in (-1, float("nan")):
        assert found(radiograph(0, labels={"Mass": label}), marks=()) == BARE
        assert found(radiograph(0, labels={"Mass": label})) == {}
    assert found(radiograph(0, labels={"Mass": 0})) == {"mark on negative label": "warning"}


def test_a_finding_that_is_nearly_a_known_one_is_asked_about() -> None:
    """Of a slip a loader makes a finding; one's own name that is like no other is no slip."""
    r = radiograph(0, labels={"Cardiomegally": 0.0, "Scoliosis": 0.0})
    names = ("Cardiomegally", "Scoliosis", "Rib Fracture", "Edema")
    data = Dataset(
        "small",
        "small:",
        names,
        (r,),
        AnnotationIndex({("r0", "Edema", "truth"): marked(np.eye(*SIZE) > 0)}),
        ("truth",),
    )
    (problem,) = find_problems(data)
    assert (problem.severity, problem.kind, problem.finding) == ("note", "finding misspelled?", "Cardiomegally")
    assert "did you mean 'Cardiomegaly'?" in problem.what


def test_summary_table_and_counts() -> None:
    rows = (radiograph(0), radiograph(1, id="r0"), radiograph(2, labels={"Mass": 7}))
    data = Dataset("s", "s:", ("Mass",), rows, AnnotationIndex({}), ("truth",), metadata={"warnings": ("said before",)})
    problems = find_problems(data)
    assert count_problems(problems) == {
        ("error", "duplicate id"): 1,
        ("error", "label out of range"): 1,
        ("warning", "said while loading"): 1,
        ("note", "nothing marked"): 1,
        ("note", "positive label without mark"): 2,
    }
    frame = problems_table(problems)
    assert frame.columns.tolist() == ["severity", "kind", "radiograph", "finding", "what", "remedy"]
    assert len(frame) == 6
    assert count_contents(data) == {"radiographs": 3, "patients": 3, "marks by truth": 0}
