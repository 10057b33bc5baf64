"""What a text claims of maps: which model, for which finding, points where, how focused, and more so than which other.

Rules, not a language model: a claim that no rule finds is not checked, and is never called right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sightline.data.report_labeler import find_locations, find_mentions
from sightline.data.reports import split_sentences

ClaimKind = Literal["location", "spread", "comparison"]
_FOCUSED = re.compile(
    r"\b(?:focus(?:ed|es|ing)?|concentrated?s?|localiz\w+|locali[sz]es|tight\w*|sharp\w*|precise\w*|strong activation|"
    r"isolates|compact|confined)\b"
)
_DIFFUSE = re.compile(
    r"\b(?:diffuse\w*|scatter\w*|uniform\w*|evenly|sprinkled|spread\w*|broad\w*|patchy|random speckles|noise|speckles|"
    r"meaningless|no (?:clear )?(?:anatomical )?focus|no discernible)\b"
)
_COMPARED_WITH = re.compile(r"\b(?:compared (?:to|with)|than|beside|versus)\b([^,;.]*)")
"""What comes after is what somebody is compared with."""
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])?\s*\**([A-Za-z][\w+./ -]{1,40}?)\**\s*:\**\s*(.*)$")
_HEADING = re.compile(r"^\s*(?:#+\s*|\d+[.)]\s*)?\**([A-Za-z][A-Za-z ]{2,40}?)\**\s*:?\s*$")
_VAGUE = re.compile(r"\b(?:lung fields|both lungs|mid-thorax|affected lung)\b")


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing said of the maps of one model."""

    text: str
    kind: ClaimKind
    model: str
    """As the facts call it."""
    finding: str
    """Canonical, or 'average' where none is named."""
    places: frozenset[str] = frozenset()
    """Of a location: sides and zones."""
    is_focused: bool = True
    """Of a spread: focused, or diffuse."""
    versus: str = ""
    """Of a comparison: the model that is less focused."""


def find_claims(text: str, models: Mapping[str, str]) -> list[Claim]:
    """Claims of a text, in order.

    models: what the text calls a model -> what the facts call it. A line that is only the name of a finding is a
    heading for what follows; so is a bullet's 'NAME:' for its line.

    >>> found = find_claims("Edema\\n- **Net:** Localizes around the perihilar regions.", {"Net": "net"})
    >>> [(c.kind, c.finding, sorted(c.places)) for c in found]
    [('location', 'Edema', ['perihilar']), ('spread', 'Edema', [])]
    """
    found: list[Claim] = []
    finding = "average"
    for line in text.splitlines():
        head = _parse_heading(line)
        if head is not None:
            finding = head
            continue
        named = _BULLET.match(line)
        model, body = ("", line)
        if named and named[1].strip().lower() in {name.lower() for name in models}:
            model, body = _lookup_model(named[1].strip(), models), named[2]
        for sentence in split_sentences(body):
            own = [m.finding for m in find_mentions(sentence)] if finding == "average" else []
            found += _parse_sentence(sentence, model, own[0] if len(own) == 1 else finding, models)
    return found


def _parse_heading(line: str) -> str | None:
    """The finding that a heading names, 'average' for another heading, None for what is none."""
    match = _HEADING.match(line)
    if not match or line.rstrip().endswith("."):
        return None
    told = find_mentions(f"{match[1]}.")
    return told[0].finding if told and len(match[1].split()) <= 3 else "average"


def _lookup_model(name: str, models: Mapping[str, str]) -> str:
    return next(own for said, own in models.items() if said.lower() == name.lower())


def _parse_sentence(sentence: str, model: str, finding: str, models: Mapping[str, str]) -> Iterator[Claim]:
    low = sentence.lower()
    inside = _find_models(low, models)
    than = _COMPARED_WITH.search(low)
    if not model and than and len(inside) >= 2 and (_FOCUSED.search(low) or _DIFFUSE.search(low)):
        beside = _find_models(than[1], models)
        for who in [name for name in inside if name not in beside][:1]:
            for other in beside:
                pair = (who, other) if _FOCUSED.search(low) else (other, who)
                yield Claim(sentence, "comparison", pair[0], finding, versus=pair[1])
        return
    who = model or (inside[0] if len(inside) == 1 else "")
    if not who:
        return
    claim = Claim(sentence, "location", who, finding)
    sides, zone = find_locations(_VAGUE.sub(" ", low))
    if (sides or zone) and not re.search(r"\bfails? to\b|\bwithout\b|\bno\b", low):
        yield replace(claim, places=sides | zone)
    if _DIFFUSE.search(low):
        yield replace(claim, kind="spread", is_focused=False)
    elif _FOCUSED.search(low):
        yield replace(claim, kind="spread")


def _find_models(low: str, models: Mapping[str, str]) -> list[str]:
    """Models that a sentence names, in order of appearance. A name of four letters or more may have an ending."""
    there = []
    for said, own in models.items():
        end = r"(?![\w])" if len(said) < 4 else ""
        if found := re.search(rf"(?<![\w]){re.escape(said.lower())}{end}", low):
            there.append((found.start(), own))
    return list(dict.fromkeys(own for _, own in sorted(there)))
