"""The radiograph that exported DICOM objects lie on: the original, where patients keep their names, else a copy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sightline.core import Radiograph, Size
from sightline.imaging import image_files
from sightline.runs.export.items import ExportJob

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

TECHNICAL_ATTRIBUTES = (
    "PixelSpacing",
    "ImagerPixelSpacing",
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""All that is looked up in an original where patients lose their names. None can name a person: numbers are read as
numbers, and words must be among those the standard defines."""
_ALLOWED_VALUES = {
    "Modality": ("CR", "DX"),
    "BodyPartExamined": ("CHEST", "ABDOMEN", "SHOULDER", "SPINE", "PELVIS", "HIP", "KNEE", "HAND", "FOOT", "SKULL"),
    "ViewPosition": ("AP", "PA", "LL", "RL", "LLD", "RLD"),
    "LossyImageCompression": ("00", "01"),
    "LossyImageCompressionMethod": ("ISO_10918_1", "ISO_14495_1", "ISO_15444_1"),
}
_REQUIRED_ATTRIBUTES = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
DEIDENTIFICATION_METHOD = "Sightline: header made anew, identifiers replaced; pixels as they are"


@dataclass(frozen=True, slots=True)
class ReferenceImage:
    """What maps refer to."""

    header: Dataset
    """Without pixels, and without a frame of reference: a projection has no place in space."""
    path: Path
    """Of the original, or of the copy that was written."""
    is_copy: bool
    spacing: tuple[float, float] | None
    """(row, column) distance of pixels in mm, at the detector where the original says no better; None if unknown."""

    @property
    def size(self) -> Size:
        return int(self.header.Rows), int(self.header.Columns)


def make_reference_image(radiograph: Radiograph, job: ExportJob) -> ReferenceImage:
    """The original where patients keep their names and the data set is DICOM, else a copy below FOLDER/films.

    Errors: `DataError` for a radiograph that cannot be read.
    """
    original = _find_original(radiograph)
    if job.identify and original is not None and original[1].get("SOPInstanceUID"):
        return _use_original(*original)
    return _write_copy(radiograph, job, original[1] if original else None)


def _find_original(radiograph: Radiograph) -> tuple[Path, Dataset] | None:
    """The DICOM file of a radiograph and its header, or None where it is of another format or none."""
    path = image_files.source_path(radiograph.read)
    if path is None or image_files.detect_format(path) != "DICOM":
        return None
    from sightline.imaging import dicom

    with path.open("rb") as file:
        return path, dicom.read_header(file, path)


def _use_original(path: Path, header: Dataset) -> ReferenceImage:
    for name in _REQUIRED_ATTRIBUTES:
        if name not in header:
            setattr(header, name, "")
    spacing = _pixel_spacing(header)
    # Segmentations of a projection lie on it pixel by pixel; Parametric Maps are given a nominal plane of their own.
    for name in ("FrameOfReferenceUID", "PositionReferenceIndicator", "ImagePositionPatient", "PixelSpacing"):
        if name in header:
            delattr(header, name)
    return ReferenceImage(header, path, False, spacing)


def _write_copy(radiograph: Radiograph, job: ExportJob, header: Dataset | None) -> ReferenceImage:
    """A secondary capture of the pixels as the loader gives them: 16 bits, more = more radio-opaque."""
    from highdicom.sc import SCImage

    names = job.pseudonyms
    pixels = np.rint(np.clip(radiograph.read(), 0, 1) * 65535).astype(np.uint16)  # (H, W)
    about = technical_attributes(header)
    patient = radiograph.patient if job.identify else names.patient(radiograph.patient)
    of = (job.data.name, radiograph.id)
    spacing = _pixel_spacing(about)
    copy = SCImage(
        pixels,
        "MONOCHROME2",
        16,
        "PATIENT",
        names.uid("study", *of),
        names.uid("series", "film", *of),
        1,
        names.uid("film", *of),
        1,
        "Sightline",
        patient_id=patient[:64],
        patient_name=f"{_plain_name(patient)}^",
        patient_birth_date=None,
        patient_sex=None,
        accession_number="",
        study_id="",
        study_date=None,
        study_time=None,
        referring_physician_name=None,
        pixel_spacing=spacing,
        manufacturer_model_name="sightline",
        series_description="Radiograph",
        patient_orientation=("L", "F") if radiograph.view == "frontal" else None,
        specific_character_set="ISO_IR 192",
    )
    copy.BodyPartExamined = about.get("BodyPartExamined", "CHEST")
    copy.WindowCenter, copy.WindowWidth, copy.VOILUTFunction = 32767.5, 65535, "LINEAR_EXACT"
    for name in (
        "Modality",
        "ViewPosition",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    ):
        if name in about:
            setattr(copy, name, about[name].value)
    if not job.identify:
        set_deidentified(copy)
    if "PatientOrientation" not in copy:
        copy.add_new("PatientOrientation", "CS", None)  # unknown
    file = job.file_path("films", f"{radiograph.id}.dcm")
    write_dicom(copy, file)
    for name in ("PixelData", "PixelSpacing"):  # as in `_use_original`
        if name in copy:
            delattr(copy, name)
    return ReferenceImage(copy, file, True, spacing)


def technical_attributes(header: Dataset | None) -> Dataset:
    """What an original says of its acquisition that cannot name a person."""
    from pydicom.dataset import Dataset

    about = Dataset()
    for name in TECHNICAL_ATTRIBUTES if header is not None else ():
        value = header.get(name) if header is not None else None
        if value is None:
            continue
        if name in _ALLOWED_VALUES:
            if str(value) in _ALLOWED_VALUES[name]:
                setattr(about, name, str(value))
        else:
            numbers = _positive_numbers(value)
            if numbers:
                setattr(about, name, numbers if len(numbers) > 1 else numbers[0])
    about.Modality = about.get("Modality", "OT")
    return about


def _positive_numbers(value: object) -> list[float]:
    try:
        return [float(v) for v in np.ravel(np.asarray(value, float)).tolist() if v > 0]
    except (TypeError, ValueError):
        return []


def _pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        found = _positive_numbers(header.get(name)) if header.get(name) is not None else []
        if len(found) == 2:
            return found[0], found[1]
    return None


def set_deidentified(ds: Dataset) -> None:
    """Say that the names in a header are none."""
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", DEIDENTIFICATION_METHOD[:64]


def write_dicom(ds: Dataset, file: Path) -> None:
    """Write a DICOM file at once."""
    partial = file.with_name(f".{file.name}.partial")
    ds.save_as(partial, enforce_file_format=True)
    partial.replace(file)


def _plain_name(text: str) -> str:
    """A name without the signs that part its components."""
    return re.sub(r"[\\^=]", " ", text)[:60]
