"""Format versions of files that this package writes: a file of another version is refused."""

from __future__ import annotations

from pathlib import Path


def check_format(
    stated: object, expected: object, noun: str, path: Path | str, error: type[Exception], remedy: str = ""
) -> None:
    """Refuse a file whose format is not the one that this version reads.

    Parameters
    ----------
    stated
        Format that the file states, None where it states none.
    expected
        Format that is read.
    noun
        Noun for the file, such as 'run'.
    path
        Path of the file.
    error
        Class of the error to raise.
    remedy
        What to do; by default to make it again.

    Raises
    ------
    Exception
        Of the class `error`, if the formats differ.

    """
    if type(stated) is type(expected) and stated == expected:
        return
    text = "no format" if stated is None else f"format {stated!r}"
    raise error(
        f"{path}: this {noun} states {text}, and this version reads format {expected!r}; "
        f"{remedy or f'make the {noun} again with this version'}"
    )
