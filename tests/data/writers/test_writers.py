"""What is written comes back the same, and nothing is ever half written."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.core import Annotation, Dataset, Radiograph
from sightline.data import open_dataset
from sightline.data.loaders.annotation_index import AnnotationIndex
from sightline.data.writers import write_dataset
from sightline.data.writers.chexpert import _number_ids
from sightline.data.writers.registry import formats
from sightline.errors import DataError, SightlineError, UnknownNameError
from sightline.imaging import masks

SIZE = (48, 64)
READERS = ("truth", "simulated radiologist", "simulated clicker")


def pixels(number: int) -> np.ndarray:
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    return ((rows + cols + 3 * number) / (sum(SIZE) + 30)).astype(np.float32)


def mask(number: int, shift: int = 0) -> np.ndarray:
    """A ring with a single pixel beside it: holes and specks must survive."""
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(rows - 20, cols - 24 - number - shift)
    ring = (distance < 12) & (distance > 6)
    ring[2, 3 + number] = True
    return ring


def small(
    splits: tuple[str, ...] = ("val", "test", "train", "test"), name: Callable[[int], str] = "p{}".format
) -> Dataset:
    """One radiograph per split given, two readers of regions and one of points, on all but every third."""
    radiographs = tuple(
        Radiograph(
            id=name(number),
            patient=f"person-{number // 2}",
            read=partial(pixels, number),
            study=f"exam-{number}",
            view="lateral" if number == 3 else "frontal",
            size=SIZE,
            split=split,
            labels={"Edema": 1.0, "Lung Opacity": -1.0, "Mass": 0.0, "Cardiomegaly": float("nan")},
            metadata={"sex": "Female", "age": 61, "projection": "PA"},
        )
        for number, split in enumerate(splits)
    )
    annotations = {}
    for number, radiograph in enumerate(radiographs):
        if number % 3 == 2:
            continue
        points = np.array([[20.5, 18.2 + number], [3, 4]])
        for reader, kind, read in (
            (READERS[0], "region", partial(mask, number)),
            (READERS[1], "region", partial(mask, number, 2)),
            (READERS[2], "points", points.copy),
        ):
            annotations[radiograph.id, "Lung Opacity", reader] = Annotation(
                radiograph.id, "Lung Opacity", reader, kind, SIZE, read
            )
    return Dataset(
        name="small",
        spec="small:",
        findings=("Edema", "Lung Opacity", "Mass"),
        radiographs=radiographs,
        annotation=AnnotationIndex(annotations),
        readers=READERS,
    )


def test_chexlocalize_comes_back_with_identical_masks_and_points(tmp_path: Path) -> None:
    data = small(("test",) * 4)
    out = write_dataset(data, "chexlocalize", tmp_path / "out", progress=False)
    again = open_dataset(f"chexlocalize:{out}")
    assert again.metadata["warnings"] == ()
    assert again.readers == ("truth", "radiologist", "radiologist points")
    names = ["patient00001_study1_view1_frontal", "patient00001_study2_view1_frontal"]
    names += ["patient00002_study1_view1_frontal", "patient00002_study2_view1_lateral"]
    assert [radiograph.id for radiograph in again.radiographs] == names
    for number, (before, after) in enumerate(zip(data.radiographs, again.radiographs, strict=True)):
        np.testing.assert_allclose(after.read(), before.read(), atol=3 / 255)
        assert (after.view, after.split) == (before.view, "test")
        assert (after.labels["Edema"], after.labels["Lung Opacity"]) == (1, -1)
        assert np.isnan(after.labels["Cardiomegaly"])
        for reader, other in zip(READERS, again.readers, strict=True):
            written = data.annotation(before.id, "Lung Opacity", reader)
            loaded = again.annotation(after.id, "Lung Opacity", other)
            assert (written is None) == (loaded is None) == (number == 2)
            if written is not None and loaded is not None:
                assert (loaded.kind, loaded.size) == (written.kind, SIZE)
                expected = np.trunc(written.read()) if written.kind == "points" else written.read()
                np.testing.assert_array_equal(loaded.read(), expected)


def test_chexlocalize_layout_is_the_published_one(tmp_path: Path) -> None:
    out = write_dataset(small(), "chexlocalize", tmp_path / "out", progress=False)
    expected = {f"CheXpert/{name}" for name in ("val_labels.csv", "test_labels.csv", "train.csv")}
    for split in ("val", "test"):
        expected |= {f"CheXlocalize/{kind}_{split}.json" for kind in ("gt_segmentations", "gt_annotations")}
        expected |= {
            f"CheXlocalize/{kind}_{split}.json" for kind in ("hb_segmentations", "hb_annotations", "hb_salient_pt")
        }
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.suffix in (".json", ".csv")}
    assert files == expected | {"ids.csv"}
    blinded = (out / "CheXpert/test_labels.csv").read_text().splitlines()[0]
    assert blinded.startswith("Path,No Finding,")
    assert (out / "CheXpert/val_labels.csv").read_text().startswith("Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,")
    truth = json.loads((out / "CheXlocalize/gt_segmentations_val.json").read_text())
    (tasks,) = truth.values()
    assert len(tasks) == 10
    assert masks.rle_area(tasks["Airspace Opacity"]) == mask(0).sum()
    assert masks.rle_area(tasks["Edema"]) == 0
    assert (out / "ids.csv").read_text().splitlines()[1] == "p0,patient00001_study1_view1_frontal"
    readme = (out / "README.txt").read_text()
    assert "hb_salient_pt: annotations by 'simulated clicker'" in readme
    assert "Mass" in readme
    assert not (out / "CheXpert/test_labels.csv").read_text().count("CheXpert-v1.0")


def test_written_annotations_draw_the_outer_contours(tmp_path: Path) -> None:
    out = write_dataset(small(("test",)), "chexlocalize", tmp_path / "out", progress=False)
    (out / "CheXlocalize/gt_segmentations_test.json").unlink()
    again = open_dataset(f"chexlocalize:{out}")
    annotation = again.annotation(again.radiographs[0].id, "Lung Opacity", "truth")
    assert annotation is not None
    drawn = annotation.read()
    assert drawn[20, 24]  # the hole is filled
    assert drawn[2, 3]  # the speck is there
    assert (drawn | mask(0) == drawn).all()


def test_train_of_chexlocalize_and_every_split_of_chexpert_open_as_chexpert(tmp_path: Path) -> None:
    data = small()
    out = write_dataset(data, "chexlocalize", tmp_path / "a", progress=False)
    (only,) = open_dataset(f"chexpert:{out}/CheXpert").radiographs
    assert only.read().shape == SIZE
    out = write_dataset(data, "chexpert", tmp_path / "b", progress=False)
    for split, count in (("train", 1), ("valid", 1), ("test", 2)):
        again = open_dataset(f"chexpert:{out}?split={split}")
        assert len(again.radiographs) == count
        for radiograph in again.radiographs:
            assert radiograph.read().shape == SIZE
            assert radiograph.labels["Lung Opacity"] == -1
            assert radiograph.metadata["projection"] == "PA"


def test_ids_of_the_published_form_are_kept(tmp_path: Path) -> None:
    out = write_dataset(
        small(name="patient{0}_study1_view1_frontal".format), "chexlocalize", tmp_path / "out", progress=False
    )
    assert not (out / "ids.csv").exists()
    first = open_dataset(f"chexlocalize:{out}?split=test").radiographs[0]
    assert first.id == "patient1_study1_view1_frontal"


@given(
    people=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=12),
    data=st.data(),
)
def test_new_ids_are_unique_and_group_as_before(people: list[tuple[int, int]], data: st.DataObject) -> None:
    radiographs = [
        Radiograph(f"r{number}", f"p{patient}", read=partial(pixels, 0), study=f"s{study}" if study else "")
        for number, (patient, study) in enumerate(people)
    ]
    names = [name.split("_") for name in _number_ids(radiographs)]
    assert len({tuple(name) for name in names}) == len(radiographs)
    for first in range(len(names)):
        other = data.draw(st.integers(0, len(names) - 1))
        assert (names[first][0] == names[other][0]) == (people[first][0] == people[other][0])


def test_out_is_untouched_or_complete(tmp_path: Path) -> None:
    def broken() -> np.ndarray:
        raise DataError("the third image is damaged")

    data = small()
    radiographs = (*data.radiographs[:2], replace(data.radiographs[2], read=broken))
    with pytest.raises(DataError, match="third image"):
        write_dataset(replace(data, radiographs=radiographs), "chexpert", tmp_path / "out", progress=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()  # an empty folder may be filled
    write_dataset(data, "chexpert", tmp_path / "out", progress=False)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="already exists and is not an empty folder"):
        write_dataset(data, "chexpert", tmp_path / "out", progress=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_that_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SightlineError, match="cannot be written"):
        write_dataset(small(), "chexpert", tmp_path / "file/out", progress=False)


def test_ids_that_would_overwrite_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several radiographs with id 'same'"):
        write_dataset(small(name=lambda _: "same"), "chexpert", tmp_path / "out", progress=False)


def test_formats_are_known_by_name(tmp_path: Path) -> None:
    assert set(formats) >= {"chexpert", "chexlocalize"}
    with pytest.raises(UnknownNameError, match="did you mean 'chexpert'"):
        write_dataset(small(), "chexprt", tmp_path / "out", progress=False)


def test_a_phantom_on_disk_still_says_that_it_is_one(tmp_path: Path) -> None:
    out = write_dataset(open_dataset("phantom:16?size=48&split=test"), "chexlocalize", tmp_path / "out", progress=False)
    again = open_dataset(f"chexlocalize:{out}")
    assert again.metadata["simulated"] is True
    assert "rendered and their readers simulated (phantom:16" in again.metadata["warnings"][0]
    (out / "README.txt").write_text("Written by sightline from folder:/data/mine\n")
    assert open_dataset(f"chexlocalize:{out}").metadata["simulated"] is False
