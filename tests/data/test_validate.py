"""Every kind of problem of a data set is reported once, and a good data set has none."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.core import Annotation, AnnotationKind, Dataset, Radiograph
from sightline.data.loaders.annotation_index import AnnotationIndex
from sightline.data.validate import count_contents, count_problems, find_problems, problems_table
from sightline.imaging import image_files

SIZE = (10, 12)


BARE = {"no annotations": "note"}


def radiograph(number: int, **changes: object) -> Radiograph:
    def read() -> np.ndarray:
        return np.random.default_rng(number).random(SIZE, np.float32)

    record = Radiograph(f"r{number}", f"p{number}", read=read, size=SIZE, split="test", labels={"Mass": 1.0})
    return replace(record, **changes)  # type: ignore[arg-type]  # fields under test


def annotate(
    value: object, kind: AnnotationKind = "region", size: tuple[int, int] = SIZE, name: str = "r0"
) -> Annotation:
    return Annotation(name, "Mass", "truth", kind, size, lambda: value)


def problem_kinds(
    *radiographs: Radiograph, annotations: tuple[Annotation, ...] | None = None, read_images: bool = True
) -> dict[str, str]:
    """kind -> severity of every problem; by default every radiograph has a good annotation."""
    if annotations is None:
        annotations = tuple(annotate(np.eye(*SIZE, dtype=bool), name=name) for name in {r.id for r in radiographs})
    index = AnnotationIndex(
        {(annotation.radiograph, annotation.finding, annotation.reader): annotation for annotation in annotations}
    )
    data = Dataset("small", "small:", ("Mass",), radiographs, index, ("truth",))
    problems = find_problems(data, read_images)
    assert all(problem.message and problem.remedy for problem in problems)
    return {problem.kind: problem.severity for problem in problems}


def test_a_good_data_set_is_silent() -> None:
    assert problem_kinds(radiograph(0), radiograph(1), radiograph(2)) == {}


def test_identity() -> None:
    assert problem_kinds() == {"no radiographs": "error", **BARE}
    again = radiograph(1, id="r0")
    assert problem_kinds(radiograph(0), again) == {"duplicate id": "error"}
    assert problem_kinds(radiograph(0, patient="")) == {"no patient": "error"}
    moved = radiograph(1, patient="p0", split="train")
    assert problem_kinds(radiograph(0), moved) == {"patient in two splits": "error"}
    assert problem_kinds(radiograph(0), radiograph(1, patient="p0")) == {}


def test_images(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "blank.png")

    def file(name: str) -> Radiograph:
        return radiograph(0, read=partial(image_files.read_image, tmp_path / name))

    assert problem_kinds(file("gone.png")) == {"missing image": "error"}
    assert problem_kinds(file("bad.png")) == {"unreadable image": "error"}
    assert problem_kinds(file("blank.png")) == {"blank image": "warning"}
    assert problem_kinds(file("gone.png"), read_images=False) == {}
    large = radiograph(0, read=lambda: np.random.default_rng(0).random((10, 13), np.float32))
    assert problem_kinds(large) == {"image of another size": "error", "annotation of another size": "error"}
    bright = radiograph(0, read=lambda: np.eye(*SIZE, dtype=np.float32) * 255)
    assert problem_kinds(bright) == {"image of another form": "error"}
    holes = radiograph(0, read=lambda: np.full(SIZE, np.nan, np.float32))
    assert problem_kinds(holes) == {"image of another form": "error"}


def test_identical_images_matter_most_between_patients() -> None:
    twin = radiograph(1, read=radiograph(0).read)
    assert problem_kinds(radiograph(0), twin) == {"duplicate image": "error"}
    assert problem_kinds(radiograph(0), replace(twin, patient="p0")) == {"duplicate image": "warning"}


@pytest.mark.parametrize("value", [2, 0.5, -2])
def test_labels_out_of_range(value: float) -> None:
    assert problem_kinds(radiograph(0, labels={"Mass": value})) == {"label out of range": "error"}


@pytest.mark.parametrize(
    ("annotation", "kind", "severity"),
    [
        (annotate(np.zeros(SIZE, bool)), "empty annotation", "error"),
        (annotate(np.zeros((0, 2)), "points"), "empty annotation", "error"),
        (annotate(np.ones((10, 13), bool)), "annotation of another size", "error"),
        (annotate(np.ones((20, 24), bool), size=(20, 24)), "annotation of another size", "error"),
        (annotate(np.array([[1, 1, 10, 12.5]]), "boxes"), "annotation outside image", "error"),
        (annotate(np.array([[3, -1.0]]), "points"), "annotation outside image", "error"),
        (annotate([np.array([[1, 1], [11, 3], [4, 4.0]])], "contours"), "annotation outside image", "error"),
        (annotate([np.array([[1.0, 1]])], "contours"), "unreadable annotation", "error"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_annotations(annotation: Annotation, kind: str, severity: str) -> None:
    assert problem_kinds(radiograph(0), annotations=(annotation,)) == {kind: severity}


def test_annotations_that_touch_the_edges_are_inside() -> None:
    assert problem_kinds(radiograph(0), annotations=(annotate(np.array([[0, 0, 10, 12.0]]), "boxes"),)) == {}
    assert (
        problem_kinds(radiograph(0), annotations=(annotate([np.array([[0, 0], [10, 12], [4, 4.0]])], "contours"),))
        == {}
    )


def test_annotations_against_labels() -> None:
    assert problem_kinds(radiograph(0), annotations=()) == {"positive label without annotation": "note", **BARE}
    for label in (-1, float("nan")):
        assert problem_kinds(radiograph(0, labels={"Mass": label}), annotations=()) == BARE
        assert problem_kinds(radiograph(0, labels={"Mass": label})) == {}
    assert problem_kinds(radiograph(0, labels={"Mass": 0})) == {"annotation of a negative label": "warning"}


def test_a_finding_that_is_nearly_a_known_one_is_asked_about() -> None:
    """A misspelled name makes a finding of its own; a name that is like no other is not misspelled."""
    r = radiograph(0, labels={"Cardiomegally": 0.0, "Scoliosis": 0.0})
    names = ("Cardiomegally", "Scoliosis", "Rib Fracture", "Edema")
    data = Dataset(
        "small",
        "small:",
        names,
        (r,),
        AnnotationIndex({("r0", "Edema", "truth"): annotate(np.eye(*SIZE) > 0)}),
        ("truth",),
    )
    (problem,) = find_problems(data)
    assert (problem.severity, problem.kind, problem.finding) == ("note", "finding misspelled?", "Cardiomegally")
    assert "did you mean 'Cardiomegaly'?" in problem.message


def test_summary_table_and_counts() -> None:
    rows = (radiograph(0), radiograph(1, id="r0"), radiograph(2, labels={"Mass": 7}))
    data = Dataset("s", "s:", ("Mass",), rows, AnnotationIndex({}), ("truth",), metadata={"warnings": ("a warning",)})
    problems = find_problems(data)
    assert count_problems(problems) == {
        ("error", "duplicate id"): 1,
        ("error", "label out of range"): 1,
        ("warning", "warning of the loader"): 1,
        ("note", "no annotations"): 1,
        ("note", "positive label without annotation"): 2,
    }
    frame = problems_table(problems)
    assert frame.columns.tolist() == ["severity", "kind", "radiograph", "finding", "message", "remedy"]
    assert len(frame) == 6
    assert count_contents(data) == {"radiographs": 3, "patients": 3, "annotations by truth": 0}
