"""Code that users bring: what goes wrong in it is said in one line that names the place."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sightline.errors import SightlineError

_NON_USER_PATHS = (
    "<",
    *(f"{folder}{os.sep}" for folder in (Path(__file__).parent, *map(sysconfig.get_path, ("stdlib", "purelib")))),
)
"""Where frames are ours, Python's or a package's."""
_MAX_MESSAGE_LENGTH = 240
"""Characters of a message that are told: torch lists every weight that does not fit."""


@contextmanager
def wrap_plugin_errors(origin: str, passes_through: Callable[[Exception], bool] | None = None) -> Iterator[None]:
    """Run code of the user's own; an exception of it becomes a `SightlineError`, with itself as the cause.

    what: whose code it is, for the message. Errors raised on purpose pass, and those that `passes` holds true for.

    >>> with wrap_plugin_errors("the metric half"):
    ...     1 / 0
    Traceback (most recent call last):
    sightline.errors.SightlineError: the metric half raised ZeroDivisionError: division by zero
    """
    try:
        yield
    except Exception as error:  # anything may come out of code that is not ours
        if isinstance(error, SightlineError) or (passes_through is not None and passes_through(error)):
            raise
        raise SightlineError(
            f"{origin} raised {type(error).__name__}: {_first_line(error)}{_user_location(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    """The first line of a message, and the second where the first only announces it."""
    if isinstance(error, SyntaxError):
        return error.msg
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    said = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return said if len(said) <= _MAX_MESSAGE_LENGTH else f"{said[:_MAX_MESSAGE_LENGTH]} ..."


def _user_location(error: Exception) -> str:
    """' (FILE, line N)', the last line of the user's own that ran; empty where none did."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NON_USER_PATHS)]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
