"""Errors in code of users: each becomes one line that names the place."""

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
    *(f"{folder}{os.sep}" for folder in (Path(__file__).parents[1], *map(sysconfig.get_path, ("stdlib", "purelib")))),
)
"""Prefixes of files of this package, of Python and of installed packages."""
_MAX_MESSAGE_LENGTH = 240
"""Characters of a message that are kept: torch lists every weight that does not fit."""


@contextmanager
def wrap_plugin_errors(origin: str, passes_through: Callable[[Exception], bool] | None = None) -> Iterator[None]:
    """Turn an exception of a user's code into a `SightlineError`, with the exception as its cause.

    Parameters
    ----------
    origin
        Whose code it is, for the message.
    passes_through
        Function that returns True for exceptions to leave alone; errors raised on purpose are always left alone.

    Examples
    --------
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
    """Return the first line of a message, with the second where the first only announces it."""
    if isinstance(error, SyntaxError):
        return error.msg
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    text = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return text if len(text) <= _MAX_MESSAGE_LENGTH else f"{text[:_MAX_MESSAGE_LENGTH]} ..."


def _user_location(error: Exception) -> str:
    """Return ' (FILE, line N)' for the last line of the user's code that ran; '' where none did."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    user_frames = [frame for frame in frames if not frame.filename.startswith(_NON_USER_PATHS)]
    return f" ({user_frames[-1].filename}, line {user_frames[-1].lineno})" if user_frames else ""
