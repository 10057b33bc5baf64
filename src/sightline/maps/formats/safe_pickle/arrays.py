"""Stand-ins for what a pickle of arrays calls: they rebuild NumPy's arrays and torch's tensors without either."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from sightline.core import Array
from sightline.maps.formats.safe_pickle.restricted import OPCODES, Context, Global, Placeholder, StandIn, unpickle

MAX_CELLS = 2**26
"""Arrays that declare more values are refused. The largest radiographs have some 20 million pixels."""
MAX_AXES = 8

_DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_PROTOCOL = 1001
_STORAGES = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch BFloat16Storage": "<u2",  # widened to float32
    "torch BoolStorage": "?",
    "torch ByteStorage": "u1",
    "torch CharStorage": "i1",
    "torch ShortStorage": "<i2",
    "torch IntStorage": "<i4",
    "torch LongStorage": "<i8",
}
_STORAGE_OPCODES = OPCODES - {"REDUCE", "BUILD"} | {"BINPERSID"}


@dataclass(frozen=True)
class _Storage:
    """The values behind tensors."""

    values: Array


# Arguments of other number or type than the library writes may raise any error here; `unpickle` catches it.


def _create_dict(_context: Context) -> dict[str, Any]:
    return {}


def _create_empty_bytes(_context: Context) -> bytes:
    return b""


def _encode(context: Context, text: str, codec: object) -> bytes:
    """Encode text as protocols 0 to 2 do to write bytes."""
    if codec not in ("latin1", "latin-1"):
        raise ValueError("bytes are written in latin1")
    context.count_copy(len(text))
    return text.encode("latin-1")


def _create_dtype(context: Context, code: Any, *_: object) -> Placeholder:
    if code not in _DTYPES:
        raise ValueError(f"the types of arrays are {', '.join(_DTYPES)}")
    return Placeholder(context, fill=partial(_complete_dtype, code))


def _complete_dtype(code: str, state: object) -> np.dtype[Any]:
    match state:
        case (int(), "<" | ">" | "=" | "|" as order, None, None, None, int(), int(), *_):
            return np.dtype(order + code)
    raise ValueError("arrays have no structured types")


def _create_array(context: Context, kind: object, *_: object) -> Placeholder:
    if not isinstance(kind, Global) or kind.name != "numpy ndarray":
        raise ValueError("an array is no ndarray")
    return Placeholder(context, fill=partial(_fill_array, context))


def _fill_array(context: Context, state: Any) -> Array:
    _, shape, dtype, is_fortran, raw = state
    return _view(_to_bytes(context, raw), dtype, shape, "F" if is_fortran else "C")


def _create_from_buffer(_context: Context, raw: object, dtype: object, shape: object, order: object) -> Array:
    """Create an array as protocol 5 writes it."""
    return _view(raw, dtype, shape, order)


def _create_scalar(context: Context, dtype: object, raw: object) -> Any:
    return _view(_to_bytes(context, raw), dtype, (), "C").item()


def _refuse_direct_call(_context: Context, *_: object) -> None:
    raise ValueError("arrays are not created directly")


def _to_bytes(context: Context, raw: object) -> object:
    return _encode(context, raw, "latin1") if isinstance(raw, str) else raw  # Python 2 wrote bytes as text


def _view(raw: object, dtype: object, shape: Any, order: object) -> Array:
    """View bytes as a read-only array."""
    cells = _count_cells(shape)
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(dtype, np.dtype):
        raise TypeError("an array consists of other values than bytes")
    if len(raw) != cells * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} and type {dtype} has {len(raw):,} bytes")
    values: Array = np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C")
    values.flags.writeable = False
    return values


def _count_cells(shape: Any) -> int:
    """Count the values of an array, and refuse shapes that no array of a map has."""
    if type(shape) is not tuple or len(shape) > MAX_AXES or not _are_sizes(shape):
        raise ValueError(f"the shape of an array is not 0 to {MAX_AXES} whole numbers")
    cells = math.prod(shape)
    if max(cells, *shape, 0) > MAX_CELLS:
        raise ValueError(f"an array has more than {MAX_CELLS:,} values")
    return cells


def _are_sizes(values: Any) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _load_storage(context: Context, data: bytes) -> _Storage:
    """Load a storage in torch's stream format (before its zip format): five pickles, a count and the bytes."""
    stream = io.BytesIO(data)
    storages = dict.fromkeys(_STORAGES)
    magic, protocol, system, reference, keys = (unpickle(stream, context, storages, _STORAGE_OPCODES) for _ in range(5))
    if type(magic) is not int or type(protocol) is not int or (magic, protocol) != (_TORCH_MAGIC, _TORCH_PROTOCOL):
        raise context.damage_error("a tensor is in no known format (torch 0.4 to 2 write one)")
    if type(system) is not dict or system.get("little_endian") is not True:
        raise context.damage_error("a tensor does not say it was written on a little-endian machine")
    match reference, keys:
        case ("storage", Global(name=name), str(key), str(), int(count), *view), [str(only_key)]:
            if key != only_key or view not in ([], [None]):
                raise context.damage_error("a tensor does not consist of one storage")
        case _:
            raise context.damage_error("a tensor does not consist of one storage")
    dtype = np.dtype(_STORAGES[name])
    declared, size = int.from_bytes(stream.read(8), "little"), len(data) - stream.tell()
    if declared != count or size != count * dtype.itemsize:
        raise context.damage_error(f"a tensor does not hold the values ({name}) that it announces: {size:,} bytes")
    values: Array = np.frombuffer(data, dtype, count, stream.tell())
    if name == "torch BFloat16Storage":
        context.count_copy(2 * len(data))
        values = (values.astype("<u4") << 16).view("<f4")
    return _Storage(values)


def _rebuild_tensor(_context: Context, storage: object, offset: Any, shape: Any, strides: Any, *_: object) -> Array:
    """Rebuild a tensor, whose offset and strides are counted in values."""
    cells = _count_cells(shape)
    if not isinstance(storage, _Storage) or len(strides) != len(shape) or not _are_sizes((offset, *strides)):
        raise ValueError("a tensor is no part of a storage")
    if not cells:
        return np.zeros(shape, np.float32)
    values = storage.values
    if offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True)) >= values.size:
        raise ValueError(f"a tensor of shape {shape} reaches beyond the {values.size:,} values of its storage")
    steps = tuple(stride * values.itemsize if side > 1 else 0 for side, stride in zip(shape, strides, strict=True))
    tensor: Array = np.ndarray(shape, values.dtype, values.data, offset * values.itemsize, steps)
    tensor.flags.writeable = False
    return tensor


_OF_NUMPY_CORE: Mapping[str, StandIn] = {
    "multiarray _reconstruct": _create_array,
    "multiarray scalar": _create_scalar,
    "numeric _frombuffer": _create_from_buffer,
}
STAND_INS: Mapping[str, StandIn] = {
    "collections OrderedDict": _create_dict,
    "_codecs encode": _encode,
    "__builtin__ bytes": _create_empty_bytes,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch.storage _load_from_bytes": _load_storage,
    "numpy dtype": _create_dtype,
    "numpy ndarray": _refuse_direct_call,
    **{f"numpy.{core}.{name}": stand_in for core in ("core", "_core") for name, stand_in in _OF_NUMPY_CORE.items()},
}
"""Every global that the pickle of a map may name, and what is called in its place."""
