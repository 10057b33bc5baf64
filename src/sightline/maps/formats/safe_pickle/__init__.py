"""Reading pickled maps without running what they name: arrays, numbers, strings, lists and dictionaries.

A pickle is a program. Its instructions are checked before one is carried out, by the standard library's unpickler,
for which every global is a stand-in of our own. The few that rebuild arrays of NumPy and tensors of torch (0.4 to 2,
saved on any device) are answered; nothing named in a file is imported or called, and nothing is allocated that the
file does not hold. torch takes no part.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import DataError
from sightline.maps.formats.safe_pickle.arrays import MAX_CELLS, STAND_INS
from sightline.maps.formats.safe_pickle.restricted import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_STEPS,
    Context,
    Placeholder,
    unpickle,
)

__all__ = ["MAX_BYTES", "MAX_CELLS", "load", "loads"]


def load(path: str | Path) -> dict[str, Any]:
    """Read the dictionary in a pickle file (protocols 0 to 5).

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict of str to object
        Tensors and arrays are read-only NumPy arrays, where bfloat16 has become float32. A NumPy scalar is a Python
        number, an `OrderedDict` a dict.

    Raises
    ------
    DataError
        If the file holds anything that plain values and arrays do not need (nothing has been run), is damaged,
        cannot be read, or has more than `MAX_BYTES`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"pickle {path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"pickle {path} has more than {MAX_BYTES:,} bytes, more than a map needs; save the map alone")
    return loads(data, f"pickle {path}")


def loads(data: bytes, name: str = "pickle") -> dict[str, Any]:
    r"""Read the dictionary in the bytes of a pickle, as `load` does.

    Parameters
    ----------
    data : bytes
    name : str
        Name of the pickle in errors.

    Returns
    -------
    dict of str to object

    Raises
    ------
    DataError
        As `load`.

    Examples
    --------
    >>> import pickle
    >>> loads(pickle.dumps({"map": np.eye(2, dtype=np.float32), "prob": 0.5}))["map"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    >>> loads(b"cos\nsystem\n(S'reboot'\ntR.")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    sightline.errors.DataError: pickle names 'os system', which no map needs; nothing was run. ...
    """
    if data.startswith(b"PK\x03\x04"):
        raise DataError(f"{name} is a zip archive (of torch.save?) and no pickle; save maps with pickle, or as NPZ")
    stream, context = io.BytesIO(data), Context(name)
    root = unpickle(stream, context, STAND_INS)
    if stream.tell() != len(data):
        raise context.damage_error(f"{len(data) - stream.tell():,} bytes follow the end")
    context.steps = MAX_STEPS
    values = _resolve(root, context)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        kind = type(values).__name__
        raise DataError(f"{name} holds a {kind}; a dictionary with names as keys was expected ('map', 'task', ...)")
    return values


def _resolve(value: Any, context: Context, depth: int = 0) -> Any:
    """Copy plain values with arrays in place of placeholders, and refuse any other value and endless nesting."""
    # A value may contain itself, or share values to the power of the depth.
    limit = f"{MAX_STEPS:,} values, or {MAX_DEPTH} levels of them"
    context.count_step(limit)
    context.require(depth <= MAX_DEPTH, limit)
    if isinstance(value, Placeholder):
        value = value.value
    if isinstance(value, dict):
        return {key: _resolve(item, context, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_resolve(item, context, depth + 1) for item in value)
    if not isinstance(value, (np.ndarray, str, bytes, bytearray, int, float, type(None))):
        raise context.refusal_error(f"holds a {type(value).__name__}")
    return value
