"""How a network saw the image, as text, and what follows for where its map lies."""

from __future__ import annotations

from sightline.core import Dataset, Frame, Radiograph, Size
from sightline.errors import DataError
from sightline.imaging import image_files
from sightline.imaging.geometry import Resize, input_frame

ALLOWED_RESIZES = "'stretch', 'center-crop:SIDE' or 'pad:SIDE' (SIDE in pixels, such as 320)"


def parse_resize(text: str, label: str) -> tuple[Resize, int]:
    """('center-crop', 320) for 'center-crop:320'. Errors: `DataError` beginning with `where`.

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
    raise DataError(f"{label}: the frame is {text!r}; allowed: {ALLOWED_RESIZES}")


def frame_from_resize(text: str, size: Size, label: str) -> Frame:
    """Where a map lies on an image of `size` (H, W), whose network saw it as `text` says."""
    how, side = parse_resize(text, label)
    return input_frame(size, side, how)[1]


def radiograph_size(data: Dataset, radiograph: Radiograph) -> Size | None:
    """(H, W) of a radiograph: as the data set says, else as its marks, its file's header, or its pixels; else None."""
    if radiograph.size is not None:
        return radiograph.size
    for finding in data.findings:
        mark = data.annotation(radiograph.id, finding, data.reference_reader) if data.reference_reader else None
        if mark is not None:
            return mark.size
    try:
        if "path" in radiograph.metadata:
            return image_files.read_size(radiograph.metadata["path"])
        height, width = radiograph.read().shape
    except DataError:
        return None  # said with every map of the radiograph that needs it
    return height, width
