"""Eye-Gaze-CXR and REFLACX: written from the phantom and read back, and what is wrong with a file told by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sightline as sl
from sightline.data.gaze import ALL_GAZE, KERNELS, Gaze, gaze_density
from sightline.data.loaders.egd import TRANSCRIPT_FOLDER
from sightline.data.loaders.gaze_samples import read_gaze_samples
from sightline.data.writers import write_dataset
from sightline.errors import DataError
from sightline.imaging.masks import rasterize_annotation

SPEC = "phantom:5?size=128&gazed=0.5"


@pytest.fixture(scope="module")
def phantom() -> sl.Dataset:
    return sl.open_dataset(SPEC)


@pytest.fixture(scope="module")
def egd(phantom: sl.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(phantom, "egd", tmp_path_factory.mktemp("egd") / "set", progress=False)


@pytest.fixture(scope="module")
def reflacx(phantom: sl.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(phantom, "reflacx", tmp_path_factory.mktemp("reflacx") / "set", progress=False)


def copy(source: Path, target: Path) -> Path:
    """A copy whose tables can be spoiled; images are linked."""
    for file in source.rglob("*"):
        to = target / file.relative_to(source)
        if file.is_file():
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(file.read_bytes()) if file.suffix in (".csv", ".json") else to.symlink_to(file)
    return target


def gaze_of(data: sl.Dataset, radiograph: str, reader: int = 0) -> Gaze | None:
    mark = data.annotation(radiograph, ALL_GAZE, data.gaze_readers[reader])
    return None if mark is None else mark.read()


def test_some_phantom_films_have_gaze_and_some_have_none(phantom: sl.Dataset) -> None:
    there = [gaze_of(phantom, r.id) is not None for r in phantom.radiographs]
    assert any(there) and not all(there)


def test_egd_comes_back_to_a_pixel(phantom: sl.Dataset, egd: Path) -> None:
    data = sl.open_dataset(f"egd:{egd}")
    assert [r.id for r in data.radiographs] == [r.id for r in phantom.radiographs]
    for loaded, original in zip(data.radiographs, phantom.radiographs, strict=True):
        assert loaded.patient == original.patient and loaded.metadata["sex"] == str(original.metadata["sex"])[0]
        assert {f: loaded.labels[f] for f in phantom.findings} == original.labels
        np.testing.assert_allclose(loaded.read(), original.read(), atol=0.003)
        for name in ("Left Lung", "Right Lung", "Mediastinum", "Aortic Knob"):
            masks = [rasterize_annotation(d.annotation(loaded.id, name, d.reference_reader)) for d in (data, phantom)]
            assert (masks[0] == masks[1]).all()
        result, other = gaze_of(data, loaded.id), gaze_of(phantom, loaded.id)
        if other is None:
            assert result is None
            continue
        assert result is not None and result.size == other.size and not result.excluded_counts
        assert np.abs(result.positions - other.positions).max() <= 0.5
        np.testing.assert_allclose([result.begin, result.duration], [other.begin, other.duration], atol=1e-9)
        assert [p.text for p in result.phrases] == [p.text for p in other.phrases]
        np.testing.assert_array_equal(np.isfinite(result.pupil), np.isfinite(other.pupil))


def test_rectangles_of_egd_are_in_the_order_of_its_columns(phantom: sl.Dataset, egd: Path) -> None:
    data = sl.open_dataset(f"egd:{egd}")
    name = data.radiographs[0].id
    mark = data.annotation(name, "Heart Box", data.reference_reader)
    rows, cols = (
        np.flatnonzero(rasterize_annotation(phantom.annotation(name, "Heart", "truth")).any(axis)) for axis in (1, 0)
    )
    assert mark.read().tolist() == [[rows[0], cols[0], rows[-1] + 1, cols[-1] + 1]]


def test_samples_of_the_tracker_add_up_to_the_same_density(egd: Path) -> None:
    fixed, raw = sl.open_dataset(f"egd:{egd}"), sl.open_dataset(f"egd:{egd}?gaze=raw")
    for r in fixed.radiographs:
        if (gaze := gaze_of(fixed, r.id)) is not None:
            densities = [gaze_density(g, KERNELS["corrected"], (32, 32)).ravel() for g in (gaze, gaze_of(raw, r.id))]
            assert np.corrcoef(densities)[0, 1] > 0.995


def test_screen_coordinates_serve_where_the_release_has_no_others(egd: Path, tmp_path: Path) -> None:
    other = copy(egd, tmp_path / "set")
    table = pd.read_csv(other / "fixations.csv").drop(columns=["X_ORIGINAL", "Y_ORIGINAL"])
    table.to_csv(other / "fixations.csv", index=False)
    for r in sl.open_dataset(f"egd:{egd}").radiographs:
        result, screen = gaze_of(sl.open_dataset(f"egd:{egd}"), r.id), gaze_of(sl.open_dataset(f"egd:{other}"), r.id)
        assert result is None or np.abs(result.positions - screen.positions).max() <= 1


def test_what_egd_holds_besides_fixations_is_counted(egd: Path, tmp_path: Path) -> None:
    """Off the image, without numbers, backwards in time, calibration screens, two sessions; any order, with a BOM."""
    other = copy(egd, tmp_path / "set")
    table = pd.read_csv(other / "fixations.csv")
    name = table["DICOM_ID"][0]
    first = table[table["DICOM_ID"] == name].copy()
    first.iloc[0, first.columns.get_loc("X_ORIGINAL")] = -1
    first.iloc[1, first.columns.get_loc("FPOGD")] = -0.5
    first.iloc[2, first.columns.get_loc("Y_ORIGINAL")] = np.nan
    first.iloc[2, first.columns.get_loc("FPOGY")] = np.nan
    again = first.head(3).assign(SESSION_ID=77)
    strange = first.head(2).assign(DICOM_ID="calibration")
    whole = pd.concat([strange, table[table["DICOM_ID"] != name], again, first])
    whole[[*whole.columns[::-1]]].to_csv(other / "fixations.csv", index=False, encoding="utf-8-sig")
    data = sl.open_dataset(f"egd:{other}")
    gaze = gaze_of(data, name)
    assert gaze.excluded_counts == {
        "without coordinates or times": 1,
        "outside the image": 1,
        "with a negative duration": 1,
    }
    assert len(gaze) == len(first) - 3
    (warning,) = (w for w in data.metadata["warnings"] if "calibration" in w)
    assert "2 rows are gaze on 1 images" in warning


def test_missing_and_damaged_files_of_egd_are_told(egd: Path, tmp_path: Path) -> None:
    other = copy(egd, tmp_path / "set")
    names = [r.id for r in sl.open_dataset(f"egd:{egd}").radiographs if gaze_of(sl.open_dataset(f"egd:{egd}"), r.id)]
    (other / TRANSCRIPT_FOLDER / names[0] / "transcript.json").write_text("{")
    (other / TRANSCRIPT_FOLDER / names[1] / "transcript.json").write_text(
        json.dumps({"time_stamped_text": [{"phrase": 1}]})
    )
    (other / TRANSCRIPT_FOLDER / names[0] / "left_lung.png").unlink()
    data = sl.open_dataset(f"egd:{other}")
    assert (
        gaze_of(data, names[0]).excluded_counts
        == gaze_of(data, names[1]).excluded_counts
        == {"transcripts that cannot be read": 1}
    )
    assert data.annotation(names[0], "Left Lung", data.reference_reader) is None
    boxes = pd.read_csv(other / "bounding_boxes.csv")
    boxes.loc[3, "x2"] = boxes.loc[3, "x1"]
    boxes.to_csv(other / "bounding_boxes.csv", index=False)
    assert any(
        "bounding_boxes.csv, row 5: the rectangle has no area" in w
        for w in sl.open_dataset(f"egd:{other}").metadata["warnings"]
    )
    (other / "bounding_boxes.csv").unlink()
    assert any("no rectangles" in w for w in sl.open_dataset(f"egd:{other}").metadata["warnings"])


def test_rows_without_a_session_are_one_session(egd: Path, tmp_path: Path) -> None:
    other = copy(egd, tmp_path / "set")
    table = pd.read_csv(other / "fixations.csv")
    whole = gaze_of(sl.open_dataset(f"egd:{egd}"), table["DICOM_ID"][0])
    table.assign(SESSION_ID="").to_csv(other / "fixations.csv", index=False)
    np.testing.assert_array_equal(
        gaze_of(sl.open_dataset(f"egd:{other}"), table["DICOM_ID"][0]).positions, whole.positions
    )


def test_a_mask_that_is_damaged_is_told_when_it_is_read_and_spoils_nothing_else(egd: Path, tmp_path: Path) -> None:
    other = copy(egd, tmp_path / "set")
    name = sl.open_dataset(f"egd:{egd}").radiographs[0].id
    mask = other / TRANSCRIPT_FOLDER / name / "left_lung.png"
    mask.unlink()
    mask.write_bytes(b"no picture")
    for file in (other / TRANSCRIPT_FOLDER / name).glob(
        "*lung.png"
    ):  # the size is that of the next mask, or of the image
        data = sl.open_dataset(f"egd:{other}")
        assert data.annotation(name, "Mediastinum", data.reference_reader).size == data.radiographs[0].read().shape
        file.unlink()
        file.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"left_lung\.png is not an image"):
        rasterize_annotation(data.annotation(name, "Left Lung", data.reference_reader))


def test_the_master_sheet_in_another_order_with_a_bom(egd: Path, tmp_path: Path) -> None:
    """And a rectangle and a transcript of an image that it does not have, which are no one's."""
    other = copy(egd, tmp_path / "set")
    sheet = pd.read_csv(other / "master_sheet.csv", dtype=str)
    sheet[[*sheet.columns[::-1]]].to_csv(other / "master_sheet.csv", index=False, encoding="utf-8-sig")
    with (other / "bounding_boxes.csv").open("a") as file:
        file.write("stranger,left lung,1,5,1,5\n")
    (other / TRANSCRIPT_FOLDER / "stranger").mkdir()
    first, second = sl.open_dataset(f"egd:{egd}"), sl.open_dataset(f"egd:{other}")
    assert [(r.id, r.patient, r.labels) for r in first.radiographs] == [
        (r.id, r.patient, r.labels) for r in second.radiographs
    ]
    assert second.annotation("stranger", "Left Lung Box", second.reference_reader) is None


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [("FPOGD", "long", "FPOGD|Row #3|conversion"), ("DICOM_ID", "", "row 3: DICOM_ID is blank")],
)
def test_a_cell_that_is_none_is_named(egd: Path, tmp_path: Path, column: str, cell: str, message: str) -> None:
    table = pd.read_csv(egd / "fixations.csv", dtype=str)
    table.loc[1, column] = cell
    table.to_csv(tmp_path / "f.csv", index=False)
    with pytest.raises(DataError, match=message):
        read_gaze_samples(tmp_path / "f.csv", "DICOM_ID", ("FPOGD",), "SESSION_ID")


def test_files_that_are_no_gaze_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_gaze_samples(tmp_path / "none.csv", "DICOM_ID", ())
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column 'DICOM_ID'; it has A, B"):
        read_gaze_samples(tmp_path / "other.csv", "DICOM_ID", ())
    with pytest.raises(DataError, match=r"master_sheet\.csv does not exist"):
        sl.open_dataset(f"egd:{tmp_path}")
    with pytest.raises(DataError, match="allowed: fixations or raw"):
        sl.open_dataset(f"egd:{tmp_path}?gaze=half")


def test_reflacx_comes_back_with_every_reading(phantom: sl.Dataset, reflacx: Path) -> None:
    data = sl.open_dataset(f"reflacx:{reflacx}")
    for loaded, original in zip(data.radiographs, phantom.radiographs, strict=True):
        assert (loaded.id, loaded.patient, loaded.size) == (original.id, original.patient, original.size)
        assert {f: loaded.labels[f] for f in phantom.findings} == original.labels
        np.testing.assert_allclose(loaded.read(), original.read(), atol=0.003)
        for reader in range(2):
            result, other = gaze_of(data, loaded.id, reader), gaze_of(phantom, loaded.id, reader)
            assert (result is None) == (other is None)
            if result is not None:
                for column in ("positions", "begin", "duration", "pixels_per_degree", "visible_region", "pupil"):
                    np.testing.assert_allclose(getattr(result, column), getattr(other, column), atol=1e-6)
                phrases = [p.text.rstrip(".") for p in result.phrases]
                assert phrases == [p.text for p in other.phrases]
        for finding in phantom.findings:
            mark = data.annotation(loaded.id, finding, data.reference_reader)
            assert (mark is not None) == (original.labels[finding] == 1)
            if mark is not None:
                truth = rasterize_annotation(phantom.annotation(loaded.id, finding, "truth"))
                ellipses = mark.read()
                assert ellipses[truth].mean() > 0.6  # inscribed in the rectangle around each part


def test_what_reflacx_lacks_is_told(reflacx: Path, tmp_path: Path) -> None:
    other = copy(reflacx, tmp_path / "set")
    sheet = pd.read_csv(other / "main_data" / "metadata_phase_1.csv")
    kept = sheet[~sheet["eye_tracking_data_discarded"]].iloc[0]
    folder = other / "main_data" / kept["id"]
    table = pd.read_csv(folder / "fixations.csv")
    table.loc[0, "x_position"] = -4
    table.loc[1, "timestamp_end_fixation"] = table.loc[1, "timestamp_start_fixation"] - 1
    table.to_csv(folder / "fixations.csv", index=False)
    (folder / "timestamps_transcription.csv").unlink()
    gaze = gaze_of(sl.open_dataset(f"reflacx:{other}"), kept["dicom_id"])
    assert gaze.excluded_counts == {
        "outside the image": 1,
        "with a negative duration": 1,
        "transcripts that are missing": 1,
    }
    table.drop(columns=[c for c in table if "degree" in c]).to_csv(folder / "fixations.csv", index=False)
    with pytest.raises(DataError, match="pixels per degree"):
        gaze_of(sl.open_dataset(f"reflacx:{other}"), kept["dicom_id"])
    with pytest.raises(DataError, match=r"holds no metadata_phase_1\.csv"):
        sl.open_dataset(f"reflacx:{tmp_path / 'nowhere'}")
    sheet["Edema"] = sheet["Edema"].astype(object)
    sheet.loc[2, "Edema"] = "perhaps"
    sheet.to_csv(other / "main_data" / "metadata_phase_1.csv", index=False)
    with pytest.raises(DataError, match=r"metadata_phase_1\.csv, row 4: Edema is 'perhaps'"):
        sl.open_dataset(f"reflacx:{other}")


def test_tables_of_a_reading_may_be_empty_ordered_otherwise_and_have_a_bom(reflacx: Path, tmp_path: Path) -> None:
    other = copy(reflacx, tmp_path / "set")
    sheet = pd.read_csv(other / "main_data" / "metadata_phase_1.csv")
    first, second = sheet[~sheet["eye_tracking_data_discarded"]].iloc[:2].to_dict("records")
    assert first["dicom_id"] == second["dicom_id"]  # two readers of one radiograph
    turned, emptied = (other / "main_data" / r["id"] for r in (first, second))
    table = pd.read_csv(turned / "fixations.csv")
    table.loc[0, "y_position"] = np.nan
    table[[*table.columns[::-1]]].to_csv(turned / "fixations.csv", index=False, encoding="utf-8-sig")
    for name in ("fixations", "anomaly_location_ellipses", "chest_bounding_box"):
        pd.read_csv(emptied / f"{name}.csv").head(0).to_csv(emptied / f"{name}.csv", index=False)
    data = sl.open_dataset(f"reflacx:{other}")
    name = first["dicom_id"]
    gaze = gaze_of(data, name)
    assert gaze.excluded_counts == {"without coordinates or times": 1} and len(gaze) == len(table) - 1
    assert len(gaze_of(data, name, 1)) == 0 and data.annotation(name, "Chest", "reading 2") is None
    assert all(data.annotation(name, f, "reading 2") is None for f in data.findings)
    assert all(data.annotation(name, f, "gaze 2") is None for f in data.findings)


def test_what_was_looked_at_while_a_finding_was_spoken_of(phantom: sl.Dataset, egd: Path, reflacx: Path) -> None:
    """Nearer to the finding than the whole reading is, from every loader."""
    for data in (phantom, sl.open_dataset(f"egd:{egd}"), sl.open_dataset(f"reflacx:{reflacx}")):
        gains = []
        for r in phantom.radiographs:
            for finding in phantom.findings:
                mark = data.annotation(r.id, finding, data.gaze_readers[0])
                if mark is None or r.labels[finding] != 1:
                    continue
                whole = gaze_density(gaze_of(data, r.id), KERNELS["corrected"], mark.read().shape)
                inside = rasterize_annotation(phantom.annotation(r.id, finding, "truth"))
                inside = inside[: whole.shape[0], : whole.shape[1]]
                gains.append(mark.read()[inside].sum() - whole[inside].sum())
        assert len(gains) >= 3 and np.mean(gains) > 0.05
