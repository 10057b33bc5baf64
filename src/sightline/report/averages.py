"""Averages over findings, marked where sources that stand side by side have different findings."""

from __future__ import annotations

from collections.abc import Sequence

from sightline.report.run_view import RunView


def average_text(view: RunView, source: str, metric: str, protocol: str = "") -> str:
    """Return the average of a source over findings as text, marked where other sources have more findings.

    Averages over different findings cannot be compared: a source without the hard findings is easily better.

    Parameters
    ----------
    view : RunView
        The run.
    source : str
        The source.
    metric : str
        Name of the metric.
    protocol : str
        Protocol; the main one by default.

    Returns
    -------
    str
        Mean with its interval, and '(k of n findings)' unless the source has all findings that any source has.
    """
    text = view.estimate(source, metric, protocol=protocol).text(3)
    averaged, every = averaged_findings(view, source, metric, protocol), _all_findings(view, metric, protocol)
    return text if not averaged or averaged == every else f"{text} ({len(averaged)} of {len(every)} findings)"


def partial_averages_note(view: RunView, sources: Sequence[str], metrics: Sequence[str]) -> str:
    """State which sources are averaged over fewer findings than others.

    Parameters
    ----------
    view : RunView
        The run.
    sources : sequence of str
        Sources that are shown side by side.
    metrics : sequence of str
        Metrics that are shown.

    Returns
    -------
    str
        A sentence that begins with a space; empty if all averages are over the same findings.
    """
    parts = []
    for source in sources:
        missing: set[str] = set()
        for metric in metrics:
            averaged = averaged_findings(view, source, metric)
            missing |= _all_findings(view, metric) - averaged if averaged else set()
        if missing:
            names = ", ".join(f for f in view.scored_findings if f in missing)
            parts.append(f"{view.label(source)} has no score of {names}")
    if not parts:
        return ""
    return f" Some averages are over fewer findings and cannot be compared with the others: {'; '.join(parts)}."


def averaged_findings(view: RunView, source: str, metric: str, protocol: str = "") -> frozenset[str]:
    """Return the findings that the average of a source is taken over.

    Parameters
    ----------
    view : RunView
        The run.
    source : str
        The source.
    metric : str
        Name of the metric.
    protocol : str
        Protocol; the main one by default.

    Returns
    -------
    frozenset of str
        Findings with a defined mean.
    """
    return frozenset(f for f in view.scored_findings if view.estimate(source, metric, f, protocol).is_defined)


def _all_findings(view: RunView, metric: str, protocol: str = "") -> frozenset[str]:
    """Return the findings that any listed source has a mean of."""
    return frozenset().union(*(averaged_findings(view, s, metric, protocol) for s in view.sources))
