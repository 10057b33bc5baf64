"""Claims of a text about maps: for a model and a finding, where they point, how focused they are, and comparisons.

They are found by rules, not by a language model: a claim that no rule finds is not checked, and never counts as right.
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
"""Words that precede the model of a comparison that is the standard."""
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])?\s*\**([A-Za-z][\w+./ -]{1,40}?)\**\s*:\**\s*(.*)$")
_HEADING = re.compile(r"^\s*(?:#+\s*|\d+[.)]\s*)?\**([A-Za-z][A-Za-z ]{2,40}?)\**\s*:?\s*$")
_VAGUE = re.compile(r"\b(?:lung fields|both lungs|mid-thorax|affected lung)\b")


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim about the maps of one model."""

    text: str
    kind: ClaimKind
    model: str
    """Name of the model in the measurements."""
    finding: str
    """Canonical name of the finding, or 'average' if the text names none."""
    places: frozenset[str] = frozenset()
    """Sides and zones of a location."""
    is_focused: bool = True
    """True for focused, False for diffuse; for claims of spread."""
    versus: str = ""
    """Model of a comparison that is less focused."""


def find_claims(text: str, models: Mapping[str, str]) -> list[Claim]:
    r"""Find the claims of a text.

    A line that is only the name of a finding is a heading of the lines below; so is 'NAME:' at the start of a bullet,
    for the rest of its line.

    Parameters
    ----------
    text : str
        The text.
    models : mapping of str to str
        Name of a model in the text to its name in the measurements.

    Returns
    -------
    list of Claim
        In the order of the text.

    Examples
    --------
    >>> claims = find_claims("Edema\n- **Net:** Localizes around the perihilar regions.", {"Net": "net"})
    >>> [(c.kind, c.finding, sorted(c.places)) for c in claims]
    [('location', 'Edema', ['perihilar']), ('spread', 'Edema', [])]
    """
    claims: list[Claim] = []
    finding = "average"
    for line in text.splitlines():
        heading = _parse_heading(line)
        if heading is not None:
            finding = heading
            continue
        bullet = _BULLET.match(line)
        model, body = ("", line)
        if bullet and bullet[1].strip().lower() in {name.lower() for name in models}:
            model, body = _lookup_model(bullet[1].strip(), models), bullet[2]
        for sentence in split_sentences(body):
            mentioned = [m.finding for m in find_mentions(sentence)] if finding == "average" else []
            claims += _parse_sentence(sentence, model, mentioned[0] if len(mentioned) == 1 else finding, models)
    return claims


def _parse_heading(line: str) -> str | None:
    """Return the finding that a heading names, 'average' for another heading, None for any other line."""
    match = _HEADING.match(line)
    if not match or line.rstrip().endswith("."):
        return None
    mentions = find_mentions(f"{match[1]}.")
    return mentions[0].finding if mentions and len(match[1].split()) <= 3 else "average"


def _lookup_model(name: str, models: Mapping[str, str]) -> str:
    return next(model for alias, model in models.items() if alias.lower() == name.lower())


def _parse_sentence(sentence: str, model: str, finding: str, models: Mapping[str, str]) -> Iterator[Claim]:
    text = sentence.lower()
    named = _find_models(text, models)
    comparison = _COMPARED_WITH.search(text)
    if not model and comparison and len(named) >= 2 and (_FOCUSED.search(text) or _DIFFUSE.search(text)):
        standards = _find_models(comparison[1], models)
        for subject in [name for name in named if name not in standards][:1]:
            for other in standards:
                pair = (subject, other) if _FOCUSED.search(text) else (other, subject)
                yield Claim(sentence, "comparison", pair[0], finding, versus=pair[1])
        return
    subject = model or (named[0] if len(named) == 1 else "")
    if not subject:
        return
    claim = Claim(sentence, "location", subject, finding)
    sides, zone = find_locations(_VAGUE.sub(" ", text))
    if (sides or zone) and not re.search(r"\bfails? to\b|\bwithout\b|\bno\b", text):
        yield replace(claim, places=sides | zone)
    if _DIFFUSE.search(text):
        yield replace(claim, kind="spread", is_focused=False)
    elif _FOCUSED.search(text):
        yield replace(claim, kind="spread")


def _find_models(text: str, models: Mapping[str, str]) -> list[str]:
    """Find the models that a sentence names, in order; a name of four letters or more may have an ending."""
    mentions = []
    for alias, model in models.items():
        end = r"(?![\w])" if len(alias) < 4 else ""
        if match := re.search(rf"(?<![\w]){re.escape(alias.lower())}{end}", text):
            mentions.append((match.start(), model))
    return list(dict.fromkeys(model for _, model in sorted(mentions)))
