"""What is written as a folder of one's own comes back the same."""

from pathlib import Path

import numpy as np
import pytest

from sightline.core import Annotation, Dataset, Radiograph
from sightline.data import open_dataset
from sightline.data.writers import write_dataset
from sightline.errors import DataError
from sightline.imaging import masks


def test_the_phantom_comes_back_mark_by_mark(tmp_path: Path) -> None:
    source = open_dataset("phantom:8?size=64")
    back = open_dataset(f"folder:{write_dataset(source, 'folder', tmp_path / 'out', progress=False)}")
    assert back.readers == source.readers
    assert set(back.findings) == set(source.findings)
    marked = 0
    for before, after in zip(source.radiographs, back.radiographs, strict=True):
        assert (before.id, before.patient, before.split, before.view) == (
            after.id,
            after.patient,
            after.split,
            after.view,
        )
        assert dict(before.labels) == dict(after.labels)
        np.testing.assert_allclose(after.read(), before.read(), atol=0.5 / 255 + 1e-6)
        for finding in source.findings:
            for reader in source.readers:
                mark, result = (data.annotation(before.id, finding, reader) for data in (source, back))
                assert (mark is None) == (result is None)
                if mark is not None and result is not None:
                    marked += 1
                    read = masks.rasterize_annotation if mark.kind == "region" else lambda m: m.read()
                    np.testing.assert_allclose(read(result), read(mark))
    assert marked > 20


def one(name: str, mark: Annotation) -> Dataset:
    film = Radiograph(name, "p", lambda: np.zeros((20, 30), np.float32), size=(20, 30), labels={"Mass": 1.0})
    return Dataset("one", "one:", ("Mass",), (film,), lambda r, f, reader: mark, ("expert",))


def test_boxes_come_back_and_the_first_reader_is_called_truth(tmp_path: Path) -> None:
    boxes = np.array([[2.0, 3.0, 9.5, 14.0], [10.0, 20.0, 19.0, 30.0]])
    out = write_dataset(
        one("a", Annotation("a", "Mass", "expert", "boxes", (20, 30), boxes.copy)), "folder", tmp_path / "out", False
    )
    back = open_dataset(f"folder:{out}")
    assert back.readers == ("truth",)
    result = back.annotation("a", "Mass", "truth")
    assert result is not None
    np.testing.assert_array_equal(result.read(), boxes)


def test_an_id_that_is_no_file_name_is_refused(tmp_path: Path) -> None:
    mark = Annotation("a/b", "Mass", "expert", "points", (20, 30), lambda: np.array([[1.0, 2.0]]))
    with pytest.raises(DataError, match="contains a slash"):
        write_dataset(one("a/b", mark), "folder", tmp_path / "out", False)
    assert not (tmp_path / "out").exists()
