"""Content of a map file before it is placed on its radiograph, and checks that all formats share."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sightline._util.files import DECODE_ERRORS
from sightline.core import NAN, Array, Size
from sightline.errors import DataError, RunError
from sightline.maps.formats.safe_pickle import MAX_CELLS

Box = tuple[float, float, float, float]
"""(top, left, bottom, right), pixel edges."""

# The JSON parser runs out of memory for brackets nested too deep; arrays are bounded before they are allocated.
_READ_ERRORS = (RunError, MemoryError, zipfile.BadZipFile, *DECODE_ERRORS)


class MapMismatchError(DataError):
    """Error of a file that can be read, but is not the map that its name states."""


@dataclass(frozen=True, slots=True)
class MapContent:
    """One map as its file holds it."""

    values: Array
    """Real numbers (h, w), rows first, of any type."""
    probability: float = NAN
    """Probability of the finding; NaN where the file has none."""
    box: Box | None = None
    """(top, left, bottom, right) on the original, pixel edges, where the file states it."""
    resize: str = ""
    """How the network resized the image, where the format defines it: 'center-crop:320'."""
    size: Size | None = None
    """(H, W) of the original, where the file states it."""


@contextmanager
def wrap_decode_errors(path: Path) -> Iterator[None]:
    """Turn the errors of libraries on a damaged file into a `DataError` that names it.

    Parameters
    ----------
    path : Path
        File that is read.

    Yields
    ------
    None

    Raises
    ------
    DataError
        If the block raises any error of reading.
    """
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"map {path} does not exist any more; open the folder again") from error
    except PermissionError as error:
        raise DataError(f"map {path} may not be read by this user; change its permissions") from error
    except _READ_ERRORS as error:
        raise DataError(
            f"map {path} cannot be read ({type(error).__name__}: {error}); it is damaged, make it again"
        ) from error


def check_shape(shape: tuple[int, ...], path: Path) -> Size:
    """Check the shape of an array before it is decoded.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array; axes of length 1 before and behind the map are left out.
    path : Path
        File, for messages.

    Returns
    -------
    (h, w)
        Shape of the map.

    Raises
    ------
    DataError
        If an array of this shape cannot be one map, or has more cells than are read.
    """
    sides = shape
    while len(sides) > 2 and sides[0] == 1:
        sides = sides[1:]
    while len(sides) > 2 and sides[-1] == 1:
        sides = sides[:-1]
    if len(sides) != 2 or min(sides) < 1:
        raise DataError(f"map {path} has an array of shape {shape}; one map (h, w) was expected")
    check_cells(sides[0] * sides[1], path)
    return sides[0], sides[1]


def check_cells(cells: int, path: Path) -> None:
    """Check the number of values before they are decoded.

    Parameters
    ----------
    cells : int
        Number of values.
    path : Path
        File, for messages.

    Raises
    ------
    DataError
        If there are more values than are read.
    """
    if cells > MAX_CELLS:
        raise DataError(
            f"map {path} declares {cells:,} values, more than the {MAX_CELLS:,} that are read; scale it down"
        )


def as_grid(array: object, path: Path) -> Array:
    """Return an array as one map, without axes of length 1 before and behind it.

    Parameters
    ----------
    array : object
        Anything that a file holds.
    path : Path
        File, for messages.

    Returns
    -------
    (h, w) array
        Map.

    Raises
    ------
    DataError
        If it is no array of real numbers of such a shape.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"map {path} holds {kind}; an array of real numbers was expected")
    return array.reshape(check_shape(array.shape, path))


def as_numbers(value: object, name: str, path: Path) -> Array:
    """Convert a number, a list of numbers or an array to an array.

    Parameters
    ----------
    value : object
        Anything that a file holds.
    name : str
        Name of the value, for messages.
    path : Path
        File, for messages.

    Returns
    -------
    float64 array
        Numbers.

    Raises
    ------
    DataError
        If it is anything else.
    """
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"map {path}: {name} is no number or list of numbers") from error


def as_probability(value: object, path: Path) -> float:
    """Convert a value to a probability.

    Parameters
    ----------
    value : object
        Anything that a file holds.
    path : Path
        File, for messages.

    Returns
    -------
    float
        Probability in [0, 1]; NaN for None and NaN.

    Raises
    ------
    DataError
        If it is no number in [0, 1].
    """
    if value is None:
        return NAN
    numbers = as_numbers(value, "the probability", path)
    if numbers.size != 1:
        raise DataError(f"map {path}: the probability is {numbers.size} numbers; one was expected")
    number = float(numbers.item())
    if not (0 <= number <= 1 or np.isnan(number)):
        raise DataError(f"map {path}: the probability is {number:g}; it must lie in [0, 1], after the sigmoid")
    return number


def crop_to_visible(content: MapContent, visible_box: object, path: Path) -> MapContent:
    """Crop a map that covers its radiograph to the part that the model saw.

    Parameters
    ----------
    content : MapContent
        Map over the whole radiograph.
    visible_box : object
        [top, left, bottom, right] in whole pixels; None for the whole map.
    path : Path
        File, for messages.

    Returns
    -------
    MapContent
        Map of that part.

    Raises
    ------
    DataError
        If the box lies outside the map.
    """
    if visible_box is None:
        return content
    box = as_box(visible_box, path)
    height, width = content.values.shape
    if box is None or any(v != int(v) for v in box) or box[0] < 0 or box[1] < 0 or box[2] > height or box[3] > width:
        raise DataError(
            f"map {path}: the part that the model saw is {visible_box!r}, which lies outside a map of {height} "
            f"× {width}"
        )
    top, left, bottom, right = map(int, box)
    if (top, left, bottom, right) == (0, 0, height, width):
        return content
    return replace(content, values=content.values[top:bottom, left:right], box=box, size=(height, width))


def as_box(value: object, path: Path) -> Box | None:
    """Convert a value to a box.

    Parameters
    ----------
    value : object
        Anything that a file holds.
    path : Path
        File, for messages.

    Returns
    -------
    (top, left, bottom, right) or None
        Box; None for None.

    Raises
    ------
    DataError
        If it is no box with an area.
    """
    if value is None:
        return None
    box = as_numbers(value, "the box", path)
    if box.shape != (4,) or not np.isfinite(box).all() or box[0] >= box[2] or box[1] >= box[3]:
        text = box.tolist() if box.size <= 4 else f"{box.size} numbers"
        raise DataError(f"map {path}: the box is {text}; (top, left, bottom, right) of some area was expected")
    top, left, bottom, right = box.tolist()
    return top, left, bottom, right
