"""Exported DICOM objects hold what the run holds, lie on the radiograph, satisfy the standard and name nobody."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import sightline as sl
from runs.export.conftest import FINDINGS, PLANTED, SIZE, film, read
from services import need
from sightline.errors import RunError
from sightline.imaging import image_files
from sightline.imaging.geometry import project_to_image
from sightline.imaging.masks import rasterize_annotation
from sightline.metrics.placed_map import binarize_map
from sightline.protocol import CORRECTED

KINDS = ("dicom-pm", "dicom-seg")


def files(out: Path) -> list[Path]:
    return sorted(out.rglob("*.dcm"))


@pytest.mark.parametrize("identify", [False, True])
@pytest.mark.parametrize("of", ["dicom", "png"])
def test_parametric_maps_hold_the_laid_map(of: str, identify: bool, dicom_run, png_run, exported) -> None:
    run = dicom_run if of == "dicom" else png_run
    out = exported(of, "dicom-pm", identify=identify)
    for n in range(3):
        for finding in FINDINGS:
            pm = highdicom.pm.ParametricMap.from_file(out / f"maps/net/grad-cam/film{n}__{finding}.dcm")
            m = run.map("net/grad-cam", f"film{n}", finding)
            placed, window = project_to_image(m.values, m.frame)
            assert pm.pixel_array.dtype == np.float32 and pm.pixel_array.shape == SIZE
            np.testing.assert_array_equal(pm.pixel_array[window], placed)
            outside = np.ones(SIZE, bool)
            outside[window] = False
            assert (pm.pixel_array[outside] == np.float32(pm.FloatPixelPaddingValue)).all()
            assert pm.FloatPixelPaddingValue < placed.min()
            mapping = pm.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
            assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
            assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
            assert pm.ContentLabel == finding.upper()[:16]
            assert "net/grad-cam" in pm.ContentDescription and finding in pm.ContentDescription
            measures = pm.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
            assert list(measures.PixelSpacing) == ([0.15, 0.25] if of == "dicom" else [1, 1])


@pytest.mark.parametrize("identify", [False, True])
def test_segmentations_hold_the_masks_bit_by_bit(dicom_run, exported, identify: bool) -> None:
    data = sl.open_dataset(dicom_run.info["dataset"]["spec"])
    for n in range(3):
        seg = highdicom.seg.segread(
            exported("dicom", "dicom-seg", identify=identify) / f"segmentations/net/grad-cam/film{n}.dcm"
        )
        masks = [binarize_map(dicom_run.map("net/grad-cam", f"film{n}", f), CORRECTED) for f in FINDINGS]
        masks += [rasterize_annotation(data.annotation(f"film{n}", f, "truth")) for f in FINDINGS]
        np.testing.assert_array_equal(seg.pixel_array.astype(bool), np.stack(masks))
        labels = [s.SegmentLabel for s in seg.SegmentSequence]
        assert labels == [f"{f} ({by})" for by in ("corrected, otsu", "truth") for f in FINDINGS]
        kinds = [(s.SegmentAlgorithmType, s.get("SegmentAlgorithmName")) for s in seg.SegmentSequence]
        assert kinds == [("AUTOMATIC", "net/grad-cam")] * 2 + [("MANUAL", None)] * 2
        assert seg.SegmentsOverlap == "YES"
        assert "FrameOfReferenceUID" not in seg  # pixel for pixel on its source, as for any projection


def references(ds: Dataset) -> set[tuple[str, str]]:
    """(series, instance) that an object refers to, from its header; every frame must name the same instance."""
    series = ds.ReferencedSeriesSequence[0]
    instance = series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    for frame in ds.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == instance and source.SpatialLocationsPreserved == "YES"
    return {(series.SeriesInstanceUID, instance)}


@pytest.mark.parametrize("kind", KINDS)
def test_with_names_objects_belong_to_the_original_study(dicom_run, exported, kind: str) -> None:
    out = exported("dicom", kind, identify=True)
    data = Path(dicom_run.info["dataset"]["spec"].removeprefix("folder:"))
    assert not (out / "radiographs").exists()
    for file in files(out):
        ds, original = read(file), read(data / "images" / f"{file.name[:5]}.dcm")
        assert references(ds) == {(original.SeriesInstanceUID, original.SOPInstanceUID)}
        for name in (
            "StudyInstanceUID",
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "AccessionNumber",
            "StudyDate",
        ):
            assert ds[name].value == original[name].value
        assert (ds.Rows, ds.Columns) == (original.Rows, original.Columns)
        assert "PatientIdentityRemoved" not in ds


@pytest.mark.parametrize("of", ["dicom", "png"])
def test_without_names_objects_lie_on_a_copy_of_the_film(of: str, exported) -> None:
    studies = []
    for kind in KINDS:
        out = exported(of, kind)
        films = {f.stem: read(f) for f in sorted((out / "radiographs").iterdir())}
        assert list(films) == ["film0", "film1", "film2"]
        for n, copy in enumerate(films.values()):
            expected = film(n) / 4095 if of == "dicom" else (film(n) >> 4) / 255
            np.testing.assert_allclose(
                image_files.read_image(out / f"radiographs/film{n}.dcm"), expected, atol=1 / 65535
            )
            assert (copy.Rows, copy.Columns, list(copy.PatientOrientation)) == (*SIZE, ["L", "F"])
        for file in [f for f in files(out) if f.parent.name != "radiographs"]:
            ds, copy = read(file), films[file.name[:5]]
            assert references(ds) == {(copy.SeriesInstanceUID, copy.SOPInstanceUID)}
            assert (ds.StudyInstanceUID, ds.PatientID) == (copy.StudyInstanceUID, copy.PatientID)
            assert ds.PatientIdentityRemoved == copy.PatientIdentityRemoved == "YES"
        studies.append([(c.StudyInstanceUID, c.PatientID, c.SOPInstanceUID) for c in films.values()])
    assert studies[0] == studies[1]  # the exports of a run fit together
    assert len({patient for _, patient, _ in studies[0]}) == 3


def values(ds: Dataset) -> list[str]:
    """Every value of a data set, in sequences, too, and in the header of its file."""
    found = [str(v) for e in ds.file_meta for v in (e.value if isinstance(e.value, list) else [e.value])]
    for element in ds.iterall():
        if element.VR not in ("SQ", "OB", "OW", "OF"):
            held = element.value if element.VM > 1 else [element.value]
            found += [str(v) for v in held]
    return found


@pytest.mark.parametrize("format", ["dicom-pm", "dicom-seg", "coco", "nifti", "npz"])
def test_no_planted_name_leaves(dicom_run, exported, format: str) -> None:
    data = Path(dicom_run.info["dataset"]["spec"].removeprefix("folder:"))
    original = read(data / "images/film0.dcm")
    secrets = {str(v) for v in PLANTED.values() if v} | {"REQ31337", "private Roe", "Roe", "MRN77001122"}
    secrets -= {"F"}  # the letter stands for feet, too; PatientSex is looked at below
    uids = {original.StudyInstanceUID, original.SeriesInstanceUID, original.SOPInstanceUID}
    out = exported("dicom", format)
    told = [p for p in out.rglob("*") if p.is_file()]
    assert len(told) > 1
    for file in told:
        raw = file.read_bytes()
        leaked = [s for s in secrets | uids if s.encode() in raw or s in str(file.relative_to(out))]
        assert leaked == [], file
        if file.suffix == ".dcm":
            ds = read(file)
            assert not {"ROEVIEW", "094Y"} & set(values(ds))
            assert not [e for e in ds.iterall() if e.keyword == "PatientSex" and e.value]
            assert not any(e.tag.is_private for e in ds.iterall())


def test_the_check_of_names_finds_them_where_they_are(dicom_run, exported) -> None:
    file = files(exported("dicom", "dicom-seg", identify=True))[0]
    assert {"Roe^Secret", "MRN77001122", "19310203", "F"} <= set(values(read(file)))


@pytest.mark.filterwarnings("ignore:Expected implicit VR")  # pydicom, of the damage it is given
def test_a_film_that_cannot_be_read_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    from runs.export.conftest import make_run
    from runs.export.test_export import index
    from sightline.runs.export import export_run

    run = make_run(tmp_path)
    (tmp_path / "data/images/film1.dcm").write_bytes(b"DICM" * 100)
    with pytest.raises(RunError, match=r"film1\.dcm"):
        export_run(run.path, format="dicom-seg", out=tmp_path / "out")
    shutil.rmtree(run.part("inputs", "files.parquet").parent)  # as older runs are, which know no files
    export_run(run.path, format="dicom-seg", out=tmp_path / "out")
    rows = index(tmp_path / "out")
    failed = [(r["radiograph"], r["finding"], r["status"]) for r in rows if not r["file"]]
    assert failed == [("film1", f, "unreadable") for f in FINDINGS]
    assert all("film1.dcm" in r["reason"] for r in rows if not r["file"])
    assert sorted(p.name for p in (tmp_path / "out/radiographs").iterdir()) == ["film0.dcm", "film2.dcm"]


ALLOWED = (
    "Study(Date|Time|ID).* needed to build DICOMDIR",  # left out on purpose
    r"CodingSchemeDesignator.* Unrecognized defined term = <99SIGHTLINE>",  # findings without a code we could check
    r"ImageType\(0008,0008\)\[4\].* Unrecognized defined term = <NONE>",
)


@pytest.mark.parametrize("identify", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["dicom", "png"])
def test_the_validator_finds_no_error(of: str, kind: str, identify: bool, exported) -> None:
    program = need("dicom3tools")
    for file in files(exported(of, kind, identify=identify))[:5]:
        done = subprocess.run([program, "-new", file], capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).splitlines()
        assert any(line in ("SCImage", "ParametricMap", "Segmentation") for line in said), said
        assert [line for line in said if line.startswith(("Error", "Abort"))] == []
        warnings = [line for line in said if line.startswith("Warning")]
        assert [w for w in warnings if not any(re.search(a, w) for a in ALLOWED)] == []


def test_pydicom_reads_what_is_written(exported) -> None:
    for kind in KINDS:
        for file in files(exported("dicom", kind)):
            ds = pydicom.dcmread(file)
            assert ds.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
            assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID
