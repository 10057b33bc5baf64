"""Pickles of maps, read without running them: arrays, numbers, strings, lists and dictionaries, and nothing else.

A pickle is a program. The machine here knows the instructions that build plain values, holds every name it meets as an
inert token, and answers the few calls that rebuild arrays of NumPy and of torch (0.4 to 2, saved on any device) with
code of its own. Nothing named in a file is ever imported or called, and nothing is allocated that the file does not
hold. Neither torch nor Python's unpickler takes part.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from sightline.core import DataError
from sightline.pickles.arrays import CALLS, MAX_CELLS
from sightline.pickles.machine import MAX_BYTES, MAX_DEPTH, MAX_STEPS, Machine

__all__ = ["MAX_BYTES", "MAX_CELLS", "load", "loads"]


def load(path: str | Path) -> dict[str, Any]:
    """The dictionary in a pickle file (protocols 0 to 5), its tensors and arrays as read-only NumPy arrays.

    bfloat16 becomes float32, a NumPy scalar a Python number, an `OrderedDict` a dict.
    Errors: `DataError` naming the file, the byte and what stands there, for anything a pickle of plain values and
    arrays does not need (nothing has been run), for a damaged file, and for one above `MAX_BYTES`.
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
    """`load`, from bytes; `name` is what errors call them.

    >>> import pickle
    >>> loads(pickle.dumps({"map": np.eye(2, dtype=np.float32), "prob": 0.5}))["map"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    >>> loads(b"cos\\nsystem\\n(S'reboot'\\ntR.")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    sightline.core.DataError: pickle, byte 0: names 'os system', which no map needs; nothing was run. ...
    """
    if data.startswith(b"PK\x03\x04"):
        raise DataError(f"{name} is a zip archive (of torch.save?) and no pickle; save maps with pickle, or as NPZ")
    stream = io.BytesIO(data)
    machine = Machine(name, CALLS)
    found = machine.run(stream)
    if stream.tell() != len(data):
        raise machine.broken(f"{len(data) - stream.tell():,} bytes follow the end")
    _require_plain(found, machine)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        kind = type(found).__name__
        raise DataError(f"{name} holds a {kind}; a dictionary with names as keys was expected ('map', 'task', ...)")
    return found


def _require_plain(found: object, machine: Machine) -> None:
    """Refuse what is no plain value, and nesting without end or so deep that walking it would fail."""
    waiting = [(found, 0)]
    seen = 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen + len(waiting) > MAX_STEPS:  # what contains itself, or shares to the power of n
            raise machine.excess(f"{MAX_STEPS:,} values, or {MAX_DEPTH} levels of them")
        if isinstance(value, (list, tuple)):
            waiting += [(item, depth + 1) for item in value]
        elif isinstance(value, dict):
            waiting += [(item, depth + 1) for item in value.values()]
        elif not isinstance(value, (np.ndarray, str, bytes, bytearray, int, float, type(None))):
            raise machine.refusal(f"holds a {type(value).__name__}")
