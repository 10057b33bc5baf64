"""Radiology reports: their sections and sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DEFAULT_SECTIONS = ("findings", "impression")
"""Sections that describe the radiograph; indication and comparison state what was expected."""
_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /&()\-]{2,40}?)[ \t]*:", re.MULTILINE)
_SECTION_SYNONYMS = {
    "conclusion": "impression",
    "impressions": "impression",
    "finding": "findings",
    "findings/impression": "findings",
    "findings and impression": "findings",
    "reason for exam": "indication",
    "reason for examination": "indication",
    "history": "indication",
    "clinical history": "indication",
    "clinical information": "indication",
    "comparisons": "comparison",
    "exam": "examination",
    "technique": "examination",
}
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9_\"(])|\n\s*\n|\n\s*(?=\d+[.)]\s)|\n\s*[-*•]\s+")
_ABBREVIATION = re.compile(r"(?:\b(?:Dr|Drs|Mr|Mrs|Ms|vs|approx|cf|e\.g|i\.e|No|Nos|Fig|p\.m|a\.m)|\b[A-Z])\.$")
_LIST_PREFIX = re.compile(r"^\s*(?:\d{1,2}[.)]|[-*•])\s*")
_COMMON_WORDS = frozenset(
    """the of is are no and with there in to or right left has been from at was not a an for on this which within lung
    lungs chest heart normal pleural effusion pneumothorax stable unchanged acute""".split()  # noqa: SIM905
)


_OTHER_SECTIONS = frozenset({"indication", "comparison", "examination", "wet read", "notification"})


@dataclass(frozen=True, slots=True)
class Report:
    """Report of a radiologist on one study."""

    study: str
    sections: Mapping[str, str] = field(repr=False)
    """Heading in lower case ('findings', 'impression', 'indication', ...; '' for text before any heading) -> text."""

    @classmethod
    def from_text(cls, study: str, text: str) -> Report:
        """Create from a text with headings in capitals and a colon, as hospitals and MIMIC-CXR write them.

        Parameters
        ----------
        study : str
            Id of the study.
        text : str
            The whole report.

        Returns
        -------
        Report
            The report by sections.
        """
        return cls(study, split_sections(text))

    def text(self, sections: Sequence[str] = DEFAULT_SECTIONS) -> str:
        """Join sections of the report.

        Parameters
        ----------
        sections : sequence of str
            Headings in lower case, in order.

        Returns
        -------
        str
            Text of these sections; if the report has none of them, of all sections but those that are known to be
            another one, such as the indication.
        """
        texts = [self.sections[name] for name in sections if self.sections.get(name, "").strip()]
        if not texts:
            texts = [text for name, text in self.sections.items() if name not in _OTHER_SECTIONS and text.strip()]
        return "\n\n".join(texts)

    def sentences(self, sections: Sequence[str] = DEFAULT_SECTIONS, min_words: int = 3) -> list[str]:
        """List the sentences of `text`.

        Parameters
        ----------
        sections : sequence of str
            Headings in lower case.
        min_words : int
            Shorter sentences are left out.

        Returns
        -------
        list of str
            Sentences in order; none of an empty report.
        """
        return [s for s in split_sentences(self.text(sections)) if len(s.split()) >= min_words]


def split_sections(text: str) -> dict[str, str]:
    r"""Split a report into its sections.

    Parameters
    ----------
    text : str
        Report with headings in capitals and a colon.

    Returns
    -------
    dict of str to str
        Heading in lower case -> text; sections with the same heading or a synonym of it are joined.

    Examples
    --------
    >>> split_sections("INDICATION: Cough.\n\nFINDINGS: Clear lungs.\nIMPRESSION: Normal.")["findings"]
    'Clear lungs.'
    """
    sections: dict[str, str] = {}
    headings = list(_HEADING.finditer(text))
    starts = [0, *(heading.end() for heading in headings)]
    ends = [*(heading.start() for heading in headings), len(text)]
    names = ["", *(re.sub(r"\s+", " ", heading[1].strip().lower()) for heading in headings)]
    for name, start, end in zip(names, starts, ends, strict=True):
        body = text[start:end].strip()
        if body and not (name == "" and re.fullmatch(r"(?i)\W*final report\W*", body)):
            name = _SECTION_SYNONYMS.get(name, name)
            sections[name] = f"{sections[name]}\n{body}" if name in sections else body
    return sections


def split_sentences(text: str) -> list[str]:
    r"""Split a text into sentences, without numbering and repeated blanks.

    A point in a decimal, an initial or a title does not end a sentence.

    Parameters
    ----------
    text : str
        Text of one or more sections.

    Returns
    -------
    list of str
        Sentences with at least one word.

    Examples
    --------
    >>> split_sentences("1. A 2.5 cm nodule, per Dr. Smith.  No effusion.\n2. Stable heart.")
    ['A 2.5 cm nodule, per Dr. Smith.', 'No effusion.', 'Stable heart.']
    """
    parts: list[str] = []
    for piece in _SENTENCE_ENDS.split(text):
        if parts and _ABBREVIATION.search(parts[-1]) and not re.fullmatch(r"\d+[.)]", parts[-1].strip()):
            parts[-1] = f"{parts[-1]} {piece}"
        else:
            parts.append(piece)
    sentences = (re.sub(r"\s+", " ", _LIST_PREFIX.sub("", part)).strip() for part in parts)
    return [sentence for sentence in sentences if re.search(r"[A-Za-z]{2}", sentence)]


def is_english(text: str, min_share: float = 0.15) -> bool:
    """Return True if enough of the words are common in English reports.

    Parameters
    ----------
    text : str
        Text of a report.
    min_share : float
        Least share of common words, in [0, 1].

    Returns
    -------
    bool
        False for a text without words.

    Examples
    --------
    >>> is_english("There is no pleural effusion."), is_english("Kein Pleuraerguss, Herz normal groß und unauffällig.")
    (True, False)
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    return bool(words) and sum(word in _COMMON_WORDS for word in words) >= min_share * len(words)
