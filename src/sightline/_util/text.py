"""Suggestions for misspelled names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches


def did_you_mean(
    name: str, known: Iterable[str], aliases: Mapping[str, str] | None = None, *, cutoff: float = 0.5, most: int = 3
) -> str:
    """Return 'did you mean ...?' with the known names that a name resembles, whatever its case; '' for none.

    Parameters
    ----------
    name
        Name that was given.
    known
        Names that exist.
    aliases
        Other spelling in lower case -> known name.
    cutoff
        Similarity that a name must reach, in [0, 1].
    most
        Names suggested at most.

    Examples
    --------
    >>> did_you_mean("IoU", ["iou", "dice"]), did_you_mean("x", ["iou"])
    ("did you mean 'iou'?", '')
    """
    names = {**(aliases or {}), **{each.casefold(): each for each in known}}
    near = get_close_matches(name.casefold(), names, most, cutoff)
    return f"did you mean {' or '.join(repr(names[spelling]) for spelling in near)}?" if near else ""
