"""What a pickle of arrays calls, answered without the libraries it names: NumPy's arrays and torch's tensors."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sightline.core import Array
from sightline.pickles.machine import Args, Blank, Machine, Name, Persistent, shown

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
    "torch BFloat16Storage": "<u2",  # widened to float32 when the tensor is rebuilt
    "torch BoolStorage": "?",
    "torch ByteStorage": "u1",
    "torch CharStorage": "i1",
    "torch ShortStorage": "<i2",
    "torch IntStorage": "<i4",
    "torch LongStorage": "<i8",
}

Order = Literal["C", "F"]


@dataclass(frozen=True, slots=True)
class _Storage:
    """The bytes behind tensors."""

    type: str
    values: Array


# Patterns below match types and leave values to guards: an array compared with a literal is no truth value.


def _ordered_dict(m: Machine, args: Args) -> dict[str, Any]:
    if args:
        raise m.refusal("makes an OrderedDict from values")
    return {}


def _encode(m: Machine, args: Args) -> bytes:
    """How protocols 0 to 2 write bytes."""
    match args:
        case (str(text), str(codec)) if codec in ("latin1", "latin-1"):
            m.copying(len(text))
            return text.encode("latin-1")
    raise m.refusal("encodes text otherwise than bytes are")


def _no_bytes(m: Machine, args: Args) -> bytes:
    if args:
        raise m.refusal("makes bytes from values")
    return b""


def _dtype(m: Machine, args: Args) -> Blank:
    match args:
        case (str(code), *_) if code in _DTYPES:
            return Blank(lambda m, state: _ordered(m, code, state))
        case (str(code), *_):
            raise m.refusal(f"makes an array of type {shown(code)} (allowed: {', '.join(_DTYPES)})")
    raise m.refusal("makes an array of unnamed type")


def _ordered(m: Machine, code: str, state: Any) -> np.dtype[Any]:
    match state:
        case (int(), str(order), None, None, None, int(), int(), *_) if order in ("<", ">", "=", "|"):
            dtype: np.dtype[Any] = np.dtype(order + code)
            return dtype
    raise m.refusal("makes an array of structured type")


def _array(m: Machine, args: Args) -> Blank:
    match args:
        case (Name(name), tuple(), bytes() | str()) if name == "numpy ndarray":
            return Blank(_filled)
    raise m.refusal("begins an array otherwise than NumPy does")


def _filled(m: Machine, state: Any) -> Array:
    match state:
        case (int(), tuple(shape), np.dtype() as dtype, int(fortran), bytes() | str() as raw):
            return _view(m, _as_bytes(m, raw), dtype, shape, "F" if fortran else "C")
    raise m.refusal("holds an array of objects, or fills one otherwise than NumPy does")


def _from_buffer(m: Machine, args: Args) -> Array:
    """How protocol 5 writes arrays."""
    match args:
        case (bytes() | bytearray() as raw, np.dtype() as dtype, tuple(shape), str(order)):
            return _view(m, raw, dtype, shape, "F" if order == "F" else "C")
    raise m.refusal("fills an array otherwise than NumPy does")


def _scalar(m: Machine, args: Args) -> Any:
    match args:
        case (np.dtype() as dtype, bytes() | str() as raw):
            return _view(m, _as_bytes(m, raw), dtype, (), "C").item()
    raise m.refusal("writes a number otherwise than NumPy does")


def _as_bytes(m: Machine, raw: bytes | str) -> bytes:
    return raw if isinstance(raw, bytes) else _encode(m, (raw, "latin1"))  # Python 2 wrote bytes as text


def _view(m: Machine, raw: bytes | bytearray, dtype: np.dtype[Any], shape: Args, order: Order) -> Array:
    cells = _cells(m, shape)
    if len(raw) != cells * dtype.itemsize:
        raise m.broken(f"an array of shape {shape} and type {dtype} has {len(raw):,} bytes")
    values: Array = np.frombuffer(raw, dtype).reshape(shape, order=order)
    values.flags.writeable = False
    return values


def _cells(m: Machine, shape: Args) -> int:
    """How many values an array of this shape has, if it may have as many."""
    if len(shape) > MAX_AXES or not all(type(side) is int and side >= 0 for side in shape):
        raise m.broken(f"the shape of an array is not 0 to {MAX_AXES} whole numbers")
    cells = math.prod(shape)
    if cells > MAX_CELLS or max(shape, default=0) > MAX_CELLS:
        raise m.excess(f"{MAX_CELLS:,} values in an array")
    return cells


def _storage(m: Machine, args: Args) -> _Storage:
    """A storage in torch's stream format (before its zip format): five pickles, then a count and the bytes."""
    match args:
        case (bytes(data),):
            pass
        case _:
            raise m.refusal("makes a storage from something other than bytes")
    stream = io.BytesIO(data)
    magic, protocol, machine, reference, keys = (_part(m, stream) for _ in range(5))
    if type(magic) is not int or type(protocol) is not int or (magic, protocol) != (_TORCH_MAGIC, _TORCH_PROTOCOL):
        raise m.broken("a tensor is in no known format (torch 0.4 to 2 write one)")
    match machine:
        case {"little_endian": True}:
            pass
        case _:
            raise m.broken("a tensor does not say it was written on a little-endian machine")
    name, count = _referred(m, reference, keys)
    dtype = np.dtype(_STORAGES[name])
    declared, held = int.from_bytes(stream.read(8), "little"), len(data) - stream.tell()
    if declared != count or held != count * dtype.itemsize:
        raise m.broken(f"the storage of a tensor does not hold the values ({name}) that it announces: {held:,} bytes")
    return _Storage(name, np.frombuffer(data, dtype, count, stream.tell()))


def _part(m: Machine, stream: io.BytesIO) -> Any:
    inner = Machine(f"{m.file}, byte {m.at:,}, tensor", {}, frozenset(_STORAGES), persistent=True, budget=m.budget)
    return inner.run(stream)


def _referred(m: Machine, reference: Any, keys: Any) -> tuple[str, int]:
    """(type, count) of the one storage of a stream, whatever device it was on."""
    match reference, keys:
        case Persistent((str(what), Name(name), str(key), str(), int(count), *view)), [str(follows)]:
            if what == "storage" and key == follows and count >= 0 and view in ([], [None]):
                return name, count
    raise m.broken("a tensor does not consist of one storage")


def _tensor(m: Machine, args: Args) -> Array:
    """(storage, offset, shape, strides, ...), offset and strides counted in values."""
    match args:
        case (_Storage(name, held), int(offset), tuple(shape), tuple(strides), *_) if len(shape) == len(strides):
            pass
        case _:
            raise m.refusal("puts a tensor together otherwise than torch does")
    cells = _cells(m, shape)
    if offset < 0 or not all(type(stride) is int and stride >= 0 for stride in strides):
        raise m.broken("a tensor reaches before its storage")
    if not cells:
        return np.zeros(shape, np.float32)
    if offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True)) >= held.size:
        raise m.broken(f"a tensor of shape {shape} reaches beyond the {held.size:,} values of its storage")
    if name == "torch BFloat16Storage":
        m.copying(4 * held.size)
        held = (held.astype("<u4") << 16).view("<f4")
    steps = tuple(stride * held.itemsize if side > 1 else 0 for side, stride in zip(shape, strides, strict=True))
    values: Array = np.ndarray(shape, held.dtype, held.data, offset * held.itemsize, steps)
    values.flags.writeable = False
    return values


def _only_named(m: Machine, args: Args) -> Any:
    raise m.refusal("makes an array directly")


CALLS: dict[str, Callable[[Machine, Args], Any]] = {
    "collections OrderedDict": _ordered_dict,
    "_codecs encode": _encode,
    "__builtin__ bytes": _no_bytes,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch.storage _load_from_bytes": _storage,
    "numpy dtype": _dtype,
    "numpy ndarray": _only_named,
    **{
        f"numpy.{core}.{name}": call
        for core in ("core", "_core")
        for name, call in {
            "multiarray _reconstruct": _array,
            "multiarray scalar": _scalar,
            "numeric _frombuffer": _from_buffer,
        }.items()
    },
}
"""Every name that a map's pickle may call -> what is done instead."""
