"""Long tables of an eye tracker, read by columns: a million and a half rows in a second or two."""

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
    images: tuple[str, ...]
    """Images, in order of their first row."""
    starts: Array
    """int64 (images + 1,): where the rows of each image begin."""
    columns: Mapping[str, Array] = field(repr=False)
    """Column -> float64 (rows,), NaN where blank or not in the file."""
    sessions: Array = field(repr=False)
    """int64 (rows,): number of the session, 0 where the file states none."""

    def rows(self, image: int) -> slice:
        return slice(int(self.starts[image]), int(self.starts[image + 1]))


def read_gaze_samples(
    path: Path, image_column: str, number_columns: Sequence[str], session_column: str = ""
) -> GazeSamples:
    """Columns of a CSV file by name, whatever their order, case of the header or byte-order mark.

    image: column that names the image, blank in no row; numbers: columns of numbers, blank where unknown; those that
    the file lacks are NaN. Errors: `DataError` for a file that is missing, no table, without the column `image`, or
    with a cell that is no number (with its column and row).
    """
    header = _read_header(path)
    if image_column not in header:
        raise DataError(f"{path} has no column {image_column!r}; it has {', '.join(header)}")
    texts = [c for c in (image_column, session_column) if c in header]
    there = [c for c in number_columns if c in header]
    kinds = {header[c]: pa.dictionary(pa.int32(), pa.string()) for c in texts} | {
        header[c]: pa.float64() for c in there
    }
    table = _read_columns(path, kinds)
    columns = {c: table.column(header[c]) for c in (*texts, *there)}
    codes, names = _encode_categories(columns[image_column])
    if (codes < 0).any():
        raise DataError(
            f"{path}, row {int(np.flatnonzero(codes < 0)[0]) + 2}: {image_column} is blank; every row needs one"
        )
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    nothing = np.full(len(codes), np.nan)
    values = {c: columns[c].to_numpy().astype(float)[order] if c in there else nothing for c in number_columns}
    sessions = (
        _encode_categories(columns[session_column])[0] + 1
        if session_column in texts
        else np.zeros(len(codes), np.int64)
    )
    return GazeSamples(path, names, starts, values, sessions[order])


def _read_header(path: Path) -> dict[str, str]:
    """Our spelling (as the file has it, without blanks around) -> the file's. Errors: `DataError` if it is no table."""
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
        try:  # once more by one thread, which counts rows
            one = pyarrow.csv.ReadOptions(use_threads=False)
            return pyarrow.csv.read_csv(path, read_options=one, convert_options=convert)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: {error}; numbers were expected, or nothing") from error


def _encode_categories(column: pa.ChunkedArray) -> tuple[Array, tuple[str, ...]]:
    """Codes int64 (n,) in order of first appearance, -1 where blank, and what they stand for."""
    whole = column.unify_dictionaries().combine_chunks()
    encoded = whole if isinstance(whole, pa.DictionaryArray) else pa.concat_arrays(whole.chunks)
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, tuple(map(str, encoded.dictionary.to_pylist()))
