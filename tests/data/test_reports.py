"""Reports: sections, sentences, language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.data.reports import Report, is_english, split_sections, split_sentences

MIMIC = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites  // eval for infection

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  None.

 FINDINGS:

 There is no focal consolidation, pleural effusion or pneumothorax.  Bilateral
 nodular opacities that most likely represent nipple shadows. The
 cardiomediastinal silhouette is normal.

 IMPRESSION:

 1. No acute cardiopulmonary process.
 2. A 2.5 cm nodule, discussed with Dr. ___ at 4 p.m. on ___.
"""


def test_sections_have_the_names_that_hospitals_give_them() -> None:
    sections = split_sections(MIMIC)
    assert list(sections) == ["examination", "indication", "comparison", "findings", "impression"]
    assert sections["examination"].splitlines() == ["CHEST (PA AND LAT)", "Chest PA and lateral"]
    assert split_sections("CONCLUSION: Clear.")["impression"] == "Clear."
    assert split_sections("  nothing in capitals here  ") == {"": "nothing in capitals here"}


def test_sentences_come_from_findings_and_impression() -> None:
    assert Report.from_text("s", MIMIC).sentences() == [
        "There is no focal consolidation, pleural effusion or pneumothorax.",
        "Bilateral nodular opacities that most likely represent nipple shadows.",
        "The cardiomediastinal silhouette is normal.",
        "No acute cardiopulmonary process.",
        "A 2.5 cm nodule, discussed with Dr. ___ at 4 p.m. on ___.",
    ]
    assert Report.from_text("s", MIMIC).sentences(("impression",))[0] == "No acute cardiopulmonary process."


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", []),
        ("FINDINGS:\n\nIMPRESSION:\n", []),
        ("INDICATION: Fever and cough today.", []),
        ("The lungs are clear. Heart normal in size.", ["The lungs are clear.", "Heart normal in size."]),
        ("WET READ: ignore this one.\nThe lungs are clear.", ["ignore this one.", "The lungs are clear."]),
        ("IMPRESSION: Clear.", []),  # a word teaches nothing
    ],
)
def test_reports_without_the_wanted_sections(text: str, kept: list[str]) -> None:
    assert Report.from_text("s", text).sentences() == (kept if "WET" not in text else [])


@given(st.text(max_size=400))
def test_any_text_has_sections_and_sentences_that_are_in_it(text: str) -> None:
    words = set(text.split())
    report = Report.from_text("s", text)
    for sentence in report.sentences(min_words=1):
        assert sentence == sentence.strip() and set(sentence.split()) <= words | {w.lstrip("-*•") for w in words}


def test_numbers_initials_and_titles_end_no_sentence() -> None:
    assert split_sentences("Seen by Dr. A. Smith. Size 3.4 x 2.1 cm. Stable vs. prior film.") == [
        "Seen by Dr. A. Smith.",
        "Size 3.4 x 2.1 cm.",
        "Stable vs. prior film.",
    ]
    assert split_sentences("- No effusion\n- Normal heart\n\nEnd of it") == ["No effusion", "Normal heart", "End of it"]


def test_other_languages_are_told_apart() -> None:
    assert is_english(MIMIC) and not is_english("")
    for foreign in (
        "Herz normal groß, kein Erguss, keine Stauung, Zwerchfelle glatt begrenzt.",
        "Sin derrame pleural ni neumotórax, silueta cardíaca conservada.",
        "Coeur de taille normale, pas d'épanchement.",
    ):
        assert not is_english(foreign), foreign
