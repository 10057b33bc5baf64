"""What a map file says before it is placed on its radiograph, and the errors of reading it."""

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

# The parser runs out of memory for brackets nested too deep; arrays are bounded before they are made.
_READ_ERRORS = (RunError, MemoryError, zipfile.BadZipFile, *DECODE_ERRORS)


class MapMismatchError(DataError):
    """A file that is whole, but not the map that its name promises."""


@dataclass(frozen=True, slots=True)
class MapContent:
    """One map as its file holds it."""

    values: Array
    """Real numbers (h, w), rows first, of any type."""
    probability: float = NAN
    box: Box | None = None
    """(top, left, bottom, right) of the original, pixel edges, where the file tells."""
    resize: str = ""
    """How the network saw the image where the format defines it: 'center-crop:320'."""
    size: Size | None = None
    """(H, W) of the original, where the file tells."""


@contextmanager
def wrap_decode_errors(path: Path) -> Iterator[None]:
    """Turn what libraries raise on a damaged file into a `DataError` that names it."""
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
    """The (h, w) of an array, once other axes of length 1, before or behind, are left out. To be asked before decoding.

    Errors: `DataError` unless an array of this shape can be one map.
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
    """Errors: `DataError` for more values than are read."""
    if cells > MAX_CELLS:
        raise DataError(
            f"map {path} declares {cells:,} values, more than the {MAX_CELLS:,} that are read; scale it down"
        )


def as_grid(array: object, path: Path) -> Array:
    """The (h, w) of an array whose other axes, before or behind, have length 1.

    Errors: `DataError` for anything but real numbers, or of another shape.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"map {path} holds {kind}; an array of real numbers was expected")
    return array.reshape(check_shape(array.shape, path))


def as_numbers(value: object, name: str, path: Path) -> Array:
    """float64 array of a number, a list of them or an array. Errors: `DataError`."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"map {path}: {name} is no number or list of numbers") from error


def as_probability(value: object, path: Path) -> float:
    """A number in [0, 1], or NaN for None and NaN. Errors: `DataError`."""
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
    """The part that the model saw of a map laid on its radiograph: [top, left, bottom, right], whole pixels.

    All of it for None. Errors: `DataError` for pixels that are not there.
    """
    if visible_box is None:
        return content
    box = as_box(visible_box, path)
    height, width = content.values.shape
    if box is None or any(v != int(v) for v in box) or box[0] < 0 or box[1] < 0 or box[2] > height or box[3] > width:
        raise DataError(
            f"map {path}: the part that was seen is {visible_box!r}, which a map of {height} × {width} has not"
        )
    top, left, bottom, right = map(int, box)
    if (top, left, bottom, right) == (0, 0, height, width):
        return content
    return replace(content, values=content.values[top:bottom, left:right], box=box, size=(height, width))


def as_box(value: object, path: Path) -> Box | None:
    """(top, left, bottom, right), or None for None. Errors: `DataError` for a box without area."""
    if value is None:
        return None
    box = as_numbers(value, "the box", path)
    if box.shape != (4,) or not np.isfinite(box).all() or box[0] >= box[2] or box[1] >= box[3]:
        shown = box.tolist() if box.size <= 4 else f"{box.size} numbers"
        raise DataError(f"map {path}: the box is {shown}; (top, left, bottom, right) of some area was expected")
    top, left, bottom, right = box.tolist()
    return top, left, bottom, right
