"""Spread of the readers behind their mean, the human benchmark: from the lowest to the highest reader."""

from __future__ import annotations

import numpy as np

from sightline.report.estimate import format_decimal
from sightline.report.run_view import RunView
from sightline.stats.reader_average import is_average, readers_behind


def score_spread(view: RunView, source: str, metric: str, finding: str) -> tuple[float, float] | None:
    """Return the lowest and the highest mean of the readers behind the mean over readers.

    Parameters
    ----------
    view : RunView
        The run.
    source : str
        The source.
    metric : str
        Name of the metric.
    finding : str
        Finding, or the average over findings.

    Returns
    -------
    tuple of float, or None
        None for any other source, and where fewer than two readers have a mean.
    """
    means = [view.estimate(reader, metric, finding).mean for reader in readers_behind(view.sources, source)]
    means = [mean for mean in means if not np.isnan(mean)]
    return (min(means), max(means)) if len(means) > 1 else None


def decrease_spread(view: RunView, metric: str, finding: str) -> tuple[float, float] | None:
    """Return how far the best and the worst reader lie below the mean over readers, in percent of it.

    Parameters
    ----------
    view : RunView
        The run.
    metric : str
        Name of the metric.
    finding : str
        Finding, or the average over findings.

    Returns
    -------
    tuple of float, or None
        None where `score_spread` is, and where the mean is 0.
    """
    benchmark = view.best_of_kind("reader", metric) or ""
    spread, mean = score_spread(view, benchmark, metric, finding), view.estimate(benchmark, metric, finding).mean
    return (100 * (1 - spread[1] / mean), 100 * (1 - spread[0] / mean)) if spread and mean > 0 else None


def spread_note(view: RunView, source: str, metric: str, finding: str) -> str:
    """Write the spread of the readers for a sentence.

    Parameters
    ----------
    view : RunView
        The run.
    source : str
        The source that is named.
    metric : str
        Name of the metric.
    finding : str
        Finding, or the average over findings.

    Returns
    -------
    str
        Such as ' (0.48 to 0.61 by reader)'; empty where `score_spread` is None.
    """
    spread = score_spread(view, source, metric, finding)
    return f" ({format_decimal(spread[0])} to {format_decimal(spread[1])} by reader)" if spread else ""


def benchmark_scope(view: RunView) -> str:
    """Say whom a comparison with the human benchmark speaks of: readers in general, or the one reader.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    str
        A sentence; empty without a reader.
    """
    if not view.reader:
        return ""
    if is_average(view.reader):
        general = (
            "Comparisons with the mean of the readers take both readers and patients as samples (Obuchowski and "
            "Rockette), so that they speak of readers like these in general."
        )
        combined = " Readers and maps are compared against the annotations of the other readers."
        return general + combined * view.run.has_table("leave_one_out")
    return "There is one reader, so that comparisons speak of this reader and not of radiologists in general."
