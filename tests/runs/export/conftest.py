"""Runs small enough to export in a moment: films in DICOM files full of names, or in PNG; maps on crops and on all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

import sightline as sl
from sightline.core import Array, Frame, SaliencyMap
from sightline.evaluation.score_rows import ScoringOptions
from sightline.evaluation.score_run import score_run
from sightline.maps.storage import write_maps
from sightline.protocol import CORRECTED, PUBLISHED
from sightline.runs.provenance import record_inputs
from sightline.runs.run import Run

SIZE = (40, 48)
FINDINGS = ("Lung Opacity", "Pleural Effusion")
CROP = Frame(SIZE, (0.0, 4.0, 40.0, 44.0))
PLANTED = {
    "PatientName": "Roe^Secret",
    "PatientID": "MRN77001122",
    "PatientBirthDate": "19310203",
    "PatientSex": "F",
    "PatientAge": "094Y",
    "PatientAddress": "1 Hidden Lane",
    "PatientTelephoneNumbers": "555-0199",
    "OtherPatientIDs": "OTHER445566",
    "PatientMotherBirthName": "Maiden^Quiet",
    "PatientComments": "knows the mayor",
    "AccessionNumber": "ACC998877",
    "StudyID": "STU4711",
    "StudyDate": "20190817",
    "StudyTime": "112233",
    "SeriesDate": "20190818",
    "AcquisitionDate": "20190819",
    "ContentDate": "20190820",
    "InstitutionName": "Quiet General",
    "InstitutionAddress": "Back Street 9",
    "StationName": "ROOM6X",
    "ReferringPhysicianName": "Referrer^Rita",
    "PerformingPhysicianName": "Performer^Paul",
    "OperatorsName": "Operator^Olga",
    "RequestingPhysician": "Asker^Ann",
    "StudyDescription": "chest for Roe",
    "SeriesDescription": "bed 12 Roe",
    "ProtocolName": "Roe protocol",
    "DeviceSerialNumber": "SN55443322",
    "AdmissionID": "ADM1234567",
    "Occupation": "lamplighter",
    "EthnicGroup": "islander",
    "ImageComments": "Roe at rest",
    "RequestAttributesSequence": "",
    "ViewPosition": "ROEVIEW",
    "Manufacturer": "Maker of Roe",
    "DetectorID": "DET909090",
}
"""Identifying attributes of the standard's confidentiality profile (PS3.15 E.1), and words where they do not belong."""


def film(number: int) -> Array:
    """uint16 (H, W): a gradient and noise."""
    return np.random.default_rng(number).integers(0, 4096, SIZE, np.uint16)


def write_original(path: Path, number: int) -> None:
    """A computed radiograph of twelve bits with every name there is."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid(entropy_srcs=["film", str(number)])
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(number)])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(number)])
    for name, value in PLANTED.items():
        if name == "RequestAttributesSequence":
            item = Dataset()
            item.RequestedProcedureID = "REQ31337"
            value = [item]
        setattr(ds, name, value)
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.PatientOrientation = "CR", 1, 1, ["L", "F"]
    ds.Rows, ds.Columns = SIZE
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.BodyPartExamined = "CHEST"
    ds.ImagerPixelSpacing = [0.15, 0.25]
    ds.add_new(0x00091001, "LO", "private Roe")
    ds.PixelData = film(number).tobytes()
    ds.save_as(path, enforce_file_format=True)


def write_data(root: Path, suffix: str, count: int = 3) -> Path:
    """A `folder:` data set of films with masks of two findings that overlap."""
    for folder in ("images", *(f"masks/{f}" for f in FINDINGS)):
        (root / folder).mkdir(parents=True)
    rows = ["image,patient,view,Lung Opacity,Pleural Effusion"]
    for n in range(count):
        if suffix == ".dcm":
            write_original(root / f"images/film{n}.dcm", n)
        else:
            Image.fromarray((film(n) >> 4).astype(np.uint8)).save(root / f"images/film{n}.png")
        for k, finding in enumerate(FINDINGS):
            mask = np.zeros(SIZE, np.uint8)
            mask[8 + 3 * n : 24 + 3 * n, 10 + 8 * k : 28 + 8 * k] = 255
            Image.fromarray(mask).save(root / f"masks/{finding}/film{n}.png")
        rows.append(f"film{n},MRN77001122-{n},frontal,1,1")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def make_run(root: Path, suffix: str = ".dcm", frame: Frame = CROP, both: bool = False) -> Run:
    """A run with stored maps of one method, one of them flat, scored by what the exports are scored by again."""
    data = sl.open_dataset(f"folder:{write_data(root / 'data', suffix)}")
    run = Run.start(root / "run", "localization", {"data": data.spec})
    chosen = (PUBLISHED, CORRECTED) if both else (CORRECTED,)
    run = record_inputs(run, data, chosen, title="A run to export")
    ids, rng = [r.id for r in data.radiographs], np.random.default_rng(7)
    maps = [
        SaliencyMap(i, f, "net/grad-cam", np.float32(rng.normal(size=(5, 5)) * (1, 0.001)[k]), frame, 0.1 + 0.2 * k)
        for i in ids
        for k, f in enumerate(FINDINGS)
    ]
    flat = np.ones((5, 5), np.float32)
    maps[-1] = SaliencyMap(ids[-1], FINDINGS[1], "net/grad-cam", flat, frame, 0.3, "flat", "every value is 1")
    run.write_part("maps-0", "000000", lambda path: write_maps(path, ids, FINDINGS, {"net/grad-cam": maps}))
    options = ScoringOptions(tuple(chosen), FINDINGS, ("iou", "pointing-game", "pixel-auroc"), include_unannotated=True)
    score_run(run, run, data, options)
    return run


@pytest.fixture(scope="session")
def dicom_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("dicom"))


@pytest.fixture(scope="session")
def png_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("png"), ".png")


@pytest.fixture(scope="session")
def exported(dicom_run: Run, png_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`exported("dicom", "npz", identify=True)` -> folder; made once."""
    from sightline.runs.export import export_run

    made: dict[object, Path] = {}

    def give(of: str, format: str, **options: object) -> Path:
        key = (of, format, tuple(sorted(options.items())))
        if key not in made:
            out = tmp_path_factory.mktemp(f"{of}-{format}") / "out"
            export_run((dicom_run if of == "dicom" else png_run).path, format=format, out=out, **options)
            made[key] = out
        return made[key]

    return give


def read(path: Path) -> Dataset:
    return pydicom.dcmread(path)
