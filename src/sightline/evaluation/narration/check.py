"""Checks of claims against measurements: supported, contradicted, undecided, or not checkable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sightline.evaluation.narration.claims import Claim, find_claims
from sightline.evaluation.narration.facts import FOCUS, SIDES, Measurements

Verdict = Literal["supported", "contradicted", "undecided", "not checkable"]
"""Result of the check of a claim."""
THIRDS = ("upper", "middle", "lower")
"""Zones that divide the lungs by height."""


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A claim with the verdict of the measurements."""

    claim: Claim
    verdict: Verdict
    reason: str


def check_claims(text: str, measurements: Measurements, models: Mapping[str, str] | None = None) -> list[CheckedClaim]:
    """Find the claims of a text, and check each against measurements.

    A location is supported where the map's evidence is denser there than elsewhere, the whole interval above 1, for
    every place named; contradicted where it is less dense, the whole interval below 1, for any; a side, or one of the
    thirds, is contradicted, too, where the other side or another third is clearly denser. 'focused' and 'diffuse' mean
    nothing by themselves: they are compared with the other models. A comparison needs the paired difference.

    Parameters
    ----------
    text : str
        The text, see `find_claims`.
    measurements : Measurements
        Measurements of the maps that the text describes.
    models : mapping of str to str, optional
        Name of a model in the text to its name in the measurements; by default the same.

    Returns
    -------
    list of CheckedClaim
        In the order of the text.
    """
    known = models if models is not None else {name: name for name in measurements.models}
    return [_check_claim(claim, measurements) for claim in find_claims(text, known)]


def contradiction_rate(checked_claims: Sequence[CheckedClaim]) -> float:
    """Return the share of contradicted claims among those that are supported or contradicted.

    Parameters
    ----------
    checked_claims : sequence of CheckedClaim
        The claims.

    Returns
    -------
    float
        In [0, 1]; NaN without any such claim.
    """
    decided = [c for c in checked_claims if c.verdict in ("supported", "contradicted")]
    return sum(c.verdict == "contradicted" for c in decided) / len(decided) if decided else float("nan")


def _check_claim(claim: Claim, facts: Measurements) -> CheckedClaim:
    if claim.model not in facts.models:
        return CheckedClaim(claim, "not checkable", f"nothing was measured of {claim.model}")
    if claim.finding not in (*facts.findings, "average"):
        return CheckedClaim(claim, "not checkable", f"nothing was measured for {claim.finding}")
    decide = {"location": _check_location, "spread": _check_spread, "comparison": _check_comparison}[claim.kind]
    return decide(claim, facts)


def _check_location(claim: Claim, facts: Measurements) -> CheckedClaim:
    estimates = {p: facts.estimate(claim.model, claim.finding, p) for p in sorted(claim.places)}
    parts, sides = [], [p for p in estimates if p in SIDES]
    outcomes: list[Verdict] = []
    for place, number in estimates.items():
        if number is None:
            outcomes.append("not checkable")
            parts.append(f"{place} was not measured")
            continue
        if place in SIDES and len(sides) == 2:
            continue  # both sides: neither can be denser
        parts.append(f"{place} {number['mean']:.2f} times as dense [{number['low']:.2f}, {number['high']:.2f}]")
        rival = _find_denser_place(claim, facts, place, number)
        if rival:
            parts.append(f"{rival} is denser")
        outcomes.append(
            "contradicted" if number["high"] < 1 or rival else "supported" if number["low"] > 1 else "undecided"
        )
    return CheckedClaim(claim, _combine_verdicts(outcomes), "; ".join(parts) or "both sides are named")


def _find_denser_place(claim: Claim, facts: Measurements, place: str, number: Mapping[str, float]) -> str:
    """Find another side, or another third, whose whole interval lies above that of the place."""
    group = SIDES if place in SIDES else THIRDS if place in THIRDS else ()
    for other in (p for p in group if p not in claim.places):
        estimate = facts.estimate(claim.model, claim.finding, other)
        if estimate is not None and estimate["low"] > number["high"]:
            return other
    return ""


def _combine_verdicts(outcomes: Sequence[Verdict]) -> Verdict:
    for verdict in ("contradicted", "not checkable", "undecided", "supported"):
        if verdict in outcomes:
            return verdict
    return "not checkable"


def _check_spread(claim: Claim, facts: Measurements) -> CheckedClaim:
    """Compare with the other models: focused is clearly more so than one, and less than none; diffuse the reverse."""
    gaps = {m: facts.difference(claim.model, m, claim.finding) for m in facts.models if m != claim.model}
    known = {m: g for m, g in gaps.items() if g is not None}
    if not known:
        return CheckedClaim(claim, "not checkable", "there is no other model to be more focused than")
    above, below = [m for m, g in known.items() if g["low"] > 0], [m for m, g in known.items() if g["high"] < 0]
    good, bad = (above, below) if claim.is_focused else (below, above)
    reason = "; ".join(_describe_difference(m, g) for m, g in known.items())
    verdict: Verdict = "supported" if good and not bad else "contradicted" if bad and not good else "undecided"
    return CheckedClaim(claim, verdict, reason)


def _check_comparison(claim: Claim, facts: Measurements) -> CheckedClaim:
    gap = facts.difference(claim.model, claim.versus, claim.finding)
    if gap is None:
        return CheckedClaim(claim, "not checkable", f"{claim.model} and {claim.versus} were not compared")
    verdict: Verdict = "supported" if gap["low"] > 0 else "contradicted" if gap["high"] < 0 else "undecided"
    return CheckedClaim(claim, verdict, _describe_difference(claim.versus, gap))


def _describe_difference(model: str, gap: Mapping[str, float]) -> str:
    return f"{FOCUS} {gap['mean']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}] compared with {model}"
