"""CSV and JSON files, read with errors that name the file and the row."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sightline.core import Array, Size
from sightline.errors import DataError
from sightline.imaging.image_files import MAX_PIXELS


@dataclass(frozen=True, slots=True)
class CsvTable:
    """CSV file: every cell a trimmed string, '' where blank."""

    path: Path
    rows: pd.DataFrame = field(repr=False)
    """Cells, indexed by the number of the row in the file (the header is row 1)."""

    def error(self, row: object, message: str) -> DataError:
        """Make an error that names the file and a row, to be raised by the caller.

        Parameters
        ----------
        row : object
            Number of the row in the file.
        message : str
            What is wrong with it.

        Returns
        -------
        DataError
            The error.
        """
        return DataError(f"{self.path}, row {row}: {message}")

    def row_number(self, position: int | np.intp) -> int:
        """Return the number in the file of a row.

        Parameters
        ----------
        position : int
            Position of the row in `rows`, from 0.

        Returns
        -------
        int
            Number from 2.
        """
        return int(self.rows.index[int(position)])

    def text(self, column: str) -> list[str]:
        """Return a column as strings.

        Parameters
        ----------
        column : str
            Name of the column.

        Returns
        -------
        list of str
            Cells, '' where blank.
        """
        return self.rows[column].tolist()

    def numbers(self, column: str) -> Array:
        """Return a column as numbers.

        Parameters
        ----------
        column : str
            Name of the column.

        Returns
        -------
        (N,) float64
            Cells, NaN where blank.

        Raises
        ------
        DataError
            If a cell is not a finite number; the first such row is named.
        """
        cells = self.rows[column]
        values = pd.to_numeric(cells, errors="coerce")
        is_wrong = (values.isna() & ~cells.str.lower().isin(("", "nan", "na"))) | np.isinf(values)
        for i in np.flatnonzero(is_wrong):
            raise self.error(self.row_number(i), f"{column} is {cells.iloc[i]!r}; a number was expected, or nothing")
        return values.to_numpy(np.float64)

    def labels(self, column: str) -> Array:
        """Return a column of labels.

        Parameters
        ----------
        column : str
            Name of the column.

        Returns
        -------
        (N,) float64
            1, 0, -1 (uncertain), and NaN where blank.

        Raises
        ------
        DataError
            If a cell has another value.
        """
        values = self.numbers(column)
        is_wrong = ~(np.isin(values, (1, 0, -1)) | np.isnan(values))
        for i in np.flatnonzero(is_wrong):
            raise self.error(self.row_number(i), f"{column} is {values[i]:g}; allowed: 1, 0, -1 (uncertain) or blank")
        return values

    def require_unique(self, column: str) -> None:
        """Check that no value of a column occurs twice.

        Parameters
        ----------
        column : str
            Name of the column.

        Raises
        ------
        DataError
            If a value occurs twice; both rows are named.
        """
        cells = self.rows[column]
        for i in np.flatnonzero(cells.duplicated()):
            value = cells.iloc[i]
            first = self.row_number(np.flatnonzero(cells == value)[0])
            raise self.error(self.row_number(i), f"{column} {value!r} is already in row {first}; remove one")

    def require_filled(self, column: str) -> None:
        """Check that no cell of a column is blank.

        Parameters
        ----------
        column : str
            Name of the column.

        Raises
        ------
        DataError
            If a cell is blank; its row is named.
        """
        for i in np.flatnonzero(self.rows[column] == ""):
            raise self.error(self.row_number(i), f"{column} is blank; every row needs one")

    def boxes(self, columns: Sequence[str], limit: Size | None = None) -> Array:
        """Return boxes that are given as x, y, width and height.

        Parameters
        ----------
        columns : sequence of str
            Names of these four columns.
        limit : tuple of int, optional
            (H, W) of the image, in which boxes must lie, up to one pixel.

        Returns
        -------
        (N, 4) float64
            (top, left, bottom, right), NaN in rows where all four are blank.

        Raises
        ------
        DataError
            If a box is incomplete, without area, or outside the limit.
        """
        x, y, width, height = cells = np.stack([self.numbers(column) for column in columns])  # (4, N)
        names = ", ".join(columns)
        for i in np.flatnonzero(np.isnan(cells).any(0) & ~np.isnan(cells).all(0)):
            raise self.error(self.row_number(i), f"the box is incomplete; it needs all of {names}")
        for i in np.flatnonzero((width <= 0) | (height <= 0)):
            size = f"{width[i]:g} × {height[i]:g}"
            raise self.error(self.row_number(i), f"the box is {size} (width × height); both must be above 0")
        if limit is not None:
            is_outside = (x < -1) | (y < -1) | (x + width > limit[1] + 1) | (y + height > limit[0] + 1)
            for i in np.flatnonzero(is_outside):
                raise self.error(self.row_number(i), describe_outside_box(cells[:, i], limit))
        return np.stack([y, x, y + height, x + width], axis=1)


def describe_outside_box(box: Array, size: Size) -> str:
    """Describe a box that leaves an image, for an error.

    Parameters
    ----------
    box : (4,) float64
        (x, y, width, height) in pixels.
    size : tuple of int
        (H, W) of the image.

    Returns
    -------
    str
        Clause with the coordinates and the size.
    """
    x, y, width, height = box
    return (
        f"the box x {x:g} to {x + width:g}, y {y:g} to {y + height:g} leaves the image, which is {size[1]} wide and "
        f"{size[0]} high (pixels)"
    )


def read_csv(
    path: Path, columns: Sequence[str] = (), aliases: Mapping[str, str] | None = None, may_be_empty: bool = False
) -> CsvTable:
    """Read a CSV file.

    Parameters
    ----------
    path : Path
        CSV file in UTF-8, with a header.
    columns : sequence of str
        Columns that it must have; others are kept.
    aliases : Mapping of str to str, optional
        Other spelling of a column -> name to use.
    may_be_empty : bool
        Allow a file that consists of its header.

    Returns
    -------
    CsvTable
        The table without blank rows.

    Raises
    ------
    DataError
        If the file is missing, empty, not UTF-8 text or ragged, or lacks a column.
    """
    rows = _read_cells(path, columns)
    rows.columns = [(aliases or {}).get(str(name).strip(), str(name).strip()) for name in rows.columns]
    _check_header(path, rows, columns)
    rows.index = pd.RangeIndex(2, len(rows) + 2)
    for column in rows.columns:
        rows[column] = rows[column].fillna("").str.strip()  # a row that ends early is filled up with NaN
    rows = rows[(rows != "").any(axis=1)]
    if rows.empty and not may_be_empty:
        raise DataError(f"{path} has a header but no rows")
    return CsvTable(path, rows)


def _read_cells(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        return pd.read_csv(
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


def _check_header(path: Path, rows: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in rows.columns:
            names = {str(name).lower(): name for name in rows.columns}
            similar = difflib.get_close_matches(column.lower(), names, 1)
            hint = f" (did you mean {names[similar[0]]!r}?)" if similar else ""
            raise DataError(f"{path} has no column {column!r}{hint}; it has {', '.join(map(str, rows.columns))}")
    if not isinstance(rows.index, pd.RangeIndex):
        raise DataError(f"{path}, row 2: there are more cells than the {rows.shape[1]} columns of the header")
    if rows.columns.has_duplicates:
        raise DataError(f"{path} names column {rows.columns[rows.columns.duplicated()][0]!r} twice; rename one")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    path : Path
        JSON file.

    Returns
    -------
    dict of str to object
        The object.

    Raises
    ------
    DataError
        If the file is missing, damaged, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}; get the complete file") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; an object from radiograph ids was expected")
    return content


def parse_size(value: object, label: str) -> Size:
    """Parse the size of an image in a JSON file.

    Parameters
    ----------
    value : object
        Value from the file: a list [height, width].
    label : str
        File and entry, for the error.

    Returns
    -------
    tuple of int
        (H, W).

    Raises
    ------
    DataError
        If the value is not the size of a possible image.
    """
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
