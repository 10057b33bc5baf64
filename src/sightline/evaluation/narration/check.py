"""Claims against measurements: supported, contradicted, undecided, or not checkable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sightline.evaluation.narration.claims import Claim, claims
from sightline.evaluation.narration.facts import FOCUS, SIDES, Facts

Verdict = Literal["supported", "contradicted", "undecided", "not checkable"]
THIRDS = ("upper", "middle", "lower")


@dataclass(frozen=True, slots=True)
class Checked:
    """A claim, and what the numbers say of it."""

    claim: Claim
    verdict: Verdict
    why: str


def check(text: str, facts: Facts, models: Mapping[str, str] | None = None) -> list[Checked]:
    """Every claim of a text (`claims`), checked. models: what the text calls a model -> what the facts call it.

    A location is supported where the map's evidence is denser there than elsewhere, the whole interval above 1, for
    every place named; contradicted where it is thinner, the whole interval below 1, for any; a side, or one of the
    thirds, is contradicted too where the other side or another third is clearly denser. 'focused' and 'diffuse' mean
    nothing by themselves: they are read beside the mean of the models. A comparison needs the paired difference.
    """
    known = models if models is not None else {name: name for name in facts.models}
    return [_checked(claim, facts) for claim in claims(text, known)]


def contradiction_rate(checked: Sequence[Checked]) -> float:
    """Contradicted among the claims that are supported or contradicted; NaN without any."""
    told = [c for c in checked if c.verdict in ("supported", "contradicted")]
    return sum(c.verdict == "contradicted" for c in told) / len(told) if told else float("nan")


def _checked(claim: Claim, facts: Facts) -> Checked:
    if claim.model not in facts.models:
        return Checked(claim, "not checkable", f"nothing was measured of {claim.model}")
    if claim.finding not in (*facts.findings, "average"):
        return Checked(claim, "not checkable", f"nothing was measured for {claim.finding}")
    decide = {"location": _location, "spread": _spread, "comparison": _comparison}[claim.kind]
    return decide(claim, facts)


def _location(claim: Claim, facts: Facts) -> Checked:
    told = {p: facts.number(claim.model, claim.finding, p) for p in sorted(claim.where)}
    parts, sides = [], [p for p in told if p in SIDES]
    outcomes: list[Verdict] = []
    for place, number in told.items():
        if number is None:
            outcomes.append("not checkable")
            parts.append(f"{place} was not measured")
            continue
        if place in SIDES and len(sides) == 2:
            continue  # both sides: neither can be denser
        parts.append(f"{place} {number['mean']:.2f} times as dense [{number['low']:.2f}, {number['high']:.2f}]")
        rival = _clear_rival(claim, facts, place, number)
        if rival:
            parts.append(f"{rival} is denser")
        outcomes.append("contradicted" if number["high"] < 1 or rival else
                        "supported" if number["low"] > 1 else "undecided")  # fmt: skip
    return Checked(claim, _joined(outcomes), "; ".join(parts) or "both sides are named")


def _clear_rival(claim: Claim, facts: Facts, place: str, number: Mapping[str, float]) -> str:
    """Another side, or another third, whose whole interval lies above that of the place."""
    group = SIDES if place in SIDES else THIRDS if place in THIRDS else ()
    for other in (p for p in group if p not in claim.where):
        found = facts.number(claim.model, claim.finding, other)
        if found is not None and found["low"] > number["high"]:
            return other
    return ""


def _joined(outcomes: Sequence[Verdict]) -> Verdict:
    for verdict in ("contradicted", "not checkable", "undecided", "supported"):
        if verdict in outcomes:
            return verdict
    return "not checkable"


def _spread(claim: Claim, facts: Facts) -> Checked:
    """Beside the other models: focused is clearly more so than one of them, and less than none; diffuse the reverse."""
    gaps = {m: facts.gap(claim.model, m, claim.finding) for m in facts.models if m != claim.model}
    known = {m: g for m, g in gaps.items() if g is not None}
    if not known:
        return Checked(claim, "not checkable", "there is no other model to be more focused than")
    above, below = [m for m, g in known.items() if g["low"] > 0], [m for m, g in known.items() if g["high"] < 0]
    good, bad = (above, below) if claim.focused else (below, above)
    why = "; ".join(_beside(m, g) for m, g in known.items())
    verdict: Verdict = "supported" if good and not bad else "contradicted" if bad and not good else "undecided"
    return Checked(claim, verdict, why)


def _comparison(claim: Claim, facts: Facts) -> Checked:
    gap = facts.gap(claim.model, claim.versus, claim.finding)
    if gap is None:
        return Checked(claim, "not checkable", f"{claim.model} and {claim.versus} were not compared")
    verdict: Verdict = "supported" if gap["low"] > 0 else "contradicted" if gap["high"] < 0 else "undecided"
    return Checked(claim, verdict, _beside(claim.versus, gap))


def _beside(model: str, gap: Mapping[str, float]) -> str:
    return f"{FOCUS} {gap['mean']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}] beside {model}"
