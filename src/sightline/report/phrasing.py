"""Words that every sentence of a report is made of: counts with their nouns, lists, and what a source is called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sightline.report.run_view import Number, View


def counted(n: int, noun: str) -> str:
    """'1 patient', '2,000 patients'."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def among(some: Iterable[Number], noun: str = "map") -> str:
    """Of how many maps and patients some numbers tell; a range where they differ, '' where nobody counted.

    >>> among([Number(0.3, 0.2, 0.4, 12, 9), Number(0.5, 0.4, 0.6, 1, 1)])
    'n = 1 to 12 maps of 1 to 9 patients'
    """
    counts = [(x.n, x.patients) for x in some if x.n]
    if not counts:
        return ""
    n, patients = ((min(column), max(column)) for column in zip(*counts, strict=True))
    return f"n = {_span(*n, noun)}" + (f" of {_span(*patients, 'patient')}" if patients[1] else "")


def _span(least: int, most: int, noun: str) -> str:
    return counted(most, noun) if least == most else f"{least:,} to {counted(most, noun)}"


def noted(some: Iterable[Number], noun: str = "map") -> str:
    """`among` in parentheses, for the end of a sentence."""
    told = among(some, noun)
    return f" ({told})" if told else ""


def the(view: View, source: str) -> str:
    """A source in the middle of a sentence."""
    label = view.label(source).removeprefix("control: ")
    kind = view.kind(source)
    return f"the {'control ' if kind == 'control' else ''}{label}" if kind != "model" else label


def article(noun: str) -> str:
    """The noun behind its article."""
    return f"an {noun}" if noun[0] in "AEIOaeio" else f"a {noun}"


def listed(findings: Sequence[str], most: int = 4) -> str:
    """In parentheses, for the end of a sentence; '' where they are too many to be read there."""
    return f" ({', '.join(findings)})" if len(findings) <= most else ""


def every(n: int) -> str:
    """Of two or more."""
    return "both" if n == 2 else f"all {n}"


def joined(parts: Sequence[str]) -> str:
    """A, B and C."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def side(low: float, high: float, higher: bool) -> int:
    """1 if an interval of a difference lies on the better side of zero, -1 on the worse, 0 if it tells nothing."""
    if np.isnan(low) or np.isnan(high) or low <= 0 <= high:
        return 0
    return 1 if (low > 0) == higher else -1
