"""DICOM: one frame as gray in [0, 1], by modality LUT, then VOI LUT or window, then MONOCHROME1 inversion.

The lookup tables and windows are applied here and not by pydicom, whose `apply_modality_lut` and `apply_voi_lut` wrap
around for values beyond the depth of a table and fail on modality tables of 12 bits. This module can shrink to calls of
`pydicom.pixels.processing` when a release has mended both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from sightline.core import Array, Size
from sightline.errors import DataError

GRAY = ("MONOCHROME1", "MONOCHROME2")
COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
DECODER_PLUGINS = {
    RLELossless: "pydicom",
    JPEGBaseline8Bit: "pillow",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
}
"""Transfer syntax -> decoder where there are several, so that the result is the same everywhere, and GDCM, which can
end
the process on damaged streams, is used only where it is needed."""
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue, ITU-R 601."""


@contextmanager
def _translate_pydicom_errors() -> Iterator[None]:
    """Turn errors of pydicom that derive from no built-in error into ValueError."""
    try:
        yield
    except (BytesLengthException, InvalidDicomError) as error:
        raise ValueError(str(error)) from error


@_translate_pydicom_errors()
def read_header(file: BinaryIO, path: Path) -> FileDataset:
    """Read everything before the pixels.

    Parameters
    ----------
    file : binary file
        Opened file; it is left at its start.
    path : Path
        Its path, for messages.

    Returns
    -------
    pydicom.FileDataset
        Header.

    Raises
    ------
    DataError
        If the file is deflated, because it could unpack to any size, or has several frames.
    """
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise DataError(f"image {path} is a deflated DICOM, which no image needs; store it uncompressed (dcmconv +te)")
    file.seek(0)
    ds = pydicom.dcmread(file, stop_before_pixels=True)
    file.seek(0)
    frames = int(ds.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DataError(f"image {path} has {frames} frames; a radiograph has one, so extract one frame")
    return ds


@_translate_pydicom_errors()
def read_size(ds: Dataset, path: Path) -> Size:
    """Read the size that a header declares.

    Parameters
    ----------
    ds : pydicom.Dataset
        Header.
    path : Path
        Path of the file, for messages.

    Returns
    -------
    (H, W)
        Size in pixels.

    Raises
    ------
    DataError
        If the header declares none.
    """
    if ds.get("Rows") is None or ds.get("Columns") is None:
        raise DataError(f"image {path} is a DICOM file without Rows and Columns: no image (a report or a directory?)")
    return int(ds.Rows), int(ds.Columns)


@_translate_pydicom_errors()
def read_patient_metadata(path: Path) -> dict[str, str]:
    """Read patient, sex, age and projection from a header; nothing else about a person is read.

    Ages above 90 years are reported as 90, because a very high age alone can identify a person.

    Parameters
    ----------
    path : Path
        DICOM file.

    Returns
    -------
    dict of str to str
        'patient', 'sex', 'age' and 'projection'; '' where the header has none.
    """
    tags = {"patient": "PatientID", "sex": "PatientSex", "age": "PatientAge", "projection": "ViewPosition"}
    ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags.values()))
    values = {key: str(ds.get(tag) or "") for key, tag in tags.items()}
    years = values["age"].removesuffix("Y")
    return {**values, "age": "090Y" if years.isdecimal() and int(years) >= 90 else values["age"]}


@_translate_pydicom_errors()
def read_pixels(file: BinaryIO, path: Path) -> Array:
    """Read the pixels of a DICOM file (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3.1.2; PS3.4 N.2).

    The first VOI LUT, otherwise the first window, defines 0 and 1; without both, the limits of the range of the stored
    bits do. Color is reduced by ITU-R 601 luma. PresentationLUTShape repeats what MONOCHROME1 states and is not applied
    a second time.

    Parameters
    ----------
    file : binary file
        Opened file, at its start.
    path : Path
        Its path, for messages.

    Returns
    -------
    (H, W) float32
        Pixels in [0, 1], higher = more radio-opaque.

    Raises
    ------
    DataError
        If there are no pixel data, a palette, or no decoder (the message names the transfer syntax and what to
        install). Decoders raise errors of their own on damaged bytes.
    """
    ds = pydicom.dcmread(file)
    photometric = str(ds.get("PhotometricInterpretation", "")).strip()
    if photometric not in GRAY + COLOR:
        raise DataError(
            f"image {path} has photometric interpretation {photometric!r}; allowed: {', '.join(GRAY + COLOR)}"
        )
    if "PixelData" not in ds:
        raise DataError(f"image {path} is a DICOM file without integer pixel data; get the complete file")
    # Unused bits are cleared by _clear_unused_bits, which respects HighBit.
    stored = pixel_array(ds, decoding_plugin=_choose_decoder(ds, path), correct_unused_bits=False)
    if stored.ndim != (3 if photometric in COLOR else 2):
        raise DataError(f"image {path} is {photometric} but its pixels are {stored.shape}; the file is damaged")
    if photometric in COLOR:
        maximum = np.float32(2 ** int(ds.BitsStored) - 1)
        return np.asarray(np.asarray(stored, np.float32) @ np.array(LUMA_WEIGHTS, np.float32) / maximum)  # (H, W)
    display = _apply_display_luts(_clear_unused_bits(stored, ds), ds, path)
    return (1 - display if photometric == "MONOCHROME1" else display).astype(np.float32)


def _choose_decoder(ds: FileDataset, path: Path) -> str:
    """Choose the plug-in of pydicom that decodes the pixels ('' for any), after checking the compressed stream."""
    syntax = UID(ds.file_meta.TransferSyntaxUID)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise DataError(
            f"image {path} is stored as {syntax.name} ({syntax}), which nothing here decodes; convert it"
        ) from error
    if not decoder.is_available:
        needed = "; ".join(decoder.missing_dependencies)
        raise DataError(f"image {path} is stored as {syntax.name} ({syntax}), which needs one of: {needed}")
    if not syntax.is_encapsulated:
        return ""
    if syntax != RLELossless:
        _check_stream(next(generate_frames(ds.PixelData, number_of_frames=1), b""), ds, path)
    chosen = DECODER_PLUGINS.get(syntax, "")
    return chosen if chosen in decoder.available_plugins else ""


def _check_stream(stream: bytes, ds: Dataset, path: Path) -> None:
    """Compare stream and header: decoders allocate by the stream, and GDCM ends the process where both disagree."""
    dimensions = _parse_stream_header(stream)
    if dimensions is None:
        raise DataError(f"image {path} has compressed pixels without a frame header; the file is damaged")
    declared = (*read_size(ds, path), int(ds.SamplesPerPixel))
    if dimensions[:3] != declared or dimensions[3] > ds.BitsAllocated:
        raise DataError(
            f"image {path} declares (rows, columns, samples) {declared} of {ds.BitsAllocated} bits, its compressed "
            f"stream {dimensions[:3]} of {dimensions[3]}; the file is damaged"
        )
    bits, room = int(ds.BitsStored), int(ds.BitsAllocated)
    if ds.HighBit != bits - 1 or not (bits <= room == 16 or bits == room == 8):
        raise DataError(
            f"image {path} is compressed, but stores {bits} of {room} bits with high bit {ds.HighBit}; "
            "allowed: 8 of 8, or up to 16 of 16, with the high bit one less; store it uncompressed (dcmdjpeg)"
        )


def _parse_stream_header(stream: bytes) -> tuple[int, int, int, int] | None:
    """Return (rows, columns, components, bits) of a JPEG, JPEG-LS or JPEG 2000 stream; None where it has none."""

    def number(at: int, length: int) -> int:
        return int.from_bytes(stream[at : at + length], "big")

    if stream.startswith(b"\xff\x4f\xff\x51"):  # JPEG 2000: extent minus offset of the reference grid
        return number(12, 4) - number(20, 4), number(8, 4) - number(16, 4), number(40, 2), (number(42, 1) & 127) + 1
    at = 2
    while stream.startswith(b"\xff\xd8") and at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):  # start of frame
            return number(at + 5, 2), number(at + 7, 2), number(at + 9, 1), number(at + 4, 1)
        else:
            at += 2 + number(at + 2, 2)
    return None


def _clear_unused_bits(stored: Array, ds: Dataset) -> Array:
    """Clear the bits in which old devices keep overlays, and extend the sign."""
    room = stored.dtype.itemsize * 8
    return (stored << (room - 1 - int(ds.HighBit))) >> (room - int(ds.BitsStored))


def _apply_display_luts(stored: Array, ds: Dataset, path: Path) -> Array:
    """Convert stored values (H, W) to display values in [0, 1], before the inversion of MONOCHROME1."""
    table = _first_lut(ds, "ModalityLUTSequence")
    slope, intercept = float(ds.get("RescaleSlope") or 1), float(ds.get("RescaleIntercept") or 0)
    if table is not None:
        values, low, high = _apply_lut(stored, table, path), 0.0, 2.0 ** int(table.LUTDescriptor[2]) - 1
    else:
        values = stored * slope + intercept
        low, high = sorted(end * slope + intercept for end in _stored_range(ds))
    voi = _first_lut(ds, "VOILUTSequence")
    if voi is not None:
        return _apply_lut(np.rint(values).astype(np.int64), voi, path) / (2.0 ** int(voi.LUTDescriptor[2]) - 1)
    if ds.get("WindowCenter") is not None and ds.get("WindowWidth") is not None:
        return _apply_window(values, ds, path)
    return (values - low) / (high - low)


def _stored_range(ds: Dataset) -> tuple[int, int]:
    bits = int(ds.BitsStored)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if ds.PixelRepresentation == 1 else (0, 2**bits - 1)


def _first_lut(ds: Dataset, name: str) -> Dataset | None:
    tables = ds.get(name)
    return cast(Dataset, tables[0]) if tables else None


def _apply_lut(values: Array, table: Dataset, path: Path) -> Array:
    """Look integer values up in a table; values beyond its ends get the first or the last entry."""
    entries, first, depth = (int(number) for number in table.LUTDescriptor)
    entries = entries or 65536  # does not fit 16 bits, so the standard writes 0
    data = table.LUTData
    if isinstance(data, bytes):  # two entries per 16-bit word only where 8-bit entries leave no room for more
        packed = depth <= 8 and len(data) < 2 * entries
        order = ">" if table.original_encoding[1] is False else "<"
        data = np.frombuffer(data, np.uint8 if packed else f"{order}u2")
    lut = np.asarray(data, np.float64).ravel()
    if lut.size < entries:
        raise DataError(f"image {path} has a lookup table of {lut.size} entries that declares {entries}; it is damaged")
    return lut[np.clip(values.astype(np.int64) - first, 0, entries - 1)]


def _apply_window(values: Array, ds: Dataset, path: Path) -> Array:
    """Apply a window to [0, 1] (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    center, width = (float(np.ravel(np.asarray(ds[name].value, float))[0]) for name in ("WindowCenter", "WindowWidth"))
    function = str(ds.get("VOILUTFunction") or "LINEAR").strip()
    minimum = 1.0 if function == "LINEAR" else 0.0
    if not width >= minimum or (width == 0 and minimum == 0):
        raise DataError(
            f"image {path} has a window of width {width:g}; {function} needs at least 1 (above 0 if not LINEAR)"
        )
    if function == "SIGMOID":
        return cast(Array, 1 / (1 + np.exp(-4 * (values - center) / width)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        raise DataError(f"image {path} has VOI LUT function {function!r}; allowed: LINEAR, LINEAR_EXACT, SIGMOID")
    if width == 0:
        return np.asarray(values > center, np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)


def write_dicom(
    pixels: Array,
    path: Path,
    image_id: str,
    study_id: str = "",
    patient_id: str = "",
    sex: str = "",
    projection: str = "",
) -> None:
    """Write an image as an uncompressed secondary capture of 8 bits (MONOCHROME2).

    The unique identifiers are derived from the names of image and study, so the same radiograph gives the same file.

    Parameters
    ----------
    pixels : (H, W) uint8
        Pixels, higher = more radio-opaque.
    path : Path
        File to write.
    image_id, study_id, patient_id : str
        Identifiers; without a study, the image is a study of its own.
    sex, projection : str
        Values of PatientSex and ViewPosition.
    """
    uids = [
        generate_uid(entropy_srcs=[kind, name]) for kind, name in (("image", image_id), ("study", study_id or image_id))
    ]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uids[0]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids[1], generate_uid(entropy_srcs=["series", image_id])
    ds.Modality, ds.ConversionType, ds.BodyPartExamined = "CR", "WSD", "CHEST"
    ds.PatientID = ds.PatientName = patient_id
    ds.PatientSex, ds.ViewPosition = sex, projection
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = np.ascontiguousarray(pixels, np.uint8).tobytes()
    ds.save_as(path, enforce_file_format=True)
