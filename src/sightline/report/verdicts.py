"""Verdicts that a report derives from the estimates of a run, by the smallest effects that the run was begun with."""

from __future__ import annotations

from dataclasses import asdict

from sightline.report.estimate import Estimate
from sightline.report.run_view import RunView
from sightline.stats.verdicts import SMALLEST_EFFECTS, Criterion, Direction, Relation, Verdict, classify_difference


def smallest_effect(view: RunView, measure: str) -> float:
    """Return the smallest difference of a measure that counts.

    Parameters
    ----------
    view : RunView
        The run.
    measure : str
        Name of the measure or metric.

    Returns
    -------
    float
        That of the run, or the default; 0 for a measure without one, of which any difference counts.
    """
    effects = view.info.get("smallest_effects") or SMALLEST_EFFECTS
    return float(effects.get(measure, 0.0))


def judge(view: RunView, number: Estimate, measure: str, direction: Direction = "higher") -> Verdict:
    """Judge a claim about a difference.

    Parameters
    ----------
    view : RunView
        The run.
    number : Estimate
        The difference.
    measure : str
        Its measure.
    direction : str
        The claim.

    Returns
    -------
    Verdict
    """
    return Criterion(measure, direction, smallest_effect(view, measure)).judge(asdict(number))


def classify(view: RunView, number: Estimate, measure: str) -> Relation:
    """Classify a difference without a claim.

    Parameters
    ----------
    view : RunView
        The run.
    number : Estimate
        The difference.
    measure : str
        Its measure.

    Returns
    -------
    str
        See `sightline.stats.verdicts.classify_difference`.
    """
    return classify_difference(asdict(number), smallest_effect(view, measure))
