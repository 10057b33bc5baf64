"""Maps as gray PNG pictures of 1, 8 or 16 bits; values as stored, neither scaled nor inverted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL.PngImagePlugin import PngImageFile

from sightline.core import Array
from sightline.maps.formats.content import MapContent, MapMismatchError, check_shape, wrap_decode_errors


def read(path: Path, finding: str) -> MapContent:
    """Read the gray values of a PNG; a picture in color is refused, because its values cannot be recovered.

    Parameters
    ----------
    path : Path
        PNG file.
    finding : str
        Finding that the name of the file states.

    Returns
    -------
    MapContent
        Map as the file holds it.

    Raises
    ------
    MapMismatchError
        If it is a picture in color, or has transparent pixels.
    DataError
        If the file is damaged.
    """
    with wrap_decode_errors(path), path.open("rb") as file:
        bits = file.read(25)[-1:]
        file.seek(0)
        image = PngImageFile(file)
        check_shape((image.height, image.width), path)
        values: Array = np.asarray(image.convert("RGBA") if image.mode == "P" else image)
    if values.ndim == 2:
        return MapContent(values)
    if bits == b"\x10":  # which Pillow would reduce to 8
        raise MapMismatchError(f"map {path} has 16 bits in several channels; export it in gray of one channel")
    return MapContent(_to_gray(values, path))


def _to_gray(values: Array, path: Path) -> Array:
    """Reduce pixels (h, w, 2 to 4) whose colors are all equal and opaque to (h, w)."""
    colors = values.shape[2] - (values.shape[2] in (2, 4))
    if (values[..., :colors] != values[..., :1]).any():
        raise MapMismatchError(
            f"map {path} is a picture in color, from which values cannot be recovered; export it in gray"
        )
    if colors < values.shape[2] and (values[..., -1] != 255).any():
        raise MapMismatchError(
            f"map {path} has transparent pixels, which have no meaning in a map; export it without them"
        )
    return values[..., 0]
