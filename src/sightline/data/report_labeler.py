"""What a sentence of a report says: which finding, there or not, how sure, where, and how much.

Rules in the manner of NegEx (Chapman et al. 2001, 10.1006/jbin.2001.1029) and of CheXpert's labeler (Irvin et al. 2019,
10.1609/aaai.v33i01.3301590): cues before and after a finding, within its clause.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sightline.data.reports import split_sentences

_FINDINGS: dict[str, str] = {
    "Cardiomegaly": r"cardiomegaly|(?:heart|cardiac silhouette|cardiac shadow)(?: size)? (?:is |remains |appears )?"
    r"(?:\w+ly |mildly |moderately )?(?:enlarged|increased|large)|enlarge(?:d|ment of the) (?:\w+ )?"
    r"(?:heart|cardiac silhouette)|enlarged cardiac|cardiac enlargement|enlargement of the cardiac",
    "Enlarged Cardiomediastinum": r"enlarged cardiomediastinum|(?:widen(?:ed|ing)|wide|enlarged?|enlargement|"
    r"prominen(?:t|ce))(?: of)?(?: the)?(?: superior)? (?:cardio)?mediastin\w+|mediastin\w+ (?:is |appears )?"
    r"(?:\w+ly )?(?:widened|widening|enlarged|enlargement)",
    "Lung Lesion": r"nodul\w+|mass(?:es)?\b|lung lesions?|pulmonary lesions?|granulom\w+|metasta\w+|neoplas\w+",
    "Lung Opacity": r"opaci\w+|infiltrates?\b|airspace disease|air space disease|interstitial (?:markings|thickening)",
    "Edema": r"(?<!soft tissue )edema|vascular congestion|pulmonary congestion|bat[- ]?wing|kerley|"
    r"congestive (?:heart )?failure",
    "Consolidation": r"consolidat\w+",
    "Pneumonia": r"pneumonia|infectious process|\binfection",
    "Atelectasis": r"atelecta\w+|(?:lung|lobar) collapse|volume loss",
    "Pneumothorax": r"pneumothora\w+|hydropneumothora\w+",
    "Pleural Effusion": r"(?<!pericardial )effusions?\b|pleural fluid|blunt\w+ (?:of )?(?:the )?(?:\w+ )?costophrenic",
    "Pleural Other": r"pleural (?:thickening|scar\w*|plaques?|calcif\w+)",
    "Fracture": r"fractur\w+",
    "Support Devices": r"support devices?|endotracheal|nasogastric|\bpicc\b|catheters?\b|pacemaker|pacer|\bicd\b|"
    r"\btubes?\b|\blines?\b (?:is|are|tip|terminat)|\bport\b|port-a-cath|sternotomy|wires\b|drains?\b|stent\b",
}
_NORMAL_STATEMENTS: dict[str, str] = {
    "Cardiomegaly": r"(?:heart|cardiac|cardiomediastin\w+)[^.;]*?\b(?:normal|unremarkable|not enlarged)|"
    r"normal (?:heart|cardiac|cardiomediastinal)",
    "Enlarged Cardiomediastinum": r"mediastin\w+[^.;]*?\b(?:normal|unremarkable)|normal (?:cardio)?mediastin\w+",
    "Lung Opacity": r"lungs? (?:are|is|appear|fields are)(?: \w+)? clear|clear lungs?",
    "Pneumonia": r"no acute (?:cardiopulmonary|pulmonary|disease)",
}
"""Finding -> ways of saying that all is well."""
_NEGATION = re.compile(
    r"\b(?:no|not|without|free of|negative for|absence of|absent|lack of|neither|nor|resolved|resolution of|clear of|"
    r"rule out|ruled out|exclude[sd]?|never)\b"
)
_NEGATION_AFTER = re.compile(
    r"\b(?:(?:is|are|was|were) (?:not|no longer)(?! excluded)|"
    r"not (?:seen|identified|evident|present|visualized|enlarged)|"
    r"absent|(?:has|have) (?:resolved|cleared)|resolved|(?:is|are) excluded)\b"
)
_PSEUDO_NEGATION = re.compile(
    r"\bno (?:significant |interval |appreciable |definite )*(?:change|increase|decrease)\b|\bnot (?:be )?"
    r"(?:entirely |definitely )?(?:exclude|rule)\w*|\bcannot\b|\bno longer\b"
)
_UNCERTAINTY = re.compile(
    r"\b(?:may|might|could|possibl[ey]|probabl[ey]|likely|suspicious|suspected|suggest\w*|question\w*|concern\w*|"
    r"cannot|not excluded|versus|vs|differential|consider|equivocal|presum\w+|perhaps)\b"
)
_UNCERTAINTY_AFTER = re.compile(
    r"\b(?:(?:is|are|be|remains?) (?:\w+ )?(?:possible|likely|suspected|suggested|questionable|considered|equivocal)|"
    r"cannot|not (?:be )?(?:entirely |definitely )?excluded|versus|vs)\b"
)
_CLAUSE_BOUNDARY = re.compile(r"\b(?:but|however|although|though|except|aside from|apart from|other than)\b|[;:]")
_SIDES = {
    "left": re.compile(r"\bleft(?:[- ]sided)?\b|\blingula\w*|\bretrocardiac\b"),
    "right": re.compile(r"\bright(?:[- ]sided)?\b"),
}
_BILATERAL = re.compile(
    r"\bbilateral\w*|\bbibasilar\b|\bbiapical\b|\bboth\b|\bbases\b|\bapices\b|\blungs\b|bat[- ]?wing"
)
_ZONES = {
    "upper": re.compile(r"\bupper\b|\bapic\w+|\bapex\b|\bapices\b|\bbiapical\b"),
    "middle": re.compile(r"\bmid(?:dle)?\b|\bmid-?lung\b|\blingula\w*"),
    "lower": re.compile(r"\blower\b|\bbas(?:e|es|al|ilar)\b|\bbibasilar\b|\binferior\w*|\bsubpulmonic\b"),
    "perihilar": re.compile(r"\b(?:peri)?hil(?:ar|um|a)\b|\bcentral\b|bat[- ]?wing"),
    "costophrenic": re.compile(r"\bcostophrenic\b|\bdiaphragm\w*"),
    "cardiac": re.compile(r"\bcardiac\b|\bheart\b|\bretrocardiac\b"),
    "mediastinal": re.compile(r"\bmediastin\w+|\bparatracheal\b"),
}
_AMOUNTS = re.compile(r"\b(trace|tiny|minimal|small|mild|moderate|large|severe|extensive|massive)(?:ly)?\b")


@dataclass(frozen=True, slots=True)
class Mention:
    """A finding in a sentence."""

    finding: str
    sentence: str
    is_present: bool
    """False where it is denied."""
    is_certain: bool
    sides: frozenset[str]
    """'left', 'right': the patient's; empty where none is named."""
    zones: frozenset[str]
    """Of 'upper', 'middle', 'lower', 'perihilar', 'costophrenic', 'cardiac', 'mediastinal'."""
    amount: str = ""
    """'mild', 'small', ...; empty where none is named."""


def find_mentions(text: str) -> list[Mention]:
    """Every finding that a text speaks of, clause by clause, in order.

    >>> [(m.finding, m.is_present, sorted(m.sides)) for m in find_mentions("Small left effusion, but no pneumothorax.")]
    [('Pleural Effusion', True, ['left']), ('Pneumothorax', False, [])]
    """
    return [
        m
        for sentence in split_sentences(text)
        for clause in _split_clauses(sentence)
        for m in _find_in_clause(clause, sentence)
    ]


def label_report(text: str, findings: Iterable[str]) -> dict[str, float]:
    """1 present, 0 denied, -1 unsure, NaN not spoken of; what is there once is there, whatever else is said."""
    found: dict[str, set[float]] = {}
    for m in find_mentions(text):
        found.setdefault(m.finding, set()).add(0.0 if not m.is_present else 1.0 if m.is_certain else -1.0)
    order = (1.0, -1.0, 0.0)
    return {f: next((v for v in order if v in found.get(f, ())), float("nan")) for f in findings}


def find_locations(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """(sides, zones) that some words name.

    >>> tuple(map(sorted, find_locations("in the right lower lobe")))
    (['right'], ['lower'])
    """
    low = text.lower()
    sides = {side for side, pattern in _SIDES.items() if pattern.search(low)}
    if not sides and _BILATERAL.search(low):
        sides = {"left", "right"}
    return frozenset(sides), frozenset(zone for zone, pattern in _ZONES.items() if pattern.search(low))


def _split_clauses(sentence: str) -> Iterator[str]:
    start = 0
    for stop in _CLAUSE_BOUNDARY.finditer(sentence.lower()):
        yield sentence[start : stop.start()]
        start = stop.start()
    yield sentence[start:]


def _find_in_clause(clause: str, sentence: str) -> Iterator[Mention]:
    low = clause.lower()
    told = [(m.start(), m.end(), f, False) for f, p in _FINDINGS.items() for m in re.finditer(p, low)]
    told += [(m.start(), m.end(), f, True) for f, p in _NORMAL_STATEMENTS.items() for m in re.finditer(p, low)]
    shadow = _PSEUDO_NEGATION.sub(lambda m: " " * len(m[0]), low)
    sides, zones = find_locations(low)
    amount = _AMOUNTS.search(low)
    seen: set[str] = set()
    told.sort()
    nexts = [*(start for start, *_ in told[1:]), len(low)][: len(told)]
    for (start, end, finding, healthy), until in zip(told, nexts, strict=True):
        if finding in seen:
            continue
        seen.add(finding)
        denied = healthy or bool(_NEGATION.search(shadow[:start])) or bool(_NEGATION_AFTER.search(shadow[end:]))
        own = zones - (
            {"cardiac", "mediastinal"}
            if finding not in ("Cardiomegaly", "Enlarged Cardiomediastinum")
            and not re.search(r"retrocardiac|mediastin", low)
            else set()
        )
        yield Mention(
            finding,
            sentence,
            not denied,
            denied or not (_UNCERTAINTY.search(low[:start]) or _UNCERTAINTY_AFTER.search(low[end : max(end, until)])),
            sides,
            own,
            amount[1] if amount and not denied else "",
        )
