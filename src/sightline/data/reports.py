"""Radiology reports: their sections, and the sentences worth learning from or checking."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DEFAULT_SECTIONS = ("findings", "impression")
"""Sections that say what is on the film; indication and comparison say what was expected."""
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


@dataclass(frozen=True, slots=True)
class Report:
    """What a radiologist wrote of one study."""

    study: str
    sections: Mapping[str, str] = field(repr=False)
    """Heading in lower case ('findings', 'impression', 'indication', ...; '' for what stands before any) -> text."""

    @classmethod
    def from_text(cls, study: str, text: str) -> Report:
        """From a text with headings in capitals and a colon, as hospitals and MIMIC-CXR write them."""
        return cls(study, split_sections(text))

    def text(self, sections: Sequence[str] = DEFAULT_SECTIONS) -> str:
        """The wanted sections, one after the other; where none of them is there, all that is no known other one."""
        found = [self.sections[name] for name in sections if self.sections.get(name, "").strip()]
        if not found:
            others = {"indication", "comparison", "examination", "wet read", "notification"}
            found = [text for name, text in self.sections.items() if name not in others and text.strip()]
        return "\n\n".join(found)

    def sentences(self, sections: Sequence[str] = DEFAULT_SECTIONS, min_words: int = 3) -> list[str]:
        """Sentences of `text` with at least `fewest` words, in order; none of an empty or a foreign report."""
        return [s for s in split_sentences(self.text(sections)) if len(s.split()) >= min_words]


def split_sections(text: str) -> dict[str, str]:
    """Heading -> text; sections of one name are joined.

    >>> split_sections("FINAL REPORT\\nINDICATION: Cough.\\n\\nFINDINGS: Clear lungs.\\nIMPRESSION:
    Normal.")["findings"]
    'Clear lungs.'
    """
    found: dict[str, str] = {}
    marks = list(_HEADING.finditer(text))
    starts = [0, *(m.end() for m in marks)]
    ends = [*(m.start() for m in marks), len(text)]
    names = ["", *(re.sub(r"\s+", " ", m[1].strip().lower()) for m in marks)]
    for name, start, end in zip(names, starts, ends, strict=True):
        body = text[start:end].strip()
        if body and not (name == "" and re.fullmatch(r"(?i)\W*final report\W*", body)):
            name = _SECTION_SYNONYMS.get(name, name)
            found[name] = f"{found[name]}\n{body}" if name in found else body
    return found


def split_sentences(text: str) -> list[str]:
    """Sentences without numbering, blanks run together. Decimals, initials and titles end none.

    >>> split_sentences("1. A 2.5 cm nodule, per Dr. Smith.  No effusion.\\n2. Stable heart.")
    ['A 2.5 cm nodule, per Dr. Smith.', 'No effusion.', 'Stable heart.']
    """
    parts: list[str] = []
    for piece in _SENTENCE_ENDS.split(text):
        if parts and _ABBREVIATION.search(parts[-1]) and not re.fullmatch(r"\d+[.)]", parts[-1].strip()):
            parts[-1] = f"{parts[-1]} {piece}"
        else:
            parts.append(piece)
    clean = (re.sub(r"\s+", " ", _LIST_PREFIX.sub("", part)).strip() for part in parts)
    return [part for part in clean if re.search(r"[A-Za-z]{2}", part)]


def is_english(text: str, min_share: float = 0.15) -> bool:
    """Whether at least `share` of the words are common ones of English reports. False for a text without words.

    >>> is_english("There is no pleural effusion."), is_english("Kein Pleuraerguss, Herz normal groß und unauffällig.")
    (True, False)
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    return bool(words) and sum(word in _COMMON_WORDS for word in words) >= min_share * len(words)
