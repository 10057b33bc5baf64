"""The table of formats that data sets are written in, and what all writers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sightline.registry import Registry

T = TypeVar("T")


WithProgress = Callable[[Sequence[T]], Iterable[T]]


JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class FormatInfo:
    """What is known of a layout before anything is written."""

    layout: str
    """One line: what lies where."""
    loader: str
    """Spec that opens what was written; DIR stands for the folder."""


formats: Registry[FormatInfo] = Registry("format", FormatInfo)
"""name -> function of (data set, empty folder, how to walk the radiographs) that returns notes for the README."""
