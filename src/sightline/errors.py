"""Errors raised on purpose; each message says what came, what is allowed and what to do."""

from __future__ import annotations


class SightlineError(Exception):
    """Root of every error raised on purpose; the message says what came, what was allowed and what to do."""


class DataError(SightlineError):
    """A data set, image, annotation or map on disk is not what its format promises."""


class UnknownNameError(SightlineError, KeyError):
    """A name that no registry entry carries."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr


class RunError(SightlineError):
    """A run folder is locked, belongs to other options, or cannot be written."""
