"""One frame of a DICOM file -> gray in [0, 1]: modality LUT, then VOI LUT or window, then MONOCHROME1 inversion."""

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
"""Transfer syntax -> the decoder that is taken where there are several: one result everywhere, and GDCM, which can end
the process on damaged streams, only where it is needed."""
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue, ITU-R 601."""


@contextmanager
def _translate_pydicom_errors() -> Iterator[None]:
    """Errors of pydicom's own, which derive from no built-in one, as ValueError."""
    try:
        yield
    except (BytesLengthException, InvalidDicomError) as error:
        raise ValueError(str(error)) from error


@_translate_pydicom_errors()
def read_header(file: BinaryIO, path: Path) -> FileDataset:
    """Everything before the pixels. Leaves `file` at its start.

    Errors: `DataError` for a deflated file, which could unpack to any size, and for a file of several frames.
    """
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise DataError(f"image {path} is a deflated DICOM, which no image needs; store it uncompressed (dcmconv +te)")
    file.seek(0)
    ds = pydicom.dcmread(file, stop_before_pixels=True)
    file.seek(0)
    frames = int(ds.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DataError(f"image {path} has {frames} frames; a radiograph has one, so extract the frame that is meant")
    return ds


@_translate_pydicom_errors()
def read_size(ds: Dataset, path: Path) -> Size:
    """(H, W) that a header declares."""
    if ds.get("Rows") is None or ds.get("Columns") is None:
        raise DataError(f"image {path} is a DICOM file without Rows and Columns: no image (a report or a directory?)")
    return int(ds.Rows), int(ds.Columns)


@_translate_pydicom_errors()
def read_patient_metadata(path: Path) -> dict[str, str]:
    """patient, sex, age and projection as a header gives them; '' where it does not. Nothing else of a person is read.

    Ages of 90 years and more are told as 90: so old, an age alone can tell who it is.
    """
    tags = {"patient": "PatientID", "sex": "PatientSex", "age": "PatientAge", "projection": "ViewPosition"}
    ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags.values()))
    about = {ours: str(ds.get(tag) or "") for ours, tag in tags.items()}
    years = about["age"].removesuffix("Y")
    return {**about, "age": "090Y" if years.isdecimal() and int(years) >= 90 else about["age"]}


@_translate_pydicom_errors()
def read_pixels(file: BinaryIO, path: Path) -> Array:
    """float32 (H, W) in [0, 1], more = more radio-opaque (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3.1.2; PS3.4 N.2).

    The first VOI LUT, else the first window, sets what is 0 and 1; where there is neither, the ends of the range that
    the stored bits can take. Color is reduced by ITU-R 601 luma. PresentationLUTShape repeats what MONOCHROME1 says
    and is not applied a second time.
    Errors: `DataError` for a missing decoder (naming the transfer syntax and what to install), no pixel data, or a
    palette; whatever the decoders raise on damaged bytes.
    """
    ds = pydicom.dcmread(file)
    photometric = str(ds.get("PhotometricInterpretation", "")).strip()
    if photometric not in GRAY + COLOR:
        raise DataError(
            f"image {path} has photometric interpretation {photometric!r}; allowed: {', '.join(GRAY + COLOR)}"
        )
    if "PixelData" not in ds:
        raise DataError(f"image {path} is a DICOM file without integer pixel data; get the complete file")
    # Unused bits are cleared by _used_bits, which minds HighBit.
    stored = pixel_array(ds, decoding_plugin=_choose_decoder(ds, path), correct_unused_bits=False)
    if stored.ndim != (3 if photometric in COLOR else 2):
        raise DataError(f"image {path} is {photometric} but its pixels are {stored.shape}; the file is damaged")
    if photometric in COLOR:
        full = np.float32(2 ** int(ds.BitsStored) - 1)
        return np.asarray(np.asarray(stored, np.float32) @ np.array(LUMA_WEIGHTS, np.float32) / full)  # (H, W)
    shown = _apply_display_luts(_clear_unused_bits(stored, ds), ds, path)
    return (1 - shown if photometric == "MONOCHROME1" else shown).astype(np.float32)


def _choose_decoder(ds: FileDataset, path: Path) -> str:
    """Which of pydicom's plug-ins decodes the pixels ('' where any may); the compressed stream is checked before."""
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
    """Decoders allocate by what the stream says, and GDCM ends the process where stream and header disagree."""
    found = _parse_stream_header(stream)
    if found is None:
        raise DataError(f"image {path} has compressed pixels without a frame header; the file is damaged")
    declared = (*read_size(ds, path), int(ds.SamplesPerPixel))
    if found[:3] != declared or found[3] > ds.BitsAllocated:
        raise DataError(
            f"image {path} declares (rows, columns, samples) {declared} of {ds.BitsAllocated} bits, its compressed "
            f"stream {found[:3]} of {found[3]}; the file is damaged"
        )
    bits, room = int(ds.BitsStored), int(ds.BitsAllocated)
    if ds.HighBit != bits - 1 or not (bits <= room == 16 or bits == room == 8):
        raise DataError(
            f"image {path} is compressed, but stores {bits} of {room} bits with high bit {ds.HighBit}; "
            "allowed: 8 of 8, or up to 16 of 16, with the high bit one less; store it uncompressed (dcmdjpeg)"
        )


def _parse_stream_header(stream: bytes) -> tuple[int, int, int, int] | None:
    """(rows, columns, components, bits) of a JPEG, JPEG-LS or JPEG 2000 stream; None where it does not say."""

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
    """Stored values without what old devices keep in the unused bits (overlays); signs carried down."""
    room = stored.dtype.itemsize * 8
    return (stored << (room - 1 - int(ds.HighBit))) >> (room - int(ds.BitsStored))


def _apply_display_luts(stored: Array, ds: Dataset, path: Path) -> Array:
    """Stored values (H, W) -> display values in [0, 1], before the inversion of MONOCHROME1."""
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
    """Entries of a lookup table for integer values; beyond its ends, the first and the last entry.

    pydicom's own lookup wraps around where values exceed the depth of the entries and knows no 12-bit modality table.
    """
    entries, first, depth = (int(number) for number in table.LUTDescriptor)
    entries = entries or 65536  # does not fit 16 bits, so the standard writes 0
    data = table.LUTData
    if isinstance(data, bytes):  # two entries per 16-bit word only where 8-bit entries leave no room for more
        packed = depth <= 8 and len(data) < 2 * entries
        order = ">" if table.original_encoding[1] is False else "<"
        data = np.frombuffer(data, np.uint8 if packed else f"{order}u2")
    lut = np.asarray(data, np.float64).ravel()
    if lut.size < entries:
        raise DataError(
            f"image {path} has a lookup table of {lut.size} entries that announces {entries}; it is damaged"
        )
    return lut[np.clip(values.astype(np.int64) - first, 0, entries - 1)]


def _apply_window(values: Array, ds: Dataset, path: Path) -> Array:
    """DICOM PS3.3 C.11.2.1.2 and .3, mapped to [0, 1]."""
    center, width = (float(np.ravel(np.asarray(ds[name].value, float))[0]) for name in ("WindowCenter", "WindowWidth"))
    function = str(ds.get("VOILUTFunction") or "LINEAR").strip()
    least = 1.0 if function == "LINEAR" else 0.0
    if not width >= least or (width == 0 and least == 0):
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
    """An uncompressed secondary capture of 8 bits: uint8 (H, W), more = more radio-opaque (MONOCHROME2).

    The unique identifiers follow from the names of image and study, so that the same film gives the same file.
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
