"""Format versions of files that this package writes: a file of another version is refused, not guessed at."""

from __future__ import annotations

from pathlib import Path


def check_format(
    found: object, expected: object, what: str, path: Path | str, error: type[Exception], remedy: str = ""
) -> None:
    """Refuse a file whose format is not the one that this version reads.

    Parameters
    ----------
    found
        Format that the file states, None where it states none.
    expected
        Format that is read.
    what
        What the file is, as in 'run'.
    path
        Where it is.
    error
        Class of the error to raise.
    remedy
        What to do; by default to make it again.

    Raises
    ------
    Exception
        Of the class `error`, if the formats differ.

    """
    if type(found) is type(expected) and found == expected:
        return
    stated = "no format" if found is None else f"format {found!r}"
    raise error(
        f"{path}: this {what} states {stated}, and this version reads format {expected!r}; "
        f"{remedy or f'make the {what} again with this version'}"
    )
