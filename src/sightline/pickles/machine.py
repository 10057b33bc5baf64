"""The machine that carries out the harmless instructions of a pickle, and refuses every other."""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from sightline.core import DataError

MAX_BYTES = 256 * 2**20
"""Larger files are refused before reading. A map of CheXlocalize, with its radiograph, takes 1.6 MB."""
MAX_STEPS = 300_000
"""Instructions carried out, and values in what comes out, before a file is refused. CheXlocalize takes some 100."""
MAX_DEPTH = 32
"""Levels of lists and dictionaries inside one another."""

Args = tuple[Any, ...]


@dataclass(slots=True)
class Budget:
    """What one file may still spend, shared with the streams inside it."""

    steps: int = MAX_STEPS
    copied: int = MAX_BYTES


@dataclass(frozen=True, slots=True)
class Name:
    """A global that the file names. Only a token: there is nothing behind it that could be called."""

    name: str


@dataclass(frozen=True, slots=True)
class Persistent:
    """An object that the file keeps elsewhere, as it refers to it."""

    reference: Any


@dataclass(slots=True)
class Blank:
    """A value between its making and the instruction that fills it; never part of another value."""

    fill: Callable[[Machine, Any], Any]
    places: list[int] = field(default_factory=list)
    """Where the memo holds it."""


@dataclass(slots=True)
class Machine:
    """Carries out the instructions of one stream."""

    file: str
    calls: Mapping[str, Callable[[Machine, Args], Any]]
    """Names that may be called -> our answer."""
    tokens: frozenset[str] = frozenset()
    """Names that may stand in a value."""
    persistent: bool = False
    """Whether the stream may refer to what follows it."""
    budget: Budget = field(default_factory=Budget)
    at: int = 0
    stack: list[Any] = field(default_factory=list)
    outer: list[list[Any]] = field(default_factory=list)
    """Stacks below the open marks."""
    memo: dict[int, Any] = field(default_factory=dict)

    def broken(self, what: str) -> DataError:
        return DataError(f"{self.file}, byte {self.at:,}: {what}; the file is damaged, get it again")

    def refusal(self, what: str) -> DataError:
        return DataError(
            f"{self.file}, byte {self.at:,}: {what}, which no map needs; nothing was run. "
            "Do not trust this file: ask for the map as NPZ"
        )

    def excess(self, what: str) -> DataError:
        return DataError(f"{self.file}, byte {self.at:,}: more than {what}; no map needs them, save it as one array")

    def run(self, stream: BinaryIO) -> Any:
        """The value of the pickle that begins here; leaves `stream` behind it."""
        try:
            for op, arg, at in pickletools.genops(stream):
                self.at = at or 0
                self.budget.steps -= 1
                if self.budget.steps < 0:
                    raise self.excess(f"{MAX_STEPS:,} instructions")
                step = _STEPS.get(op.name)
                if step is None:
                    raise self.refusal(f"has the instruction {op.name}")
                step(self, arg)
        except (ValueError, OverflowError, DeprecationWarning) as error:  # of genops: cut short, unknown instruction,
            # bad number or text (a warning, of bad escapes, is an error only where the user makes warnings errors)
            raise DataError(f"{self.file} is no complete pickle ({error}); it is damaged, get it again") from error
        value = self.pop()
        if self.stack or self.outer:
            raise self.broken("values are left over at the end")
        return value

    def top(self) -> Any:
        """The last value, which may be a blank, and is taken away."""
        if not self.stack:
            raise self.broken("a value is missing")
        return self.stack.pop()

    def pop(self) -> Any:
        """The last value, which is taken away."""
        value = self.top()
        if isinstance(value, Blank):
            raise self.refusal("uses an array before it is filled")
        return value

    def pop_mark(self) -> list[Any]:
        """What lies above the last mark, which is taken away."""
        if not self.outer:
            raise self.broken("a mark is missing")
        above, self.stack = self.stack, self.outer.pop()
        if any(isinstance(value, Blank) for value in above):
            raise self.refusal("uses an array before it is filled")
        return above

    def copying(self, size: int) -> None:
        """Account for `size` bytes that are about to be copied."""
        self.budget.copied -= size
        if self.budget.copied < 0:
            raise self.excess(f"{MAX_BYTES:,} bytes unpacked")


def shown(text: str) -> str:
    """Text from a file, as errors quote it."""
    return repr(text if len(text) <= 80 else text[:80] + "...")


def _push(m: Machine, arg: Any) -> None:
    m.stack.append(arg)


def _nothing(m: Machine, arg: Any) -> None:
    """PROTO, FRAME and STOP: `genops` has seen to them."""


def _mark(m: Machine, _: Any) -> None:
    m.outer.append(m.stack)
    m.stack = []


def _discard(m: Machine, _: Any) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


def _discard_mark(m: Machine, _: Any) -> None:
    m.pop_mark()


def _duplicate(m: Machine, _: Any) -> None:
    value = m.pop()
    m.stack += [value, value]


def _put(m: Machine, arg: int | None) -> None:
    value = m.top()
    m.stack.append(value)
    key = len(m.memo) if arg is None else arg
    m.memo[key] = value
    if isinstance(value, Blank):
        value.places.append(key)


def _get(m: Machine, arg: int) -> None:
    if arg not in m.memo:
        raise m.broken(f"value {arg} is recalled before it is stored")
    m.stack.append(m.memo[arg])


def _tuple(size: int) -> Callable[[Machine, Any], None]:
    def step(m: Machine, _: Any) -> None:
        m.stack.append(tuple([m.pop() for _ in range(size)][::-1]))

    return step


def _append(m: Machine, values: list[Any]) -> None:
    target = m.pop()
    if type(target) is not list:
        raise m.refusal(f"appends to a {type(target).__name__}")
    target += values
    m.stack.append(target)


def _set_items(m: Machine, flat: list[Any]) -> None:
    target = m.pop()
    if type(target) is not dict:
        raise m.refusal(f"sets items of a {type(target).__name__}")
    target.update(_pairs(m, flat))
    m.stack.append(target)


def _pairs(m: Machine, flat: list[Any]) -> Iterator[tuple[str | int, Any]]:
    if len(flat) % 2:
        raise m.broken("a key has no value")
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        if type(key) not in (str, int):  # hashing nested tuples takes time exponential in their depth
            raise m.refusal(f"uses a {type(key).__name__} as a key")
        yield key, value


def _name(m: Machine, arg: str) -> None:
    if arg not in m.calls and arg not in m.tokens:
        raise m.refusal(f"names {shown(arg)}")
    m.stack.append(Name(arg))


def _name_on_stack(m: Machine, _: Any) -> None:
    name, module = m.pop(), m.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise m.refusal("names a global by something other than text")
    _name(m, f"{module} {name}")


def _call(m: Machine, _: Any) -> None:
    args, what = m.pop(), m.pop()
    if not isinstance(what, Name) or what.name not in m.calls:
        raise m.refusal(f"calls {shown(what.name) if isinstance(what, Name) else 'a ' + type(what).__name__}")
    if type(args) is not tuple:
        raise m.refusal(f"calls {what.name!r} with a {type(args).__name__}")
    m.stack.append(m.calls[what.name](m, args))


def _build(m: Machine, _: Any) -> None:
    state, blank = m.pop(), m.top()
    if not isinstance(blank, Blank):
        raise m.refusal(f"sets the state of a {type(blank).__name__}")
    value = blank.fill(m, state)
    m.memo |= {key: value for key in blank.places if m.memo[key] is blank}
    m.stack.append(value)


def _persistent(m: Machine, _: Any) -> None:
    if not m.persistent:
        raise m.refusal("has a persistent id")
    m.stack.append(Persistent(m.pop()))


_VALUES = """
INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE
SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
"""
_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(_VALUES.split(), _push),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "NONE": lambda m, _: _push(m, None),
    "NEWTRUE": lambda m, _: _push(m, True),
    "NEWFALSE": lambda m, _: _push(m, False),
    "EMPTY_LIST": lambda m, _: _push(m, []),
    "EMPTY_DICT": lambda m, _: _push(m, {}),
    "EMPTY_TUPLE": lambda m, _: _push(m, ()),
    "MARK": _mark,
    "POP": _discard,
    "POP_MARK": _discard_mark,
    "DUP": _duplicate,
    "TUPLE": lambda m, _: _push(m, tuple(m.pop_mark())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "LIST": lambda m, _: _push(m, m.pop_mark()),
    "DICT": lambda m, _: _push(m, dict(_pairs(m, m.pop_mark()))),
    "APPEND": lambda m, _: _append(m, [m.pop()]),
    "APPENDS": lambda m, _: _append(m, m.pop_mark()),
    "SETITEM": lambda m, _: _set_items(m, [m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: _set_items(m, m.pop_mark()),
    "GLOBAL": _name,
    "STACK_GLOBAL": _name_on_stack,
    "REDUCE": _call,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
"""INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1 to EXT4, PERSID, sets and out-of-band buffers are missing on purpose."""
