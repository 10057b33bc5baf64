"""Tables of the samples of an eye tracker, read by columns: a million and a half rows in a second or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from sightline.core import Array
from sightline.errors import DataError

_NULL_VALUES = ["", "NA", "NaN", "nan", "null", "None"]


@dataclass(frozen=True, slots=True)
class GazeSamples:
    """Rows of a gaze table, sorted by image; within an image as in the file."""

    path: Path
    """CSV file."""
    images: tuple[str, ...]
    """Images, in order of their first row."""
    starts: Array
    """int64 (images + 1,): first row of each image, and the number of rows."""
    columns: Mapping[str, Array] = field(repr=False)
    """Column -> float64 (rows,), NaN where blank or not in the file."""
    sessions: Array = field(repr=False)
    """int64 (rows,): number of the session, 0 where the file states none."""

    def rows(self, image: int) -> slice:
        """Return the rows of an image.

        Parameters
        ----------
        image : int
            Index of the image in `images`.

        Returns
        -------
        slice
            Slice of the columns.
        """
        return slice(int(self.starts[image]), int(self.starts[image + 1]))


def read_gaze_samples(
    path: Path, image_column: str, number_columns: Sequence[str], session_column: str = ""
) -> GazeSamples:
    """Read columns of a CSV file by name, whatever their order, the case of the header or a byte-order mark.

    Parameters
    ----------
    path : Path
        CSV file.
    image_column : str
        Column that names the image, blank in no row.
    number_columns : sequence of str
        Columns of numbers, blank where unknown; those that the file lacks are NaN.
    session_column : str
        Column that names the session, if any.

    Returns
    -------
    GazeSamples
        Rows sorted by image.

    Raises
    ------
    DataError
        If the file is missing, not a table or lacks the image column, or if a cell is not a number (its column and row
        are named).
    """
    header = _read_header(path)
    if image_column not in header:
        raise DataError(f"{path} has no column {image_column!r}; it has {', '.join(header)}")
    texts = [column for column in (image_column, session_column) if column in header]
    numbers = [column for column in number_columns if column in header]
    text_type = pa.dictionary(pa.int32(), pa.string())
    types = {header[column]: text_type for column in texts} | {header[column]: pa.float64() for column in numbers}
    table = _read_columns(path, types)
    columns = {column: table.column(header[column]) for column in (*texts, *numbers)}
    codes, names = _encode_categories(columns[image_column])
    if (codes < 0).any():
        raise DataError(
            f"{path}, row {int(np.flatnonzero(codes < 0)[0]) + 2}: {image_column} is blank; every row needs one"
        )
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    unknown = np.full(len(codes), np.nan)
    values = {c: columns[c].to_numpy().astype(float)[order] if c in numbers else unknown for c in number_columns}
    sessions = (
        _encode_categories(columns[session_column])[0] + 1
        if session_column in texts
        else np.zeros(len(codes), np.int64)
    )
    return GazeSamples(path, names, starts, values, sessions[order])


def _read_header(path: Path) -> dict[str, str]:
    """Read the header as name in capitals without blanks around it -> name in the file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = file.readline().rstrip("\r\n").split(",")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; it should be a CSV table of gaze") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV table in UTF-8: {error}") from error
    return {cell.strip().strip('"').upper(): cell.strip('"') for cell in cells}


def _read_columns(path: Path, column_types: Mapping[str, pa.DataType]) -> pa.Table:
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict(column_types),
        include_columns=list(column_types),
        null_values=_NULL_VALUES,
        strings_can_be_null=True,
    )
    try:
        return pyarrow.csv.read_csv(path, convert_options=convert)
    except pa.ArrowInvalid:
        try:  # a single thread counts rows, so that the error names one
            single_thread = pyarrow.csv.ReadOptions(use_threads=False)
            return pyarrow.csv.read_csv(path, read_options=single_thread, convert_options=convert)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: {error}; numbers were expected, or nothing") from error


def _encode_categories(column: pa.ChunkedArray) -> tuple[Array, tuple[str, ...]]:
    """Encode texts as int64 (n,) in order of first appearance, -1 where blank; return the codes and the texts."""
    whole = column.unify_dictionaries().combine_chunks()
    encoded = whole if isinstance(whole, pa.DictionaryArray) else pa.concat_arrays(whole.chunks)
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, tuple(map(str, encoded.dictionary.to_pylist()))
