"""Errors raised on purpose; each message says what came, what is allowed and what to do."""

from __future__ import annotations


class SightlineError(Exception):
    """Base of every error raised on purpose; the message says what came, what is allowed and what to do."""


class DataError(SightlineError):
    """Error of a data set, image, annotation or map on disk that is not what its format requires."""


class UnknownNameError(SightlineError, KeyError):
    """Error of a name that no registry has."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr


class RunError(SightlineError):
    """Error of a run folder that is locked, was made with other options, or cannot be written."""
