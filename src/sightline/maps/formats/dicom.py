"""Maps as DICOM files: parametric maps (floating point) or gray pixels, uncompressed, of one frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sightline.core import Array
from sightline.errors import DataError
from sightline.maps.formats.content import (
    MapContent,
    MapMismatchError,
    as_grid,
    check_shape,
    crop_to_visible,
    wrap_decode_errors,
)


def read(path: Path, finding: str) -> MapContent:
    """Read a map from DICOM: stored values with rescale slope and intercept.

    No window, lookup table or inversion is applied, because these are for display. The model did not see rows and
    columns that hold only the padding value.

    Parameters
    ----------
    path : Path
        DICOM file.
    finding : str
        Finding that the name of the file states.

    Returns
    -------
    MapContent
        Map as the file holds it.

    Raises
    ------
    MapMismatchError
        If it is a picture in color.
    DataError
        If the file is damaged, compressed, or has several frames.
    """
    import pydicom  # takes 0.5 s with its codecs
    from pydicom.errors import BytesLengthException, InvalidDicomError
    from pydicom.pixels.utils import pixel_array

    from sightline.imaging import dicom

    try:
        with wrap_decode_errors(path), path.open("rb") as file:
            header = dicom.read_header(file, path)
            check_shape(dicom.read_size(header, path), path)
            if header.file_meta.TransferSyntaxUID.is_compressed:
                raise DataError(f"map {path} is compressed, perhaps with loss; store it uncompressed (dcmconv +te)")
            if int(header.get("SamplesPerPixel") or 1) != 1:
                raise MapMismatchError(
                    f"map {path} is in color, from which values cannot be recovered; export it in gray"
                )
            ds = pydicom.dcmread(file)
            stored = np.asarray(pixel_array(ds), np.float64)
            values = stored * float(ds.get("RescaleSlope") or 1) + float(ds.get("RescaleIntercept") or 0)
    except (BytesLengthException, InvalidDicomError) as error:
        raise DataError(f"map {path} is no DICOM file ({error}); it is damaged, make it again") from error
    content = MapContent(as_grid(values, path))
    padding = header.get("FloatPixelPaddingValue")
    if padding is None:
        return content
    return crop_to_visible(content, _visible_box(content.values != np.float32(padding)), path)


def _visible_box(inside: Array) -> list[int] | None:
    """Return [top, left, bottom, right] of the rows and columns with any pixel inside; None without any."""
    rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return [int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1] if rows.size else None
