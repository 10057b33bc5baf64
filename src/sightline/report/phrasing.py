"""Phrases of sentences: counts with their nouns, lists, and names of sources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sightline.report.estimate import Estimate
from sightline.report.run_view import RunView


def count_noun(n: int, noun: str) -> str:
    """Write a number with its noun.

    Parameters
    ----------
    n : int
        The number.
    noun : str
        The noun in the singular.

    Returns
    -------
    str
        Such as '1 patient' or '2,000 patients'.
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def sample_size(estimates: Iterable[Estimate], noun: str = "map") -> str:
    """Write the number of maps and patients that estimates were computed from.

    Parameters
    ----------
    estimates : iterable of Estimate
        The numbers.
    noun : str
        What is counted, in the singular.

    Returns
    -------
    str
        A range where the numbers differ; empty where none is known.

    Examples
    --------
    >>> sample_size([Estimate(0.3, 0.2, 0.4, 12, 9), Estimate(0.5, 0.4, 0.6, 1, 1)])
    'n = 1 to 12 maps of 1 to 9 patients'
    """
    counts = [(x.n, x.patients) for x in estimates if x.n]
    if not counts:
        return ""
    n, patients = ((min(column), max(column)) for column in zip(*counts, strict=True))
    return f"n = {_count_range(*n, noun)}" + (f" of {_count_range(*patients, 'patient')}" if patients[1] else "")


def _count_range(least: int, most: int, noun: str) -> str:
    return count_noun(most, noun) if least == most else f"{least:,} to {count_noun(most, noun)}"


def sample_size_note(estimates: Iterable[Estimate], noun: str = "map") -> str:
    """Write the sample size in parentheses, for the end of a sentence.

    Parameters
    ----------
    estimates : iterable of Estimate
        The numbers.
    noun : str
        What is counted, in the singular.

    Returns
    -------
    str
        The text, empty where no number is known.
    """
    text = sample_size(estimates, noun)
    return f" ({text})" if text else ""


def with_article(view: RunView, source: str) -> str:
    """Name a source in the middle of a sentence.

    Parameters
    ----------
    view : RunView
        The run.
    source : str
        The source.

    Returns
    -------
    str
        Its label, with an article unless it is a model.
    """
    label = view.label(source).removeprefix("control: ")
    kind = view.kind(source)
    return f"the {'control ' if kind == 'control' else ''}{label}" if kind != "model" else label


def with_indefinite_article(noun: str) -> str:
    """Put the indefinite article before a noun.

    Parameters
    ----------
    noun : str
        The noun.

    Returns
    -------
    str
        The noun with its article.
    """
    return f"an {noun}" if noun[0] in "AEIOaeio" else f"a {noun}"


def list_in_parentheses(findings: Sequence[str], max_items: int = 4) -> str:
    """List findings in parentheses, for the end of a sentence.

    Parameters
    ----------
    findings : sequence of str
        Names of the findings.
    max_items : int
        Highest number that is listed.

    Returns
    -------
    str
        The text; empty where there are too many.
    """
    return f" ({', '.join(findings)})" if len(findings) <= max_items else ""


def both_or_all(n: int) -> str:
    """Write that all of several things are meant.

    Parameters
    ----------
    n : int
        Number of things, at least 2.

    Returns
    -------
    str
        'both' or 'all N'.
    """
    return "both" if n == 2 else f"all {n}"


def join_list(parts: Sequence[str]) -> str:
    """Join parts by commas and "and".

    Parameters
    ----------
    parts : sequence of str
        At least one part.

    Returns
    -------
    str
        Such as "A, B and C".
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def interval_sign(low: float, high: float, higher_is_better: bool) -> int:
    """Classify a difference by its interval.

    Parameters
    ----------
    low : float
        Lower end of the interval.
    high : float
        Upper end of the interval.
    higher_is_better : bool
        Whether a higher score is better.

    Returns
    -------
    int
        1 if the interval lies on the better side of zero, -1 on the worse side, 0 if it includes zero or is
        undefined.
    """
    if np.isnan(low) or np.isnan(high) or low <= 0 <= high:
        return 0
    return 1 if (low > 0) == higher_is_better else -1
