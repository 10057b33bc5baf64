"""Frames of maps from the text that states how a network resized the image."""

from __future__ import annotations

from sightline.core import Dataset, Frame, Radiograph, Size
from sightline.errors import DataError
from sightline.imaging import image_files
from sightline.imaging.geometry import Resize, input_frame

ALLOWED_RESIZES = "'stretch', 'center-crop:SIDE' or 'pad:SIDE' (SIDE in pixels, such as 320)"
"""Allowed texts, for messages."""


def parse_resize(text: str, label: str) -> tuple[Resize, int]:
    """Parse the text of a resize.

    Parameters
    ----------
    text : str
        'stretch', 'center-crop:SIDE' or 'pad:SIDE'.
    label : str
        Beginning of the message of an error.

    Returns
    -------
    resize : {'stretch', 'center-crop', 'pad'}
        Way in which the image was resized.
    side : int
        Side of the input in pixels; 1 for 'stretch' without one.

    Raises
    ------
    DataError
        If the text is anything else.

    Examples
    --------
    >>> parse_resize("pad:512", "here"), parse_resize("stretch", "here")
    (('pad', 512), ('stretch', 1))
    """
    how, _, side = text.partition(":")
    if how == "stretch" and (not side or side.isdecimal()):
        return "stretch", int(side or 1)
    if side.isascii() and side.isdecimal() and len(side) <= 6 and int(side) > 0:
        if how == "center-crop":
            return "center-crop", int(side)
        if how == "pad":
            return "pad", int(side)
    raise DataError(f"{label}: the resize is {text!r}; allowed: {ALLOWED_RESIZES}")


def frame_from_resize(text: str, size: Size, label: str) -> Frame:
    """Compute the frame of a map from the resize of its network.

    Parameters
    ----------
    text : str
        Resize, see `parse_resize`.
    size : (H, W)
        Size of the image, in pixels.
    label : str
        Beginning of the message of an error.

    Returns
    -------
    Frame
        Place of the map on the image.
    """
    how, side = parse_resize(text, label)
    return input_frame(size, side, how)[1]


def radiograph_size(data: Dataset, radiograph: Radiograph) -> Size | None:
    """Find the size of a radiograph in the data set, its annotations, the header of its file, or its pixels.

    Parameters
    ----------
    data : Dataset
        Data set.
    radiograph : Radiograph
        Radiograph.

    Returns
    -------
    (H, W) or None
        Size in pixels; None where the image cannot be read.
    """
    if radiograph.size is not None:
        return radiograph.size
    for finding in data.findings:
        reader = data.reference_reader
        annotation = data.annotation(radiograph.id, finding, reader) if reader else None
        if annotation is not None:
            return annotation.size
    try:
        if "path" in radiograph.metadata:
            return image_files.read_size(radiograph.metadata["path"])
        height, width = radiograph.read().shape
    except DataError:
        return None  # reported with every map of the radiograph that needs it
    return height, width
