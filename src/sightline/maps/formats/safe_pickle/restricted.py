"""A restricted unpickler: every instruction is checked first, and every global is a stand-in of our own."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pickletools import OpcodeInfo, StackObject
from typing import Any, BinaryIO

from sightline.errors import DataError

MAX_BYTES = 256 * 2**20
"""Larger files are refused before reading. A map of CheXlocalize, with its radiograph, takes 1.6 MB."""
MAX_STEPS = 300_000
"""Instructions, memo entries and values that a file may have. A map of CheXlocalize has some 100."""
MAX_DEPTH = 32
"""Levels of lists and dictionaries inside one another."""
MAX_MARKS = 4 * MAX_DEPTH
"""Marks that may be open at once; a level takes at most two."""

_NEEDED = """
INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT NONE NEWTRUE NEWFALSE STRING BINSTRING SHORT_BINSTRING
UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
MARK POP POP_MARK PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD
PROTO FRAME STOP
"""
OPCODES = frozenset(_NEEDED.split())
"""Instructions that maps need. INST, OBJ, NEWOBJ, EXT, persistent ids, sets and buffers are missing on purpose."""
_KEY_TYPES = (pickletools.pyunicode, pickletools.pybytes_or_str, pickletools.pyint, pickletools.pyinteger_or_bool)

_DAMAGE = (pickle.UnpicklingError, EOFError, BufferError, LookupError, TypeError, ValueError, AttributeError)
"""What unpickling damaged or forged instructions raises; besides, numbers overflow and bad escapes in texts warn."""


@dataclass(slots=True)
class Context:
    """The name of a file in errors, and what reading the file may still cost."""

    name: str
    """Name of the file."""
    steps: int = MAX_STEPS
    """Instructions that may still be read."""
    copies: int = MAX_BYTES
    """Bytes that may still be copied."""

    def damage_error(self, problem: str) -> DataError:
        """Create the error of a damaged file.

        Parameters
        ----------
        problem : str
            What is damaged.

        Returns
        -------
        DataError
            Error to raise.
        """
        return DataError(f"{self.name}: {problem}; the file is damaged, get it again")

    def refusal_error(self, problem: str) -> DataError:
        """Create the error of a file that asks for what no map needs.

        Parameters
        ----------
        problem : str
            What the file asks for, with a verb.

        Returns
        -------
        DataError
            Error to raise.
        """
        advice = "nothing was run. Do not trust this file: ask for the map as NPZ"
        return DataError(f"{self.name} {problem}, which no map needs; {advice}")

    def count_step(self, limit: str) -> None:
        """Count one instruction.

        Parameters
        ----------
        limit : str
            Limit, for the message.
        """
        self.steps -= 1
        self.require(self.steps >= 0, limit)

    def require(self, is_within: bool, limit: str) -> None:
        """Check a limit.

        Parameters
        ----------
        is_within : bool
            Whether the file stays within the limit.
        limit : str
            Limit, for the message.

        Raises
        ------
        DataError
            If it does not.
        """
        if not is_within:
            raise DataError(f"{self.name} has more than {limit}; no map needs them, save it as one array")

    def count_copy(self, size: int) -> None:
        """Count bytes that are copied.

        Parameters
        ----------
        size : int
            Number of bytes.
        """
        self.copies -= size
        self.require(self.copies >= 0, f"{MAX_BYTES:,} bytes unpacked")


StandIn = Callable[..., Any]
"""Called with the context and the arguments in the pickle."""


class Placeholder:
    """A value that a stand-in has created, or will when the pickle gives its state; it cannot be changed after."""

    __slots__ = ("_context", "_fill", "_value")

    def __init__(self, context: Context, value: Any = None, fill: Callable[[Any], Any] | None = None) -> None:
        self._context, self._value, self._fill = context, value, fill

    def __setstate__(self, state: Any) -> None:
        if self._fill is None:
            raise self._context.refusal_error("sets the state of a value that has one")
        self._value, self._fill = self._fill(_unwrap(state)), None

    @property
    def value(self) -> Any:
        """The value, once it is filled."""
        if self._fill is not None:
            raise self._context.refusal_error("uses an array before it is filled")
        return self._value


class Global:
    """A global that a pickle names: inert, except that calling it calls the stand-in for it."""

    __slots__ = ("_context", "_stand_in", "name")

    def __init__(self, context: Context, name: str, stand_in: StandIn | None) -> None:
        self._context, self.name, self._stand_in = context, name, stand_in

    def __call__(self, *args: Any) -> Any:
        """Call the stand-in of the global; `DataError` if the global must not be called."""
        if self._stand_in is None:
            raise self._context.refusal_error(f"calls {self.name!r}")
        result = self._stand_in(self._context, *_unwrap(args))
        is_safe = isinstance(result, (Placeholder, dict, bytes, int, float))
        return result if is_safe else Placeholder(self._context, result)

    def __setstate__(self, state: Any) -> None:
        raise self._context.refusal_error(f"sets the state of {self.name!r}")


def _unwrap(values: Any) -> Any:
    """Replace the placeholders in a tuple by their values."""
    if type(values) is not tuple:
        return values
    return tuple(value.value if isinstance(value, Placeholder) else value for value in values)


class _Unpickler(pickle.Unpickler):
    """The standard unpickler with stand-ins as its only globals."""

    def __init__(self, stream: BinaryIO, context: Context, stand_ins: Mapping[str, StandIn | None]) -> None:
        super().__init__(stream, encoding="latin1")  # Python 2 wrote bytes as text
        self._context, self._stand_ins = context, stand_ins

    def find_class(self, module: str, name: str, /) -> Global:
        key = f"{module} {name}"
        if key not in self._stand_ins:
            raise self._context.refusal_error(f"names {key[:80]!r}")
        return Global(self._context, key, self._stand_ins[key])

    def persistent_load(self, pid: Any) -> Any:
        """Return the id itself. The instruction passes only where the file's own tensors are read."""
        return pid


def unpickle(
    stream: BinaryIO,
    context: Context,
    stand_ins: Mapping[str, StandIn | None],
    opcodes: frozenset[str] = OPCODES,
) -> Any:
    """Unpickle the value at the position of a stream, and leave the stream behind it.

    Parameters
    ----------
    stream : binary file
        Stream that can be read again from its position.
    context : Context
        Name of the file and limits of reading it.
    stand_ins : mapping of str to callable or None
        Global ('module name') that the pickle may name -> function called in its place, None if nothing may be called.
    opcodes : frozenset of str
        Instructions that are allowed.

    Returns
    -------
    object
        Plain values, `Placeholder` and `Global`; how they nest is not checked.

    Raises
    ------
    DataError
        If the pickle is damaged, exceeds a limit, or has any other global or instruction.
    """
    start = stream.tell()
    try:
        _check(stream, context, opcodes)
        end = stream.tell()
        stream.seek(start)
        value = _Unpickler(stream, context, stand_ins).load()
    except (*_DAMAGE, OverflowError, DeprecationWarning) as error:
        raise DataError(f"{context.name} is no complete pickle ({error}); it is damaged, get it again") from error
    if stream.tell() != end:
        raise context.damage_error("a frame reaches beyond the end of the pickle")
    return value


def _check(stream: BinaryIO, context: Context, opcodes: frozenset[str]) -> None:
    """Check every instruction, and the types of what it takes, without carrying it out."""
    stack: list[StackObject] = []
    outer_stacks: list[list[StackObject]] = []
    memo: dict[int | None, StackObject] = {}
    frame_end = 0
    for opcode, argument, position in pickletools.genops(stream):
        context.count_step(f"{MAX_STEPS:,} instructions")
        instruction_end = stream.tell()
        if (position or 0) < frame_end and (opcode.name == "FRAME" or frame_end < instruction_end):
            # The unpickler would skip what is left of the frame, and go on elsewhere than this check.
            raise context.damage_error("a frame ends inside an instruction")
        match opcode.name:
            case name if name not in opcodes:
                raise context.refusal_error(f"has the instruction {name} (byte {position})")
            case "FRAME":
                frame_end = instruction_end + int(argument or 0)
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                key: int = argument if argument is not None else len(memo)
                # The unpickler allocates as many entries as the largest key says.
                context.require(0 <= key <= MAX_STEPS, f"{MAX_STEPS:,} values stored")
                memo[key] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "MARK":
                context.require(len(outer_stacks) < MAX_MARKS, f"{MAX_MARKS} open marks")
                outer_stacks.append(stack)
                stack = []
            case _:
                above: list[StackObject] = []
                if pickletools.markobject in opcode.stack_before:
                    above, stack = stack, outer_stacks.pop()
                _replace(stack, above, opcode, context)
    if stack or outer_stacks:
        raise context.damage_error("values are left over at the end")


def _replace(stack: list[StackObject], above: list[StackObject], opcode: OpcodeInfo, context: Context) -> None:
    """Replace what an instruction takes from the stack, besides what is above a mark, by what it leaves."""
    expected = [kind for kind in opcode.stack_before if kind not in (pickletools.markobject, pickletools.stackslice)]
    first = len(stack) - len(expected)
    if first < 0:
        raise context.damage_error("a value is missing")
    operands = stack[first:]
    for required, actual in zip(expected, operands, strict=True):
        if pickletools.anyobject not in (required, actual) and actual is not required:
            raise context.refusal_error(f"has the instruction {opcode.name} for a {actual.name}")
    if opcode.name in ("SETITEM", "SETITEMS", "DICT"):
        items = [*operands[1:], *above]
        if len(items) % 2 or any(key not in _KEY_TYPES for key in items[::2]):
            # Hashing nested tuples takes time exponential in their depth.
            raise context.refusal_error("has a dictionary whose keys are no text or whole numbers")
    stack[first:] = opcode.stack_after
