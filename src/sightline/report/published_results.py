"""Results that the authors of the repeated studies published, for comparison."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from sightline.core import NAN
from sightline.report.estimate import Estimate


@cache
def load_published() -> dict[str, Any]:
    """Load all published results with their sources.

    Returns
    -------
    dict
        Results by group.
    """
    published: dict[str, Any] = json.loads((files("sightline.report") / "published.json").read_text("utf-8"))
    return published


def published_estimates(name: str) -> dict[str, dict[str, Estimate]]:
    """Return one group of published results.

    Parameters
    ----------
    name : str
        Group: 'decrease', 'regressions', 'assurance' or 'tuning'.

    Returns
    -------
    dict[str, dict[str, Estimate]]
        Series -> finding or feature -> number.

    Examples
    --------
    >>> published_estimates("decrease")["iou"]["average"].text(1)
    '26.6 [18.1, 35.0]'
    """
    groups: dict[str, dict[str, Estimate]] = {}
    for series, values in load_published()[name].items():
        if isinstance(values, dict):
            groups[series] = {key: _to_estimate(value) for key, value in values.items()}
    return groups


def _to_estimate(value: Any) -> Estimate:
    mean, low, high, n = (*value, *[NAN] * 3)[:4] if isinstance(value, list) else (value, NAN, NAN, NAN)
    return Estimate(float(mean), float(low), float(high), 0 if n != n else int(n), 0)


def published_errors() -> list[str]:
    """List the known errors of the published results that the report shows.

    Returns
    -------
    list of str
        Sentences.
    """
    return [str(e) for e in load_published()["errors"]]
