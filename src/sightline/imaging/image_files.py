"""Reading of image files: PNG, JPEG and DICOM, by `sightline.imaging.dicom`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL.Image import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from sightline._util.files import DECODE_ERRORS
from sightline.core import Array, Size
from sightline.errors import DataError

MAX_PIXELS = 200_000_000
"""Limit above which images are refused before decoding. The largest radiographs have some 20 million pixels."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
"""Suffixes by which folders are searched. The format of a file depends on its first bytes, never on its name."""

ImageFormat = Literal["PNG", "JPEG", "DICOM"]
"""Format of an image file."""


def read_image(path: str | Path) -> Array:
    """Read the pixels of one radiograph.

    PNG and JPEG: gray as stored, divided by full scale (255, or 65535 for 16 bits); color by ITU-R 601 luma (color of
    16 bits is read at 8); opacity and EXIF rotation are ignored, because annotations are made on the stored pixels.
    DICOM: see `sightline.imaging.dicom.read_pixels`. Values are never stretched to the range of an image.

    Parameters
    ----------
    path : str or Path
        Image file.

    Returns
    -------
    (H, W) float32
        Pixels in [0, 1], higher = more radio-opaque.

    Raises
    ------
    DataError
        If the file is missing, of another format, damaged, of several frames or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    with _image_errors(path), path.open("rb") as file:
        kind = _detect_format(file, path)
        if kind == "DICOM":
            from sightline.imaging import dicom

            _check_size(dicom.read_size(dicom.read_header(file, path), path), path)
            return dicom.read_pixels(file, path)
        image = _open_image(file, kind)
        _check_size((image.height, image.width), path)
        return _to_gray(image)


def read_patient_metadata(path: str | Path) -> dict[str, str]:
    """Read the patient, sex, age and projection in a DICOM header.

    Parameters
    ----------
    path : str or Path
        Image file.

    Returns
    -------
    dict of str to str
        Values, '' where the header has none; empty for other formats.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    """
    path = Path(path)
    with _image_errors(path), path.open("rb") as file:
        if _detect_format(file, path) != "DICOM":
            return {}
        from sightline.imaging import dicom  # as in `read_image`

        return dicom.read_patient_metadata(path)


def read_size(path: str | Path) -> Size:
    """Read the size of an image from the header of its file.

    Parameters
    ----------
    path : str or Path
        Image file.

    Returns
    -------
    (H, W)
        Size in pixels.

    Raises
    ------
    DataError
        As `read_image`, except for damage behind the header.
    """
    path = Path(path)
    with _image_errors(path), path.open("rb") as file:
        kind = _detect_format(file, path)
        if kind == "DICOM":
            from sightline.imaging import dicom  # as in `read_image`

            size = dicom.read_size(dicom.read_header(file, path), path)
        else:
            image = _open_image(file, kind)
            size = image.height, image.width
    _check_size(size, path)
    return size


def detect_format(path: Path) -> ImageFormat:
    """Detect the format of a file by its first bytes.

    Parameters
    ----------
    path : Path
        Image file.

    Returns
    -------
    {'PNG', 'JPEG', 'DICOM'}
        Format.

    Raises
    ------
    DataError
        If the file is missing or of no such format.
    """
    with _image_errors(path), path.open("rb") as file:
        return _detect_format(file, path)


def source_path(read: Callable[[], Array]) -> Path | None:
    """Find the image file behind a function that reads pixels.

    Parameters
    ----------
    read : callable
        `Radiograph.read`: `partial(read_image, path)`, or a callable with an attribute `path`.

    Returns
    -------
    Path or None
        File; None where pixels come from elsewhere.

    Examples
    --------
    >>> source_path(partial(read_image, "image.png")), source_path(list)
    (PosixPath('image.png'), None)
    """
    if isinstance(read, partial) and read.func is read_image and read.args:
        return Path(read.args[0])
    return getattr(read, "path", None)


@contextmanager
def _image_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"image {path} does not exist") from error
    except IsADirectoryError as error:
        raise DataError(f"image {path} is a folder; give a PNG, JPEG or DICOM file") from error
    except PermissionError as error:
        raise DataError(f"image {path} may not be read by this user; change its permissions") from error
    except DECODE_ERRORS as error:
        raise DataError(
            f"image {path} cannot be decoded ({type(error).__name__}: {error}); it is damaged, get it again"
        ) from error


def _detect_format(file: BinaryIO, path: Path) -> ImageFormat:
    head = file.read(132)
    file.seek(0)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[128:] == b"DICM":
        return "DICOM"
    problem = f"begins with {head[:8]!r}" if head else "is empty"
    raise DataError(
        f"image {path} {problem}: it is neither PNG nor JPEG nor DICOM ('DICM' at byte 128); convert it to one of them"
    )


def _check_size(size: Size, path: Path) -> None:
    height, width = size
    if height < 1 or width < 1:
        raise DataError(f"image {path} declares {height} × {width} pixels (rows × columns); it is empty")
    if height * width > MAX_PIXELS:
        raise DataError(
            f"image {path} declares {height} × {width} pixels (rows × columns), more than the {MAX_PIXELS:,} "
            "that are decoded; scale it down"
        )


def _open_image(file: BinaryIO, kind: ImageFormat) -> Image:
    # Not Image.open: its own limit warns from 89 megapixels on and differs from ours; it can only be moved for the
    # whole process.
    return PngImageFile(file) if kind == "PNG" else JpegImageFile(file)


def _to_gray(image: Image) -> Array:
    if image.mode in ("I;16", "I;16B", "I"):  # 16-bit gray
        return np.asarray(image).astype(np.float32) / np.float32(65535)
    if image.mode == "P":
        image = image.convert("RGBA")
    return np.asarray(image.convert("L")).astype(np.float32) / np.float32(255)
