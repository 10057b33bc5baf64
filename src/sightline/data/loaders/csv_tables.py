"""What every loader reads: tables, JSON and long lists, with errors that name the file and the row."""

from __future__ import annotations

import difflib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import pandas as pd

from sightline.core import Annotation, Array, Size
from sightline.errors import DataError
from sightline.imaging.image_files import MAX_PIXELS, SUFFIXES, read_size

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV file as it stands: every cell a trimmed string, '' where blank; indexed by its row in the file (the header
    is row 1)."""

    path: Path
    rows: pd.DataFrame = field(repr=False)

    def error(self, row: object, message: str) -> DataError:
        """To be raised: `what` happened in `row` of this file."""
        return DataError(f"{self.path}, row {row}: {message}")

    def row_number(self, at: int | np.intp) -> int:
        """Number in the file of the row at position `at`."""
        return int(self.rows.index[int(at)])

    def text(self, column: str) -> list[str]:
        return self.rows[column].tolist()

    def numbers(self, column: str) -> Array:
        """float64 (N,), NaN where blank. Errors: `DataError` naming the first row that holds anything else."""
        cells = self.rows[column]
        values = pd.to_numeric(cells, errors="coerce")
        wrong = (values.isna() & ~cells.str.lower().isin(("", "nan", "na"))) | np.isinf(values)
        for at in np.flatnonzero(wrong):
            raise self.error(self.row_number(at), f"{column} is {cells.iloc[at]!r}; a number was expected, or nothing")
        return values.to_numpy(np.float64)

    def labels(self, column: str) -> Array:
        """float64 (N,) of 1, 0, -1 (uncertain) and NaN (blank). Errors: `DataError` for any other value."""
        values = self.numbers(column)
        wrong = ~(np.isin(values, (1, 0, -1)) | np.isnan(values))
        for at in np.flatnonzero(wrong):
            raise self.error(self.row_number(at), f"{column} is {values[at]:g}; allowed: 1, 0, -1 (uncertain) or blank")
        return values

    def require_unique(self, column: str) -> None:
        """Errors: `DataError` naming both rows of the first value that occurs twice."""
        cells = self.rows[column]
        for at in np.flatnonzero(cells.duplicated()):
            value = cells.iloc[at]
            first = self.row_number(np.flatnonzero(cells == value)[0])
            raise self.error(self.row_number(at), f"{column} {value!r} is already in row {first}; remove one")

    def require_filled(self, column: str) -> None:
        """Errors: `DataError` naming the first row where the cell is blank."""
        for at in np.flatnonzero(self.rows[column] == ""):
            raise self.error(self.row_number(at), f"{column} is blank; every row needs one")

    def boxes(self, columns: Sequence[str], limit: Size | None = None) -> Array:
        """Boxes given as x, y, width, height -> float64 (N, 4) as (top, left, bottom, right); NaN where all are blank.

        Errors: `DataError` for a box that is incomplete, without area, or (beyond one pixel) outside `limit` (H, W).
        """
        x, y, width, height = cells = np.stack([self.numbers(column) for column in columns])  # (4, N)
        given = ", ".join(columns)
        for at in np.flatnonzero(np.isnan(cells).any(0) & ~np.isnan(cells).all(0)):
            raise self.error(self.row_number(at), f"the box is incomplete; it needs all of {given}")
        for at in np.flatnonzero((width <= 0) | (height <= 0)):
            size = f"{width[at]:g} × {height[at]:g}"
            raise self.error(self.row_number(at), f"the box is {size} (width × height); both must be above 0")
        if limit is not None:
            outside = (x < -1) | (y < -1) | (x + width > limit[1] + 1) | (y + height > limit[0] + 1)
            for at in np.flatnonzero(outside):
                raise self.error(self.row_number(at), describe_outside_box(cells[:, at], limit))
        return np.stack([y, x, y + height, x + width], axis=1)


def describe_outside_box(box: Array, size: Size) -> str:
    """What to say of a box (x, y, width, height) that leaves an image of `size` (H, W)."""
    x, y, width, height = box
    return (
        f"the box x {x:g} to {x + width:g}, y {y:g} to {y + height:g} leaves the image, which is {size[1]} wide and "
        f"{size[0]} high (pixels)"
    )


def read_csv(
    path: Path, columns: Sequence[str] = (), aliases: Mapping[str, str] | None = None, may_be_empty: bool = False
) -> CsvTable:
    """Read a CSV file that must hold `columns` (others are kept). `aliases`: other spellings of a column -> ours.

    Errors: `DataError` for a file that is missing, empty (but for its header, unless it `may_be_empty`), not UTF-8
    text, ragged, or lacks a column.
    """
    try:
        rows = pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
            skip_blank_lines=False,  # or rows after a blank line would be reported under a wrong number
            encoding="utf-8-sig",
        )
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; it should be a CSV file with columns {', '.join(columns)}") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty; it should begin with a header naming {', '.join(columns)}") from error
    except (UnicodeDecodeError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is not a CSV table in UTF-8: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    rows.columns = [(aliases or {}).get(str(name).strip(), str(name).strip()) for name in rows.columns]
    for column in columns:
        if column not in rows.columns:
            lower = {str(name).lower(): name for name in rows.columns}
            near = difflib.get_close_matches(column.lower(), lower, 1)
            hint = f" (is {lower[near[0]]!r} meant?)" if near else ""
            raise DataError(f"{path} has no column {column!r}{hint}; it has {', '.join(map(str, rows.columns))}")
    if not isinstance(rows.index, pd.RangeIndex):
        raise DataError(f"{path}, row 2: there are more cells than the {rows.shape[1]} columns of the header")
    if rows.columns.has_duplicates:
        raise DataError(f"{path} names column {rows.columns[rows.columns.duplicated()][0]!r} twice; rename one")
    rows.index = pd.RangeIndex(2, len(rows) + 2)
    for column in rows.columns:
        rows[column] = rows[column].fillna("").str.strip()  # a row that ends early is filled up with NaN
    rows = rows[(rows != "").any(axis=1)]
    if rows.empty and not may_be_empty:
        raise DataError(f"{path} has a header but no rows")
    return CsvTable(path, rows)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Errors: `DataError` for a file that is missing, damaged, or holds anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}; get the complete file") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds a {type(found).__name__}; an object from radiograph ids was expected")
    return found


def parse_size(value: object, label: str) -> Size:
    """(H, W) from a JSON pair. Errors: `DataError` beginning with `what` if it is none, or of no possible image."""
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(isinstance(side, int) and side > 0 for side in value)
        or value[0] * value[1] > MAX_PIXELS
    ):
        raise DataError(
            f"{label}: the size is {value!r}; [height, width] of at most {MAX_PIXELS:,} pixels was expected"
        )
    return value[0], value[1]


class LazySequence(Sequence[T]):
    """A sequence whose items are made when asked for, so that a long data set costs nothing until it is walked."""

    def __init__(self, length: int, make: Callable[[int], T]) -> None:
        self._length, self._make = length, make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        if isinstance(at, slice):
            picked = range(self._length)[at]
            return LazySequence(len(picked), lambda i: self._make(picked[i]))
        return self._make(range(self._length)[at])

    def __iter__(self) -> Iterator[T]:
        return map(self._make, range(self._length))


def concatenate(parts: Sequence[LazySequence[T]]) -> LazySequence[T]:
    """One after the other.

    >>> list(concatenate([LazySequence(2, str), LazySequence(1, hex)]))
    ['0', '1', '0x0']
    """
    ends = list(accumulate(len(part) for part in parts))

    def make(index: int) -> T:
        at = bisect_right(ends, index)
        return parts[at][index - (ends[at - 1] if at else 0)]

    return LazySequence(ends[-1] if ends else 0, make)


@dataclass(frozen=True, slots=True)
class AnnotationIndex:
    """`Dataset.annotation` over marks that are known at loading (decoded only when read)."""

    annotations: Mapping[tuple[str, str, str], Annotation]
    """(radiograph id, finding, reader) -> Mark"""

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        return self.annotations.get((radiograph, finding, reader))


@dataclass(frozen=True, slots=True)
class ScaledBoxAnnotations:
    """`Dataset.annotation` over boxes given in a frame that the images may have been resized from."""

    boxes: Mapping[tuple[str, str], Array]
    """(radiograph id, finding) -> float64 (K, 4) as (top, left, bottom, right) in `frame`"""
    files: Mapping[str, Path]
    """radiograph id -> image; where there is none, marks keep the size of `frame`"""
    frame_size: Size
    reader: str = "truth"
    _sizes: dict[str, Size] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, radiograph: str, finding: str, reader: str) -> Annotation | None:
        boxes = self.boxes.get((radiograph, finding))
        if boxes is None or reader != self.reader:
            return None
        if radiograph not in self._sizes:
            file = self.files.get(radiograph)
            self._sizes[radiograph] = read_size(file) if file is not None else self.frame_size
        size = self._sizes[radiograph]
        scale = np.array([size[0] / self.frame_size[0], size[1] / self.frame_size[1]] * 2)
        return Annotation(radiograph, finding, self.reader, "boxes", size, (boxes * scale).copy)

    def scaling_warnings(self) -> list[str]:
        """What to say if the first image with boxes is not of the frame's size."""
        file = next((self.files[name] for name, _ in self.boxes if name in self.files), None)
        size = read_size(file) if file is not None else self.frame_size
        if size == self.frame_size:
            return []
        return [
            f"images are not {self.frame_size[0]} × {self.frame_size[1]} ({file} is {size[0]} × {size[1]}): "
            "boxes are scaled"
        ]


def group_boxes(keys: Iterable[tuple[str, str]], boxes: Array) -> dict[tuple[str, str], Array]:
    """Boxes (N, 4) that share a key (radiograph id, finding), as one (K, 4) each; rows of NaN are no boxes."""
    groups: dict[tuple[str, str], list[Array]] = {}
    for key, box in zip(keys, boxes, strict=True):
        if not np.isnan(box).any():
            groups.setdefault(key, []).append(box)
    return {key: np.stack(group) for key, group in groups.items()}


def find_images(folders: Iterable[Path]) -> dict[str, Path]:
    """File name -> path of every image in the folders, in order of name."""
    found = [file for folder in folders if folder.is_dir() for file in folder.iterdir()]
    return {file.name: file for file in sorted(found) if file.suffix.lower() in SUFFIXES}


def no_annotations(radiograph: str, finding: str, reader: str) -> None:
    """`Dataset.annotation` of a data set without any."""
