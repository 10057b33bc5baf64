"""Labels of reports by rules: the findings that a sentence mentions, with presence, certainty, side, zone and amount.

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
"""Finding -> pattern of statements that it is absent because all is normal."""
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
    """Mention of a finding in a sentence."""

    finding: str
    sentence: str
    is_present: bool
    """False where the finding is denied."""
    is_certain: bool
    """False where the sentence expresses doubt."""
    sides: frozenset[str]
    """Sides of the patient: 'left', 'right'; empty where none is named."""
    zones: frozenset[str]
    """Zones: 'upper', 'middle', 'lower', 'perihilar', 'costophrenic', 'cardiac', 'mediastinal'; empty where none is
    named."""
    amount: str = ""
    """Amount, such as 'mild' or 'small'; empty where none is named."""


def find_mentions(text: str) -> list[Mention]:
    """List every mention of a finding in a text, clause by clause, in order.

    Parameters
    ----------
    text : str
        Text of a report.

    Returns
    -------
    list of Mention
        Mentions; a clause mentions a finding at most once.

    Examples
    --------
    >>> mentions = find_mentions("Small left effusion, but no pneumothorax.")
    >>> [(m.finding, m.is_present, sorted(m.sides)) for m in mentions]
    [('Pleural Effusion', True, ['left']), ('Pneumothorax', False, [])]
    """
    return [
        mention
        for sentence in split_sentences(text)
        for clause in _split_clauses(sentence)
        for mention in _find_in_clause(clause, sentence)
    ]


def label_report(text: str, findings: Iterable[str]) -> dict[str, float]:
    """Label findings by their mentions in a report.

    Parameters
    ----------
    text : str
        Text of a report.
    findings : iterable of str
        Findings to label.

    Returns
    -------
    dict of str to float
        Finding -> 1 if any mention states it, else -1 if any is uncertain, else 0 if it is denied, NaN if it is not
        mentioned.
    """
    labels: dict[str, set[float]] = {}
    for mention in find_mentions(text):
        label = 0.0 if not mention.is_present else 1.0 if mention.is_certain else -1.0
        labels.setdefault(mention.finding, set()).add(label)
    precedence = (1.0, -1.0, 0.0)
    return {
        finding: next((label for label in precedence if label in labels.get(finding, ())), float("nan"))
        for finding in findings
    }


def find_locations(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Find the sides and zones that a text names.

    Parameters
    ----------
    text : str
        A clause or sentence.

    Returns
    -------
    tuple of (frozenset of str, frozenset of str)
        Sides and zones, as in `Mention`.

    Examples
    --------
    >>> tuple(map(sorted, find_locations("in the right lower lobe")))
    (['right'], ['lower'])
    """
    lower = text.lower()
    sides = {side for side, pattern in _SIDES.items() if pattern.search(lower)}
    if not sides and _BILATERAL.search(lower):
        sides = {"left", "right"}
    return frozenset(sides), frozenset(zone for zone, pattern in _ZONES.items() if pattern.search(lower))


def _split_clauses(sentence: str) -> Iterator[str]:
    start = 0
    for boundary in _CLAUSE_BOUNDARY.finditer(sentence.lower()):
        yield sentence[start : boundary.start()]
        start = boundary.start()
    yield sentence[start:]


def _find_in_clause(clause: str, sentence: str) -> Iterator[Mention]:
    lower = clause.lower()
    matches = sorted(
        (match.start(), match.end(), finding, is_normal)
        for patterns, is_normal in ((_FINDINGS, False), (_NORMAL_STATEMENTS, True))
        for finding, pattern in patterns.items()
        for match in re.finditer(pattern, lower)
    )
    without_pseudo_negation = _PSEUDO_NEGATION.sub(lambda match: " " * len(match[0]), lower)
    sides, zones = find_locations(lower)
    amount = _AMOUNTS.search(lower)
    mentioned: set[str] = set()
    next_starts = [*(start for start, *_ in matches[1:]), len(lower)][: len(matches)]
    for (start, end, finding, is_normal), next_start in zip(matches, next_starts, strict=True):
        if finding in mentioned:
            continue
        mentioned.add(finding)
        before, after = without_pseudo_negation[:start], without_pseudo_negation[end:]
        is_denied = is_normal or bool(_NEGATION.search(before)) or bool(_NEGATION_AFTER.search(after))
        is_doubted = _UNCERTAINTY.search(lower[:start]) or _UNCERTAINTY_AFTER.search(lower[end : max(end, next_start)])
        yield Mention(
            finding,
            sentence,
            not is_denied,
            is_denied or not is_doubted,
            sides,
            zones - _zones_of_other_organs(finding, lower),
            amount[1] if amount and not is_denied else "",
        )


def _zones_of_other_organs(finding: str, clause: str) -> set[str]:
    """Return the zones that a clause names as an organ, not as the location of this finding."""
    if finding in ("Cardiomegaly", "Enlarged Cardiomediastinum") or re.search(r"retrocardiac|mediastin", clause):
        return set()
    return {"cardiac", "mediastinal"}
