"""The radiograph to which exported DICOM objects refer: the original where patients keep their names, else a copy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sightline.core import Array, Radiograph, Size
from sightline.imaging import image_files
from sightline.runs.export.items import ExportJob

if TYPE_CHECKING:
    from highdicom.sc import SCImage
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
"""Attributes that are read from an original where patients are pseudonymized. None can name a person: numbers are read
as numbers, and text must be among the values that the standard defines."""
_COPIED_ATTRIBUTES = ("Modality", "ViewPosition", *TECHNICAL_ATTRIBUTES[-3:])
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
DEIDENTIFICATION_METHOD = "Sightline: new header, identifiers replaced; pixels unchanged"
"""Text of the attribute DeidentificationMethod."""


@dataclass(frozen=True, slots=True)
class ReferenceImage:
    """Radiograph to which the objects of an export refer."""

    header: Dataset
    """Header without pixels and without a frame of reference, because a projection has no position in space."""
    path: Path
    """File of the original, or of the copy that was written."""
    is_copy: bool
    """Whether it is a copy."""
    spacing: tuple[float, float] | None
    """(row, column) distance of pixels in mm, at the detector if nothing else is stated; None where unknown."""

    @property
    def size(self) -> Size:
        """(H, W) in pixels."""
        return int(self.header.Rows), int(self.header.Columns)


def make_reference_image(radiograph: Radiograph, job: ExportJob) -> ReferenceImage:
    """Return the original if patients keep their names and it is DICOM, otherwise write a copy.

    Copies are written below FOLDER/radiographs.

    Parameters
    ----------
    radiograph : Radiograph
        Radiograph.
    job : ExportJob
        What is exported, and where to.

    Returns
    -------
    ReferenceImage
        Header and file to which objects refer.
    """
    original = _find_original(radiograph)
    if job.identify and original is not None and original[1].get("SOPInstanceUID"):
        return _use_original(*original)
    return _write_copy(radiograph, job, original[1] if original else None)


def _find_original(radiograph: Radiograph) -> tuple[Path, Dataset] | None:
    """Return the DICOM file of a radiograph with its header, or None where its file is of another format."""
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
    """Write a secondary capture of the pixels as the loader gives them: 16 bits, higher = more radio-opaque."""
    pixels = np.rint(np.clip(radiograph.read(), 0, 1) * 65535).astype(np.uint16)  # (H, W)
    attributes = technical_attributes(header)
    spacing = _pixel_spacing(attributes)
    copy = _make_capture(pixels, radiograph, job, spacing)
    copy.BodyPartExamined = attributes.get("BodyPartExamined", "CHEST")
    copy.WindowCenter, copy.WindowWidth, copy.VOILUTFunction = 32767.5, 65535, "LINEAR_EXACT"
    for name in _COPIED_ATTRIBUTES:
        if name in attributes:
            setattr(copy, name, attributes[name].value)
    if not job.identify:
        set_deidentified(copy)
    if "PatientOrientation" not in copy:
        copy.add_new("PatientOrientation", "CS", None)  # unknown
    file = job.file_path("radiographs", f"{radiograph.id}.dcm")
    write_dicom(copy, file)
    for name in ("PixelData", "PixelSpacing"):  # as in `_use_original`
        if name in copy:
            delattr(copy, name)
    return ReferenceImage(copy, file, True, spacing)


def _make_capture(
    pixels: Array, radiograph: Radiograph, job: ExportJob, spacing: tuple[float, float] | None
) -> SCImage:
    from highdicom.sc import SCImage

    names, key = job.pseudonyms, (job.data.name, radiograph.id)
    patient = radiograph.patient if job.identify else names.patient(radiograph.patient)
    return SCImage(
        pixels,
        "MONOCHROME2",
        16,
        "PATIENT",
        names.uid("study", *key),
        names.uid("series", "film", *key),
        1,
        names.uid("film", *key),
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


def technical_attributes(header: Dataset | None) -> Dataset:
    """Return the attributes of an original on its acquisition that cannot name a person.

    Parameters
    ----------
    header : pydicom.Dataset or None
        Header of the original, where there is one.

    Returns
    -------
    pydicom.Dataset
        Attributes.
    """
    from pydicom.dataset import Dataset

    attributes = Dataset()
    for name in TECHNICAL_ATTRIBUTES if header is not None else ():
        value = header.get(name) if header is not None else None
        if value is None:
            continue
        if name in _ALLOWED_VALUES:
            if str(value) in _ALLOWED_VALUES[name]:
                setattr(attributes, name, str(value))
        else:
            numbers = _positive_numbers(value)
            if numbers:
                setattr(attributes, name, numbers if len(numbers) > 1 else numbers[0])
    attributes.Modality = attributes.get("Modality", "OT")
    return attributes


def _positive_numbers(value: object) -> list[float]:
    try:
        return [float(v) for v in np.ravel(np.asarray(value, float)).tolist() if v > 0]
    except (TypeError, ValueError):
        return []


def _pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = _positive_numbers(header.get(name)) if header.get(name) is not None else []
        if len(spacing) == 2:
            return spacing[0], spacing[1]
    return None


def set_deidentified(ds: Dataset) -> None:
    """State in a header that identities were removed.

    Parameters
    ----------
    ds : pydicom.Dataset
        Header to change.
    """
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", DEIDENTIFICATION_METHOD[:64]


def write_dicom(ds: Dataset, file: Path) -> None:
    """Write a DICOM file, which is there whole or not at all.

    Parameters
    ----------
    ds : pydicom.Dataset
        Object.
    file : Path
        File to write.
    """
    partial = file.with_name(f".{file.name}.partial")
    ds.save_as(partial, enforce_file_format=True)
    partial.replace(file)


def _plain_name(text: str) -> str:
    """Replace the characters that separate the components of a name."""
    return re.sub(r"[\\^=]", " ", text)[:60]
